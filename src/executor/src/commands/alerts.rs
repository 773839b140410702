//! `runchain alerts`: what asks for a person, what they say about it, and whether they can be reached.

use super::open;
use crate::actor;
use crate::cli::{AlertState, AlertsArgs, AlertsChoice, AlertsCommand, AlertsListArgs};
use crate::config::Settings;
use crate::courier::{self, Answer, Letter, Origin};
use crate::door;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::OpenMode;
use crate::output::{self, Output};
use runchain_core::alert::delivery::{self, Delivered};
use runchain_core::alert::{self, ByHand, Change, Entry, Filter, State};
use runchain_core::audit::{self, Action};
use runchain_core::error::Error;
use runchain_core::{Mapping, Millis, Result, RunId};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};

/// Alerts changed in one transaction.
const AT_ONCE: usize = 500;

pub(super) fn alerts(arguments: &AlertsArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let listed = AlertsListArgs {
        limit: 50,
        ..AlertsListArgs::default()
    };
    match &arguments.command {
        None => list(&listed, settings, output),
        Some(AlertsCommand::List(arguments)) => list(arguments, settings, output),
        Some(AlertsCommand::Show { id }) => show(*id, settings, output),
        Some(AlertsCommand::Ack(choice)) => by_hand(choice, ByHand::Acknowledge, settings, output),
        Some(AlertsCommand::Resolve(choice)) => by_hand(choice, ByHand::Resolve, settings, output),
        Some(AlertsCommand::Test { channel }) => test(channel, settings, output),
        Some(AlertsCommand::Retry { channel, why }) => {
            retry(channel.as_deref(), why.reason.as_deref(), settings, output)
        }
    }
}

fn list(arguments: &AlertsListArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    Mapping::require(&conn)?;
    let filter = Filter {
        state: arguments.state.map(|state| match state {
            AlertState::Firing => State::Firing,
            AlertState::Acknowledged => State::Acknowledged,
            AlertState::Resolved => State::Resolved,
        }),
        all: arguments.all,
        rule: arguments.rule.clone(),
        run_id: arguments.run_id.clone().map(RunId),
        fingerprint: None,
    };
    let entries = alert::entries(&conn, &filter, arguments.limit)?;
    if output.json {
        output.print_json(&entries)?;
        return Ok(Exit::Ok);
    }
    if entries.is_empty() {
        output.line("no alert is open, of those that were asked for")?;
        return Ok(Exit::Ok);
    }
    let now = Millis::now();
    output.table(
        &[
            "ID", "STATE", "SEVERITY", "RULE", "OF", "COUNT", "LAST", "MESSAGE",
        ],
        entries.iter().map(|entry| cells(entry, now)),
    )?;
    Ok(Exit::Ok)
}

fn cells(entry: &Entry, now: Millis) -> [String; 8] {
    [
        entry.id.to_string(),
        entry.state.as_str().to_owned(),
        entry.severity.clone(),
        entry.rule.clone(),
        entry.subject.clone(),
        entry.count.to_string(),
        format!("{} ago", output::age(now.since(entry.last_at))),
        entry.message.clone().unwrap_or_default(),
    ]
}

/// One alert, as it is printed.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    alert: Entry,
    changes: Vec<Change>,
    deliveries: Vec<Delivered>,
}

fn show(id: i64, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    Mapping::require(&conn)?;
    let entry = alert::find(&conn, id)?.ok_or_else(|| no_such_alert(id))?;
    let shown = Shown {
        changes: alert::changes_of(&conn, id)?,
        deliveries: delivery::of_alert(&conn, id)?,
        alert: entry,
    };
    if output.json {
        output.print_json(&shown)?;
        return Ok(Exit::Ok);
    }
    let alert = &shown.alert;
    for (label, text) in [
        (
            "alert",
            format!("{id}, {}, {}", alert.state.as_str(), alert.severity),
        ),
        ("rule", alert.rule.clone()),
        ("of", alert.subject.clone()),
        (
            "run",
            alert
                .run_id
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string),
        ),
        ("message", alert.message.clone().unwrap_or_default()),
        (
            "count",
            format!(
                "{}, first {}, last {}",
                alert.count,
                alert.first_at.iso(),
                alert.last_at.iso()
            ),
        ),
        ("key", alert.fingerprint.clone()),
    ] {
        output.paragraph(label, 10, &text)?;
    }
    output.line("")?;
    let changes = shown.changes.iter().map(|change| {
        [
            change.at.iso(),
            change.state.as_str().to_owned(),
            change.actor.clone().unwrap_or_else(|| "-".to_owned()),
            change.reason.clone().unwrap_or_default(),
        ]
    });
    output.table(&["AT", "STATE", "BY", "REASON"], changes)?;
    if !shown.deliveries.is_empty() {
        output.line("")?;
        let deliveries = shown.deliveries.iter().map(|one| {
            [
                one.channel.clone(),
                one.tells.as_str().to_owned(),
                one.state.clone(),
                one.attempts.to_string(),
                one.done_at
                    .map_or_else(|| format!("due {}", one.due_at.iso()), Millis::iso),
                one.error.clone().unwrap_or_default(),
            ]
        });
        output.table(
            &["CHANNEL", "TELLS", "DELIVERY", "ATTEMPTS", "AT", "ERROR"],
            deliveries,
        )?;
    }
    Ok(Exit::Ok)
}

