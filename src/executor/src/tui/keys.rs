//! Keys and what they do: one table, which the help screen prints and the keyboard looks up.
//!
//! The keys are those of k9s and lazygit: arrows and hjkl, `/` filter, `:` jump, `?` help, `q`.

use super::Screen;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A key, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character.
    Char(char),
    /// With Control.
    Ctrl(char),
    /// The arrows.
    Up,
    /// Down.
    Down,
    /// Left.
    Left,
    /// Right.
    Right,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    Home,
    /// To the last row.
    End,
    /// Enter.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Backspace.
    Backspace,
}

impl Key {
    /// The keys of an event, in order; releases and keys without a meaning are none. Escape and a key that
    /// arrive together, as they do over a slow line, are told as one with Alt: nothing here has Alt, so it is
    /// taken for what was typed.
    pub(crate) fn of(event: KeyEvent) -> impl Iterator<Item = Self> {
        let key = Self::one(event);
        let escape = key
            .filter(|_| event.modifiers.contains(KeyModifiers::ALT))
            .map(|_| Self::Esc);
        escape.into_iter().chain(key)
    }

    fn one(event: KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        Some(match event.code {
            KeyCode::Char(letter) if event.modifiers.contains(KeyModifiers::CONTROL) => Self::Ctrl(letter),
            KeyCode::Char(letter) => Self::Char(letter),
            KeyCode::Up => Self::Up,
            KeyCode::Down => Self::Down,
            KeyCode::Left => Self::Left,
            KeyCode::Right => Self::Right,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::Home => Self::Home,
            KeyCode::End => Self::End,
            KeyCode::Enter => Self::Enter,
            KeyCode::Esc => Self::Esc,
            KeyCode::Tab => Self::Tab,
            KeyCode::BackTab => Self::BackTab,
            KeyCode::Backspace => Self::Backspace,
            _ => return None,
        })
    }
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// End.
    Quit,
    /// Show the keys.
    Help,
    /// Type a filter.
    Filter,
    /// Type where to go.
    Jump,
    /// Another screen.
    To(Screen),
    /// The screen to the right.
    Next,
    /// The screen to the left.
    Previous,
    /// Rows up (negative) or down.
    Move(i32),
    /// Pages up (negative) or down.
    Page(i32),
    /// The first row.
    First,
    /// The last row.
    Last,
    /// What the cursor is on.
    Open,
    /// Back to where one came from; ends a filter.
    Back,
    /// Follow the newest active run, or the newest events.
    Follow,
    /// The run that needs somebody most.
    Problem,
    /// Hold the events.
    Hold,
    /// Mark the row.
    Mark,
    /// Mark all rows, or none.
    MarkAll,
    /// Dead steps once more.
    Retry,
    /// No more of it.
    Cancel,
    /// Start no more steps of this kind.
    Pause,
    /// Start no more steps at all.
    PauseAll,
    /// Start them again.
    Resume,
    /// Somebody has seen the alert.
    Acknowledge,
    /// The alert is over.
    Resolve,
    /// Make every check.
    Check,
    /// Copy what mends it, or where the report is.
    Copy,
}

impl Action {
    /// Whether it leads to a question first.
    pub(crate) fn changes_something(self) -> bool {
        matches!(
            self,
            Self::Retry
                | Self::Cancel
                | Self::Pause
                | Self::PauseAll
                | Self::Resume
                | Self::Acknowledge
                | Self::Resolve
        )
    }
}

/// Where a key has this meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// On every screen.
    All,
    /// On these.
    Some(&'static [Screen]),
}

/// A line of the help screen.
#[derive(Debug)]
pub(crate) struct Binding {
    /// The keys.
    pub(crate) keys: &'static [Key],
    /// As they are printed.
    pub(crate) shown: &'static str,
    /// What they do.
    pub(crate) does: &'static str,
    /// A word for the footer, for the keys that stand there.
    pub(crate) hint: Option<&'static str>,
    /// Where.
    pub(crate) on: On,
    /// The same for the program.
    pub(crate) action: Action,
}

const LISTS: &[Screen] = &[Screen::Dashboard, Screen::Queue, Screen::Events, Screen::Alerts];

macro_rules! bindings {
    ($({ $on:expr; $($shown:literal [$($key:expr),+] $action:expr, $does:literal $(, $hint:literal)?;)+ })+) => {
        /// Every key, those of single screens first.
        pub(crate) const BINDINGS: &[Binding] = &[$($(
            Binding {
                keys: &[$($key),+], shown: $shown, does: $does, on: $on, action: $action,
                hint: bindings!(@hint $($hint)?),
            },
        )+)+];
    };
    (@hint) => { None };
    (@hint $hint:literal) => { Some($hint) };
}

