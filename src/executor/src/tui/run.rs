//! The loop: waits for a key, a commit, a signal or an age that must tick; reads, draws.
//!
//! Invariants: it sleeps unless one of these happens (an age ticks once a second while something is
//! under way, every ten seconds else); the terminal is as it was however the loop ends, also by a
//! panic or SIGTERM; a lock on the database never holds the keyboard up for more than a moment. What
//! does not belong here: what is shown, what keys mean.

use super::app::{App, Effect, Mode};
use super::ask::{self, Request};
use super::heard::{Heard, Hinted, listen_to_keys, listen_to_signals};
use super::keys::Key;
use super::links::{self, Links};
use super::model::{Overview, Snapshot};
use super::read::{Looked, Reader};
use super::screens::{self, View, WIDE_COLUMNS, page_rows};
use super::theme::Theme;
use crate::commands;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::fault;
use crate::follow::Beside;
use crate::wake::{Watch, is_write_or_executor};
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::Event;
use crossterm::execute;
use ratatui::DefaultTerminal;
use runchain_core::{Millis, RunId};
use signal_hook::consts::SIGTERM;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// From one look to the next at least, however many commits there are.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);
/// A look that takes long is followed by a rest three times as long.
const REST: u32 = 3;
/// While something is under way, ages are shown by the second.
const TICK_BUSY: Duration = Duration::from_secs(1);
/// Else they may be a little old.
const TICK_IDLE: Duration = Duration::from_secs(10);
/// Without anything that tells of a change: also where no watch could be had.
const POLL: Duration = Duration::from_secs(60);
const POLL_UNWATCHED: Duration = Duration::from_secs(1);
/// A lock that lasts longer is told: what is shown is not how it stands.
const LOCKED: Duration = Duration::from_secs(2);
/// While the database can't be shown, or is locked.
const POLL_TROUBLE: Duration = Duration::from_millis(500);

/// What the loop begins with.
#[derive(Debug)]
pub(crate) struct Session {
    /// Reads the database.
    pub(crate) reader: Reader,
    /// The settled configuration.
    pub(crate) settings: Arc<Settings>,
    /// Where the person begins.
    pub(crate) app: App,
    /// How it looks.
    pub(crate) theme: Theme,
    /// Files are hyperlinks.
    pub(crate) hyperlinks: bool,
    /// Do what the chain of the run in view lacks.
    pub(crate) complete: bool,
    /// Event logs that are followed while no executor does.
    pub(crate) ingests: bool,
}

/// The screen, until a key or a signal ends it.
///
/// # Errors
/// A terminal that can't be used.
pub(crate) fn interactive(session: Session) -> Outcome<Exit> {
    let (sender, heard) = channel();
    listen_to_signals(sender.clone())?;
    let worker = session.complete.then(|| complete(&session, sender.clone()));
    // Raw mode, the other screen, and a panic hook that leaves both.
    let terminal = ratatui::try_init().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("can't use the terminal: {error}; runchain monitor --once prints the screen as text"),
        )
    })?;
    listen_to_keys(sender.clone())?;
    let run_id = session.app.want(None).follow;
    let beside = session.ingests.then(|| {
        let sender = sender.clone();
        Beside::new(&session.settings, move |sentence| {
            let _ = sender.send(Heard::Told(sentence));
        })
    });
    let beside = beside.transpose()?;
    let mut screen = Monitor::new(session, terminal, sender);
    screen.beside = beside;
    let ended = screen.run(&heard);
    ratatui::restore();
    drop(screen);
    let stopped = ended.map_err(|error| Failure::new(Exit::Failed, format!("can't draw: {error}")))?;
    let Some(worker) = worker else {
        return Ok(Exit::Ok);
    };
    if stopped == Stopped::ByPerson {
        // What runs is ended in order, as by any other stop of an executor.
        let _ = signal_hook::low_level::raise(SIGTERM);
    }
    let outcome = worker
        .join()
        .unwrap_or_else(|_| Err(Failure::new(Exit::Failed, "completing the chain failed")));
    if let (Ok(Exit::Ok), super::read::Follow::Run(run_id)) = (&outcome, run_id) {
        let through = format!("run {run_id}: its chain is through");
        crate::output::Output::SILENT.line(&through)?;
    }
    outcome
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    ByPerson,
    Completed,
}

fn complete(session: &Session, sender: Sender<Heard>) -> JoinHandle<Outcome<Exit>> {
    let settings = Arc::clone(&session.settings);
    let follow = session.app.want(None).follow;
    std::thread::spawn(move || {
        let run_id = match follow {
            super::read::Follow::Run(run_id) => run_id,
            super::read::Follow::Newest => RunId(String::new()),
        };
        // Whoever waits for the end hears of it however it comes.
        let outcome = std::panic::catch_unwind(|| {
            fault::panic_point("monitor-complete");
            commands::run::complete(&run_id, &settings)
        });
        let _ = sender.send(Heard::Completed);
        outcome.unwrap_or_else(|_| Err(Failure::new(Exit::Failed, "completing the chain failed")))
    })
}

