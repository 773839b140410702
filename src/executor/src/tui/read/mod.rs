//! Rows → model: reads what a screen shows, and notices when it must be read again.
//!
//! Invariants: nothing is written; what a look costs doesn't grow with history (see `sql`), and what
//! grows with the number of runs is asked the less often the longer it takes (see `pace`); a lock
//! holds a look up for a fifth of a second at most. What does not belong here: drawing, keys.
//!
//! | file | holds |
//! | --- | --- |
//! | `source` | opening, and what is wrong when that fails |
//! | `sql` | every question |
//! | `overview`, `run`, `queue`, `events`, `alerts` | what each screen shows |
//! | `own` | what the orchestrator's own tables say |
//! | `heartbeats` | the newest heartbeats, from the log |

mod alerts;
mod events;
mod heartbeats;
mod overview;
mod own;
mod pace;
mod queue;
mod run;
mod source;
mod sql;
#[cfg(test)]
mod tests;

use super::Screen;
use super::model::{Overview, Progress, RunLine, RunView, Snapshot};
use crate::commands;
use crate::config::Settings;
use crate::monitor::MonitoredRun;
use crate::monitor::observe::Observer;
use crate::redact::Redactor;
use heartbeats::Heartbeats;
use overview::Tallies;
use own::Own;
use pace::Paced;
use runchain_core::error::{During, Error, Result};
use runchain_core::validate::{self, Finding, ValidateOptions};
use runchain_core::{Mapping, Millis, RunId, explain};
use rusqlite::{Connection, OptionalExtension, Params, Row};
use source::{Miss, Source};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

/// Runs that are over are counted up to this, in each phase.
pub(crate) const COUNTED_AT_MOST: i64 = 1_000_000;
/// Minutes that the throughput covers.
const MINUTES: i64 = 60;
/// Rows that a list has at most.
const ROWS: usize = 200;
/// Active runs whose progress is looked at.
const OBSERVED: usize = 60;

/// Which run is in view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Follow {
    /// The newest active one.
    Newest,
    /// This one.
    Run(RunId),
}

/// What is shown, and so has to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// The run in view.
    pub(crate) follow: Follow,
    /// The screen; none: all of them.
    pub(crate) screen: Option<Screen>,
    /// What rows of the screen's list must have in them.
    pub(crate) filter: String,
    /// A run that is shown beside the list.
    pub(crate) preview: Option<RunId>,
}

impl Want {
    fn has(&self, screen: Screen) -> bool {
        self.screen.is_none_or(|wanted| wanted == screen)
    }

    fn filter_of(&self, screen: Screen) -> &str {
        if self.screen == Some(screen) {
            &self.filter
        } else {
            ""
        }
    }
}

/// Which database, and how a person names it on a command line.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The settled configuration.
    pub(crate) settings: Arc<Settings>,
    /// Options that a suggested command needs to find the same database.
    pub(crate) options: Vec<String>,
}

impl Asked {
    fn path(&self) -> String {
        self.settings.state_db_path.display().to_string()
    }

    /// What a person types.
    pub(crate) fn command(&self, arguments: &str) -> String {
        let options = self
            .options
            .iter()
            .map(|word| format!(" {}", explain::quoted(word)));
        format!("runchain{} {arguments}", options.collect::<String>())
    }
}

/// What a look gave.
#[derive(Debug)]
pub(crate) enum Looked {
    /// This is how it stands.
    Seen(Box<Snapshot>),
    /// Somebody holds the lock.
    Busy,
}

/// Looks at the database as often as it is asked.
#[derive(Debug)]
pub(crate) struct Reader {
    asked: Asked,
    source: Option<Source>,
    tallies: Paced<Tallies>,
    observer: Observer,
    progress: Paced<Vec<(RunId, Vec<Progress>)>>,
    own: Paced<(RunId, Own)>,
    own_of: Option<RunId>,
    preview: Paced<(RunId, Own)>,
    preview_of: Option<RunId>,
    heartbeats: Heartbeats,
    redactor: Redactor,
    followed: Option<RunId>,
    health: Option<Vec<Finding>>,
}

impl Reader {
    pub(crate) fn new(asked: Asked) -> Self {
        Self {
            heartbeats: Heartbeats::new(&asked.settings.logs_dir),
            redactor: Redactor::checked(&asked.settings),
            source: None,
            tallies: Paced::default(),
            observer: Observer::default(),
            progress: Paced::default(),
            own: Paced::default(),
            own_of: None,
            preview: Paced::default(),
            preview_of: None,
            followed: None,
            health: None,
            asked,
        }
    }

