//! TLS for FTP: who is believed, and data connections that resume the control connection's session.
//!
//! Many servers (vsftpd with `require_ssl_reuse`, as it comes) take a data connection only if it resumes the
//! TLS session of its control connection. With TLS 1.3 each resumption uses up a ticket, and new ones come
//! over the same connection: an upload has to read before it closes, or after two uploads there are none left.
//! Some servers (proftpd) send none on an upload: then TLS 1.2, where a session is resumed any number of times, is
//! spoken to them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, NamedGroup,
    RootCertStore, SignatureScheme, StreamOwned,
};
use sha2::{Digest, Sha256};
use suppaftp::{FtpError, FtpResult, TlsConnector, TlsStream};

/// Certificates of the system's authorities.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Most bytes read while waiting for the server's end.
const MOST_DRAINED: usize = 64 << 10;
/// Most tickets that are kept.
const MOST_TICKETS: usize = 8;
/// How long that end is waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is believed.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct TlsSettings {
    /// A private authority instead of the system's.
    pub ca: Option<PathBuf>,
    /// The one certificate, by its SHA-256.
    pub pin: Option<[u8; 32]>,
    pub is_tls12: bool,
}

impl TlsSettings {
    /// A configuration with a session cache of its own.
    fn config(&self, sessions: &Arc<Sessions>) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[&rustls::SupportedProtocolVersion] = match self.is_tls12 {
            true => &[&rustls::version::TLS12],
            false => rustls::DEFAULT_VERSIONS,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = match self.pin {
            Some(pin) => Arc::new(Pinned { pin, provider }),
            None => {
                let roots = Arc::new(self.roots()?);
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| error.to_string())?
            }
        };
        let mut config =
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.resumption = Resumption::store(Arc::clone(sessions) as _);
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let path = self.ca.clone().unwrap_or_else(|| PathBuf::from(SYSTEM_ROOTS));
        let wrong = |error: &dyn std::fmt::Display| {
            format!("no certificate in {}: {error}", path.display())
        };
        let mut roots = RootCertStore::empty();
        for found in CertificateDer::pem_file_iter(&path).map_err(|error| wrong(&error))? {
            let found = found.map_err(|error| wrong(&error))?;
            // The system's list may hold some that rustls does not understand.
            if let (Err(error), Some(_)) = (roots.add(found), &self.ca) {
                return Err(wrong(&error));
            }
        }
        if roots.is_empty() {
            return Err(wrong(&"the file holds none"));
        }
        Ok(roots)
    }
}

/// Sessions of one control connection.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tickets: VecDeque<Tls13ClientSessionValue>,
    /// Tickets that were used up.
    used: usize,
}

impl Sessions {
    /// Whether tickets are used up and not replaced: the next data connection could not resume.
    pub fn are_used_up(&self) -> bool {
        let kept = self.lock();
        kept.used > 0 && kept.tickets.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.lock().tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.lock();
        kept.tickets.push_back(value);
        if kept.tickets.len() > MOST_TICKETS {
            kept.tickets.pop_front();
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.lock();
        kept.used += usize::from(!kept.tickets.is_empty());
        kept.tickets.pop_back()
    }
}

/// Believes one certificate and no other.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Sha256::digest(end_entity)[..] == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Speaks TLS for one control connection and its data connections.
#[derive(Debug)]
pub(super) struct DrainingConnector {
    config: Arc<ClientConfig>,
    pub sessions: Arc<Sessions>,
    /// Set on sockets that were opened without one.
    timeout: Option<Duration>,
}

impl DrainingConnector {
    pub fn new(settings: &TlsSettings) -> Result<Self, String> {
        let sessions = Arc::new(Sessions::default());
        Ok(Self { config: Arc::new(settings.config(&sessions)?), sessions, timeout: None })
    }

    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

impl TlsConnector for DrainingConnector {
    type Stream = Draining;

    fn connect(&self, domain: &str, mut socket: TcpStream) -> FtpResult<Draining> {
        let secure = |reason: String| FtpError::SecureError(reason);
        if self.timeout.is_some() {
            socket.set_read_timeout(self.timeout).map_err(FtpError::ConnectionError)?;
            socket.set_write_timeout(self.timeout).map_err(FtpError::ConnectionError)?;
        }
        let name = ServerName::try_from(domain.to_owned())
            .map_err(|_| secure(format!("`{domain}` cannot be the name in a certificate")))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| secure(error.to_string()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| secure(error.to_string()))?;
        }
        Ok(Draining(Inner { stream: StreamOwned::new(connection, socket), has_written: false }))
    }
}

/// The stream inside.
#[derive(Debug)]
pub(super) struct Inner {
    stream: StreamOwned<ClientConnection, TcpStream>,
    has_written: bool,
}

impl Read for Inner {
    /// Some servers end a data connection without TLS's own end. The length and the reply say
    /// whether all of it came.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl Write for Inner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.has_written = true;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        // An upload of nothing is one, too.
        self.has_written = true;
        self.stream.flush()
    }
}

/// A TLS stream that reads what the server still sends before it closes after an upload.
#[derive(Debug)]
pub(super) struct Draining(Inner);

impl TlsStream for Draining {
    type InnerStream = Inner;

    fn tcp_stream(self) -> FtpResult<TcpStream> {
        self.0.stream.sock.try_clone().map_err(FtpError::ConnectionError)
    }

    fn get_ref(&self) -> &TcpStream {
        &self.0.stream.sock
    }

    fn mut_ref(&mut self) -> &mut Inner {
        &mut self.0
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let Inner { stream, has_written } = &mut self.0;
        let _ = stream.flush();
        stream.conn.send_close_notify();
        let _ = stream.conn.write_tls(&mut stream.sock);
        let _ = stream.sock.shutdown(Shutdown::Write);
        // Whoever only read has read the tickets before the data.
        if !*has_written {
            return;
        }
        let _ = stream.sock.set_read_timeout(Some(DRAIN_TIMEOUT));
        let mut buffer = [0; 4096];
        let mut drained = 0;
        while drained < MOST_DRAINED {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => drained += count,
            }
        }
    }
}