struct Monitor {
    session: Session,
    terminal: DefaultTerminal,
    sender: Sender<Heard>,
    watch: Option<Watch>,
    beside: Option<Beside>,
    snapshot: Option<Snapshot>,
    links: Links,
    /// What is shown is outdated.
    dirty: bool,
    /// What is shown is not what the last key has asked for.
    left: bool,
    /// Not before this.
    look_after: Instant,
    /// Since then every look has found the database locked.
    locked_since: Option<Instant>,
    /// A commit was hinted at.
    hinted: Option<Hinted>,
    polled: Instant,
}

impl Monitor {
    fn new(session: Session, terminal: DefaultTerminal, sender: Sender<Heard>) -> Self {
        let now = Instant::now();
        Self {
            session,
            terminal,
            sender,
            watch: None,
            beside: None,
            snapshot: None,
            links: Links::default(),
            dirty: true,
            left: false,
            look_after: now,
            locked_since: None,
            hinted: None,
            polled: now,
        }
    }

    fn run(&mut self, heard: &Receiver<Heard>) -> std::io::Result<Stopped> {
        self.session.app.completes = self.session.complete;
        loop {
            self.resize()?;
            self.watch_again();
            if self.dirty && Instant::now() >= self.look_after {
                self.look();
            }
            self.draw()?;
            let first = match heard.recv_timeout(self.timeout()) {
                Ok(heard) => Some(heard),
                Err(RecvTimeoutError::Timeout) => {
                    self.tick();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Stopped::ByPerson),
            };
            for one in first.into_iter().chain(heard.try_iter()) {
                if let Some(stopped) = self.take(&one)? {
                    return Ok(stopped);
                }
            }
            self.look_whether_changed();
        }
    }

    /// What fits depends on the size of the terminal.
    fn resize(&mut self) -> std::io::Result<()> {
        let size = self.terminal.size()?;
        let app = &mut self.session.app;
        app.page = page_rows(app.screen, size.height);
        let is_wide = size.width >= WIDE_COLUMNS;
        if app.is_wide != is_wide {
            app.is_wide = is_wide;
            self.dirty = true;
        }
        Ok(())
    }

    /// A folder that was missing may be there now.
    fn watch_again(&mut self) {
        if self.watch.is_none() {
            let sender = self.sender.clone();
            let database = &self.session.settings.state_db_path;
            self.watch = Watch::calling(database, is_write_or_executor, move || {
                let _ = sender.send(Heard::Changed);
            })
            .ok();
        }
    }

    fn look(&mut self) {
        self.left = false;
        let began = Instant::now();
        let want = self.session.app.want(self.snapshot.as_ref());
        match self.session.reader.look(&want, Millis::now()) {
            Looked::Seen(snapshot) => {
                self.locked_since = None;
                if snapshot.trouble.is_some() {
                    // Perhaps its folder went with it.
                    self.watch = None;
                }
                self.snapshot = Some(*snapshot);
                self.follow_logs();
                // Another run is under the cursor now than the one that was read to be shown beside it.
                let wanted = self.session.app.want(self.snapshot.as_ref());
                self.dirty = wanted.preview != want.preview;
                self.look_after = Instant::now();
                if !self.dirty {
                    self.look_after += BETWEEN_LOOKS.max(began.elapsed() * REST);
                }
            }
            Looked::Busy => {
                self.locked_since.get_or_insert(began);
                self.look_after = Instant::now() + POLL_TROUBLE;
            }
        }
        let locked_for = self.locked_since.map(|since| since.elapsed());
        self.session.app.locked_for = locked_for.filter(|span| *span >= LOCKED);
        self.polled = Instant::now();
    }

    /// Event logs, where they were asked for and no executor does it.
    fn follow_logs(&mut self) {
        let (Some(beside), Some(conn)) = (&mut self.beside, self.session.reader.connection()) else {
            return;
        };
        if let Err(error) = beside.look(conn) {
            self.session.app.said = Some(error.to_string());
        }
    }

    fn draw(&mut self) -> std::io::Result<()> {
        let view = View {
            snapshot: self.snapshot.as_ref(),
            app: &self.session.app,
            theme: self.session.theme,
            now: Millis::now(),
        };
        let drawn = self.terminal.draw(|frame| screens::draw(frame, view))?;
        if !self.session.hyperlinks {
            return Ok(());
        }
        let pieces = self.links.over(drawn.buffer, screens::links(drawn.area, view));
        links::print(self.terminal.backend_mut(), &pieces)
    }

    /// How long nothing is known to happen.
    fn timeout(&self) -> Duration {
        let now = Instant::now();
        let until = |at: Instant| at.saturating_duration_since(now);
        if self.dirty {
            return until(self.look_after);
        }
        let mut timeout = if self.is_busy() { TICK_BUSY } else { TICK_IDLE };
        if let Some(hinted) = self.hinted {
            timeout = timeout.min(until(hinted.at));
        }
        if let Some(at) = self.session.reader.stale_until() {
            timeout = timeout.min(until(at).max(BETWEEN_LOOKS));
        }
        timeout.min(until(self.polled + self.poll()))
    }

