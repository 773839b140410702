//! An orchestrator's folder with the binary at work in it. Nothing is waited for by sleeping: what
//! must happen is asked for again and again until a deadline.

use super::service::{Service, runchain};
use super::sqlite::stock_sqlite3;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long something may take that should happen soon, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder with `.state/orchestration.db` and `runchain.toml`.
pub(crate) struct Project {
    folder: TempDir,
    root: PathBuf,
}

/// What one call of the binary left.
pub(crate) struct Ran {
    /// The exit code; a signal is none.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The call must have ended with this code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "printed:\n{}{}", self.stdout, self.stderr);
        self
    }

    /// What `--json` printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

impl Project {
    /// `ddl` makes the orchestrator's tables; `runchain` is not installed yet.
    pub(crate) fn new(ddl: &str, config: &str) -> Self {
        Self::within(&std::env::temp_dir(), ddl, config)
    }

    /// The same somewhere else, such as on a disk of its own.
    pub(crate) fn within(parent: &Path, ddl: &str, config: &str) -> Self {
        let folder = tempfile::tempdir_in(parent).unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join(".state")).unwrap();
        let project = Self { folder, root };
        project.configure(config);
        project.sql(ddl);
        project
    }

    /// A project with a table of runs on which runchain is installed.
    pub(crate) fn installed(config: &str) -> Self {
        let project = Self::new(SHAPE_A, config);
        project.runchain(&["install"]).exits(0);
        project
    }

    /// Replaces the configuration. Unless it says otherwise nothing waits: no settling, no backoff
    /// worth a name.
    pub(crate) fn configure(&self, config: &str) {
        let mut text = String::new();
        for (line, key) in [
            ("required_tables = ['runs']", "required_tables"),
            ("archive.settle_ms = 0", "archive.settle_ms"),
            ("retry.base_ms = 1", "retry.base_ms"),
            // Real blocks for each of many projects.
            ("ballast_bytes = 0", "ballast_bytes"),
        ] {
            if !config.contains(key) {
                text += &format!("{line}\n");
            }
        }
        fs::write(self.root.join("runchain.toml"), text + config).unwrap();
    }

    pub(crate) fn root(&self) -> &Path {
        // The folder lives as long as the project.
        debug_assert!(self.folder.path().exists());
        &self.root
    }

    /// Leaves the folder after the test, for who looks into its failure.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path(".state/orchestration.db")
    }

    /// Runs SQL as the orchestrator would: in a stock shell that knows nothing of us.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        stock_sqlite3(
            &self.database(),
            &format!(".timeout {}\n{sql}", PATIENCE.as_millis()),
        )
    }

    /// The rows of a query, one line each.
    #[track_caller]
    pub(crate) fn lines(&self, sql: &str) -> Vec<String> {
        self.sql(sql).lines().map(str::to_owned).collect()
    }

    /// The binary in this folder, without the caller's own settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = runchain(&self.root);
        command.args(arguments);
        command
    }

    /// A line as a person types it in this folder, with the binary under its own name.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_runchain"));
        let path = format!(
            "{}:{}",
            binary.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        shell
            .current_dir(&self.root)
            .env("PATH", path)
            .args(["-c", line])
            .stdin(Stdio::null());
        shell
    }

    /// Runs the binary to its end.
    #[track_caller]
    pub(crate) fn runchain(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts `drain` and waits until it has said that it is there. It may not lead yet.
    pub(crate) fn service(&self) -> Service {
        let service = Service::start(&self.root);
        let pid = service.pid();
        self.until(
            &format!("SELECT count(*) FROM runchain_executors WHERE pid = {pid}"),
            "1",
        );
        service
    }

    /// Waits until a query that gives one value gives this one.
    #[track_caller]
    pub(crate) fn until(&self, query: &str, wanted: &str) {
        let conn = Connection::open_with_flags(self.database(), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        let ask = || {
            conn.query_row(&format!("SELECT CAST(({query}) AS TEXT)"), [], |row| {
                row.get::<_, Option<String>>(0)
            })
            .map_or_else(|error| error.to_string(), Option::unwrap_or_default)
        };
        eventually(&format!("{query} to give {wanted}"), || {
            let found = ask();
            if found == wanted { Ok(()) } else { Err(found) }
        });
    }

    /// Whole lines of a log, as JSON: of one that is being written not yet.
    pub(crate) fn log(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("logs").join(name)).unwrap_or_default();
        whole_lines(&text)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Puts a file in the place of the folder of logs, which nobody can write then. By one exchange: in
    /// a moment without anything in that place a service would make a folder anew.
    pub(crate) fn take_logs_away(&self) {
        fs::write(self.path("logs.away"), "").unwrap();
        self.exchange_logs();
    }

    /// Puts the folder back.
    pub(crate) fn bring_logs_back(&self) {
        self.exchange_logs();
        fs::remove_file(self.path("logs.away")).unwrap();
    }

    fn exchange_logs(&self) {
        let (logs, away) = (self.path("logs"), self.path("logs.away"));
        renameat_with(CWD, &logs, CWD, &away, RenameFlags::EXCHANGE).unwrap();
    }

    /// Waits until everything that was said stands in the logs, and who leads has noted it.
    #[track_caller]
    pub(crate) fn until_told(&self) {
        self.until(
            "SELECT min(event_id) = (SELECT max(id) FROM runchain_events) FROM runchain_cursors",
            "1",
        );
    }

    /// Every file below the folder but for the database's own, with its bytes.
    pub(crate) fn tree(&self, relative: &str) -> Vec<(String, Vec<u8>)> {
        tree(&self.path(relative))
    }
}

/// The lines of a file that somebody may be writing to: the last one may be there in part.
pub(crate) fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    text[..end].lines()
}

/// Every file below a folder with its bytes, by its path from there.
pub(crate) fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| {
            let name = entry
                .path()
                .strip_prefix(folder)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Asks until the answer is good; the last bad one stands in the failure.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(value) => return value,
            Err(found) => assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; last: {found}"
            ),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `runs` as in the field, with a status in upper case.
pub(crate) const SHAPE_A: &str = "
CREATE TABLE runs(
  run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ','now')),
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ','now')), metadata_json TEXT
);
CREATE TABLE events(id INTEGER PRIMARY KEY, run_id TEXT, event_type TEXT);
";

/// `runs` as in the field, with a state in lower case.
pub(crate) const SHAPE_B: &str = "
CREATE TABLE runs(
  run_id TEXT PRIMARY KEY, project_id TEXT, created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ','now')),
  started_at TEXT, ended_at TEXT,
  state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'quarantined', 'canceled'))
);
CREATE TABLE run_events(event_id TEXT PRIMARY KEY, run_id TEXT, event_type TEXT);
";
