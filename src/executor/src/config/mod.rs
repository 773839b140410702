//! Configuration: every key once, its default, and the settings that come out of the layers.
//!
//! Order: flag > `RUNCHAIN_*` > `runchain.toml` > default. Invariant: a [`Settings`] that exists is
//! complete and consistent; all its paths are absolute; each value knows where it came from. What
//! does not belong here: opening the database, creating anything.

mod alerts;
mod check;
mod enumerated;
mod error;
mod file;
mod flags;
mod layers;
mod mappings;
mod reading;
mod reference;
mod schema;
mod shape;
mod show;
mod steps;
mod trust;

pub(crate) use alerts::{Channel, DeadMan, Endpoint, Kind as ChannelKind, Secret, is_http};
pub(crate) use check::{Known, folders, programs, words as unknown_words};
pub(crate) use error::{ConfigError, Problem};
pub(crate) use layers::{Flag, Source, Surroundings};
pub(crate) use mappings::LineMapping;
pub(crate) use reference::reference;
pub(crate) use schema::schema;
pub(crate) use show::{say_ok, show};
pub(crate) use steps::{Action, CommandStep, Step, suggest_step};

use crate::log::{Form, Level, Target};
use crate::metrics::Listen;
use file::{Document, File};
use layers::Layers;
use runchain_core::capture::Capture;
use runchain_core::flags::FlagSource;
use serde_json::Value;
use shape::Key;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The configuration file's name, where it is looked for.
pub(crate) const FILE_NAME: &str = "runchain.toml";

