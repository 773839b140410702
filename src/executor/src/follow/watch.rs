//! The system's word of changes, into the inbox. Folders are watched, not files: a thousand logs in one
//! folder are one watch, and what is renamed or made anew there is told, too.

use super::inbox::Inbox;
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use runchain_core::file_system;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Watches folders for as long as it lives.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// Whether every change in all of them is told.
    reports_all: bool,
}

impl Watch {
    pub(super) fn new(inbox: Arc<Inbox>) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) => hear(&inbox, &event),
            Err(_) => inbox.lost(),
        })?;
        Ok(Self {
            watcher: Some(watcher),
            folders: BTreeSet::new(),
            reports_all: true,
        })
    }

    /// Where the system has no watcher to give.
    pub(super) fn none() -> Self {
        Self {
            watcher: None,
            folders: BTreeSet::new(),
            reports_all: false,
        }
    }

    /// Watches these and no others. Answers what could not be watched.
    pub(super) fn set(&mut self, folders: &BTreeSet<PathBuf>) -> Vec<(PathBuf, notify::Error)> {
        let Some(watcher) = &mut self.watcher else {
            return Vec::new();
        };
        for gone in self.folders.difference(folders) {
            // It went with the folder.
            let _ = watcher.unwatch(gone);
        }
        let mut failed = Vec::new();
        let mut watched = BTreeSet::new();
        let mut reports_all = true;
        for folder in folders {
            // A folder that was replaced has the name of one that is watched no more: asked for again, a
            // watch that stands stays as it is.
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    if !self.folders.contains(folder) {
                        reports_all &= reports(folder);
                    }
                    watched.insert(folder.clone());
                }
                // It went meanwhile, which the folder above tells.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => failed.push((folder.clone(), error)),
            }
        }
        let kept = !self.folders.is_disjoint(&watched);
        self.reports_all = failed.is_empty() && reports_all && (self.reports_all || !kept);
        self.folders = watched;
        failed
    }

    /// Whether every change in all folders is told.
    pub(super) fn reports_all(&self) -> bool {
        self.reports_all
    }
}

/// Network file systems and FUSE don't tell of what others write.
fn reports(folder: &Path) -> bool {
    file_system::under(folder).is_ok_and(|under| under.trust().reports_changes())
}

fn hear(inbox: &Inbox, event: &Event) {
    if event.need_rescan() {
        inbox.lost();
    }
    for path in &event.paths {
        match event.kind {
            EventKind::Access(_) => {}
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => inbox.written(path),
            // Also of permissions: what could not be read can now, perhaps.
            EventKind::Modify(ModifyKind::Metadata(_)) => inbox.moved(path, || false),
            _ => inbox.moved(path, || {
                std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
            }),
        }
    }
}
