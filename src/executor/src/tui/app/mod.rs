//! What the person at the keyboard has done so far: screen, cursor, filter, marks, the question that
//! is open. Pure: a key and a snapshot lead to a new state and perhaps to an [`Effect`].
//!
//! Here is the state and what a command key does to it; `typing` has the keys of texts and questions,
//! `cursor` the lists, `requests` what is asked for.

mod cursor;
mod requests;
#[cfg(test)]
mod tests;
mod typing;

use super::Screen;
use super::ask::Request;
use super::keys::{Action, Key, action};
use super::model::{Event, Need, Snapshot};
use super::read::{Follow, Want};
use cursor::Cursor;
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
}
