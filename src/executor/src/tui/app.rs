//! What the person at the keyboard has done so far: screen, cursor, filter, marks, the question that
//! is open. Pure: a key and a snapshot lead to a new state and perhaps to an [`Effect`].

use super::Screen;
use super::ask::{Request, Verb, can_change_alert};
use super::keys::{Action, Key, action};
use super::model::{Event, Need, Snapshot};
use super::read::{Follow, Want};
use runchain_core::alert::ByHand;
use runchain_core::steps::EVERY_KIND;
use runchain_core::{RunId, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// What the loop has to do because of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// End.
    Quit,
    /// Read again: something else is shown.
    Look,
    /// Make every check.
    Check,
    /// Count what a request would hit, then ask.
    Count(Request),
    /// Queue a request that was confirmed, perhaps with a reason.
    Queue(Request, Option<String>),
    /// Put a text into the terminal's clipboard.
    Copy(String),
}

/// What the keyboard means just now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Keys are commands.
    #[default]
    Commands,
    /// A filter is typed.
    Filter,
    /// A place to go is typed.
    Jump(String),
    /// The keys are shown.
    Help,
    /// A question is open.
    Confirm(Question),
    /// It will be answered by yes; the reason is typed.
    Reason(Question, String),
}

/// A question that must be answered before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What would be asked for.
    pub(crate) request: Request,
    /// In words, with the number of rows.
    pub(crate) text: String,
}

/// Letters of a reason.
const REASON_AT_MOST: usize = 200;

/// Where the cursor of a list is: on the first row until somebody moves it, then on its row, wherever
/// that goes.
#[derive(Debug, Clone, Default)]
struct Cursor {
    index: usize,
    key: Option<String>,
}

/// What the person has done so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct App {
    /// The screen.
    pub(crate) screen: Screen,
    /// What keys mean.
    pub(crate) mode: Mode,
    /// A word for the person, until the next key.
    pub(crate) said: Option<String>,
    /// Marked steps.
    pub(crate) marks: BTreeSet<StepId>,
    /// Events that are held, and so don't go on.
    pub(crate) held: Option<Vec<Event>>,
    /// Lines of the run's screen that are above the window.
    pub(crate) scroll: usize,
    /// There is room for the run that the cursor is on.
    pub(crate) is_wide: bool,
    /// A chain is being completed.
    pub(crate) completes: bool,
    /// For so long nothing could be read: somebody holds the database's lock.
    pub(crate) locked_for: Option<Duration>,
    follow: Option<RunId>,
    cursors: BTreeMap<Screen, Cursor>,
    filters: BTreeMap<Screen, String>,
    /// Rows of a page, as the last frame had them.
    pub(crate) page: usize,
}

impl App {
    /// Begins with one run in view, or with the newest.
    pub(crate) fn new(run_id: Option<RunId>) -> Self {
        Self {
            screen: if run_id.is_some() {
                Screen::Run
            } else {
                Screen::Dashboard
            },
            follow: run_id,
            page: 10,
            ..Self::default()
        }
    }

    /// What has to be read.
    pub(crate) fn want(&self, snapshot: Option<&Snapshot>) -> Want {
        let preview = snapshot
            .filter(|_| self.is_wide && self.screen == Screen::Dashboard)
            .and_then(|snapshot| self.run_at_cursor(snapshot));
        Want {
            follow: self.follow.clone().map_or(Follow::Newest, Follow::Run),
            screen: Some(self.screen),
            filter: self.filter().to_owned(),
            preview,
        }
    }

    /// The filter of the screen.
    pub(crate) fn filter(&self) -> &str {
        self.filters.get(&self.screen).map_or("", String::as_str)
    }

    /// The row that the cursor is on.
    pub(crate) fn cursor(&self, snapshot: &Snapshot) -> usize {
        let rows = self.rows(snapshot);
        if self.screen == Screen::Events && self.held.is_none() {
            return rows.len().saturating_sub(1);
        }
        let Some(cursor) = self.cursors.get(&self.screen) else {
            return 0;
        };
        let found = cursor
            .key
            .as_ref()
            .and_then(|key| rows.iter().position(|row| row == key));
        found.unwrap_or(cursor.index.min(rows.len().saturating_sub(1)))
    }