fn no_such_alert(id: i64) -> Error {
    Error::refused(
        format!("there is no alert {id}"),
        "list them: runchain alerts list --all",
    )
}

fn by_hand(choice: &AlertsChoice, what: ByHand, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    Mapping::require(&conn)?;
    let by = actor::by(choice.why.reason.as_deref());
    let mut changed: Vec<i64> = Vec::new();
    loop {
        let ids = chosen(&conn, choice, what)?;
        let done = door::write(&conn, |conn| {
            let mut done = Vec::new();
            for &id in &ids {
                if alert::by_hand(conn, id, what, &by, Millis::now())? {
                    done.push(id);
                }
            }
            Ok(done)
        })?;
        changed.extend(&done);
        // Of a rule, or all of them: the next part, until none is left.
        if done.len() < AT_ONCE || !choice.ids.is_empty() {
            break;
        }
    }
    let word = match what {
        ByHand::Acknowledge => "acknowledged",
        ByHand::Resolve => "resolved",
    };
    if output.json {
        output
            .print_json(&json!({ "action": what.action(), "alerts": changed, "changed": changed.len() }))?;
    } else if changed.is_empty() {
        output.line(&format!(
            "nothing changed: what was asked for is {word} already, or there is none"
        ))?;
    } else {
        output.line(&format!("{word}: {} alerts", changed.len()))?;
    }
    Ok(Exit::Ok)
}

fn chosen(conn: &Connection, choice: &AlertsChoice, what: ByHand) -> Result<Vec<i64>> {
    if !choice.ids.is_empty() {
        return Ok(choice.ids.clone());
    }
    let filter = Filter {
        state: (what == ByHand::Acknowledge).then_some(State::Firing),
        rule: choice.rule.clone(),
        fingerprint: choice.fingerprint.clone(),
        ..Filter::default()
    };
    let entries = alert::entries(conn, &filter, AT_ONCE)?;
    Ok(entries.into_iter().map(|entry| entry.id).collect())
}

/// Needs no database: what is asked is whether somebody can be reached.
fn test(name: &str, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let channels = &settings.alerts.channels;
    let Some(channel) = channels.iter().find(|channel| channel.name == name) else {
        let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        let remedy = if names.is_empty() {
            "configure one: [alerts.channels.NAME] in runchain.toml".to_owned()
        } else {
            format!("the channels are {}", names.join(", "))
        };
        return Err(Error::refused(format!("there is no channel {name}"), remedy).into());
    };
    let letter = Letter::of_test(&Origin::of(settings), Millis::now());
    let (taken, error) = match courier::send(channel, &letter) {
        Answer::Taken => (true, None),
        Answer::Failed { error, .. } | Answer::Refused { error } => (false, Some(error)),
    };
    if output.json {
        output.print_json(&json!({ "channel": name, "taken": taken, "error": error }))?;
        return Ok(if taken { Exit::Ok } else { Exit::Failed });
    }
    match error {
        None => {
            output.line(&format!("{name} has taken a test message"))?;
            Ok(Exit::Ok)
        }
        Some(error) => Err(Error::refused(
            format!("{name} did not take the test message: {error}"),
            "look at the channel and at [alerts.channels]",
        )
        .into()),
    }
}

fn retry(channel: Option<&str>, reason: Option<&str>, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadWrite)?;
    Mapping::require(&conn)?;
    let by = actor::by(reason);
    let again = door::write(&conn, |conn| {
        let again = delivery::retry(conn, channel, Millis::now())?;
        if again > 0 {
            let action = Action {
                name: "retry_deliveries",
                run_id: None,
                by: &by,
                before: Value::Null,
                after: json!({ "channel": channel, "deliveries": again }),
            };
            audit::record(conn, &action, Millis::now())?;
        }
        Ok(again)
    })?;
    if output.json {
        output.print_json(&json!({ "channel": channel, "deliveries": again }))?;
    } else {
        output.line(&format!("{again} deliveries are tried again"))?;
    }
    Ok(Exit::Ok)
}