/// One key with its value and origin, for `config show`.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Dotted name, as in the file.
    pub(crate) key: String,
    /// The value that holds.
    pub(crate) value: Value,
    /// The layer that it comes from.
    pub(crate) source: Source,
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty = $name:literal, $default:expr $(, in $limits:expr)?;)*) => {
        /// Dotted name of every key outside `[steps]`.
        pub(crate) const NAMES: &[&str] = &[$($name,)*];

        /// Every key outside the tables, for the reference and the schema.
        fn keys() -> Vec<Key> {
            vec![$(Key::of::<$type>($name, concat!($($doc,)*), &$default, keys!(@limits $($limits)?)),)*]
        }

        /// What holds, after all layers.
        #[derive(Debug, Clone)]
        pub(crate) struct Settings {
            $($(#[doc = $doc])* pub(crate) $field: $type,)*
            /// Folder that relative paths of the file and of defaults start from.
            pub(crate) root: PathBuf,
            /// The configuration file that was read.
            pub(crate) file: Option<PathBuf>,
            /// The chain, each step after those that it needs.
            pub(crate) steps: Vec<Step>,
            /// Tables whose rows are flags.
            pub(crate) flags: Vec<FlagSource>,
            /// Rules, channels, and who expects a sign of life.
            pub(crate) alerts: alerts::Alerts,
            /// How the lines of some event logs are understood.
            pub(crate) mappings: Vec<LineMapping>,
            /// Where each value came from.
            pub(crate) rows: Vec<Row>,
            /// What is odd, but no error.
            pub(crate) notes: Vec<String>,
        }

        impl Settings {
            /// The values of all keys; steps, rows and notes are still empty.
            fn of_keys(layers: &Layers<'_>, gathered: &mut layers::Gathered) -> Self {
                Self {
                    $($field: layers.pick($name, $default, keys!(@limits $($limits)?), gathered),)*
                    root: layers.root.to_owned(),
                    file: layers.file.map(|file| file.path().to_owned()),
                    steps: Vec::new(),
                    flags: Vec::new(),
                    alerts: alerts::Alerts::default(),
                    mappings: Vec::new(),
                    rows: Vec::new(),
                    notes: layers.notes(),
                }
            }
        }
    };
    (@limits) => { None };
    (@limits $limits:expr) => { Some(&($limits)) };
}

/// The longest name of an instance.
const LONGEST_INSTANCE_BYTES: usize = 128;

/// The longest time that a key takes: 31 days.
const LONGEST_MS: i64 = 31 * 24 * 60 * 60 * 1000;

/// The longest age that a key takes: a hundred years.
const LONGEST_DAYS: i64 = 36_500;

keys! {
    /// The orchestrator's database.
    state_db_path: PathBuf = "state_db_path", PathBuf::from(".state/orchestration.db");
    /// The name of this database among others, in each log line, metric and alert; empty: the name of
    /// the project's folder.
    instance: String = "instance", String::new();
    /// The least urgent lines of the service's own log: error, warn, info or debug.
    log_level: Level = "log_level", Level::Info;
    /// Its form: human, json or journal; auto is the journal's where that listens, human on a terminal,
    /// else json.
    log_format: Form = "log_format", Form::Auto;
    /// Where it goes: stderr or stdout.
    log_output: Target = "log_output", Target::Stderr;
    /// Tables that must be there.
    required_tables: Vec<String> = "required_tables", words(&["runs", "tasks", "workstreams"]);
    /// How `install` makes writes known: by triggers, or by comparing.
    capture: Capture = "capture", Capture::Triggers;
    /// Folder of the bags.
    archive_dir: PathBuf = "archive_dir", PathBuf::from(".archive");
    /// Folder of the reports.
    reports_dir: PathBuf = "reports_dir", PathBuf::from("reports");
    /// Folder of `monitor.jsonl` and `archival.jsonl`.
    logs_dir: PathBuf = "logs_dir", PathBuf::from("logs");
    /// Steps executed at once.
    workers: usize = "workers", 4, in 1..=256;
    /// Time between two looks when no watcher reports anything.
    poll_ms: i64 = "poll_ms", 60_000, in 100..=LONGEST_MS;
    /// The same where a watcher can't see what others write: network file systems, FUSE.
    poll_unwatched_ms: i64 = "poll_unwatched_ms", 1_000, in 100..=LONGEST_MS;
    /// WAL on a file system that other machines may share: they never open the database.
    allow_shared_wal: bool = "allow_shared_wal", false;
    /// Least time between two sweeps for what no trigger saw.
    sweep_ms: i64 = "sweep_ms", 600_000, in 100..=LONGEST_MS;
    /// What waited for longer than this at the start is said: EXECUTOR_WAS_DOWN.
    down_after_ms: i64 = "down_after_ms", 300_000, in 1..=LONGEST_MS;
    /// Whether the leader puts lost capture triggers back by itself.
    auto_repair: bool = "auto_repair", false;
    /// How long a graceful stop lets running steps finish.
    stop_grace_ms: i64 = "stop_grace_ms", 20_000, in 0..=LONGEST_MS;
    /// How long an executor's steps stay its own without renewal.
    lease_ms: i64 = "lease_ms", 30_000, in 1_000..=LONGEST_MS;
    /// Size of the file beside the database that is removed when the disk is full; 0: none.
    ballast_bytes: i64 = "ballast_bytes", 16_777_216, in 0..=1 << 40;
    /// Event logs that `drain` follows: files, folders, globs; not given: the usual places.
    ingest_events: Vec<PathBuf> = "ingest.events", Vec::new();
    /// Folders below which event logs may lie that the service reads.
    ingest_roots: Vec<PathBuf> = "ingest.roots", vec![PathBuf::from(".")];
    /// Time between two heartbeat lines of an active run.
    monitor_heartbeat_ms: i64 = "monitor.heartbeat_ms", 10_000, in 100..=LONGEST_MS;
    /// Quiet time after which an active run is reported as stalled.
    monitor_stall_after_ms: i64 = "monitor.stall_after_ms", 300_000, in 100..=LONGEST_MS;
    /// Quiet time before a run's bag is sealed.
    archive_settle_ms: i64 = "archive.settle_ms", 2_000, in 0..=LONGEST_MS;
    /// How long to wait for that quiet at most.
    archive_settle_limit_ms: i64 = "archive.settle_limit_ms", 60_000, in 0..=LONGEST_MS;
    /// Globs of files that belong into a bag.
    archive_files: Vec<String> = "archive.files", Vec::new();
    /// Free space that archiving must leave on the disk.
    archive_min_free_bytes: i64 = "archive.min_free_bytes", 67_108_864, in 0..=i64::MAX;
    /// Size at which a log is rotated; 0: never for its size.
    logs_rotate_bytes: i64 = "logs.rotate_bytes", 67_108_864, in 0..=i64::MAX;
    /// Age of its first line at which a log is rotated; 0: never for its age.
    logs_rotate_after_ms: i64 = "logs.rotate_after_ms", 0, in 0..=LONGEST_MS * 12;
    /// Rotated files of each log that are kept.
    logs_keep_files: usize = "logs.keep_files", 20, in 0..=100_000;
    /// Runs that may end within the window before the rest is held as a storm; 0: never.
    storm_max_transitions: usize = "storm.max_transitions", 1_000, in 0..=100_000;
    /// The window, by the times at which the writes were captured.
    storm_window_ms: i64 = "storm.window_ms", 10_000, in 1_000..=LONGEST_MS;
    /// Steps under way up to which released chains are begun.
    storm_release_ahead: usize = "storm.release_ahead", 100, in 1..=10_000;
    /// Age at which a rotated log goes; 0: never for its age.
    logs_keep_days: i64 = "logs.keep_days", 0, in 0..=LONGEST_DAYS;
    /// Size that the rotated files of each log may have together; 0: any.
    logs_keep_bytes: i64 = "logs.keep_bytes", 0, in 0..=i64::MAX;
    /// Attempts of a step before it is dead.
    retry_max_attempts: u32 = "retry.max_attempts", 5, in 1..=1_000;
    /// Longest wait before the second attempt.
    retry_base_ms: i64 = "retry.base_ms", 1_000, in 1..=LONGEST_MS;
    /// Longest wait before any attempt.
    retry_cap_ms: i64 = "retry.cap_ms", 300_000, in 1..=LONGEST_MS;
    /// A longer line of an event log is skipped in bounded memory and counted as rejected.
    ingest_max_line_bytes: i64 = "ingest.max_line_bytes", 1_048_576, in 1..=1 << 30;
    /// Columns whose values never leave the database: "runs.metadata_json", "*.notes".
    redact_columns: Vec<String> = "redact.columns", Vec::new();
    /// Places in JSON whose values never leave it: `$.token`, `$.steps[*].env`.
    redact_json_paths: Vec<String> = "redact.json_paths", Vec::new();
    /// Globs of column names and JSON keys whose values never leave it: "*password*".
    redact_keys: Vec<String> = "redact.keys", Vec::new();
    /// Address of /metrics and /healthz: "127.0.0.1:9464" (port 0: a free one, which the log names), or "unix:" and a path; empty: none.
    metrics_listen: Listen = "metrics.listen", Listen::default();
    /// Least time between two passes of retention.
    retention_every_ms: i64 = "retention.every_ms", 3_600_000, in 100..=LONGEST_MS;
    /// Age at which a chain that is over loses its steps; 0, here and below: never for that.
    retention_steps_days: i64 = "retention.steps_days", 365, in 0..=LONGEST_DAYS;
    /// The newest of this number of steps stay.
    retention_steps_rows: i64 = "retention.steps_rows", 10_000_000, in 0..=i64::MAX;
    /// The newest of about this size stay.
    retention_steps_bytes: i64 = "retention.steps_bytes", 8_589_934_592, in 0..=i64::MAX;
    /// Age at which a dead step goes as well. Never: somebody has to look at it.
    retention_dead_steps_days: i64 = "retention.dead_steps_days", 0, in 0..=LONGEST_DAYS;
    /// Age at which lifecycle and audit events go from the database (not from the logs).
    retention_events_days: i64 = "retention.events_days", 365, in 0..=LONGEST_DAYS;
    /// The newest of this number stay.
    retention_events_rows: i64 = "retention.events_rows", 20_000_000, in 0..=i64::MAX;
    /// The newest of about this size stay.
    retention_events_bytes: i64 = "retention.events_bytes", 8_589_934_592, in 0..=i64::MAX;
    /// Age at which events go that were kept from event logs.
    retention_ingested_days: i64 = "retention.ingested_days", 365, in 0..=LONGEST_DAYS;
    /// The newest of this number stay.
    retention_ingested_rows: i64 = "retention.ingested_rows", 20_000_000, in 0..=i64::MAX;
    /// The newest of about this size stay.
    retention_ingested_bytes: i64 = "retention.ingested_bytes", 17_179_869_184, in 0..=i64::MAX;
    /// Age at which rejected lines go.
    retention_rejects_days: i64 = "retention.rejects_days", 90, in 0..=LONGEST_DAYS;
    /// The newest of this number stay.
    retention_rejects_rows: i64 = "retention.rejects_rows", 1_000_000, in 0..=i64::MAX;
    /// The newest of about this size stay.
    retention_rejects_bytes: i64 = "retention.rejects_bytes", 1_073_741_824, in 0..=i64::MAX;
    /// Age at which ended rows go from uet_executions and uet_tasks, where runchain made them.
    retention_executions_days: i64 = "retention.executions_days", 365, in 0..=LONGEST_DAYS;
    /// Age at which resolved alerts go.
    retention_alerts_days: i64 = "retention.alerts_days", 365, in 0..=LONGEST_DAYS;
    /// The newest of this number stay.
    retention_alerts_rows: i64 = "retention.alerts_rows", 1_000_000, in 0..=i64::MAX;
    /// Age at which the row of an executor goes that ended without a word.
    retention_executors_days: i64 = "retention.executors_days", 30, in 0..=LONGEST_DAYS;
    /// Age at which a run is forgotten whose row you deleted.
    retention_runs_days: i64 = "retention.runs_days", 365, in 0..=LONGEST_DAYS;
    /// Age at which a bag goes whose chain is over: ten years.
    retention_bags_days: i64 = "retention.bags_days", 3_650, in 0..=LONGEST_DAYS;
    /// The newest of this number stay.
    retention_bags_count: i64 = "retention.bags_count", 0, in 0..=i64::MAX;
    /// The newest of about this size stay.
    retention_bags_bytes: i64 = "retention.bags_bytes", 0, in 0..=i64::MAX;
    /// Age at which reports go of a run whose chain is over: ten years.
    retention_reports_days: i64 = "retention.reports_days", 3_650, in 0..=LONGEST_DAYS;
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

impl Settings {
    /// Reads all layers.
    ///
    /// # Errors
    /// Everything that is wrong, at once; a file with a syntax error stops at that.
    pub(crate) fn load(
        flags: &[Flag],
        config_flag: Option<&Path>,
        around: &Surroundings,
    ) -> Result<Self, ConfigError> {
        let named_root = named_database(flags, around).map(|path| project_of(&path));
        let document = match named_file(config_flag, around) {
            Some(path) => Some(Document::read(path)?),
            None => [named_root.as_deref(), Some(around.folder.as_path())]
                .into_iter()
                .flatten()
                .map(|folder| folder.join(FILE_NAME))
                .find(|path| stands(path))
                .map(Document::read)
                .transpose()?,
        };
        let file = document.as_ref().map(File::parse).transpose()?;
        let root = match &document {
            Some(document) => document.folder(),
            None => named_root.as_deref().unwrap_or(&around.folder),
        };
        let layers = Layers {
            flags,
            around,
            file: file.as_ref(),
            root,
        };
        let mut gathered = layers::Gathered::of_file(file.as_ref());
        let mut settings = Self::of_keys(&layers, &mut gathered);
        settings.name_instance(&mut gathered);
        settings.steps = steps::resolve(&layers, settings.retry_max_attempts, &mut gathered);
        settings.flags = flags::resolve(&layers, &mut gathered);
        settings.alerts = alerts::resolve(&layers, &mut gathered);
        settings.mappings = mappings::resolve(&layers, &mut gathered);
        settings.rows = gathered.rows;
        settings.consistent(gathered.problems)
    }

    /// Without a name of its own, an instance has its project's.
    fn name_instance(&mut self, gathered: &mut layers::Gathered) {
        if self.instance.is_empty() {
            let project = project_of(&self.state_db_path);
            let folder = project.file_name().unwrap_or(OsStr::new("root"));
            self.instance = folder.to_string_lossy().into_owned();
            for row in gathered.rows.iter_mut().filter(|row| row.key == "instance") {
                row.value = self.instance.clone().into();
            }
        }
        if self.instance.len() > LONGEST_INSTANCE_BYTES || self.instance.contains(char::is_control) {
            gathered.problems.push(Problem::new(
                None,
                format!("instance is {:?}, which can't stand in every line", self.instance),
                format!("name it in {LONGEST_INSTANCE_BYTES} bytes at most, without control characters"),
            ));
        }
    }

    /// The origin of a key's value.
    pub(crate) fn source_of(&self, key: &str) -> Option<&Source> {
        self.rows.iter().find(|row| row.key == key).map(|row| &row.source)
    }

    /// What one value's type can't say: globs, and the rules between keys.
    fn consistent(self, mut problems: Vec<Problem>) -> Result<Self, ConfigError> {
        let pairs = [
            (
                "archive.settle_ms",
                self.archive_settle_ms,
                "archive.settle_limit_ms",
                self.archive_settle_limit_ms,
            ),
            (
                "retry.base_ms",
                self.retry_base_ms,
                "retry.cap_ms",
                self.retry_cap_ms,
            ),
        ];
        for (lesser, low, greater, high) in pairs {
            if low > high {
                let place = self.source_of(lesser).map(ToString::to_string);
                problems.push(Problem::new(
                    place,
                    format!("{lesser} is {low}, more than {greater}, which is {high}"),
                    format!("lower {lesser} or raise {greater}"),
                ));
            }
        }
        for error in self
            .archive_files
            .iter()
            .filter_map(|glob| globset::Glob::new(glob).err())
        {
            let place = self.source_of("archive.files").map(ToString::to_string);
            problems.push(Problem::new(
                place,
                format!("archive.files: {error}"),
                "mend the glob",
            ));
        }
        if let Err(error) = crate::follow::Places::named(&self.ingest_events, &self) {
            let place = self.source_of("ingest.events").map(ToString::to_string);
            problems.push(Problem::new(
                place,
                format!("ingest.events: {error}"),
                "mend the glob",
            ));
        }
        for what in crate::redact::Redactor::of(&self).err().unwrap_or_default() {
            let place = what.split(':').next().and_then(|key| self.source_of(key));
            problems.push(Problem::new(
                place.map(ToString::to_string),
                what,
                "mend the rule",
            ));
        }
        if problems.is_empty() {
            Ok(self)
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// The database that a flag or the environment names: it decides where a project is looked for.
fn named_database(flags: &[Flag], around: &Surroundings) -> Option<PathBuf> {
    let flag = flags
        .iter()
        .find(|flag| flag.key == "state_db_path")
        .map(|flag| flag.text.as_os_str());
    flag.or_else(|| around.variable("RUNCHAIN_STATE_DB_PATH"))
        .map(|text| around.folder.join(text))
}

fn named_file(flag: Option<&Path>, around: &Surroundings) -> Option<PathBuf> {
    flag.or_else(|| around.variable("RUNCHAIN_CONFIG").map(Path::new))
        .map(|path| around.folder.join(path))
}

/// Whether a file is there; one that can't be looked at or a dangling link counts, so that it is
/// reported and not passed over.
fn stands(path: &Path) -> bool {
    let absent =
        |error: std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    !std::fs::symlink_metadata(path).is_err_and(absent)
}

/// The project that a database belongs to: the parent of its folder when that is named `.state`,
/// else its folder.
pub(crate) fn project_of(database: &Path) -> PathBuf {
    let folder = database.parent().unwrap_or(Path::new("/"));
    match folder.parent() {
        Some(parent) if folder.file_name() == Some(OsStr::new(".state")) => parent.to_owned(),
        _ => folder.to_owned(),
    }
}

#[cfg(test)]
mod tests;
