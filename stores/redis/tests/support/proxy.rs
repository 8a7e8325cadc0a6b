//! A proxy that is bad for connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Pass,
    /// It is cut after so many bytes of answers.
    CutAnswers(usize),
    /// It is cut after so many bytes of requests have gone on.
    CutRequests(usize),
    /// The answers' byte at this place is another one.
    Corrupt(usize),
    /// Answers never come.
    Swallow,
    /// Answers come late, by this many milliseconds each time.
    Delay(u64),
}

/// A proxy on a port of its own, to a server's unix socket.
pub struct Proxy {
    pub port: u16,
    plan: Arc<Mutex<(Plan, usize)>>,
}

impl Proxy {
    pub fn to(socket: &Path) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::new(Mutex::new((Plan::Pass, 0)));
        let (socket, plans): (PathBuf, _) = (socket.to_owned(), plan.clone());
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let plan = {
                    let mut plan = plans.lock().unwrap();
                    if plan.1 == 0 {
                        Plan::Pass
                    } else {
                        plan.1 -= 1;
                        plan.0
                    }
                };
                if let Ok(server) = UnixStream::connect(&socket) {
                    carry(client, server, plan);
                }
            }
        });
        Proxy { port, plan }
    }

    /// What happens to the next `times` connections.
    pub fn plan(&self, plan: Plan, times: usize) {
        *self.plan.lock().unwrap() = (plan, times);
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn carry(client: TcpStream, server: UnixStream, plan: Plan) {
    client.set_nodelay(true).unwrap();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    thread::spawn(move || {
        let most = if let Plan::CutRequests(n) = plan { n } else { usize::MAX };
        pump(&mut from_client, &mut to_server, most, |_, _| true);
        let _ = to_server.shutdown(Shutdown::Both);
        if most < usize::MAX {
            let _ = from_client.shutdown(Shutdown::Both);
        }
    });
    thread::spawn(move || {
        let most = if let Plan::CutAnswers(n) = plan { n } else { usize::MAX };
        pump(&mut from_server, &mut to_client, most, |bytes, at| {
            match plan {
                Plan::Delay(millis) => thread::sleep(Duration::from_millis(millis)),
                Plan::Corrupt(place) if (at..at + bytes.len()).contains(&place) => bytes[place - at] ^= 0x15,
                _ => (),
            }
            plan != Plan::Swallow
        });
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
}

/// Carries bytes until `most` of them have gone.
fn pump(
    from: &mut impl Read,
    to: &mut impl Write,
    most: usize,
    mut change: impl FnMut(&mut [u8], usize) -> bool,
) {
    let (mut room, mut at) = (vec![0; 1 << 16], 0);
    while at < most {
        let want = room.len().min(most - at);
        let Ok(n @ 1..) = from.read(&mut room[..want]) else { return };
        if change(&mut room[..n], at) && to.write_all(&room[..n]).is_err() {
            return;
        }
        at += n;
    }
}
