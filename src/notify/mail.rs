//! Mail by SMTP.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Letter};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};

use crate::crypto::Secret;
use crate::instance::config::{MailConfig, MailTls};

use super::{Channel, Message, Undelivered};

/// Mail through one server.
pub struct Mail {
    /// Server and addresses.
    pub config: MailConfig,
    /// Password of the account.
    pub password: Option<Secret>,
}

impl Channel for Mail {
    fn deliver(&self, message: &Message, timeout: Duration) -> Result<(), Undelivered> {
        let letter = self.letter(message)?;
        let transport = self.transport(timeout)?;
        transport.send(&letter).map(|_| ()).map_err(|error| {
            let is_final = error.is_permanent();
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            Undelivered { reason: text, is_final }
        })
    }
}

impl Mail {
    fn letter(&self, message: &Message) -> Result<Letter, String> {
        let address = |text: &str| -> Result<Mailbox, String> {
            text.parse().map_err(|error| format!("`{text}` is no mail address: {error}"))
        };
        let mut letter = Letter::builder()
            .from(address(&self.config.from)?)
            .message_id(None)
            .subject(format!("[mrs-backup] {}", message.title))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.config.to {
            letter = letter.to(address(to)?);
        }
        let mut body = format!("{}\n", message.text);
        if !message.log.is_empty() {
            body = format!("{body}\n{}", message.log);
        }
        body = format!("{body}\n-- \nmrs-backup, {}\n", message.host);
        letter.body(body).map_err(|error| error.to_string())
    }

    fn transport(&self, timeout: Duration) -> Result<SmtpTransport, String> {
        crate::store::install_tls();
        let config = &self.config;
        let parameters =
            || TlsParameters::new(config.host.clone()).map_err(|error| error.to_string());
        let tls = match config.tls {
            MailTls::Implicit => Tls::Wrapper(parameters()?),
            MailTls::StartTls => Tls::Required(parameters()?),
            MailTls::None => Tls::None,
        };
        let mut builder = SmtpTransport::builder_dangerous(&config.host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(timeout));
        if let (Some((user, _)), Some(password)) = (&config.login, &self.password) {
            let password =
                std::str::from_utf8(password.expose()).map_err(|_| "the password is no text")?;
            builder = builder.credentials(Credentials::new(user.clone(), password.to_owned()));
        }
        Ok(builder.build())
    }
}
