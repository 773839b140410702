//! The newest heartbeat of each run, from the end of `monitor.jsonl`: no table has them.

use crate::projector::HEARTBEAT_PREFIX;
use runchain_core::Millis;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// So much of the log is read, however long it is: some thousand heartbeats.
const TAIL_BYTES: u64 = 256 * 1024;

/// Reads the log's end again when it has grown.
#[derive(Debug)]
pub(super) struct Heartbeats {
    log: PathBuf,
    seen: Option<(u64, u64)>,
    newest: HashMap<String, Millis>,
}

#[derive(Deserialize)]
struct Line {
    ts: String,
    run_id: String,
}

impl Heartbeats {
    pub(super) fn new(logs: &Path) -> Self {
        Self {
            log: logs.join("monitor.jsonl"),
            seen: None,
            newest: HashMap::new(),
        }
    }

    /// By run. A log that can't be read tells of no heartbeat.
    pub(super) fn read(&mut self) -> &HashMap<String, Millis> {
        let found = std::fs::metadata(&self.log)
            .ok()
            .map(|meta| (meta.ino(), meta.len()));
        if found != self.seen {
            self.seen = found;
            if let Ok(text) = self.tail() {
                self.newest = newest(&text);
            }
        }
        &self.newest
    }

    fn tail(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A first line that is cut, and one that is half written, are no JSON.
fn newest(text: &str) -> HashMap<String, Millis> {
    text.lines()
        .filter(|line| line.starts_with(HEARTBEAT_PREFIX))
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .filter_map(|line| Some((line.run_id, Millis::parse_iso(&line.ts)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_heartbeat_of_each_run_counts_and_broken_lines_don_t() {
        let text = "un_id\":\"cut\"}\n\
            {\"seq\":1,\"event\":\"RUN_CREATED\",\"run_id\":\"a\"}\n\
            {\"ts\":\"2026-01-01T00:00:01.000+00:00\",\"event\":\"HEARTBEAT\",\"run_id\":\"a\"}\n\
            {\"ts\":\"2026-01-01T00:00:02.000+00:00\",\"event\":\"HEARTBEAT\",\"run_id\":\"a\"}\n\
            {\"ts\":\"2026-01-01T00:00:03.000+00:00\",\"event\":\"HEAR";
        let newest = newest(text);
        assert_eq!(newest.len(), 1);
        assert_eq!(newest["a"].iso(), "2026-01-01T00:00:02.000+00:00");
    }
}
