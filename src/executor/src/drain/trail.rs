//! What a service leaves in the audit trail: that it began, why it ended, and which keys a reload
//! changed. Only a service does: a drain in the foreground is over when its command is, and what it
//! was asked for is a request.
//!
//! Values that may be secrets are not shown: a step's command and environment, and whatever is not a
//! key of runchain's own.

use super::Ended;
use crate::config::{NAMES, Row, Settings};
use crate::follow::Places;
use crate::{actor, door};
use runchain_core::Millis;
use runchain_core::audit::{self, Action};
use runchain_core::error::Result;
use runchain_core::steps::Executor;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

/// What stands in the place of a value that is not shown.
const HIDDEN: &str = "(not shown)";

/// A service began; inside the transaction that registers it.
pub(super) fn began(conn: &Connection, executor: &Executor, settings: &Settings) -> Result<()> {
    // What can't be read is said by whoever follows.
    let follows = Places::of_service(settings).map(|places| places.told());
    let after = json!({
        "executor": executor.id, "state": "running", "pid": executor.pid, "version": env!("CARGO_PKG_VERSION"),
        "workers": settings.workers, "config_file": settings.file.as_ref().map(|path| path.display().to_string()),
        "follows": follows.unwrap_or_default(),
    });
    record(conn, "executor_start", Value::Null, after)
}

/// A service ended; inside the transaction that takes it off the list.
pub(super) fn over(conn: &Connection, executor: &Executor, why: &str) -> Result<()> {
    let before = json!({ "executor": executor.id, "state": "running" });
    let after = json!({ "executor": executor.id, "state": "stopped", "why": why });
    record(conn, "executor_stop", before, after)
}

/// Why the loop ended: `signal` is the one that stopped it.
pub(super) fn why(ended: &Result<Ended>, signal: Option<i32>) -> String {
    let name = |number: i32| {
        signal_hook::low_level::signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
    };
    match (ended, signal) {
        (Err(error), _) => error.to_string(),
        (Ok(Ended::Forced(number)), _) => format!("{}, twice", name(*number)),
        (Ok(Ended::Stopped), Some(number)) => name(number),
        (Ok(_), _) => "nothing was left to do".to_owned(),
    }
}

/// A reload; nothing is written where it changed nothing.
pub(super) fn reloaded(conn: &mut Connection, old: &Settings, new: &Settings) -> Result<()> {
    let (before, after) = differences(old, new);
    if before.is_empty() {
        return Ok(());
    }
    door::write(conn, |conn| {
        record(conn, "config_reload", json!(before), json!(after))
    })
}

fn record(conn: &Connection, name: &str, before: Value, after: Value) -> Result<()> {
    let action = Action {
        name,
        run_id: None,
        by: &actor::by(None),
        before,
        after,
    };
    audit::record(conn, &action, Millis::now()).map(|_| ())
}

/// The keys whose values differ, as they were and as they are.
fn differences(old: &Settings, new: &Settings) -> (Map<String, Value>, Map<String, Value>) {
    let (mut before, mut after) = (Map::new(), Map::new());
    let value = |rows: &[Row], key: &str| {
        rows.iter()
            .find(|row| row.key == key)
            .map(|row| row.value.clone())
    };
    let mut keys: Vec<&str> = old
        .rows
        .iter()
        .chain(&new.rows)
        .map(|row| row.key.as_str())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (was, is) = (value(&old.rows, key), value(&new.rows, key));
        if was != is {
            before.insert(key.to_owned(), shown(key, was));
            after.insert(key.to_owned(), shown(key, is));
        }
    }
    // The rows name a step's variables, never their values.
    for step in &new.steps {
        let key = format!("steps.{}.env", step.name);
        let was = old.steps.iter().find(|one| one.name == step.name);
        let told = before
            .keys()
            .any(|key| key.starts_with(&format!("steps.{}.", step.name)));
        if was.is_some_and(|was| was != step) && !told {
            before.insert(key.clone(), json!(HIDDEN));
            after.insert(key, json!("(changed, not shown)"));
        }
    }
    (before, after)
}

fn shown(key: &str, value: Option<Value>) -> Value {
    let Some(value) = value else {
        return Value::Null;
    };
    let harmless = value.is_number() || value.is_boolean() || value.is_null();
    let word = |word: &str| key.split(['.', '_']).any(|part| part == word);
    let secret = [
        "url", "token", "secret", "password", "key", "headers", "command", "env",
    ];
    let own = NAMES.contains(&key) || key.ends_with(".after");
    if harmless || (own && !secret.iter().any(|one| word(one))) {
        value
    } else {
        json!(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;
    use std::collections::BTreeMap;

    fn load(text: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("runchain.toml"), text).unwrap();
        let around = Surroundings {
            folder: "/project".into(),
            variables: BTreeMap::from([(
                "RUNCHAIN_CONFIG".to_owned(),
                folder.path().join("runchain.toml").into(),
            )]),
        };
        let mut settings = Settings::load(&[], None, &around).unwrap();
        // Each text has a folder of its own, which is not what is compared.
        settings.rows.retain(|row| {
            !row.key.ends_with("_dir")
                && !["state_db_path", "instance", "ingest.roots"].contains(&row.key.as_str())
        });
        settings.rows.retain(|row| !row.key.ends_with(".cwd"));
        settings
    }

    #[test]
    fn a_reload_tells_numbers_and_hides_what_may_be_a_secret() {
        let old = load(
            "workers = 2\n[steps.up]\ncommand = ['put', 'hunter1']\nenv = {TOKEN = 'hunter2'}\ntimeout_ms = 5",
        );
        let new = load(
            "workers = 3\n[steps.up]\ncommand = ['put', 'hunter3']\nenv = {TOKEN = 'hunter4'}\ntimeout_ms = 6",
        );
        let (before, after) = differences(&old, &new);
        assert_eq!(
            json!(before),
            json!({"steps.up.command": "(not shown)", "steps.up.timeout_ms": 5, "workers": 2})
        );
        assert_eq!(
            json!(after),
            json!({"steps.up.command": "(not shown)", "steps.up.timeout_ms": 6, "workers": 3})
        );
    }

    #[test]
    fn a_variable_s_new_value_is_a_change_without_a_value() {
        let text =
            |token: &str| format!("[steps.up]\ncommand = ['put']\ncwd = '/'\nenv = {{TOKEN = '{token}'}}");
        let (before, after) = differences(&load(&text("hunter2")), &load(&text("hunter3")));
        assert_eq!(json!(before), json!({"steps.up.env": "(not shown)"}));
        assert_eq!(json!(after), json!({"steps.up.env": "(changed, not shown)"}));
        let (same, _) = differences(&load(&text("a")), &load(&text("a")));
        assert_eq!(json!(same), json!({}));
    }
}