bindings! {
    {
        On::Some(&[Screen::Dashboard, Screen::Queue, Screen::Events, Screen::Alerts]);
        "enter" [Key::Enter] Action::Open, "open the run that the cursor is on", "open";
    }
    {
        On::Some(&[Screen::Dashboard, Screen::Run]);
        "e" [Key::Char('e')] Action::Problem, "open the run that needs somebody most", "problem";
    }
    {
        On::Some(&[Screen::Dashboard, Screen::Run]);
        "f" [Key::Char('f')] Action::Follow, "follow the newest active run again";
    }
    {
        On::Some(&[Screen::Events]);
        "f" [Key::Char('f')] Action::Follow, "follow the newest events again", "follow";
        "space" [Key::Char(' ')] Action::Hold, "hold the events, or let them go on", "hold";
    }
    {
        On::Some(&[Screen::Queue]);
        "space" [Key::Char(' ')] Action::Mark, "mark the step, or not", "mark";
        "a" [Key::Char('a')] Action::MarkAll, "mark every step that is shown, or none";
        "p" [Key::Char('p')] Action::Pause, "pause: start no more steps of this kind", "pause";
        "P" [Key::Char('P')] Action::PauseAll, "pause every kind of steps";
        "u" [Key::Char('u')] Action::Resume, "resume: start paused steps again";
    }
    {
        On::Some(&[Screen::Dashboard, Screen::Run, Screen::Queue]);
        "r" [Key::Char('r')] Action::Retry, "retry dead steps: the run's, or those that are marked", "retry";
        "c" [Key::Char('c')] Action::Cancel, "cancel steps that have not ended", "cancel";
    }
    {
        On::Some(&[Screen::Alerts]);
        "a" [Key::Char('a')] Action::Acknowledge, "acknowledge the alert: somebody has seen it", "acknowledge";
        "r" [Key::Char('r')] Action::Resolve, "resolve the alert: it is over", "resolve";
    }
    {
        On::Some(&[Screen::Run]);
        "y" [Key::Char('y')] Action::Copy, "copy the path of the report's page, or of the bag", "copy";
    }
    {
        On::Some(&[Screen::Health]);
        "r enter" [Key::Char('r'), Key::Enter] Action::Check, "make every check now", "check";
        "y" [Key::Char('y')] Action::Copy, "copy what mends it (where the terminal allows that)", "copy";
    }
    {
        On::Some(LISTS);
        "/" [Key::Char('/')] Action::Filter, "filter the list; enter keeps it, esc ends it", "filter";
    }
    {
        On::All;
        ":" [Key::Char(':')] Action::Jump, "jump: a screen's name, or a run's id", "jump";
        "1 to 6" [
            Key::Char('1'), Key::Char('2'), Key::Char('3'), Key::Char('4'), Key::Char('5'), Key::Char('6')
        ] Action::To(Screen::Dashboard), "dashboard, run, queue, events, alerts, health";
        "tab l right" [Key::Tab, Key::Char('l'), Key::Right] Action::Next, "the next screen";
        "shift-tab h left" [Key::BackTab, Key::Char('h'), Key::Left] Action::Previous, "the screen before";
        "j down" [Key::Char('j'), Key::Down] Action::Move(1), "a row down";
        "k up" [Key::Char('k'), Key::Up] Action::Move(-1), "a row up";
        "page down, ctrl-d" [Key::PageDown, Key::Ctrl('d'), Key::Ctrl('f')] Action::Page(1), "a page down";
        "page up, ctrl-u" [Key::PageUp, Key::Ctrl('u'), Key::Ctrl('b')] Action::Page(-1), "a page up";
        "g home" [Key::Char('g'), Key::Home] Action::First, "the first row";
        "G end" [Key::Char('G'), Key::End] Action::Last, "the last row";
        "esc" [Key::Esc] Action::Back, "end a filter; back to the dashboard";
        "?" [Key::Char('?')] Action::Help, "these keys", "help";
        "q, ctrl-c" [Key::Char('q'), Key::Ctrl('c')] Action::Quit, "quit", "quit";
    }
}

/// The keys of a screen, those that only it has first.
pub(crate) fn of_screen(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| match binding.on {
        On::All => true,
        On::Some(screens) => screens.contains(&screen),
    })
}

/// What a key asks for on a screen.
pub(crate) fn action(screen: Screen, key: Key) -> Option<Action> {
    if let Key::Char(digit) = key
        && let Some(number) = digit.to_digit(10)
    {
        return Screen::ALL
            .get((number as usize).checked_sub(1)?)
            .map(|&screen| Action::To(screen));
    }
    of_screen(screen)
        .find(|binding| binding.keys.contains(&key))
        .map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_on_one_screen() {
        for screen in Screen::ALL {
            let mut seen = Vec::new();
            for key in of_screen(screen).flat_map(|binding| binding.keys) {
                assert!(!seen.contains(&key), "{key:?} on {screen:?}");
                seen.push(key);
            }
        }
    }

    #[test]
    fn escape_and_a_letter_that_arrive_together_are_both_typed() {
        let event = KeyEvent::new(KeyCode::Char('/'), KeyModifiers::ALT);
        assert!(Key::of(event).eq([Key::Esc, Key::Char('/')]));
        let event = KeyEvent::new(KeyCode::Char('/'), KeyModifiers::NONE);
        assert!(Key::of(event).eq([Key::Char('/')]));
    }

    #[test]
    fn a_digit_is_a_screen() {
        assert_eq!(
            action(Screen::Run, Key::Char('3')),
            Some(Action::To(Screen::Queue))
        );
        assert_eq!(action(Screen::Run, Key::Char('9')), None);
        assert_eq!(action(Screen::Run, Key::Char('0')), None);
    }
}
