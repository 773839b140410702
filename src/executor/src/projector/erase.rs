//! Erasing a run's lines from the logs, in place: no byte moves.
//!
//! A line of the run becomes one of the same length with the same beginning (seq, epoch, db, ts), the
//! event `FORGOTTEN`, and blanks. So every line is still JSON, the sequence has no gap, offsets and
//! inodes are what they were, and a reader with `tail -F` notices nothing. Only whole lines are
//! touched, and nobody else writes where one stands: the projector only appends. The caller has seen
//! to it that no line of the run is about to be appended.

use super::rotate;
use crate::folder::Folder;
use runchain_core::RunId;
use runchain_core::error::{Error, Result};
use runchain_core::event::Log;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Erases the run's lines; answers how many.
pub(crate) fn erase(logs_dir: &Path, run_id: &RunId) -> Result<u64> {
    walk(logs_dir, run_id, true)
}

/// Counts the run's lines.
pub(crate) fn count(logs_dir: &Path, run_id: &RunId) -> Result<u64> {
    walk(logs_dir, run_id, false)
}

fn walk(logs_dir: &Path, run_id: &RunId, erases: bool) -> Result<u64> {
    let mut lines = 0;
    let mut seen = BTreeSet::new();
    // A log that is rotated meanwhile has another name: look until no new one is found.
    loop {
        let mut any = false;
        for path in files(logs_dir)? {
            if seen.insert(path.clone()) {
                any = true;
                lines += in_file(&path, run_id, erases)
                    .map_err(|error| Error::io("erase lines of", path, error))?;
            }
        }
        if !any {
            return Ok(lines);
        }
    }
}

fn files(logs_dir: &Path) -> Result<Vec<PathBuf>> {
    if !logs_dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for log in Log::ALL {
        files.extend(rotate::renamed(log, logs_dir)?);
        let current = logs_dir.join(log.file_name());
        files.extend(current.exists().then_some(current));
    }
    Ok(files)
}

fn in_file(path: &Path, run_id: &RunId, erases: bool) -> io::Result<u64> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let (folder, name) = (Folder::open(parent)?, Path::new(name));
    let file = if erases {
        folder.open_to_change(name)?
    } else {
        folder.open_file(name, |_| Ok(()))?
    };
    let mut reader = BufReader::new(&file);
    let (mut line, mut at, mut count) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        // Without a newline it is being written, and not of this run.
        if length == 0 || line.pop() != Some(b'\n') {
            break;
        }
        if let Some(blank) = blank(&line, run_id) {
            count += 1;
            if erases {
                overwrite(&file, &blank, at)?;
            }
        }
        at += length as u64;
    }
    if erases && count > 0 {
        file.sync_all()?;
    }
    Ok(count)
}

fn overwrite(file: &File, line: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(line, at)
}

/// The line as it stands when it is forgotten; `None` for one that is not of the run.
fn blank(line: &[u8], run_id: &RunId) -> Option<Vec<u8>> {
    let parsed: Value = serde_json::from_slice(line).ok()?;
    let is = |value: &Value| value.as_str() == Some(run_id.as_str());
    let data = &parsed["data"];
    let names = |fingerprint: &Value| fingerprint.as_array().is_some_and(|parts| parts.iter().any(is));
    let of_alerts = data["fingerprints"]
        .as_array()
        .is_some_and(|all| all.iter().any(names));
    let of_run = is(&parsed["run_id"])
        || (parsed["event"] == "RUN_RENAMED" && is(&data["was"]))
        || names(&data["fingerprint"])
        || of_alerts;
    if !of_run {
        return None;
    }
    let mut kept = serde_json::Map::new();
    for key in ["seq", "epoch", "db", "ts"] {
        if let Some(value) = parsed.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    kept.insert("event".to_owned(), Value::from("FORGOTTEN"));
    let mut text = Value::Object(kept).to_string().into_bytes();
    if text.len() > line.len() {
        // A line of somebody else's with hardly anything in it.
        text = b"{}".to_vec();
    }
    text.pop();
    text.resize(line.len() - 1, b' ');
    text.push(b'}');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(line: &str) -> Option<String> {
        let run_id = RunId("s3cret \"run\"".into());
        blank(line.as_bytes(), &run_id).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_line_keeps_its_place_its_length_and_its_seq() {
        let line = r#"{"seq":7,"epoch":2,"db":"u","ts":"t","event":"RUN_CREATED","run_id":"s3cret \"run\"","data":{"a":1}}"#;
        let blank = blanked(line).unwrap();
        assert_eq!(blank.len(), line.len());
        let wanted = r#"{"seq":7,"epoch":2,"db":"u","ts":"t","event":"FORGOTTEN"}"#;
        assert_eq!(blank.replace(' ', ""), wanted);
        assert_eq!(blanked(&blank), None, "once is enough");
    }

    #[test]
    fn what_was_renamed_goes_and_what_only_sounds_alike_stays() {
        assert!(
            blanked(r#"{"seq":7,"event":"RUN_RENAMED","run_id":"new","data":{"was":"s3cret \"run\""}}"#)
                .is_some()
        );
        assert!(blanked(r#"{"run_id":"s3cret \"run\""}"#).is_some_and(|text| text.trim().len() == 27));
        for other in [r#"{"seq":7,"event":"X","run_id":"s3cret"}"#, "no json", ""] {
            assert_eq!(blanked(other), None, "{other}");
        }
    }
}
