//! A measuring aid: when the loop saw new work, and when it took it.
//!
//! With `RUNCHAIN_TRACE_WAKES=FILE` every mark appends one line, a word and CLOCK_MONOTONIC in
//! nanoseconds; the writer of a measurement reads the same clock, so that latencies across processes
//! need no guess. Without the variable a mark is one load. Nothing else may ever depend on this; what
//! people should know belongs into events and metrics.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

static TRACE: OnceLock<Option<File>> = OnceLock::new();

/// What is marked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    /// The queue was found with rows in it; taking them is next.
    Seen,
    /// Steps are leased and started, durably; executing them is next.
    Started,
}

/// Appends a mark, where a file is named for it. A file that can't be written is no reason to stop.
pub(super) fn mark(mark: Mark) {
    let Some(mut file) = TRACE.get_or_init(open).as_ref() else {
        return;
    };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let word = match mark {
        Mark::Seen => "seen",
        Mark::Started => "started",
    };
    let _ = writeln!(file, "{word} {}{:09}", now.tv_sec, now.tv_nsec);
}

fn open() -> Option<File> {
    let path = std::env::var_os("RUNCHAIN_TRACE_WAKES")?;
    File::options().create(true).append(true).open(path).ok()
}
