//! `[deadman]`: a service that is told that work goes on, and how often.

use super::super::error::Problem;
use super::super::file::{File, Located};
use super::super::reading::Reading;
use super::super::shape::{Field, Kind, Table};
use super::PAGE;
use super::endpoint::Endpoint;
use super::secret::Ways;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A service that expects a sign of life (healthchecks and its like).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadMan {
    /// What is asked.
    pub(crate) endpoint: Endpoint,
    /// How often.
    pub(crate) every_ms: i64,
    /// How long one request may take.
    pub(crate) timeout_ms: i64,
}

const FIELDS: &[Field] = &[
    Field::new("url", Kind::Text, "What is asked; it is never shown."),
    Field::new("url_file", Kind::Text, "A file that holds it."),
    Field::new(
        "url_credential",
        Kind::Text,
        "A credential (LoadCredential) that holds it.",
    ),
    Field::new("url_env", Kind::Text, "A variable that holds it."),
    Field::new(
        "ca_file",
        Kind::Text,
        "Authorities (PEM) that alone are trusted for TLS.",
    )
    .or("what the system trusts"),
    Field::new("every_ms", Kind::Integer(100, 86_400_000), "How often.").or("60000"),
    Field::new(
        "timeout_ms",
        Kind::Integer(100, 600_000),
        "What one request may take.",
    )
    .or("10000"),
];

/// `[deadman]`
pub(crate) const DEADMAN: Table = Table {
    heading: "[deadman]",
    doc: "A service that expects a sign of life, sent while the main loop can do real work. See docs/alerts.md.",
    fields: FIELDS,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_credential: Option<String>,
    url_env: Option<String>,
    ca_file: Option<PathBuf>,
    every_ms: Option<i64>,
    timeout_ms: Option<i64>,
}

/// Reads `[deadman]`.
pub(super) fn read(file: &File<'_>, value: &Located<'_>, root: &Path) -> Result<DeadMan, Problem> {
    let reading = Reading {
        file,
        shape: &DEADMAN,
        page: PAGE,
        name: "deadman".to_owned(),
        value,
    };
    let table: Written = reading.table()?;
    let ways = Ways {
        text: table.url,
        file: table.url_file,
        credential: table.url_credential,
        variable: table.url_env,
    };
    Ok(DeadMan {
        endpoint: Endpoint::read(&reading, ways, Ways::default(), table.ca_file, root)?,
        every_ms: reading.within("every_ms", table.every_ms, 60_000)?,
        timeout_ms: reading.within("timeout_ms", table.timeout_ms, 10_000)?,
    })
}

impl DeadMan {
    /// For `config show`.
    pub(super) fn shown(&self) -> Value {
        json!({ "url": self.endpoint.url.origin(), "every_ms": self.every_ms, "timeout_ms": self.timeout_ms })
    }
}
