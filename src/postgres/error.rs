//! What can go wrong between us and a server.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

/// Why a server cannot be reached or a statement failed. Never holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The settings are not good.
    #[error("PostgreSQL settings: {reason}; {way_out}")]
    Settings {
        /// What is wrong.
        reason: String,
        /// What to do.
        way_out: String,
    },
    /// The container of the instance's database cannot be found or used.
    #[error("the container of the database: {reason}; {way_out}")]
    Container {
        /// What is wrong.
        reason: String,
        /// What to do.
        way_out: String,
    },
    /// There is no connection.
    #[error("cannot reach database `{database}` ({server}): {reason}; {way_out}")]
    Connect {
        /// Name of the database.
        database: String,
        /// Where, without a password.
        server: String,
        /// In the server's words.
        reason: String,
        /// What to do.
        way_out: &'static str,
    },
    /// A statement failed, or the connection broke while it ran.
    #[error("cannot {doing} ({server}): {reason}")]
    Statement {
        /// What was tried (`copy table public.bill`).
        doing: String,
        /// Where.
        server: String,
        /// In the server's words, with its hint.
        reason: String,
        /// SQLSTATE; none when the connection broke.
        code: Option<String>,
    },
    /// Somebody asked to stop.
    #[error("`{doing}` was not finished: stopped as asked")]
    Stopped {
        /// What was being done.
        doing: String,
    },
}

impl ServerError {
    /// For a settings problem.
    pub fn settings(reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Settings { reason: reason.into(), way_out: way_out.into() }
    }

    /// For a problem with a container.
    pub fn container(reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::Container { reason: reason.into(), way_out: way_out.into() }
    }

    /// SQLSTATE, if a statement failed with one.
    pub fn code(&self) -> Option<SqlState> {
        match self {
            Self::Statement { code: Some(code), .. } => Some(SqlState::from_code(code)),
            _ => None,
        }
    }
}

/// `error` with its causes: its own `Display` is only "db error".
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    let text = match error.as_db_error() {
        Some(db) => {
            let mut text = db.message().to_owned();
            // Which row or value: `detail` may quote data, and data is not for logs.
            if let Some(hint) = db.hint() {
                text.push_str(" / ");
                text.push_str(hint);
            }
            text
        }
        None => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                text.push_str(": ");
                text.push_str(&inner.to_string());
                cause = inner.source();
            }
            text
        }
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// SQLSTATE of `error`.
pub(super) fn code(error: &tokio_postgres::Error) -> Option<String> {
    error.code().map(|code| code.code().to_owned())
}
