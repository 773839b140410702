//! How far a large file is, for a person who is looking: bytes, rate and time left on standard error.
//!
//! Only on a terminal, and only for what takes longer than [`PATIENCE`]. Without colour, so that
//! NO_COLOR has nothing to take away.

use crate::output::{Output, clean};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Nobody wonders before that.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar that appears when it is needed.
pub(super) struct Bar {
    name: String,
    began: Instant,
    /// Somebody is looking.
    shows: bool,
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(super) fn of(path: &Path, output: &Output) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            name: clean(&name.to_string_lossy()),
            began: Instant::now(),
            shows: !output.quiet && !output.json && std::io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// So much was read.
    pub(super) fn show(&mut self, bytes: u64, total_bytes: u64) {
        if !self.shows || self.began.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
            // The words are this program's own: they can be read.
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} {bar:30} {percent:>3} %  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
            ) {
                bar.set_style(style);
            }
            bar.set_message(self.name.clone());
            bar.with_elapsed(self.began.elapsed())
        });
        bar.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