    /// Whether something may have changed since the last look: another file, or a commit.
    pub(crate) fn changed(&mut self) -> bool {
        match &mut self.source {
            Some(source) => !source.is_current() || source.changed(),
            None => true,
        }
    }

    /// When a part that was dear must be asked again although nothing has changed.
    pub(crate) fn stale_until(&self) -> Option<Instant> {
        let parts = [
            self.tallies.stale_until(),
            self.progress.stale_until(),
            self.own.stale_until(),
            self.preview.stale_until(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Makes every check now; the next looks show what they found.
    pub(crate) fn check_health(&mut self) -> Result<()> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let settings = &self.asked.settings;
        let required = commands::required(&source.conn, settings)
            .map_err(|failure| Error::refused(failure.message, "see runchain validate"))?;
        let options = ValidateOptions {
            required_tables: required,
            look_at_files: true,
        };
        let mut findings = validate::checks(&source.conn, &options, Millis::now())?;
        commands::validate::ask_the_logs(&mut findings, &source.conn, settings);
        // On a small terminal what has to be mended would stand below what has not.
        findings.sort_by_key(|finding| Reverse(finding.severity));
        self.health = Some(findings);
        Ok(())
    }

    /// The database, while it can be read.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.source.as_ref().map(|source| &source.conn)
    }

    /// How many steps a pause of a kind would hold up.
    pub(crate) fn held_up_by_pause(&self, kind: &str) -> Result<i64> {
        match &self.source {
            Some(source) => queue::held_up_by_pause(&source.conn, kind),
            None => Ok(0),
        }
    }

    /// Reads what is wanted.
    pub(crate) fn look(&mut self, want: &Want, now: Millis) -> Looked {
        let mut snapshot = Snapshot {
            at: now,
            database: self.asked.path(),
            root: self.asked.settings.root.display().to_string(),
            health: self.health.clone(),
            ..Snapshot::nothing()
        };
        match self.fill(&mut snapshot, want, now) {
            Ok(()) => {}
            Err(Miss::Busy) => return Looked::Busy,
            Err(Miss::Trouble(trouble)) => {
                // Opened anew at the next look: perhaps it is another file by then.
                self.source = None;
                snapshot.overview = None;
                snapshot.trouble = Some(trouble);
            }
        }
        Looked::Seen(Box::new(snapshot))
    }

    fn fill(&mut self, snapshot: &mut Snapshot, want: &Want, now: Millis) -> std::result::Result<(), Miss> {
        let mut source = match self.source.take().filter(Source::is_current) {
            Some(source) => source,
            None => Source::open(&self.asked.settings)?,
        };
        // Before anything is read: what is committed from here on is news.
        source.changed();
        let mapping = match source.check(&self.asked) {
            Ok(mapping) => mapping,
            Err(miss) => {
                // Opening it anew would wait for the lock for longer than a look may.
                self.source = matches!(miss, Miss::Busy).then_some(source);
                return Err(miss);
            }
        };
        let filled = self.fill_from(&source.conn, &mapping, snapshot, want, now);
        let filled = filled.map_err(|error| source::of_core(&error, &self.asked, Some(&source.conn)));
        self.source = Some(source);
        filled
    }

    fn fill_from(
        &mut self,
        conn: &Connection,
        mapping: &Mapping,
        snapshot: &mut Snapshot,
        want: &Want,
        now: Millis,
    ) -> Result<()> {
        let settings = Arc::clone(&self.asked.settings);
        let root = settings.root.as_path();
        let reading = conn.unchecked_transaction().during("look at the database")?;
        let mut overview = overview::read(conn, &mut self.tallies, now)?;
        if want.has(Screen::Queue) {
            snapshot.queue = queue::read(conn, want.filter_of(Screen::Queue), ROWS)?;
        }
        if want.has(Screen::Events) {
            snapshot.events = events::newest(conn, root, want.filter_of(Screen::Events), ROWS * 2)?;
        }
        if want.has(Screen::Alerts) || want.has(Screen::Dashboard) {
            snapshot.alerts = alerts::read(conn, want.filter_of(Screen::Alerts), ROWS)?;
        }
        let in_view = match &want.follow {
            Follow::Run(run_id) => Some(run_id.clone()),
            Follow::Newest => self.newest(&overview),
        };
        snapshot.run = match &in_view {
            Some(run_id) => match run::view(conn, root, run_id)? {
                Some(view) => Some(view),
                None => run::unseen(conn, mapping, run_id, now)?,
            },
            None => None,
        };
        snapshot.preview = match &want.preview {
            Some(run_id) => run::view(conn, root, run_id)?,
            None => None,
        };
        reading.finish().during("look at the database")?;
        // The user's tables are read without a transaction around them: it may take a while.
        if want.has(Screen::Dashboard) {
            self.observe(conn, mapping, &mut overview.list)?;
        }
        if let Some(view) = &mut snapshot.run {
            view.is_followed = want.follow == Follow::Newest;
            if want.has(Screen::Run) || want.screen.is_none() {
                renew(&mut self.own, &mut self.own_of, &view.line.run_id);
                complete(view, conn, mapping, &mut self.own, &self.redactor)?;
            }
            self.beat(std::slice::from_mut(&mut view.line));
        }
        if let Some(view) = &mut snapshot.preview {
            renew(&mut self.preview, &mut self.preview_of, &view.line.run_id);
            complete(view, conn, mapping, &mut self.preview, &self.redactor)?;
        }
        self.beat(&mut overview.list);
        snapshot.overview = Some(overview);
        Ok(())
    }

    /// The newest active run; where there is none the one that was followed last, else the newest of
    /// all.
    fn newest(&mut self, overview: &Overview) -> Option<RunId> {
        let active = overview.list.iter().filter(|line| line.is_active());
        let newest = active.max_by_key(|line| line.since);
        let last = || overview.list.iter().max_by_key(|line| line.since);
        let found = match (newest, &self.followed) {
            (Some(line), _) => Some(line.run_id.clone()),
            (None, Some(followed)) => Some(followed.clone()),
            (None, None) => last().map(|line| line.run_id.clone()),
        };
        self.followed.clone_from(&found);
        found
    }

    fn observe(&mut self, conn: &Connection, mapping: &Mapping, list: &mut [RunLine]) -> Result<()> {
        let active = list.iter().filter(|line| line.is_active()).take(OBSERVED);
        let runs: Vec<MonitoredRun> = active
            .map(|line| MonitoredRun {
                run_id: line.run_id.clone(),
                is_active: true,
                status: line.status.clone(),
                generation: line.generation,
                active_since: line.since,
                stalled_since: line.stalled_since,
            })
            .collect();
        let observer = &mut self.observer;
        let seen = self.progress.get(|| -> Result<_> {
            let observations = observer.observe(conn, mapping, &runs)?;
            let progress = observations.into_iter().map(|seen| {
                let counts = seen.progress.into_iter().map(|(what, counts)| Progress {
                    what: what.to_owned(),
                    total: counts.total,
                    done: counts.done,
                    failed: counts.failed,
                });
                counts.collect::<Vec<_>>()
            });
            Ok(runs.iter().map(|run| run.run_id.clone()).zip(progress).collect())
        })?;
        for line in list {
            if let Some((_, progress)) = seen.iter().find(|(run_id, _)| *run_id == line.run_id) {
                line.progress.clone_from(progress);
            }
        }
        Ok(())
    }

    fn beat(&mut self, lines: &mut [RunLine]) {
        if lines.iter().any(RunLine::is_active) {
            let newest = self.heartbeats.read();
            for line in lines.iter_mut().filter(|line| line.is_active()) {
                line.heartbeat = newest.get(line.run_id.as_str()).copied();
            }
        }
    }
}

/// Another run: what was found for the last one doesn't count.
fn renew(own: &mut Paced<(RunId, Own)>, of: &mut Option<RunId>, run_id: &RunId) {
    if of.as_ref() != Some(run_id) {
        *own = Paced::default();
        *of = Some(run_id.clone());
    }
}

/// Adds what the user's tables and logs say.
fn complete(
    view: &mut RunView,
    conn: &Connection,
    mapping: &Mapping,
    own: &mut Paced<(RunId, Own)>,
    redactor: &Redactor,
) -> Result<()> {
    let run_id = view.line.run_id.clone();
    let (_, own) =
        own.get(|| own::look(conn, mapping, &run_id, redactor).map(|own| (run_id.clone(), own)))?;
    view.tasks = own.tasks;
    view.left_out = own.left_out;
    // What a run that went well in the end stumbled over is history.
    if matches!(view.line.phase.as_str(), "failed" | "active") {
        view.causes.extend(own.causes);
        view.causes.extend(events::causes(&view.events));
    }
    Ok(())
}

/// Every row of an answer.
fn all<T, P: Params>(
    conn: &Connection,
    sql: &str,
    params: P,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(params, row)?.collect())
        .during("look at the database")
}

/// The first row of an answer.
fn one<T, P: Params>(
    conn: &Connection,
    sql: &str,
    params: P,
    row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params, row).optional())
        .during("look at the database")
}