    /// What the rows of the screen are known by.
    fn rows(&self, snapshot: &Snapshot) -> Vec<String> {
        match self.screen {
            Screen::Dashboard => self
                .runs(snapshot)
                .iter()
                .map(|line| line.run_id.to_string())
                .collect(),
            Screen::Queue => snapshot.queue.iter().map(|step| step.id.to_string()).collect(),
            Screen::Events => self
                .events(snapshot)
                .iter()
                .map(|event| format!("{:?} {}", event.origin, event.id))
                .collect(),
            Screen::Alerts => snapshot.alerts.iter().map(|alert| alert.id.to_string()).collect(),
            Screen::Health => snapshot
                .health
                .iter()
                .flatten()
                .map(|finding| finding.check.to_owned())
                .collect(),
            Screen::Run => Vec::new(),
        }
    }

    /// The events that are shown: those that are held, or the newest.
    pub(crate) fn events<'a>(&'a self, snapshot: &'a Snapshot) -> &'a [Event] {
        self.held.as_deref().unwrap_or(&snapshot.events)
    }

    /// The runs that are shown.
    pub(crate) fn runs<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a super::model::RunLine> {
        let filter = self
            .filters
            .get(&Screen::Dashboard)
            .map(|text| text.to_lowercase())
            .unwrap_or_default();
        let list = snapshot.overview.iter().flat_map(|overview| &overview.list);
        list.filter(|line| {
            let status = line.status.as_deref().unwrap_or("");
            format!("{} {status} {}", line.run_id, line.phase)
                .to_lowercase()
                .contains(&filter)
        })
        .collect()
    }

    /// The run that the cursor is on.
    fn run_at_cursor(&self, snapshot: &Snapshot) -> Option<RunId> {
        let row = self.cursor(snapshot);
        match self.screen {
            Screen::Dashboard => self.runs(snapshot).get(row).map(|line| line.run_id.clone()),
            Screen::Queue => snapshot.queue.get(row).map(|step| step.run_id.clone()),
            Screen::Events => self.events(snapshot).get(row)?.run_id.clone().map(RunId),
            Screen::Alerts => snapshot.alerts.get(row)?.run_id.clone(),
            Screen::Run => Some(snapshot.run.as_ref()?.line.run_id.clone()),
            Screen::Health => None,
        }
    }

    /// Asks before anything is changed.
    pub(crate) fn confirm(&mut self, request: Request, hits: i64) {
        if hits == 0 && !request.works_without_rows() {
            self.said = Some(request.nothing());
            return;
        }
        let text = request.question(hits);
        self.mode = Mode::Confirm(Question { request, text });
    }

