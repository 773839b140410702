//! `runchain ingest --follow PATH...`: the follower of the service in the foreground, until a signal.
//!
//! Beside a service that follows the same files it only shares the work: rows and checkpoint are one
//! transaction. That it began, and what it had taken in when it was stopped, stand in the audit trail.

use crate::cli::IngestArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::follow::{Follower, How, News, Places};
use crate::output::Output;
use crate::wake::{self, Wake};
use runchain_core::ingest::Format;
use runchain_core::ingest::IngestReport;
use runchain_core::{Error, schema, space};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often is looked whether there is room again.
const WHILE_LOW: Duration = Duration::from_secs(2);

pub(super) fn follow(
    arguments: &IngestArgs,
    settings: &Arc<Settings>,
    format: Option<Arc<Format>>,
    conn: &Connection,
    output: &Output,
) -> Outcome<Exit> {
    schema::check_writer(conn)?;
    let places = Places::named(&arguments.paths, settings)?;
    let (sender, wakes) = channel();
    let signals = sender.clone();
    wake::signals(move |wake| signals.send(wake).is_ok())
        .map_err(|error| Error::io("set signal handlers for", "runchain", error))?;
    let how = How {
        settings: Arc::clone(settings),
        format,
    };
    let (mut taken, reason) = (Taken::begin(), arguments.why.reason.as_deref());
    super::record(
        conn,
        "ingest_follow_start",
        json!({ "paths": places.told(), "pid": std::process::id() }),
        reason,
    )?;
    let follower = Follower::start(how, places, move |news| {
        drop(sender.send(Wake::Followed(Box::new(news))));
    })?;
    let mut is_low = false;
    loop {
        let wake = match wakes.recv_timeout(if is_low { WHILE_LOW } else { Duration::MAX }) {
            Ok(wake) => Some(wake),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(
                    Error::refused("the follower has ended", "report this as a bug of runchain").into(),
                );
            }
        };
        match wake {
            Some(Wake::Stop(_)) => {
                drop(follower);
                super::record(conn, "ingest_follow_stop", json!(taken), reason)?;
                return Ok(Exit::Ok);
            }
            Some(Wake::Followed(news)) => {
                taken.add(&news);
                tell(*news, output)?;
            }
            _ => {}
        }
        let low = space::refuse_while_low(conn);
        if is_low != low.is_err() {
            is_low = low.is_err();
            follower.pause(is_low);
            match low {
                Err(error) => output.note(&format!("waiting: {error}"))?,
                Ok(()) => output.note("there is room on the disk again; going on")?,
            }
        }
    }
}

/// What was taken in since it began.
#[derive(Debug, Default, Serialize)]
struct Taken {
    pid: u32,
    stored: u64,
    duplicate: u64,
    rejected: u64,
}

impl Taken {
    fn begin() -> Self {
        Self {
            pid: std::process::id(),
            ..Self::default()
        }
    }

    fn add(&mut self, news: &News) {
        if let News::Read(report) = news {
            self.stored += report.stored;
            self.duplicate += report.duplicate;
            self.rejected += report.rejected;
        }
    }
}

fn tell(news: News, output: &Output) -> Outcome<()> {
    match news {
        News::Read(report) if report.bytes > 0 => told(&report, output)?,
        News::Read(_) | News::CaughtUp => {}
        News::Following { places, .. } => {
            for (place, files) in places {
                let place = place.display();
                output.progress(&match files {
                    Some(files) => format!("following {place} ({files} files)"),
                    None => format!("following {place} (not there yet)"),
                })?;
            }
        }
        News::Refused { path, why } => {
            let text = Error::refused(format!("{} is left out", path.display()), why);
            output.error(&text, Exit::Failed.code())?;
        }
        News::Failed(error) => {
            // What passes is tried again; a database that is another one, or gone, is not.
            match Exit::from(&error) {
                Exit::Failed | Exit::DatabaseLocked | Exit::DatabaseUnreadable => {
                    output.error(&error, Exit::from(&error).code())?;
                }
                _ => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn told(report: &IngestReport, output: &Output) -> Outcome<()> {
    if output.json {
        // One object a line: whoever reads this reads it while it is written.
        output.line(&json!(report).to_string())?;
        return Ok(());
    }
    output.line(&format!(
        "{}: {} stored, {} duplicate, {} rejected{}",
        report.path,
        report.stored,
        report.duplicate,
        report.rejected,
        match report.left {
            0 => String::new(),
            left => format!(", {} left", crate::output::size(left)),
        }
    ))?;
    Ok(())
}
