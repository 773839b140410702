//! Colours and signs.
//!
//! Invariants: only the sixteen colours that every terminal has, on the terminal's own background, so
//! that light and dark are both read; no meaning is carried by colour alone; in a locale without UTF-8
//! only ASCII is printed.

use crate::cli::Color as When;
use ratatui::style::{Color, Modifier, Style};

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theme {
    /// Colours are shown.
    pub(crate) colour: bool,
    /// The background is light: yellow can't be read on it.
    pub(crate) light: bool,
    /// Nothing but ASCII is printed.
    pub(crate) ascii: bool,
}

impl Theme {
    /// As the options and the environment say.
    pub(crate) fn of_process(when: When, ascii: bool) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let colour = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => variable("NO_COLOR").is_none() && variable("TERM").as_deref() != Some("dumb"),
        };
        // The first of them that is set decides, as in every program that asks the C library.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
        let utf8 = locale.is_some_and(|name| {
            let name = name.to_lowercase();
            name.contains("utf-8") || name.contains("utf8")
        });
        // "15;0": foreground and background, as rxvt, Konsole and others tell it.
        let background = variable("COLORFGBG").and_then(|text| text.rsplit(';').next()?.parse::<u8>().ok());
        Self {
            colour,
            light: matches!(background, Some(7 | 15)),
            ascii: ascii || !utf8,
        }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// A heading.
    pub(crate) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What matters less.
    pub(crate) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What went well.
    pub(crate) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    /// What went wrong.
    pub(crate) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What may go wrong.
    pub(crate) fn warn(self) -> Style {
        self.coloured(if self.light { Color::Magenta } else { Color::Yellow })
    }

    /// What is under way.
    pub(crate) fn busy(self) -> Style {
        self.coloured(if self.light { Color::Blue } else { Color::Cyan })
    }

    /// What must not be overlooked.
    pub(crate) fn alarm(self) -> Style {
        self.bad().add_modifier(Modifier::REVERSED)
    }

    /// Where the cursor is.
    pub(crate) fn cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The signs.
    pub(crate) fn signs(self) -> &'static Signs {
        if self.ascii { &ASCII } else { &UTF8 }
    }
}

/// Signs, each one column wide.
#[derive(Debug)]
pub(crate) struct Signs {
    /// Through.
    pub(crate) done: &'static str,
    /// Dead or failed.
    pub(crate) dead: &'static str,
    /// Not begun.
    pub(crate) pending: &'static str,
    /// Under way.
    pub(crate) running: &'static str,
    /// Tried again.
    pub(crate) again: &'static str,
    /// Called off.
    pub(crate) cancelled: &'static str,
    /// A rule.
    pub(crate) rule: &'static str,
    /// A part of a bar.
    pub(crate) bar: &'static str,
    /// A part of a bar that went wrong.
    pub(crate) bad_bar: &'static str,
    /// A part of a bar that isn't there yet.
    pub(crate) empty: &'static str,
    /// A text was cut.
    pub(crate) cut: &'static str,
    /// Between parts of a line.
    pub(crate) between: &'static str,
    /// Heights of a sparkline.
    pub(crate) heights: [&'static str; 9],
    /// A marked row.
    pub(crate) marked: &'static str,
    /// Corners and edges of a box: top left, top right, bottom left, bottom right, across, down.
    pub(crate) edges: [&'static str; 6],
}

const UTF8: Signs = Signs {
    done: "✓",
    dead: "✗",
    pending: "○",
    running: "●",
    again: "↻",
    cancelled: "–",
    rule: "─",
    bar: "█",
    bad_bar: "▓",
    empty: "░",
    cut: "…",
    between: "·",
    heights: [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    marked: "▶",
    edges: ["┌", "┐", "└", "┘", "─", "│"],
};

const ASCII: Signs = Signs {
    done: "+",
    dead: "x",
    pending: "o",
    running: "*",
    again: "~",
    cancelled: "-",
    rule: "-",
    bar: "#",
    bad_bar: "%",
    empty: ".",
    cut: ">",
    between: "|",
    heights: [" ", ".", ".", ":", ":", "+", "+", "#", "#"],
    marked: ">",
    edges: ["+", "+", "+", "+", "-", "|"],
};

impl Signs {
    /// The edges as ratatui wants them.
    pub(crate) fn border(&self) -> ratatui::symbols::border::Set<'static> {
        let [top_left, top_right, bottom_left, bottom_right, across, down] = self.edges;
        ratatui::symbols::border::Set {
            top_left,
            top_right,
            bottom_left,
            bottom_right,
            vertical_left: down,
            vertical_right: down,
            horizontal_top: across,
            horizontal_bottom: across,
        }
    }
}