    /// Takes a key.
    pub(crate) fn key(&mut self, key: Key, snapshot: &Snapshot) -> Option<Effect> {
        self.said = None;
        if key == Key::Ctrl('c') {
            return Some(Effect::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Help => None,
            Mode::Filter => self.type_filter(key),
            Mode::Jump(text) => self.type_jump(text, key),
            Mode::Confirm(question) => self.answer(question, key),
            Mode::Reason(question, text) => self.type_reason(question, text, key),
            Mode::Commands => {
                let action = action(self.screen, key)?;
                self.act(action, snapshot)
            }
        }
    }

    fn answer(&mut self, question: Question, key: Key) -> Option<Effect> {
        match key {
            Key::Char('y' | 'Y') | Key::Enter => return Some(Effect::Queue(question.request, None)),
            Key::Char('r' | 'R') => self.mode = Mode::Reason(question, String::new()),
            Key::Char('n' | 'N' | 'q') | Key::Esc => self.said = Some("nothing was changed".to_owned()),
            _ => self.mode = Mode::Confirm(question),
        }
        None
    }

    fn type_reason(&mut self, question: Question, mut text: String, key: Key) -> Option<Effect> {
        match key {
            Key::Enter => {
                let reason = Some(text.trim().to_owned()).filter(|reason| !reason.is_empty());
                return Some(Effect::Queue(question.request, reason));
            }
            Key::Esc => {
                self.mode = Mode::Confirm(question);
                return None;
            }
            Key::Char(letter) if text.chars().count() < REASON_AT_MOST => text.push(letter),
            Key::Backspace => {
                text.pop();
            }
            Key::Ctrl('u') => text.clear(),
            _ => {}
        }
        self.mode = Mode::Reason(question, text);
        None
    }

    fn type_filter(&mut self, key: Key) -> Option<Effect> {
        let filter = self.filters.entry(self.screen).or_default();
        match key {
            Key::Char(letter) => filter.push(letter),
            Key::Backspace => {
                filter.pop();
            }
            Key::Ctrl('u') | Key::Esc => filter.clear(),
            _ => {}
        }
        if !matches!(key, Key::Enter | Key::Esc) {
            self.mode = Mode::Filter;
        }
        self.cursors.remove(&self.screen);
        Some(Effect::Look)
    }

    fn type_jump(&mut self, mut text: String, key: Key) -> Option<Effect> {
        match key {
            Key::Enter => return self.jump(text.trim()),
            Key::Esc => return None,
            Key::Char(letter) => text.push(letter),
            Key::Backspace => {
                text.pop();
            }
            Key::Ctrl('u') => text.clear(),
            _ => {}
        }
        self.mode = Mode::Jump(text);
        None
    }

    fn jump(&mut self, text: &str) -> Option<Effect> {
        if text.is_empty() {
            return None;
        }
        if matches!(text, "q" | "quit") {
            return Some(Effect::Quit);
        }
        if text == "help" {
            self.mode = Mode::Help;
            return None;
        }
        let screen = Screen::ALL
            .into_iter()
            .find(|screen| screen.name().starts_with(text));
        match screen {
            Some(screen) => self.go(screen),
            None => self.view(RunId(text.strip_prefix("run ").unwrap_or(text).trim().to_owned())),
        }
        Some(Effect::Look)
    }

    fn go(&mut self, screen: Screen) {
        self.screen = screen;
        self.scroll = 0;
    }

    fn view(&mut self, run_id: RunId) {
        self.follow = Some(run_id);
        self.go(Screen::Run);
    }

    fn act(&mut self, action: Action, snapshot: &Snapshot) -> Option<Effect> {
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Help => {
                self.mode = Mode::Help;
                return None;
            }
            Action::Filter => {
                self.mode = Mode::Filter;
                return None;
            }
            Action::Jump => {
                self.mode = Mode::Jump(String::new());
                return None;
            }
            Action::To(screen) => self.go(screen),
            Action::Next => self.go(self.screen.after(1)),
            Action::Previous => self.go(self.screen.after(Screen::ALL.len() - 1)),
            Action::Move(by) => return self.move_by(by, snapshot),
            Action::Page(by) => {
                let page = i32::try_from(self.page.max(1)).unwrap_or(1);
                return self.move_by(by * page, snapshot);
            }
            Action::First => return self.move_by(i32::MIN / 2, snapshot),
            Action::Last => return self.move_by(i32::MAX / 2, snapshot),
            Action::Open => self.view(self.run_at_cursor(snapshot)?),
            Action::Back if !self.filter().is_empty() => {
                self.filters.remove(&self.screen);
            }
            Action::Back => self.go(Screen::Dashboard),
            Action::Follow if self.screen == Screen::Events => self.held = None,
            Action::Follow => {
                self.follow = None;
                self.said = Some("following the newest active run".to_owned());
            }
            Action::Problem => return self.open_problem(snapshot),
            Action::Hold => {
                self.hold(snapshot);
                return None;
            }
            Action::Check => return Some(Effect::Check),
            Action::Copy => return self.copy(snapshot),
            Action::Mark | Action::MarkAll => {
                self.mark(action, snapshot);
                return None;
            }
            _ => return self.request(action, snapshot),
        }
        Some(Effect::Look)
    }

    fn open_problem(&mut self, snapshot: &Snapshot) -> Option<Effect> {
        let list = &snapshot.overview.as_ref()?.list;
        let worst = list
            .iter()
            .find(|line| line.need == Some(Need::DeadStep))
            .or_else(|| list.iter().find(|line| line.need.is_some()));
        match worst {
            Some(line) => {
                self.view(line.run_id.clone());
                Some(Effect::Look)
            }
            None => {
                self.said = Some("no run needs anybody".to_owned());
                None
            }
        }
    }

    fn hold(&mut self, snapshot: &Snapshot) {
        if self.held.take().is_none() {
            self.hold_at(snapshot, snapshot.events.len().saturating_sub(1));
        }
    }

    fn hold_at(&mut self, snapshot: &Snapshot, row: usize) {
        let events = self.held.take().unwrap_or_else(|| snapshot.events.clone());
        self.held = Some(events);
        self.put_cursor(row, snapshot);
    }

