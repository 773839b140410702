//! The lines at the head of the screen: who works, how much there is, what is paused, which channels are down.

use super::super::suggest;
use super::paused_kind;
use crate::config::Settings;
use crate::output;
use runchain_core::alert::delivery::Standing;
use runchain_core::explain::count;
use serde_json::Value;

/// Each line with its label.
pub(super) fn summary(counts: &Value, settings: &Settings) -> Vec<(&'static str, String)> {
    let number = |pointer: &str| counts.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let executor = match counts.pointer("/executor/alive").and_then(Value::as_bool) {
        Some(true) => {
            let who = counts.pointer("/executor/who").and_then(Value::as_str);
            let who = who.and_then(|who| who.split_once(", ")).map(|(_, who)| who);
            who.map_or_else(|| "alive".to_owned(), |who| format!("alive ({who})"))
        }
        Some(false) => format!(
            "NONE is alive; start one: {}",
            suggest::command(settings, &["drain"], None)
        ),
        None => "it can't be told whether one is alive".to_owned(),
    };
    let oldest = counts.get("oldest_ready_age_ms").and_then(Value::as_i64);
    let oldest = oldest.map_or_else(String::new, |age_ms| {
        format!(" (the oldest for {})", output::duration(age_ms))
    });
    let stalled = match number("/runs/stalled") {
        0 => String::new(),
        number => format!(" ({number} stalled)"),
    };
    let mut lines = vec![
        ("executor", executor),
        (
            "runs",
            format!(
                "{} active{stalled}, {} not looked at yet",
                number("/runs/active"),
                count(number("/queue_rows"), "write")
            ),
        ),
        (
            "steps",
            format!(
                "{} ready{oldest}, {} running, {} waiting, {} dead",
                number("/steps/ready"),
                number("/steps/running") + number("/steps/leased"),
                number("/steps/waiting"),
                number("/steps/dead"),
            ),
        ),
        ("alerts", format!("{} firing", number("/alerts_firing"))),
    ];
    if let Some(found) = counts.pointer("/triggers/found").and_then(Value::as_str) {
        let mend = suggest::command(settings, &["install", "--repair"], None);
        lines.push(("triggers", format!("LOST: {found}; put them back: {mend}")));
    }
    let paused = counts.get("paused").and_then(Value::as_array);
    lines.extend(
        paused
            .into_iter()
            .flatten()
            .map(|pause| ("paused", paused_text(pause, settings))),
    );
    lines
}

/// `archive, 2 h ago by ann: disk full; resume it: runchain resume archive`
fn paused_text(pause: &Value, settings: &Settings) -> String {
    let text = |key: &str| pause.get(key).and_then(Value::as_str);
    let age_ms = pause.get("age_ms").and_then(Value::as_i64).unwrap_or(0);
    let what = paused_kind(pause).unwrap_or("every kind of steps");
    let actor = text("actor").unwrap_or("an unknown actor");
    let why = text("reason").map_or_else(String::new, |why| format!(": {why}"));
    format!(
        "{what}, {} ago by {actor}{why}; resume it: {}",
        output::age(age_ms),
        resume(pause, settings)
    )
}

fn resume(pause: &Value, settings: &Settings) -> String {
    let words: Vec<&str> = std::iter::once("resume").chain(paused_kind(pause)).collect();
    suggest::command(settings, &words, None)
}

/// `ops: 3 alerts wait to be sent, 2 are given up: HTTP 404; try again: runchain alerts retry ops`
pub(super) fn told_of(channel: &Standing, settings: &Settings) -> String {
    let error = channel
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {error}"));
    let name = &channel.channel;
    let remedy = if channel.dead > 0 {
        let command = suggest::command(settings, &["alerts", "retry", name], None);
        format!("; try again: {command}")
    } else {
        String::new()
    };
    format!(
        "{name}: {} alerts wait to be sent, {} are given up{error}{remedy}",
        channel.pending, channel.dead
    )
}
