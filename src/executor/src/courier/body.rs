//! What a letter says: Slack's shape, which many others take, Alertmanager's API v2, and plain JSON for
//! commands.

use super::send::{Letter, Line};
use runchain_core::Millis;
use runchain_core::alert::State;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Alerts that a webhook's text names one by one; more are counted by rule.
const NAMED: usize = 10;
/// Characters of a message of one alert.
const MESSAGE_CHARS: usize = 500;

/// `{"text": ..., "attachments": [...]}`.
pub(super) fn webhook(letter: &Letter) -> Value {
    let count = |state: State| letter.lines.iter().filter(|line| line.state == state).count();
    let (firing, resolved) = (count(State::Firing), count(State::Resolved));
    let what = match (firing, resolved) {
        (firing, 0) => format!("{firing} firing"),
        (0, resolved) => format!("{resolved} resolved"),
        (firing, resolved) => format!("{firing} firing, {resolved} resolved"),
    };
    let caught_up = if letter.digest {
        " while nobody drained"
    } else {
        ""
    };
    let mut text = match letter.lines.as_slice() {
        [line] if !letter.digest => sentence(line),
        _ => format!("runchain: {what}{caught_up}"),
    };
    text += &format!("\n{}", escaped(&where_from(letter)));
    let attachments = if letter.lines.len() > NAMED || letter.digest {
        by_rule(letter)
    } else if letter.lines.len() > 1 {
        letter.lines.iter().map(attachment).collect()
    } else {
        Vec::new()
    };
    json!({ "text": text, "attachments": attachments })
}

/// Of two hundred hosts, which.
fn where_from(letter: &Letter) -> String {
    format!(
        "{}: {} on {}",
        letter.origin.instance,
        letter.origin.database,
        host()
    )
}

fn sentence(line: &Line) -> String {
    let state = line.state.as_str().to_uppercase();
    let (alert, count) = (&line.alert, line.alert.count);
    let message: String = alert
        .message
        .as_deref()
        .unwrap_or("no message")
        .chars()
        .take(MESSAGE_CHARS)
        .collect();
    let times = if count > 1 {
        format!(" ({count} times)")
    } else {
        String::new()
    };
    let by = line
        .actor
        .as_ref()
        .map_or_else(String::new, |actor| format!(" by {actor}"));
    escaped(&format!(
        "[{state}{by}] {} {}: {}: {message}{times}",
        alert.severity, alert.rule, alert.subject
    ))
}

fn attachment(line: &Line) -> Value {
    json!({ "color": color(line.state, &line.alert.severity), "text": sentence(line), "fallback": sentence(line) })
}

/// A digest: of each rule and state how many, and the first few subjects.
fn by_rule(letter: &Letter) -> Vec<Value> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Line>> = BTreeMap::new();
    for line in &letter.lines {
        groups
            .entry((line.state.as_str(), &line.alert.rule))
            .or_default()
            .push(line);
    }
    groups
        .into_iter()
        .map(|((state, rule), lines)| {
            let subjects: Vec<&str> = lines.iter().take(NAMED).map(|line| line.alert.subject.as_str()).collect();
            let more = if lines.len() > NAMED { ", ..." } else { "" };
            let text = escaped(&format!("{} {state} {rule}: {}{more}", lines.len(), subjects.join(", ")));
            json!({ "color": color(lines[0].state, &lines[0].alert.severity), "text": text, "fallback": text })
        })
        .collect()
}

fn color(state: State, severity: &str) -> &'static str {
    match (state, severity) {
        (State::Resolved, _) => "good",
        (_, "critical" | "error") => "danger",
        _ => "warning",
    }
}

/// The three characters that mean something there.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// An array of alerts; of each alert what was told last.
pub(super) fn alertmanager(
    letter: &Letter,
    labels: &BTreeMap<String, String>,
    resend_ms: i64,
    now: Millis,
) -> Value {
    let mut last: BTreeMap<i64, &Line> = BTreeMap::new();
    for line in &letter.lines {
        last.insert(line.alert.id, line);
    }
    let alerts = last.into_values().map(|line| {
        let until = match line.until {
            Some(until) => until.max(line.since.plus(1)),
            // Whoever doesn't hear of it for four times as long as promised may think that it is over.
            None => now.plus(4 * resend_ms),
        };
        json!({
            "labels": labels_of(line, letter, labels), "annotations": annotations(line),
            "startsAt": line.since.iso(), "endsAt": until.iso(),
        })
    });
    Value::Array(alerts.collect())
}

fn labels_of(line: &Line, letter: &Letter, labels: &BTreeMap<String, String>) -> Map<String, Value> {
    let alert = &line.alert;
    let mut all = Map::from_iter([
        ("alertname".to_owned(), json!(alert.rule)),
        ("severity".to_owned(), json!(alert.severity)),
        ("subject".to_owned(), json!(alert.subject)),
        ("database".to_owned(), json!(letter.origin.database)),
        ("instance".to_owned(), json!(letter.origin.instance)),
        ("host".to_owned(), json!(host())),
        // Two alerts of one rule and subject are two.
        ("fingerprint".to_owned(), json!(short_hash(&alert.fingerprint))),
    ]);
    if let Some(run_id) = &alert.run_id {
        all.insert("run_id".to_owned(), json!(run_id));
    }
    all.extend(labels.iter().map(|(name, value)| (name.clone(), json!(value))));
    // A label without a value is none, to Alertmanager.
    all.retain(|_, value| value != "");
    all
}

fn annotations(line: &Line) -> Value {
    let alert = &line.alert;
    let message = alert.message.as_deref().unwrap_or("no message");
    json!({
        "summary": format!("{}: {}", alert.rule, alert.subject),
        "description": message,
        "count": alert.count.to_string(),
    })
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Everything, for a program.
pub(super) fn plain(letter: &Letter, channel: &str) -> Value {
    let alerts = letter.lines.iter().map(|line| {
        json!({
            "id": line.alert.id, "fingerprint": line.alert.fingerprint, "rule": line.alert.rule,
            "severity": line.alert.severity, "state": line.state, "run_id": line.alert.run_id,
            "subject": line.alert.subject, "message": line.alert.message, "count": line.alert.count,
            "first_at": line.alert.first_at.iso(), "last_at": line.alert.last_at.iso(),
            "starts_at": line.since.iso(), "ends_at": line.until.map(Millis::iso), "actor": line.actor,
        })
    });
    json!({
        "message": letter.number, "channel": channel, "database": letter.origin.database, "instance": letter.origin.instance, "host": host(),
        "digest": letter.digest, "alerts": alerts.collect::<Vec<_>>(),
    })
}