    fn move_by(&mut self, by: i32, snapshot: &Snapshot) -> Option<Effect> {
        if self.screen == Screen::Run {
            self.scroll = moved(self.scroll, by, usize::MAX);
            return None;
        }
        let last = self.rows(snapshot).len().saturating_sub(1);
        let row = moved(self.cursor(snapshot), by, last);
        if self.screen == Screen::Events {
            // Whoever goes up wants to read; whoever goes to the end wants the news.
            if row == last && by > 0 {
                self.held = None;
            } else {
                self.hold_at(snapshot, row);
            }
        } else {
            self.put_cursor(row, snapshot);
        }
        (self.is_wide && self.screen == Screen::Dashboard).then_some(Effect::Look)
    }

    fn put_cursor(&mut self, row: usize, snapshot: &Snapshot) {
        let key = self.rows(snapshot).get(row).cloned();
        let cursor = Cursor {
            index: row,
            // The first row is whatever needs somebody most.
            key: key.filter(|_| row > 0),
        };
        self.cursors.insert(self.screen, cursor);
    }

    fn copy(&mut self, snapshot: &Snapshot) -> Option<Effect> {
        let (text, nothing) = if self.screen == Screen::Run {
            let path = snapshot.run.as_ref()?.page_or_bag();
            let path = path.map(|path| Path::new(&snapshot.root).join(path).display().to_string());
            (path, "there is neither a report nor a bag yet")
        } else {
            let finding = snapshot.health.as_ref()?.get(self.cursor(snapshot))?;
            (finding.remedy.clone(), "nothing has to be mended here")
        };
        self.said = Some(match &text {
            Some(text) => format!("copied: {text}"),
            None => nothing.to_owned(),
        });
        text.map(Effect::Copy)
    }

    fn mark(&mut self, action: Action, snapshot: &Snapshot) {
        let ids: Vec<StepId> = snapshot.queue.iter().map(|step| step.id).collect();
        if action == Action::MarkAll {
            if ids.iter().all(|id| self.marks.contains(id)) {
                self.marks.clear();
            } else {
                self.marks.extend(ids);
            }
            return;
        }
        let row = self.cursor(snapshot);
        if let Some(&id) = ids.get(row) {
            if !self.marks.remove(&id) {
                self.marks.insert(id);
            }
            self.move_by(1, snapshot);
        }
    }

    fn request(&mut self, action: Action, snapshot: &Snapshot) -> Option<Effect> {
        let row = self.cursor(snapshot);
        let request = match action {
            Action::Retry | Action::Cancel => {
                let verb = if action == Action::Retry {
                    Verb::Retry
                } else {
                    Verb::Cancel
                };
                if self.screen == Screen::Queue {
                    Request::Steps(verb, self.steps_meant(verb, snapshot))
                } else {
                    Request::Run(verb, self.run_at_cursor(snapshot)?)
                }
            }
            Action::Pause => Request::Pause(snapshot.queue.get(row)?.brief.step.clone()),
            Action::PauseAll => Request::Pause(EVERY_KIND.to_owned()),
            Action::Resume => {
                let paused = &snapshot.overview.as_ref()?.paused;
                match paused.first() {
                    Some(pause) => Request::Resume(pause.step.clone()),
                    None => {
                        self.said = Some("nothing is paused".to_owned());
                        return None;
                    }
                }
            }
            Action::Acknowledge | Action::Resolve => {
                let alert = snapshot.alerts.get(row)?;
                let change = if action == Action::Resolve {
                    ByHand::Resolve
                } else {
                    ByHand::Acknowledge
                };
                if !can_change_alert(change, &alert.state) {
                    self.said = Some(format!("this alert is {} already", alert.state));
                    return None;
                }
                Request::Alert(change, alert.id)
            }
            _ => return None,
        };
        Some(Effect::Count(request))
    }

    /// The marked steps, else the one that the cursor is on; of them, those that the verb is for.
    fn steps_meant(&self, verb: Verb, snapshot: &Snapshot) -> Vec<StepId> {
        let row = self.cursor(snapshot);
        let meant = snapshot.queue.iter().enumerate().filter(|(index, step)| {
            let is_meant = if self.marks.is_empty() {
                *index == row
            } else {
                self.marks.contains(&step.id)
            };
            is_meant && verb.applies_to(&step.brief.state)
        });
        meant.map(|(_, step)| step.id).collect()
    }
}

fn moved(from: usize, by: i32, last: usize) -> usize {
    let step = by.unsigned_abs() as usize;
    if by < 0 {
        from.saturating_sub(step)
    } else {
        from.saturating_add(step).min(last)
    }
}

#[cfg(test)]
mod tests;
