//! `[alerts.channels.NAME]`: read, checked and completed with defaults.

use super::{Channel, Kind};
use crate::config::alerts::endpoint::Endpoint;
use crate::config::alerts::rule::severity;
use crate::config::alerts::secret::Ways;
use crate::config::alerts::{PAGE, check_name};
use crate::config::error::{Problem, suggest};
use crate::config::file::{File, Located};
use crate::config::reading::Reading;
use crate::config::shape::{Field, Kind as Form, Table};
use runchain_core::alert::Severity;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const KINDS: [&str; 3] = ["webhook", "alertmanager", "command"];

const FIELDS: &[Field] = &[
    Field::new("kind", Form::Word(&KINDS), "What it is.").required(),
    Field::new("rules", Form::Texts, "Globs of the rules that it hears of.").or("every rule"),
    Field::new(
        "min_severity",
        Form::Word(&["info", "warning", "error", "critical"]),
        "It hears of nothing less bad.",
    )
    .or("info"),
    Field::new("resolved", Form::Bool, "Whether it hears that an alert is over.").or("true"),
    Field::new(
        "group_ms",
        Form::Integer(0, 3_600_000),
        "What changes within this time leaves as one message.",
    )
    .or("1000 for a webhook, else 0"),
    Field::new(
        "throttle_ms",
        Form::Integer(0, 86_400_000),
        "That an alert fires is told once within this time.",
    )
    .or("60000"),
    Field::new(
        "timeout_ms",
        Form::Integer(100, 600_000),
        "What one attempt may take.",
    )
    .or("10000"),
    Field::new(
        "max_attempts",
        Form::Integer(1, 1_000),
        "Attempts before a message is given up.",
    )
    .or("20"),
    Field::new(
        "url",
        Form::Text,
        "What is asked (webhook, alertmanager); it is never shown.",
    ),
    Field::new("url_file", Form::Text, "A file that holds it."),
    Field::new(
        "url_credential",
        Form::Text,
        "A credential (LoadCredential) that holds it.",
    ),
    Field::new("url_env", Form::Text, "A variable that holds it."),
    Field::new(
        "token",
        Form::Text,
        "Sent as Authorization: Bearer; it is never shown.",
    ),
    Field::new("token_file", Form::Text, "A file that holds it."),
    Field::new(
        "token_credential",
        Form::Text,
        "A credential (LoadCredential) that holds it.",
    ),
    Field::new("token_env", Form::Text, "A variable that holds it."),
    Field::new(
        "ca_file",
        Form::Text,
        "Authorities (PEM) that alone are trusted for TLS.",
    )
    .or("what the system trusts"),
    Field::new("labels", Form::TextTable, "Labels on every alert (alertmanager)."),
    Field::new(
        "resend_ms",
        Form::Integer(100, 3_600_000),
        "How often it hears of what is open (alertmanager).",
    )
    .or("60000"),
    Field::new(
        "command",
        Form::Texts,
        "Program and arguments, without a shell (command).",
    ),
    Field::new(
        "env",
        Form::TextTable,
        "Variables of the command; PATH is handed on.",
    ),
];

/// `[alerts.channels.NAME]`
pub(in crate::config) const CHANNELS: Table = Table {
    heading: "[alerts.channels.NAME]",
    doc: "Where alerts are sent. See docs/alerts.md.",
    fields: FIELDS,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Option<String>,
    rules: Option<Vec<String>>,
    min_severity: Option<String>,
    resolved: Option<bool>,
    group_ms: Option<i64>,
    throttle_ms: Option<i64>,
    timeout_ms: Option<i64>,
    max_attempts: Option<i64>,
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_credential: Option<String>,
    url_env: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    token_credential: Option<String>,
    token_env: Option<String>,
    ca_file: Option<PathBuf>,
    labels: Option<BTreeMap<String, String>>,
    resend_ms: Option<i64>,
    command: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
}

