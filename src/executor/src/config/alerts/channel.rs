//! `[alerts.channels.NAME]`: where alerts are sent, which, and how patiently.

use super::super::error::{Problem, suggest};
use super::super::file::{File, Located};
use super::super::shape::{self, Field, Kind as Form, Table};
use super::endpoint::Endpoint;
use super::read::Reading;
use super::rule::severity;
use super::secret::{Secret, Ways};
use runchain_core::alert::Severity;
use runchain_core::alert::rule::glob_matches;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A place where alerts are sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Channel {
    /// Its name; deliveries in the database name it.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Globs of rules that it hears of.
    pub(crate) rules: Vec<String>,
    /// It hears of nothing that is less bad.
    pub(crate) min_severity: Severity,
    /// Whether it hears that an alert is over.
    pub(crate) resolved: bool,
    /// What changes within this time leaves as one message.
    pub(crate) group_ms: i64,
    /// Least time between two messages about one alert.
    pub(crate) throttle_ms: i64,
    /// How long one attempt may take.
    pub(crate) timeout_ms: i64,
    /// Attempts before a message is dead.
    pub(crate) max_attempts: i64,
}

/// What a channel is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A URL that takes a Slack-compatible body.
    Webhook(Endpoint),
    /// Alertmanager, or what speaks its API v2.
    Alertmanager {
        /// Its URL is without `/api/v2/alerts`.
        endpoint: Endpoint,
        /// On every alert, such as the environment.
        labels: BTreeMap<String, String>,
        /// How often it hears of an alert that is open.
        resend_ms: i64,
    },
    /// A program that gets JSON on its standard input.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// Its whole environment, besides PATH.
        env: BTreeMap<String, String>,
        /// Where it runs.
        cwd: PathBuf,
    },
}

const KINDS: [&str; 3] = ["webhook", "alertmanager", "command"];

const FIELDS: [Field; 21] = [
    Field {
        name: "kind",
        kind: Form::Word(&KINDS),
        is_required: true,
        default: "none",
        doc: "What it is.",
    },
    Field {
        name: "rules",
        kind: Form::Texts,
        is_required: false,
        default: "every rule",
        doc: "Globs of the rules that it hears of.",
    },
    Field {
        name: "min_severity",
        kind: Form::Word(&["info", "warning", "error", "critical"]),
        is_required: false,
        default: "info",
        doc: "It hears of nothing less bad.",
    },
    Field {
        name: "resolved",
        kind: Form::Bool,
        is_required: false,
        default: "true",
        doc: "Whether it hears that an alert is over.",
    },
    Field {
        name: "group_ms",
        kind: Form::Integer(0, 3_600_000),
        is_required: false,
        default: "1000 for a webhook, else 0",
        doc: "What changes within this time leaves as one message.",
    },
    Field {
        name: "throttle_ms",
        kind: Form::Integer(0, 86_400_000),
        is_required: false,
        default: "60000",
        doc: "That an alert fires is told once within this time.",
    },
    Field {
        name: "timeout_ms",
        kind: Form::Integer(100, 600_000),
        is_required: false,
        default: "10000",
        doc: "What one attempt may take.",
    },
    Field {
        name: "max_attempts",
        kind: Form::Integer(1, 1_000),
        is_required: false,
        default: "20",
        doc: "Attempts before a message is given up.",
    },
    Field {
        name: "url",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "What is asked (webhook, alertmanager); it is never shown.",
    },
    Field {
        name: "url_file",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "A file that holds it.",
    },
    Field {
        name: "url_credential",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "A credential (LoadCredential) that holds it.",
    },
    Field {
        name: "url_env",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "A variable that holds it.",
    },
    Field {
        name: "token",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "Sent as Authorization: Bearer; it is never shown.",
    },
    Field {
        name: "token_file",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "A file that holds it.",
    },
    Field {
        name: "token_credential",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "A credential (LoadCredential) that holds it.",
    },
    Field {
        name: "token_env",
        kind: Form::Text,
        is_required: false,
        default: "none",
        doc: "A variable that holds it.",
    },
    Field {
        name: "ca_file",
        kind: Form::Text,
        is_required: false,
        default: "what the system trusts",
        doc: "Authorities (PEM) that alone are trusted for TLS.",
    },
    Field {
        name: "labels",
        kind: Form::TextTable,
        is_required: false,
        default: "none",
        doc: "Labels on every alert (alertmanager).",
    },
    Field {
        name: "resend_ms",
        kind: Form::Integer(100, 3_600_000),
        is_required: false,
        default: "60000",
        doc: "How often it hears of what is open (alertmanager).",
    },
    Field {
        name: "command",
        kind: Form::Texts,
        is_required: false,
        default: "none",
        doc: "Program and arguments, without a shell (command).",
    },
    Field {
        name: "env",
        kind: Form::TextTable,
        is_required: false,
        default: "none",
        doc: "Variables of the command; PATH is handed on.",
    },
];

