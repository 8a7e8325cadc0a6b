//! Connections: names, TCP, TLS where the address says https. Owns every socket. A connection on which nothing moves for
//! the timeout is given up, whoever is to blame; many bytes may take as long as they keep moving.

use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustix::net::{SendFlags, sockopt};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// What hyper reads from and writes to.
pub type Wire = MaybeHttpsStream<TokioIo<Socket>>;

/// Makes connections, encrypted ones where asked: what that needs (the machine's certificates) is loaded then.
#[derive(Clone)]
pub struct Connector {
    tcp: Tcp,
    ca: Option<String>,
    tls: Arc<OnceLock<HttpsConnector<Tcp>>>,
}

impl Connector {
    /// Connections that are given up when nothing moves for `timeout`; `ca` is a PEM file of certificates to trust too.
    pub fn new(timeout: Duration, ca: Option<String>) -> Connector {
        Connector { tcp: Tcp { timeout }, ca, tls: Arc::default() }
    }

    fn tls(&self) -> Result<HttpsConnector<Tcp>, Error> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        let mut machine = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(std::mem::take(&mut machine.certs));
        if let Some(file) = &self.ca {
            use rustls::pki_types::{CertificateDer, pem::PemObject};
            let certificates =
                CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            for certificate in certificates.map_err(|e| format!("ca={file}: {e}"))? {
                roots.add(certificate).map_err(|e| format!("ca={file}: {e}"))?;
            }
        }
        if roots.is_empty() {
            return Err(
                "no certificates to trust on this machine: install ca-certificates, or name a file by ca="
                    .into(),
            );
        }
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(self.tcp.clone());
        Ok(self.tls.get_or_init(|| tls).clone())
    }
}

impl Service<http::Uri> for Connector {
    type Response = Wire;
    type Error = Error;
    type Future = Connecting<Wire>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: http::Uri) -> Self::Future {
        if to.scheme_str() == Some("https") {
            let timeout = self.tcp.timeout;
            return match self.tls() {
                Ok(mut tls) => Box::pin(async move {
                    let encrypted = tokio::time::timeout(timeout, tls.call(to));
                    encrypted.await.map_err(|_| late("no TLS connection", timeout))?
                }),
                Err(e) => Box::pin(async move { Err(e) }),
            };
        }
        let plain = self.tcp.call(to);
        Box::pin(async move { Ok(MaybeHttpsStream::Http(plain.await?)) })
    }
}

/// Makes plain connections.
#[derive(Clone)]
struct Tcp {
    timeout: Duration,
}

impl Service<http::Uri> for Tcp {
    type Response = TokioIo<Socket>;
    type Error = Error;
    type Future = Connecting<TokioIo<Socket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: http::Uri) -> Self::Future {
        let timeout = self.timeout;
        Box::pin(async move {
            let host = to.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = to.port_u16().unwrap_or(if to.scheme_str() == Some("https") { 443 } else { 80 });
            let connect = async {
                let places = tokio::net::lookup_host((host.as_str(), port)).await.map_err(|e| {
                    io::Error::new(e.kind(), format!("the name {host} cannot be resolved: {e}"))
                })?;
                let mut last = io::Error::other(format!("the name {host} has no address"));
                for place in places {
                    match TcpStream::connect(place).await {
                        Ok(stream) => return Ok(stream),
                        Err(e) => last = io::Error::new(e.kind(), format!("cannot connect to {place}: {e}")),
                    }
                }
                Err(last)
            };
            let stream = tokio::time::timeout(timeout, connect)
                .await
                .map_err(|_| late(&format!("no connection to {host}:{port}"), timeout))??;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(Socket::new(stream, timeout)))
        })
    }
}

fn late(what: &str, timeout: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {:.1} s", timeout.as_secs_f64()))
}

/// A TCP connection.
pub struct Socket {
    stream: TcpStream,
    timeout: Duration,
    /// When a byte last moved.
    moved: Instant,
    /// Fires when none has moved for long; set anew only when it fires.
    alarm: Pin<Box<Sleep>>,
}

impl Socket {
    fn new(stream: TcpStream, timeout: Duration) -> Socket {
        Socket { stream, timeout, moved: Instant::now(), alarm: Box::pin(tokio::time::sleep(timeout)) }
    }

    /// What a wait without end becomes.
    fn waited<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let end = self.moved + self.timeout;
            if end <= Instant::now() {
                return Poll::Ready(Err(late("nothing came from or went to the server", self.timeout)));
            }
            self.alarm.as_mut().reset(end);
        }
        Poll::Pending
    }

    fn moved<T>(&mut self, result: io::Result<T>) -> Poll<io::Result<T>> {
        self.moved = Instant::now();
        Poll::Ready(result)
    }

    fn send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return self.waited(cx),
            }
            // Not writev, which raises SIGPIPE.
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                let mut none = rustix::net::SendAncillaryBuffer::default();
                Ok(rustix::net::sendmsg(&self.stream, pieces, &mut none, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => (),
                other => return self.moved(other),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, into) {
            Poll::Ready(result) => self.moved(result),
            Poll::Pending => {
                // Servers that send header and body apart, with Nagle's algorithm, wait for the acknowledgement of the
                // first, which the kernel would hold back for 40 ms. It forgets this setting, hence each time.
                let _ = sockopt::set_tcp_quickack(&self.stream, true);
                self.waited(cx)
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The kernel takes at most so many at a time (IOV_MAX).
        self.send(cx, &pieces[..pieces.len().min(1024)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
