//! What the configuration says of following: how lines are understood, how long is waited.

use super::held::Quiet;
use crate::config::Settings;
use runchain_core::ingest::{Format, IngestOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How files are read.
#[derive(Debug, Clone)]
pub(crate) struct How {
    /// Mappings and limits.
    pub(crate) settings: Arc<Settings>,
    /// What a person has said of all files.
    pub(crate) format: Option<Arc<Format>>,
}

impl How {
    pub(super) fn options(&self, path: &Path) -> IngestOptions {
        let configured = self.settings.ingest_options(path);
        IngestOptions {
            format: self.format.clone().or(configured.format),
            ..configured
        }
    }
}

/// How often is looked unasked, and how long a line is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) quiet: Quiet,
    pub(super) poll: Duration,
    pub(super) poll_unwatched: Duration,
}

impl Times {
    pub(super) fn of(settings: &Settings) -> Self {
        let duration = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        Self {
            quiet: Quiet {
                whole: duration(settings.archive_settle_ms),
                half: duration(settings.archive_settle_limit_ms),
            },
            poll: duration(settings.poll_ms),
            poll_unwatched: duration(settings.poll_ms.min(settings.poll_unwatched_ms)),
        }
    }
}
