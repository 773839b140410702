//! `runchain monitor`: on a terminal the screen, with `--once` the same as text, with `--json` what
//! stands on all of its screens.

use super::suggest::options_to_repeat;
use super::{ingest, open, run};
use crate::cli::MonitorArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::follow::{Beside, Places};
use crate::open::OpenMode;
use crate::output::Output;
use crate::tui::app::App;
use crate::tui::model::Snapshot;
use crate::tui::read::{Asked, Follow, Looked, Reader, Want};
use crate::tui::run::{Session, interactive};
use crate::tui::still::as_text;
use crate::tui::theme::Theme;
use runchain_core::{Millis, RunId, schema};
use serde_json::json;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a look waits for a database that somebody keeps locked.
const LOCKED: Duration = Duration::from_secs(10);

pub(super) fn monitor(arguments: &MonitorArgs, settings: &Arc<Settings>, output: &Output) -> Outcome<Exit> {
    let run_id = arguments.run_id.clone().map(RunId);
    let asked = Asked {
        settings: Arc::clone(settings),
        options: options_to_repeat(settings),
    };
    let theme = Theme::of_process(output.color, arguments.ascii);
    let ingests = !arguments.ingest_events.is_empty();
    if ingests {
        // Refuses at once where nothing could be written.
        let conn = open(settings, OpenMode::ReadWrite)?;
        schema::check_writer(&conn)?;
        ingest::adopt_rules(&conn, settings)?;
        let paths = Places::of_service(settings)?.told();
        let after = json!({ "paths": paths, "pid": std::process::id() });
        ingest::record(&conn, "ingest_follow_start", after, None)?;
    }
    let is_terminal = std::io::stdout().is_terminal();
    if ingests && (output.json || arguments.once || !is_terminal) {
        let output = *output;
        let beside = Beside::new(settings, move |sentence| drop(output.note(&sentence)))?;
        beside.catch_up()?;
    }
    match (run_id, arguments.complete) {
        (Some(run_id), true) if output.json || !is_terminal => {
            let exit = run::complete(&run_id, settings)?;
            if output.json {
                snapshot(asked, Some(run_id), output)?;
            }
            Ok(exit)
        }
        (run_id, _) if output.json => snapshot(asked, run_id, output),
        (run_id, _) if arguments.once => once(asked, run_id, theme, output),
        (run_id, complete) if is_terminal => interactive(Session {
            reader: Reader::new(asked),
            settings: Arc::clone(settings),
            app: App::new(run_id),
            theme,
            hyperlinks: output.hyperlinks,
            complete,
            ingests,
        }),
        _ => Err(Failure::new(
            Exit::Usage,
            "the monitor needs a terminal; runchain monitor --once prints the screen as text, --json its data",
        )),
    }
}

fn look(reader: &mut Reader, want: &Want) -> Outcome<Snapshot> {
    let deadline = Instant::now() + LOCKED;
    loop {
        match reader.look(want, Millis::now()) {
            Looked::Seen(snapshot) => return Ok(*snapshot),
            Looked::Busy if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            Looked::Busy => {
                return Err(Failure::new(
                    Exit::DatabaseLocked,
                    "the state database stayed locked by another process; try again",
                ));
            }
        }
    }
}

/// All screens as JSON, with every check made.
fn snapshot(asked: Asked, run_id: Option<RunId>, output: &Output) -> Outcome<Exit> {
    let mut reader = Reader::new(asked);
    let want = Want {
        follow: run_id.map_or(Follow::Newest, Follow::Run),
        screen: None,
        filter: String::new(),
        preview: None,
    };
    let first = look(&mut reader, &want)?;
    let is_named = matches!(want.follow, Follow::Run(_));
    let snapshot = if first.trouble.is_some() {
        first
    } else {
        reader.check_health()?;
        look(&mut reader, &want)?
    };
    output.print_json(&snapshot)?;
    Ok(exit_of(&snapshot, is_named))
}

/// What the caller of a picture hears: that there is none, or none of the run that was named.
fn exit_of(snapshot: &Snapshot, is_named: bool) -> Exit {
    match &snapshot.trouble {
        Some(trouble) => trouble.exit,
        None if is_named && snapshot.run.is_none() => Exit::NoSuchRun,
        None => Exit::Ok,
    }
}

/// The dashboard, or the run that was asked for, as text.
fn once(asked: Asked, run_id: Option<RunId>, theme: Theme, output: &Output) -> Outcome<Exit> {
    let mut reader = Reader::new(asked);
    let is_named = run_id.is_some();
    let app = App::new(run_id);
    let snapshot = look(&mut reader, &app.want(None))?;
    for line in as_text(&snapshot, app, theme) {
        output.line(&line)?;
    }
    Ok(exit_of(&snapshot, is_named))
}