    fn poll(&self) -> Duration {
        match (&self.snapshot, &self.watch) {
            (Some(snapshot), _) if snapshot.trouble.is_some() => POLL_TROUBLE,
            (_, None) => POLL_UNWATCHED,
            _ => POLL,
        }
    }

    /// Something is under way, so that ages and times to wait change by the second.
    fn is_busy(&self) -> bool {
        let overview = self
            .snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.overview.as_ref());
        overview.is_some_and(Overview::is_busy)
    }

    /// Nothing was heard for as long as was waited.
    fn tick(&mut self) {
        let now = Instant::now();
        let overview = self
            .snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.overview.as_ref());
        // Heartbeats stand in a log that nobody watches.
        let beats =
            overview.is_some_and(|overview| overview.runs.active > 0) && now >= self.polled + TICK_BUSY;
        let stale = self.session.reader.stale_until().is_some_and(|at| now >= at);
        if beats || stale || now >= self.polled + self.poll() {
            self.dirty = true;
        }
    }

    /// After a hint: a few looks at whether anybody has committed.
    fn look_whether_changed(&mut self) {
        let Some(hinted) = self.hinted.filter(|hinted| Instant::now() >= hinted.at) else {
            return;
        };
        if self.session.reader.changed() {
            self.dirty = true;
        }
        self.hinted = hinted.next();
    }

    fn take(&mut self, heard: &Heard) -> std::io::Result<Option<Stopped>> {
        match heard {
            Heard::Stop => return Ok(Some(Stopped::ByPerson)),
            Heard::Completed => {
                self.look();
                self.draw()?;
                return Ok(Some(Stopped::Completed));
            }
            Heard::Changed => {
                if let Some(watch) = &self.watch {
                    watch.rearm();
                }
                self.hinted = Some(Hinted::now());
                // An executor that comes or goes is no commit.
                self.dirty = true;
            }
            Heard::Input(Event::Key(event)) => {
                for key in Key::of(*event) {
                    if let Some(stopped) = self.press(key)? {
                        return Ok(Some(stopped));
                    }
                }
            }
            Heard::Input(_) => {}
            Heard::Told(sentence) => self.session.app.said = Some(sentence.clone()),
        }
        Ok(None)
    }

    fn press(&mut self, key: Key) -> std::io::Result<Option<Stopped>> {
        fault::panic_point("monitor-key");
        // A key means what it does on the screen that those before it lead to: that is read first. Letters
        // of a filter or a reason mean themselves.
        if self.left && self.session.app.mode == Mode::Commands {
            self.look();
        }
        let empty = Snapshot::nothing();
        let snapshot = self.snapshot.as_ref().unwrap_or(&empty);
        let before = self.session.app.want(None);
        let effect = self.session.app.key(key, snapshot);
        self.left |= self.session.app.want(None) != before;
        match effect {
            None => {}
            Some(Effect::Quit) => return Ok(Some(Stopped::ByPerson)),
            Some(Effect::Look) => {
                self.dirty = true;
                self.look_after = Instant::now();
            }
            Some(Effect::Check) => {
                self.session.app.said = Some("making every check ...".to_owned());
                self.draw()?;
                let checked = self.session.reader.check_health();
                self.session.app.said = checked.err().map(|error| error.to_string());
                self.dirty = true;
            }
            Some(Effect::Count(request)) => {
                match self.hits(&request) {
                    Ok(hits) => self.session.app.confirm(request, hits),
                    // A number that nobody has counted would be believed.
                    Err(error) => self.session.app.said = Some(error.to_string()),
                }
            }
            Some(Effect::Queue(request, reason)) => {
                self.session.app.said = Some("asking ...".to_owned());
                self.draw()?;
                let queued = ask::queue(&self.session.settings, &request, reason.as_deref());
                self.session.app.said = Some(queued.unwrap_or_else(|error| error));
                self.session.app.marks.clear();
                self.dirty = true;
            }
            Some(Effect::Copy(text)) => {
                execute!(std::io::stdout(), CopyToClipboard::to_clipboard_from(text))?;
            }
        }
        Ok(None)
    }

    /// How many rows a request would change.
    fn hits(&self, request: &Request) -> runchain_core::Result<i64> {
        Ok(match request {
            Request::Steps(_, ids) => ids.len() as i64,
            Request::Run(verb, run_id) => {
                let chain = self
                    .snapshot
                    .as_ref()
                    .and_then(|snapshot| snapshot.chain_of(run_id));
                let steps = chain.into_iter().flatten();
                steps.filter(|step| verb.applies_to(&step.state)).count() as i64
            }
            Request::Pause(kind) | Request::Resume(kind) => self.session.reader.held_up_by_pause(kind)?,
            Request::Alert(..) => 1,
        })
    }
}
