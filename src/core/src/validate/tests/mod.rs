//! Each test breaks exactly one thing in a healthy database and reads the finding.

mod database;
mod files;
mod installation;
mod work;

use super::*;
use rusqlite::OpenFlags;
use tempfile::TempDir;

const NOW: Millis = Millis(1_800_000_000_000);

const SHAPE_A: &str = "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT);
     CREATE TABLE tasks(id INTEGER PRIMARY KEY, run_id TEXT); CREATE TABLE workstreams(ws_id TEXT PRIMARY KEY)";
const SHAPE_B: &str = "CREATE TABLE runs(run_id TEXT PRIMARY KEY, project_id TEXT, state TEXT NOT NULL);
     CREATE TABLE step_attempts(step_attempt_id TEXT PRIMARY KEY, run_id TEXT);
     CREATE TABLE run_events(event_id TEXT PRIMARY KEY, run_id TEXT)";

/// A project folder with a state database in it.
struct Project {
    folder: TempDir,
    conn: Connection,
}

impl Project {
    fn bare(ddl: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".state")).unwrap();
        let conn = Connection::open(folder.path().join(".state/orchestration.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode=WAL").unwrap();
        conn.execute_batch(ddl).unwrap();
        Self { folder, conn }
    }

    fn installed(ddl: &str) -> Self {
        let project = Self::bare(ddl);
        let mapping = Mapping::resolve(&project.conn, &crate::mapping::MappingRequest::default()).unwrap();
        schema::migrate(&project.conn).unwrap();
        project.conn.execute_batch(&mapping.triggers_sql()).unwrap();
        project
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join(".state/orchestration.db")
    }

    fn run(&self, sql: &str) -> &Self {
        self.conn.execute_batch(sql).unwrap();
        self
    }

    fn findings(&self) -> Vec<Finding> {
        checks(&self.conn, &ValidateOptions::default(), NOW).unwrap()
    }

    /// What one check says.
    fn says(&self, check: &str) -> Finding {
        self.findings()
            .into_iter()
            .find(|finding| finding.check == check)
            .expect(check)
    }

    /// Checks that are not ok, but for those that judge the machine and the service around the test.
    fn complaints(&self) -> Vec<&'static str> {
        self.findings()
            .iter()
            .filter(|finding| finding.severity != Severity::Ok)
            .map(|finding| finding.check)
            .filter(|check| !["executor", "file_system"].contains(check))
            .collect()
    }
}

fn assert_says(finding: &Finding, severity: Severity, found: &str, remedy: &str) {
    assert_eq!(finding.severity, severity, "{finding:?}");
    assert!(finding.found.contains(found), "{finding:?}");
    assert!(
        finding.remedy.as_deref().unwrap_or_default().contains(remedy),
        "{finding:?}"
    );
}

#[test]
fn a_healthy_database_has_no_complaint_and_every_check_is_made() {
    let project = Project::installed(SHAPE_A);
    assert_eq!(project.complaints(), Vec::<&str>::new());
    let made: Vec<&str> = project.findings().iter().map(|finding| finding.check).collect();
    assert_eq!(made, CHECKS.iter().map(|check| check.name).collect::<Vec<_>>());
}

#[test]
fn json_counts_what_the_findings_say() {
    let project = Project::installed(SHAPE_A);
    project.run("DROP TABLE tasks; UPDATE runchain_meta SET value = '1' WHERE key = 'schema_version'");
    let options = ValidateOptions {
        look_at_files: false,
        ..ValidateOptions::default()
    };
    let json = to_json(&checks(&project.conn, &options, NOW).unwrap());
    assert_eq!(
        (&json["ok"], &json["errors"], &json["warnings"]),
        (&false.into(), &1.into(), &1.into()),
        "{json}"
    );
    assert_eq!(json["checks"][1]["check"], "required_tables");
    assert_eq!(json["checks"][1]["severity"], "error");
}

#[test]
fn files_are_not_looked_at_unless_allowed() {
    let project = Project::installed(SHAPE_A);
    let options = ValidateOptions {
        look_at_files: false,
        ..ValidateOptions::default()
    };
    let made = checks(&project.conn, &options, NOW).unwrap();
    for check in ["executor", "file_system", "sidecar_files", "nearby_databases"] {
        assert!(made.iter().all(|finding| finding.check != check), "{check}");
    }
}

#[test]
fn a_read_only_connection_gets_the_same_findings() {
    let project = Project::installed(SHAPE_A);
    project.run("INSERT INTO runs VALUES ('run-1', 'ODD', ''); DROP TRIGGER runchain_capture_delete");
    let reader = Connection::open_with_flags(project.database(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert_eq!(
        checks(&reader, &ValidateOptions::default(), NOW).unwrap(),
        project.findings()
    );
    status(&reader, NOW).unwrap();
}

#[test]
fn a_locked_or_damaged_database_is_findings_and_not_a_failure() {
    let project = Project::installed(SHAPE_A);
    project.run("PRAGMA journal_mode=DELETE");
    let reader = Connection::open(project.database()).unwrap();
    reader.busy_timeout(std::time::Duration::ZERO).unwrap();
    project.run("BEGIN EXCLUSIVE");
    let locked = checks(&reader, &ValidateOptions::default(), NOW).unwrap();
    assert_eq!(locked.len(), 1, "not one wait for each check: {locked:?}");
    assert_says(&locked[0], Severity::Error, "holds the lock", "again");
    project.run("ROLLBACK");

    let path = project.folder.path().join("no-database.db");
    std::fs::write(
        &path,
        "this is no database, but long enough to be taken for the header of one: 123",
    )
    .unwrap();
    let damaged = checks(
        &Connection::open(&path).unwrap(),
        &ValidateOptions::default(),
        NOW,
    )
    .unwrap();
    let tables = damaged
        .iter()
        .find(|finding| finding.check == "required_tables")
        .unwrap();
    assert_says(tables, Severity::Error, "not a database", "integrity_check");
}
