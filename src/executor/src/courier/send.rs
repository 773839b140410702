//! One attempt to send one letter, by what the channel is. The answer says whether it was taken, can be
//! tried again, or never will be.

use super::body;
use super::http::{self, Request};
use crate::command::{self, CommandLine, Ending};
use crate::config::{Channel, ChannelKind, Secret};
use runchain_core::Millis;
use runchain_core::alert::delivery::{Item, Message, Open};
use runchain_core::alert::{Entry, State};
use std::time::Duration;

/// How much of a command's output is kept for the error.
const OUTPUT_BYTES: usize = 2_048;

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

/// What is sent at once.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The same for every attempt.
    pub(super) number: String,
    /// Of which database.
    pub(super) database: String,
    /// It tells what was caught up with.
    pub(super) digest: bool,
    pub(super) lines: Vec<Line>,
}

impl Letter {
    /// Of changes.
    pub(super) fn of_message(message: &Message, number: String, database: &str) -> Self {
        let line = |item: &Item| Line {
            alert: item.alert.clone(),
            state: item.change.state,
            since: item.fires_since,
            until: (item.change.state == State::Resolved).then_some(item.change.at),
            actor: item.change.actor.clone(),
        };
        Self {
            number,
            database: database.to_owned(),
            digest: message.items.iter().any(|item| item.digest),
            lines: message.items.iter().map(line).collect(),
        }
    }

    /// Of what is open.
    pub(super) fn of_open(open: &[Open], number: String, database: &str) -> Self {
        let line = |open: &Open| Line {
            alert: open.alert.clone(),
            state: State::Firing,
            since: open.since,
            until: None,
            actor: None,
        };
        Self {
            number,
            database: database.to_owned(),
            digest: false,
            lines: open.iter().map(line).collect(),
        }
    }

    /// For who wants to see whether a channel works: an alert that never was, and is over at once.
    pub(crate) fn of_test(database: &str, now: Millis) -> Self {
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
            database: database.to_owned(),
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
    fn failed(error: String) -> Self {
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
        ChannelKind::Webhook { url, token } => {
            ask(url, token.as_ref(), "", &body::webhook(letter), letter, timeout)
        }
        ChannelKind::Alertmanager {
            url,
            token,
            labels,
            resend_ms,
        } => {
            let body = body::alertmanager(letter, labels, *resend_ms, Millis::now());
            ask(url, token.as_ref(), "/api/v2/alerts", &body, letter, timeout)
        }
        ChannelKind::Command { command, env, cwd } => {
            let mut env: Vec<(String, String)> = env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if let Ok(path) = std::env::var("PATH")
                && !env.iter().any(|(name, _)| name == "PATH")
            {
                env.push(("PATH".to_owned(), path));
            }
            env.push(("RUNCHAIN_MESSAGE".to_owned(), letter.number.clone()));
            let line = CommandLine {
                argv: command.clone(),
                env,
                cwd: cwd.clone(),
                timeout,
                lease: timeout + Duration::from_secs(30),
                output_bytes: OUTPUT_BYTES,
            };
            run(&line, &body::plain(letter, &channel.name))
        }
    }
}

fn ask(
    url: &Secret,
    token: Option<&Secret>,
    path: &str,
    body: &serde_json::Value,
    letter: &Letter,
    timeout: Duration,
) -> Answer {
    // A file that isn't there yet may come.
    let (url, token) = match (url.value(), token.map(Secret::value).transpose()) {
        (Ok(url), Ok(token)) => (url, token),
        (Err(error), _) | (_, Err(error)) => return Answer::failed(error),
    };
    if !crate::config::is_http(&url) {
        return Answer::Refused {
            error: "the url is none of http or https".to_owned(),
        };
    }
    let base = url.strip_suffix(path).unwrap_or(&url);
    http::post(&Request {
        url: match path {
            "" => url,
            path => format!("{}{path}", base.trim_end_matches('/')),
        },
        token,
        number: letter.number.clone(),
        body: body.to_string(),
        timeout,
    })
}

fn run(line: &CommandLine, document: &serde_json::Value) -> Answer {
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
                "the command ended with {}: {last}",
                command::said(status)
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
