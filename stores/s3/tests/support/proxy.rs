//! A proxy between a store and its server that does harm by rule: it knows enough of HTTP to tell one request from the
//! next and to know where an answer ends.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Harm {
    /// It passes.
    None,
    /// It gets this answer, and the server never hears of it: status and S3's code.
    Answer(u16, &'static str),
    /// It gets these bytes, and the connection ends.
    Raw(&'static str),
    /// It gets no answer, and the connection stays.
    Silence,
    /// It reaches the server, and the connection ends without an answer.
    LoseAnswer,
    /// The connection is reset after so many bytes of the answer's body.
    Reset(usize),
    /// The connection is closed in good order after so many bytes of the answer's body.
    Truncate(usize),
    /// The byte there in the answer's body is another.
    Spoil(usize),
    /// The byte there in the request's body is another.
    SpoilRequest(usize),
    /// The answer's body comes a byte at a time, with such pauses.
    Trickle(Duration),
    /// Header lines that begin so (in lower case) do not reach the server.
    Strip(&'static [&'static str]),
}

/// What a request looked like: its number, its first line, and its header in lower case.
pub struct Seen {
    pub line: String,
    pub header: String,
}

/// A rule: the number of the request, from 0, and the request.
type Rule = Box<dyn Fn(usize, &Seen) -> Harm + Send + Sync>;

struct State {
    rule: Rule,
    count: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    ended: AtomicBool,
    upstream: String,
}

/// A running proxy.
pub struct Proxy {
    pub endpoint: String,
    state: Arc<State>,
}

impl Proxy {
    /// In front of a server's endpoint.
    pub fn start(endpoint: &str, rule: impl Fn(usize, &Seen) -> Harm + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            rule: Box::new(rule),
            count: AtomicUsize::new(0),
            seen: Mutex::default(),
            ended: AtomicBool::new(false),
            upstream: endpoint.trim_start_matches("http://").to_owned(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), shared.clone());
                // An end with an error is what clients that give up look like.
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Proxy { endpoint: own, state }
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.state.count.load(Ordering::Relaxed)
    }

    /// The first lines of the requests that came.
    pub fn lines(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().iter().map(|s| s.line.clone()).collect()
    }

    /// A header of all requests that have it.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let start = format!("{name}: ");
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .flat_map(|s| s.header.lines().find_map(|l| l.strip_prefix(&start)).map(str::to_owned))
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
    }
}

fn serve(mut client: TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect(&state.upstream)?;
    server.set_nodelay(true)?;
    loop {
        let Some(mut head) = read_head(&mut client)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&head).into_owned();
        let seen = Seen { line: text.lines().next().unwrap_or("").to_owned(), header: text.to_lowercase() };
        let is_head = seen.line.starts_with("HEAD ");
        let body_len = length(&seen.header).unwrap_or(0);
        let number = state.count.fetch_add(1, Ordering::Relaxed);
        let harm = (state.rule)(number, &seen);
        state.seen.lock().unwrap().push(seen);
        let mut body = vec![0; body_len];
        client.read_exact(&mut body)?;
        match &harm {
            Harm::Answer(status, code) => {
                let text = if is_head {
                    String::new()
                } else {
                    format!(
                        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by rule</Message></Error>"
                    )
                };
                let head = format!(
                    "HTTP/1.1 {status} Harm\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                client.write_all(head.as_bytes())?;
                continue;
            }
            Harm::Raw(text) => return client.write_all(text.as_bytes()),
            Harm::Silence => {
                // Until the client gives up.
                let mut one = [0; 1];
                let _ = client.read(&mut one);
                return Ok(());
            }
            Harm::SpoilRequest(at) if *at < body.len() => body[*at] ^= 0x55,
            Harm::Strip(lines) => {
                let kept: Vec<&str> = text
                    .split_inclusive("\r\n")
                    .filter(|l| !lines.iter().any(|s| l.to_lowercase().starts_with(s)))
                    .collect();
                head = kept.concat().into_bytes();
            }
            _ => (),
        }
        server.write_all(&head)?;
        server.write_all(&body)?;
        let Some(head) = read_head(&mut server)? else { return Ok(()) };
        let header = String::from_utf8_lossy(&head).to_lowercase();
        if header.starts_with("http/1.1 100") {
            return Err(io::Error::other("100-continue was not asked for"));
        }
        let none =
            is_head || [" 204", " 304"].iter().any(|s| header.lines().next().unwrap_or("").contains(s));
        if matches!(harm, Harm::LoseAnswer) {
            // The server has done it: its answer begins.
            return reset(client);
        }
        client.write_all(&head)?;
        if none {
            continue;
        }
        if header.contains("transfer-encoding: chunked") {
            pass_chunks(&mut server, &mut client)?;
            continue;
        }
        let Some(len) = length(&header) else {
            io::copy(&mut server, &mut client)?;
            return Ok(());
        };
        let mut body = vec![0; len];
        server.read_exact(&mut body)?;
        match harm {
            Harm::Reset(at) if at < len => {
                client.write_all(&body[..at])?;
                // So that they arrive before the reset.
                thread::sleep(Duration::from_millis(50));
                return reset(client);
            }
            Harm::Truncate(at) if at < len => return client.write_all(&body[..at]),
            Harm::Spoil(at) if at < len => body[at] ^= 0x55,
            Harm::Trickle(pause) => {
                for byte in &body {
                    client.write_all(std::slice::from_ref(byte))?;
                    thread::sleep(pause);
                }
                continue;
            }
            _ => (),
        }
        client.write_all(&body)?;
    }
}

/// Up to and with the empty line; `None` at the end of the connection.
fn read_head(from: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut one = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match from.read(&mut one)? {
            0 if head.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => head.push(one[0]),
        }
    }
    Ok(Some(head))
}

fn length(header: &str) -> Option<usize> {
    header.lines().find_map(|l| l.strip_prefix("content-length:")).map(|v| v.trim().parse().unwrap())
}

fn pass_chunks(server: &mut TcpStream, client: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        let mut one = [0; 1];
        while !line.ends_with(b"\r\n") {
            server.read_exact(&mut one)?;
            line.push(one[0]);
        }
        let size =
            usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        server.read_exact(&mut chunk)?;
        client.write_all(&line)?;
        client.write_all(&chunk)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// Ends a connection by RST.
fn reset(stream: TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is the stream's, the option a struct of that size.
    let status = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