/// Reads one channel.
pub(in crate::config::alerts) fn read(
    file: &File<'_>,
    name: &str,
    value: &Located<'_>,
    root: &Path,
) -> Result<Channel, Problem> {
    let reading = Reading {
        file,
        shape: &CHANNELS,
        page: PAGE,
        name: format!("alerts.channels.{name}"),
        value,
    };
    check_name(&reading, name)?;
    let mut table: Written = reading.table()?;
    let word = table.kind.take().ok_or_else(|| {
        reading.problem(
            "there is no kind",
            "write kind = \"webhook\", \"alertmanager\" or \"command\"",
        )
    })?;
    let group_ms = if word == "webhook" { 1_000 } else { 0 };
    let channel = Channel {
        name: name.to_owned(),
        rules: table.rules.take().unwrap_or_else(|| vec!["*".to_owned()]),
        min_severity: match &table.min_severity {
            Some(word) => severity(&reading, word)?,
            None => Severity::Info,
        },
        resolved: table.resolved.unwrap_or(true),
        group_ms: reading.within("group_ms", table.group_ms, group_ms)?,
        throttle_ms: reading.within("throttle_ms", table.throttle_ms, 60_000)?,
        timeout_ms: reading.within("timeout_ms", table.timeout_ms, 10_000)?,
        max_attempts: reading.within("max_attempts", table.max_attempts, 20)?,
        kind: match word.as_str() {
            "webhook" => {
                none_of(
                    &reading,
                    &[
                        ("labels", table.labels.is_some()),
                        ("resend_ms", table.resend_ms.is_some()),
                    ],
                )?;
                no_command(&reading, &table)?;
                Kind::Webhook(endpoint(&reading, &mut table, root)?)
            }
            "alertmanager" => {
                no_command(&reading, &table)?;
                Kind::Alertmanager {
                    endpoint: endpoint(&reading, &mut table, root)?,
                    labels: labels(&reading, table.labels.take().unwrap_or_default())?,
                    resend_ms: reading.within("resend_ms", table.resend_ms, 60_000)?,
                }
            }
            "command" => command(&reading, &mut table, root)?,
            other => {
                let what = format!("kind can't be {other}");
                return Err(
                    reading.problem(what, suggest(other, &KINDS).replace("known keys", "known kinds"))
                );
            }
        },
    };
    Ok(channel)
}

fn none_of(reading: &Reading<'_, '_>, keys: &[(&str, bool)]) -> Result<(), Problem> {
    match keys.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((key, _)) => Err(reading.problem(format!("{key} has no meaning for this kind"), "leave it out")),
    }
}

fn no_command(reading: &Reading<'_, '_>, table: &Written) -> Result<(), Problem> {
    none_of(
        reading,
        &[("command", table.command.is_some()), ("env", table.env.is_some())],
    )
}

fn endpoint(reading: &Reading<'_, '_>, table: &mut Written, root: &Path) -> Result<Endpoint, Problem> {
    let url = Ways {
        text: table.url.take(),
        file: table.url_file.take(),
        credential: table.url_credential.take(),
        variable: table.url_env.take(),
    };
    let token = Ways {
        text: table.token.take(),
        file: table.token_file.take(),
        credential: table.token_credential.take(),
        variable: table.token_env.take(),
    };
    Endpoint::read(reading, url, token, table.ca_file.take(), root)
}

fn labels(
    reading: &Reading<'_, '_>,
    labels: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Problem> {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match labels.keys().find(|name| !is_name(name)) {
        None => Ok(labels),
        Some(name) => Err(reading.problem(
            format!("{name:?} is no name of a label"),
            "use letters, digits and _, no digit first",
        )),
    }
}

fn command(reading: &Reading<'_, '_>, table: &mut Written, root: &Path) -> Result<Kind, Problem> {
    let asks = [
        ("url", table.url.is_some()),
        ("url_file", table.url_file.is_some()),
        ("url_credential", table.url_credential.is_some()),
        ("url_env", table.url_env.is_some()),
        ("token", table.token.is_some()),
        ("token_file", table.token_file.is_some()),
        ("token_credential", table.token_credential.is_some()),
        ("token_env", table.token_env.is_some()),
        ("ca_file", table.ca_file.is_some()),
        ("labels", table.labels.is_some()),
        ("resend_ms", table.resend_ms.is_some()),
    ];
    none_of(reading, &asks)?;
    let words = table.command.take().unwrap_or_default();
    let is_fine = words.first().is_some_and(|program| !program.is_empty())
        && !words.iter().any(|word| word.contains('\0'));
    if !is_fine {
        return Err(reading.problem(
            "there is no command",
            "give command = [\"program\", \"argument\"]",
        ));
    }
    Ok(Kind::Command {
        command: words,
        env: table.env.take().unwrap_or_default(),
        cwd: root.to_owned(),
    })
}
