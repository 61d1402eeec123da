//! `sslmode` and its companions with rustls, in libpq's meaning: `require` protects against those who
//! listen, `verify-ca` against those who stand between, `verify-full` also against another server of
//! the same authority.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::error::ServerError;
use super::parameters::{Environment, Parameters, at_home};

/// Certificates of the system's authorities, for `sslrootcert=system`.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How much is asked of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How TLS is to be spoken.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub mode: Mode,
    /// As written, for PostgreSQL's own programs.
    pub word: String,
    roots: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    pub fn of(parameters: &Parameters, environment: Environment<'_>) -> Result<Self, ServerError> {
        let is_system = parameters.get("sslrootcert").is_some_and(|path| path == "system");
        let default = if is_system { "verify-full" } else { "prefer" };
        let word = parameters.get("sslmode").map_or(default, String::as_str);
        let mode = match word {
            "disable" => Mode::Disable,
            "allow" | "prefer" => Mode::Prefer,
            "require" => Mode::Require,
            "verify-ca" => Mode::VerifyCa,
            "verify-full" => Mode::VerifyFull,
            _ => {
                return Err(ServerError::settings(
                    format!("`{}` is no sslmode", word.escape_debug()),
                    "choose disable, prefer, require, verify-ca or verify-full",
                ));
            }
        };
        let own = |name: &str| {
            at_home(&format!(".postgresql/{name}"), environment).filter(|path| path.exists())
        };
        let named = |keyword: &str| parameters.get(keyword).map(PathBuf::from);
        let roots = match named("sslrootcert") {
            Some(_) if is_system => Some(PathBuf::from(SYSTEM_ROOTS)),
            Some(path) => Some(path),
            None => own("root.crt"),
        };
        let certificate = named("sslcert").or_else(|| own("postgresql.crt"));
        let certificate = certificate.and_then(|certificate| {
            let key = named("sslkey").or_else(|| own("postgresql.key"))?;
            Some((certificate, key))
        });
        if mode >= Mode::VerifyCa && roots.is_none() {
            return Err(ServerError::settings(
                format!("sslmode={word} needs the certificate of an authority"),
                "name its file with sslrootcert, or put it into ~/.postgresql/root.crt",
            ));
        }
        Ok(Self { mode, word: word.to_owned(), roots, certificate })
    }

    /// Variables that tell PostgreSQL's own programs the same.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: &PathBuf| path.display().to_string();
        let mut variables = vec![("PGSSLMODE", self.word.clone())];
        variables.extend(self.roots.as_ref().map(|path| ("PGSSLROOTCERT", text(path))));
        if let Some((certificate, key)) = &self.certificate {
            variables.push(("PGSSLCERT", text(certificate)));
            variables.push(("PGSSLKEY", text(key)));
        }
        variables
    }

    /// What rustls needs.
    pub fn config(&self) -> Result<ClientConfig, ServerError> {
        let failed =
            |what: String| ServerError::settings(what, "correct sslrootcert, sslcert and sslkey");
        let provider = Arc::new(ring::default_provider());
        let chain = match &self.roots {
            // Without an explicit file, `prefer` never asks who the other one is; as libpq.
            Some(path) if self.mode >= Mode::Require => {
                let mut roots = RootCertStore::empty();
                let unreadable = |error: &dyn std::fmt::Display| {
                    failed(format!("no certificate can be read from {}: {error}", path.display()))
                };
                for found in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
                    let found = found.map_err(|error| unreadable(&error))?;
                    roots.add(found).map_err(|error| unreadable(&error))?;
                }
                let builder = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                );
                Some(builder.build().map_err(|error| unreadable(&error))?)
            }
            _ => None,
        };
        let verifier = Verifier {
            chain,
            checks_name: self.mode == Mode::VerifyFull,
            provider: Arc::clone(&provider),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let Some((certificate, key)) = &self.certificate else {
            return Ok(builder.with_no_client_auth());
        };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| failed(format!("{}: {error}", certificate.display())))?;
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| failed(format!("{}: {error}", key.display())))?;
        builder
            .with_client_auth_cert(certificates, secret)
            .map_err(|error| failed(format!("{}: {error}", certificate.display())))
    }
}

/// Verifies as much as the mode asks for.
#[derive(Debug)]
struct Verifier {
    /// `None`: whoever answers is believed.
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verdict =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // The chain is looked at before the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