const KEYS: [&str; 21] = shape::names(&FIELDS);

/// `[alerts.channels.NAME]`
pub(crate) const CHANNELS: Table = Table {
    heading: "[alerts.channels.NAME]",
    doc: "Where alerts are sent. See docs/alerts.md.",
    fields: &FIELDS,
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
pub(super) fn read(
    file: &File<'_>,
    name: &str,
    value: &Located<'_>,
    root: &Path,
) -> Result<Channel, Problem> {
    let reading = Reading {
        file,
        name: format!("alerts.channels.{name}"),
        value,
    };
    reading.check_name(name)?;
    let mut table: Written = reading.table(&KEYS)?;
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
        group_ms: reading.within("group_ms", table.group_ms, group_ms, 0..=3_600_000)?,
        throttle_ms: reading.within("throttle_ms", table.throttle_ms, 60_000, 0..=86_400_000)?,
        timeout_ms: reading.within("timeout_ms", table.timeout_ms, 10_000, 100..=600_000)?,
        max_attempts: reading.within("max_attempts", table.max_attempts, 20, 1..=1_000)?,
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
                    resend_ms: reading.within("resend_ms", table.resend_ms, 60_000, 100..=3_600_000)?,
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

impl Channel {
    /// Whether it hears of a rule's alerts.
    pub(crate) fn hears(&self, rule: &str, severity: Severity) -> bool {
        severity >= self.min_severity && self.rules.iter().any(|glob| glob_matches(glob, rule))
    }

    /// Where it goes by HTTP; a command doesn't.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        match &self.kind {
            Kind::Webhook(endpoint) | Kind::Alertmanager { endpoint, .. } => Some(endpoint),
            Kind::Command { .. } => None,
        }
    }

    /// For `config show`.
    pub(super) fn shown(&self) -> Value {
        let mut shown = json!({
            "rules": self.rules, "min_severity": self.min_severity, "resolved": self.resolved,
            "group_ms": self.group_ms, "throttle_ms": self.throttle_ms, "timeout_ms": self.timeout_ms,
            "max_attempts": self.max_attempts,
        });
        if let (Some(fields), Some(endpoint)) = (shown.as_object_mut(), self.endpoint()) {
            fields.insert("url".to_owned(), json!(endpoint.url.origin()));
            fields.insert(
                "token".to_owned(),
                json!(endpoint.token.as_ref().map(Secret::origin)),
            );
            fields.insert("ca_file".to_owned(), json!(endpoint.ca_file));
        }
        let more = match &self.kind {
            Kind::Webhook(_) => json!({ "kind": "webhook" }),
            Kind::Alertmanager {
                labels, resend_ms, ..
            } => {
                json!({ "kind": "alertmanager", "labels": labels, "resend_ms": resend_ms })
            }
            // Values of variables may be secrets: only their names are shown.
            Kind::Command { command, env, .. } => {
                json!({ "kind": "command", "command": command, "env": env.keys().collect::<Vec<_>>() })
            }
        };
        if let (Some(fields), Value::Object(more)) = (shown.as_object_mut(), more) {
            fields.extend(more);
            fields.retain(|_, value| !value.is_null());
        }
        shown
    }
}
