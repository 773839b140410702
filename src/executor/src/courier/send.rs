//! One attempt to send one letter, by what the channel is. The answer says whether it was taken, can be
//! tried again, or never will be.

use super::body;
use super::hidden::Hidden;
use super::http::{self, Request};
use crate::command::{self, CommandLine, Ending};
use crate::config::{Channel, ChannelKind, Settings};
use crate::redact::Redactor;
use runchain_core::Millis;
use runchain_core::alert::delivery::{Item, Message, Open};
use runchain_core::alert::{Entry, State};
use std::time::Duration;

/// How much of a command's output is kept for the error.
const OUTPUT_BYTES: usize = 2_048;

/// Of an alert's message and subject, which may be as long as a line of an event log, so much leaves: a
/// letter has up to a hundred of them.
const MESSAGE_CHARS: usize = 4_000;
const SUBJECT_CHARS: usize = 500;

/// One alert in a letter.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The alert as it is now.
    pub(super) alert: Entry,
    /// What is told of it.
    pub(super) state: State,
    /// Since when it has been firing.
    pub(super) since: Millis,
    /// When it was over.
    pub(super) until: Option<Millis>,
    /// By whom, where it was by hand.
    pub(super) actor: Option<String>,
}

/// Whose alerts these are, and what of them must not leave.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The database's path.
    pub(super) database: String,
    /// The database's name among others.
    pub(super) instance: String,
    redactor: Redactor,
}

impl Origin {
    /// As it is configured.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            database: settings.state_db_path.display().to_string(),
            instance: settings.instance.clone(),
            redactor: Redactor::checked(settings),
        }
    }

    /// The alert as it may leave: by the rules for its own row, and for what its message repeats.
    fn redacted(&self, alert: &Entry) -> Entry {
        let (rule, redactor) = (&alert.rule, &self.redactor);
        let message = |message: &String| cut(&redactor.alert_message(rule, message), MESSAGE_CHARS);
        Entry {
            subject: cut(&redactor.alert_subject(&alert.subject), SUBJECT_CHARS),
            fingerprint: redactor.alert_fingerprint(rule, alert.id, &alert.fingerprint),
            message: alert.message.as_ref().map(message),
            ..alert.clone()
        }
    }
}

/// The beginning of a text; that it goes on is seen.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What is sent at once.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The same for every attempt.
    pub(super) number: String,
    /// Whose it is.
    pub(super) origin: Origin,
    /// It tells what was caught up with.
    pub(super) digest: bool,
    pub(super) lines: Vec<Line>,
}

impl Letter {
    /// Of changes.
    pub(super) fn of_message(message: &Message, number: String, origin: &Origin) -> Self {
        let line = |item: &Item| Line {
            alert: origin.redacted(&item.alert),
            state: item.change.state,
            since: item.fires_since,
            until: (item.change.state == State::Resolved).then_some(item.change.at),
            actor: item.change.actor.clone(),
        };
        Self {
            number,
            origin: origin.clone(),
            digest: message.items.iter().any(|item| item.digest),
            lines: message.items.iter().map(line).collect(),
        }
    }

    /// Of what is open.
    pub(super) fn of_open(open: &[Open], number: String, origin: &Origin) -> Self {
        let line = |open: &Open| Line {
            alert: origin.redacted(&open.alert),
            state: State::Firing,
            since: open.since,
            until: None,
            actor: None,
        };
        Self {
            number,
            origin: origin.clone(),
            digest: false,
            lines: open.iter().map(line).collect(),
        }
    }

    /// For who wants to see whether a channel works: an alert that never was, and is over at once.
    pub(crate) fn of_test(origin: &Origin, now: Millis) -> Self {
        let alert = Entry {
            id: 0,
            fingerprint: "[\"test\"]".to_owned(),
            rule: "test".to_owned(),
            severity: "info".to_owned(),
            state: State::Firing,
            run_id: None,
            subject: "test".to_owned(),
            message: Some("runchain alerts test: this channel works".to_owned()),
            count: 1,
            first_at: now,
            last_at: now,
        };
        let line = Line {
            alert,
            state: State::Firing,
            since: now,
            until: None,
            actor: None,
        };
        Self {
            number: format!("test/{}/{:08x}", now.0, fastrand::u32(..)),
            origin: origin.clone(),
            digest: false,
            lines: vec![line],
        }
    }
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The channel has it.
    Taken,
    /// It may work later.
    Failed {
        /// Why not now.
        error: String,
        /// What the channel asked for.
        after_ms: Option<i64>,
    },
    /// It won't work, however often it is tried.
    Refused {
        /// Why.
        error: String,
    },
}

impl Answer {
    pub(super) fn failed(error: String) -> Self {
        Self::Failed {
            error,
            after_ms: None,
        }
    }
}

/// Sends a letter, once.
pub(crate) fn send(channel: &Channel, letter: &Letter) -> Answer {
    let timeout = Duration::from_millis(u64::try_from(channel.timeout_ms).unwrap_or(0));
    match &channel.kind {
        ChannelKind::Webhook(endpoint) => http::post(&Request {
            endpoint,
            path: "",
            number: &letter.number,
            body: body::webhook(letter).to_string(),
            timeout,
        }),
        ChannelKind::Alertmanager {
            endpoint,
            labels,
            resend_ms,
        } => http::post(&Request {
            endpoint,
            path: "/api/v2/alerts",
            number: &letter.number,
            body: body::alertmanager(letter, labels, *resend_ms, Millis::now()).to_string(),
            timeout,
        }),
        ChannelKind::Command {
            command,
            env: channel_env,
            cwd,
        } => {
            let mut env: Vec<(String, String)> = channel_env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if let Ok(path) = std::env::var("PATH")
                && !env.iter().any(|(name, _)| name == "PATH")
            {
                env.push(("PATH".to_owned(), path));
            }
            env.push(("RUNCHAIN_MESSAGE".to_owned(), letter.number.clone()));
            let hidden = Hidden::of_values(channel_env.values());
            let line = CommandLine {
                argv: command.clone(),
                env,
                cwd: cwd.clone(),
                timeout,
                lease: timeout + Duration::from_secs(30),
                output_bytes: OUTPUT_BYTES,
            };
            run(&line, &body::plain(letter, &channel.name), &hidden)
        }
    }
}

fn run(line: &CommandLine, document: &serde_json::Value, hidden: &Hidden) -> Answer {
    let finished = match command::run(line, document.to_string().as_bytes(), &|| true) {
        Ok(finished) => finished,
        Err(error) => return Answer::failed(format!("can't start {:?}: {error}", line.argv[0])),
    };
    match finished.ending {
        Ending::Exited(status) if status.success() => Answer::Taken,
        Ending::Exited(status) => {
            let tail = finished.output_tail.trim();
            let last = tail.lines().last().unwrap_or_default();
            Answer::failed(format!(
                "the command ended with {}: {}",
                command::said(status),
                hidden.hide(last)
            ))
        }
        Ending::TimedOut => Answer::failed(format!(
            "the command took longer than {} ms",
            line.timeout.as_millis()
        )),
        Ending::Stopped | Ending::Abandoned | Ending::Unsupervised => {
            Answer::failed("the command was ended from outside".to_owned())
        }
    }
}
