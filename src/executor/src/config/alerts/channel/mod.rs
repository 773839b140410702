//! A place where alerts are sent: which, and how patiently. How it is written and read is `table`'s.

mod table;

pub(in crate::config) use table::CHANNELS;
pub(super) use table::read;

use super::endpoint::Endpoint;
use super::secret::Secret;
use runchain_core::alert::Severity;
use runchain_core::alert::rule::glob_matches;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
