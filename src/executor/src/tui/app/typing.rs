//! Keys while a text is typed or a question is open.

use super::{App, Effect, Mode, Question};
use crate::tui::Screen;
use crate::tui::keys::Key;
use runchain_core::RunId;

/// Letters of a reason.
const REASON_AT_MOST: usize = 200;

impl App {
    pub(super) fn answer(&mut self, question: Question, key: Key) -> Option<Effect> {
        match key {
            Key::Char('y' | 'Y') | Key::Enter => return Some(Effect::Queue(question.request, None)),
            Key::Char('r' | 'R') => self.mode = Mode::Reason(question, String::new()),
            Key::Char('n' | 'N' | 'q') | Key::Esc => self.said = Some("nothing was changed".to_owned()),
            _ => self.mode = Mode::Confirm(question),
        }
        None
    }

    pub(super) fn type_reason(&mut self, question: Question, mut text: String, key: Key) -> Option<Effect> {
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

    pub(super) fn type_filter(&mut self, key: Key) -> Option<Effect> {
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

    pub(super) fn type_jump(&mut self, mut text: String, key: Key) -> Option<Effect> {
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
}
