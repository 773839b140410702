//! Leaves a line in `monitor.jsonl` when the database can't be used, so that who watches the logs
//! sees it.
//!
//! Such a line has no `seq`: no database numbered it. Invariant: nothing is created but the log and
//! its folder, and those only inside a project; a line that can't be written is no failure.

use super::OpenError;
use crate::config::{FILE_NAME, Settings};
use crate::folder::Folder;
use runchain_core::Millis;
use runchain_core::event::Log;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Appends the event STATE_DB_INVALID where that is possible.
pub(crate) fn log_failure(settings: &Settings, error: &OpenError, at: Millis) {
    let line = json!({
        "ts": at.iso(),
        "event": "STATE_DB_INVALID",
        "instance": settings.instance,
        "path": error.path.to_string_lossy(),
        "error": error.what(),
        "remedy": error.remedy(),
    });
    log_line(settings, &line);
}

/// Appends a line without a number where that is possible.
pub(crate) fn log_line(settings: &Settings, line: &Value) {
    if is_project(settings) {
        // Whether it worked shows at the append.
        let _ = std::fs::create_dir(&settings.logs_dir);
    }
    // The failure itself is reported in any case; the line is an extra.
    let _ = Folder::open(&settings.logs_dir).and_then(|folder| append(&folder, &line.to_string()));
}

fn is_project(settings: &Settings) -> bool {
    settings.root.join(".state").is_dir() || settings.root.join(FILE_NAME).is_file()
}

/// One write of one whole line, also after a torn one.
fn append(folder: &Folder, line: &str) -> io::Result<()> {
    // A pipe or a link under this name is not ours to write to.
    let mut file = folder.open_to_append(Log::Monitor.file_name())?;
    let start = if ends_torn(&mut file)? { "\n" } else { "" };
    file.write_all(format!("{start}{line}\n").as_bytes())
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
