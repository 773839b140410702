//! Hyperlinks over cells that are drawn: ratatui's cells know none.
//!
//! After each frame the cells of a link are printed once more, inside its escape sequence: a cell that the
//! frame printed anew has lost its link. Cells that were a link before and are none any more are printed
//! plainly, since what stands there may not have changed. What does not belong here: where links are.

use crate::output::hyperlink;
use ratatui::backend::Backend;
use ratatui::buffer::{Buffer, Cell};
use std::io::{self, Write};

/// A file that is shown on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its first column.
    pub(crate) x: u16,
    /// Its line.
    pub(crate) y: u16,
    /// How many columns it takes.
    pub(crate) columns: u16,
    /// What is opened.
    pub(crate) address: String,
}

impl Link {
    fn cells(&self, drawn: &Buffer) -> Vec<(u16, u16, Cell)> {
        let columns = self.x..self.x.saturating_add(self.columns);
        columns
            .filter_map(|x| Some((x, self.y, drawn.cell((x, self.y))?.clone())))
            .collect()
    }
}

/// Cells that are printed once more, as a link or plainly.
#[derive(Debug)]
pub(crate) struct Piece {
    address: Option<String>,
    cells: Vec<(u16, u16, Cell)>,
}

/// What the last frame had.
#[derive(Debug, Default)]
pub(crate) struct Links {
    shown: Vec<Link>,
}

impl Links {
    /// What has to be printed after a frame whose links these are.
    pub(crate) fn over(&mut self, drawn: &Buffer, wanted: Vec<Link>) -> Vec<Piece> {
        let gone = self.shown.iter().filter(|link| !wanted.contains(link));
        let plain = gone.map(|link| Piece {
            address: None,
            cells: link.cells(drawn),
        });
        let linked = wanted.iter().map(|link| Piece {
            address: Some(link.address.clone()),
            cells: link.cells(drawn),
        });
        let pieces = plain.chain(linked).collect();
        self.shown = wanted;
        pieces
    }
}

/// Prints them.
///
/// # Errors
/// A terminal that can't be written to.
pub(crate) fn print<B>(terminal: &mut B, pieces: &[Piece]) -> io::Result<()>
where
    B: Backend<Error = io::Error> + Write,
{
    for piece in pieces {
        if let Some(address) = &piece.address {
            terminal.write_all(hyperlink::begin(address).as_bytes())?;
        }
        terminal.draw(piece.cells.iter().map(|(x, y, cell)| (*x, *y, cell)))?;
        if piece.address.is_some() {
            terminal.write_all(hyperlink::END.as_bytes())?;
        }
    }
    if pieces.is_empty() {
        return Ok(());
    }
    Write::flush(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::CrosstermBackend;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    fn link(x: u16, address: &str) -> Link {
        Link {
            x,
            y: 1,
            columns: 3,
            address: address.to_owned(),
        }
    }

    fn printed(links: &mut Links, wanted: Vec<Link>) -> String {
        let mut drawn = Buffer::empty(Rect::new(0, 0, 10, 2));
        drawn.set_string(0, 1, "abcdefghij", Style::new());
        let mut bytes = Vec::new();
        let mut backend = CrosstermBackend::new(&mut bytes);
        print(&mut backend, &links.over(&drawn, wanted)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_link_surrounds_its_cells_in_every_frame_and_is_taken_away_when_it_is_gone() {
        let mut links = Links::default();
        for _ in 0..2 {
            let text = printed(&mut links, vec![link(2, "file:///x")]);
            let (_, rest) = text.split_once("\u{1b}]8;;file:///x\u{1b}\\").unwrap();
            let (inside, after) = rest.split_once(hyperlink::END).unwrap();
            assert!(inside.contains("cde") && after.is_empty(), "{text:?}");
        }
        // It has moved: its old cells are printed plainly first.
        let text = printed(&mut links, vec![link(5, "file:///x")]);
        let (before, rest) = text.split_once("\u{1b}]8;;file:///x\u{1b}\\").unwrap();
        assert!(before.contains("cde") && rest.contains("fgh"), "{text:?}");
        let text = printed(&mut links, Vec::new());
        assert!(text.contains("fgh") && !text.contains("]8;"), "{text:?}");
        assert_eq!(printed(&mut links, Vec::new()), "");
    }

    #[test]
    fn cells_that_the_terminal_has_no_longer_are_left_out() {
        let mut links = Links::default();
        let far = Link {
            y: 9,
            ..link(2, "file:///x")
        };
        assert!(!printed(&mut links, vec![link(8, "file:///x"), far]).contains("fgh"));
    }
}
