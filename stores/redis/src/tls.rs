//! A byte stream to a server, plain or encrypted (rustls). Owns certificates and what is said when they do not suit;
//! never waits except where a plain stream is told to.

use crate::options::TlsFiles;
use crate::socket::Socket;
use rustix::io::Errno;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// What went wrong on a stream.
#[derive(Debug)]
pub enum Broken {
    /// The system's word.
    System(Errno),
    /// The other side has closed.
    Ended,
    /// TLS cannot be; trying again does not help.
    Tls(String),
}

/// A stream. `None` of its calls means "not now".
pub struct Stream {
    socket: Socket,
    session: Option<Box<ClientConnection>>,
}

/// Makes the settings of TLS once for a store.
pub fn settings(files: &TlsFiles) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = if files.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|e| format!("ca={}: {e}", file.display()))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(
                        "this system has no authorities for certificates: name the server's by ca=FILE"
                            .into(),
                    );
                }
            }
        }
        builder.with_root_certificates(roots)
    };
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|e| format!("key={}: {e}", key.display()))?;
            builder
                .with_client_auth_cert(certificates(cert)?, secret)
                .map_err(|e| format!("cert={}, key={}: {e}", cert.display(), key.display()))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |e: rustls_pki_types::pem::Error| format!("{}: {e}", file.display());
    let all: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if all.is_empty() {
        Err(format!("{}: holds no certificate in PEM form", file.display()))
    } else {
        Ok(all)
    }
}

impl Stream {
    /// A plain stream.
    pub fn plain(socket: Socket) -> Stream {
        Stream { socket, session: None }
    }

    /// Goes on in TLS, with a server of this name.
    pub fn encrypt(&mut self, config: Arc<ClientConfig>, host: &str) -> Result<(), String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("\"{host}\" cannot be the name of a TLS server"))?;
        self.session = Some(Box::new(ClientConnection::new(config, name).map_err(|e| e.to_string())?));
        Ok(())
    }

    /// The socket below.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether a receive may wait by itself.
    pub fn is_plain(&self) -> bool {
        self.session.is_none()
    }

    /// Whether something that was taken still waits to be sent.
    pub fn has_more_to_send(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.wants_write())
    }

    /// Takes what it can of `pieces`; `None` when it cannot take any now. With no pieces only what was taken is sent.
    pub fn send(&mut self, pieces: &[IoSlice<'_>]) -> Result<Option<usize>, Broken> {
        let Some(session) = &mut self.session else {
            return if pieces.is_empty() { Ok(Some(0)) } else { not_now(self.socket.send(pieces)) };
        };
        let taken = session.writer().write_vectored(pieces).map_err(|e| broken(&e))?;
        push(&self.socket, session)?;
        Ok(if taken == 0 && !pieces.is_empty() { None } else { Some(taken) })
    }

    /// Receives what is there; `None` when nothing is. `wait` only counts for a plain stream.
    pub fn recv(&mut self, rooms: &mut [IoSliceMut<'_>], wait: bool) -> Result<Option<usize>, Broken> {
        let Some(session) = &mut self.session else {
            return match self.socket.recv(rooms, wait) {
                Ok(0) => Err(Broken::Ended),
                Err(Errno::INTR) => Ok(None),
                other => not_now(other),
            };
        };
        loop {
            match session.reader().read_vectored(rooms) {
                Ok(0) => return Err(Broken::Ended),
                Ok(n) => return Ok(Some(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => (),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(Broken::Ended),
                Err(e) => return Err(broken(&e)),
            }
            match session.read_tls(&mut Through(&self.socket)) {
                Ok(0) => return Err(Broken::Ended),
                Ok(_) => (),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(broken(&e)),
            }
            let processed = session.process_new_packets();
            // An alert of ours says why we leave; that it may not go out any more changes nothing.
            let pushed = push(&self.socket, session);
            processed.map_err(|e| Broken::Tls(advice(&e)))?;
            pushed?;
        }
    }
}

/// Sends encrypted bytes that wait, as far as the system takes them.
fn push(socket: &Socket, session: &mut ClientConnection) -> Result<(), Broken> {
    while session.wants_write() {
        match session.write_tls(&mut Through(socket)) {
            Ok(_) => (),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(broken(&e)),
        }
    }
    Ok(())
}

fn not_now(result: Result<usize, Errno>) -> Result<Option<usize>, Broken> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(Errno::AGAIN) => Ok(None),
        Err(e) => Err(Broken::System(e)),
    }
}

fn broken(error: &io::Error) -> Broken {
    match Errno::from_io_error(error) {
        Some(errno) => Broken::System(errno),
        None => Broken::Tls(error.to_string()),
    }
}

/// What to do about a failure of TLS.
fn advice(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(why) => format!(
            "the server's certificate is not accepted ({why:?}): name the authority that signed it by ca=FILE, and the \
             server as the certificate does"
        ),
        TlsError::AlertReceived(alert) => format!(
            "the server refuses our side of TLS ({alert:?}): it may want a client's certificate, cert=FILE and key=FILE"
        ),
        TlsError::InvalidMessage(_) => format!("the server does not speak TLS on this port ({error})"),
        other => format!("TLS: {other}"),
    }
}

/// The socket as rustls wants it.
struct Through<'a>(&'a Socket);

impl Read for Through<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.recv(&mut [IoSliceMut::new(room)], false) {
                Err(Errno::INTR) => (),
                other => return other.map_err(io::Error::from),
            }
        }
    }
}

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.send(&[IoSlice::new(bytes)])?)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.0.send(pieces)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Accepts every certificate: only where the address says `insecure=yes`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
