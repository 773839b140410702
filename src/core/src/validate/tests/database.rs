//! The database itself, broken.

use super::*;
use crate::validate::database::{Release, release};

#[test]
fn a_database_in_memory_is_a_warning() {
    let conn = Connection::open_in_memory().unwrap();
    let made = checks(&conn, &ValidateOptions::default(), NOW).unwrap();
    assert_says(&made[0], Severity::Warning, "in memory", ".open");
    assert_eq!(
        status(&conn, NOW).unwrap()["executor"]["alive"],
        serde_json::Value::Null
    );
}

#[test]
fn an_older_schema_is_a_warning_and_a_newer_minimum_an_error() {
    let project = Project::installed(SHAPE_A);
    let set = |key: &str, value: &str| {
        project.run(&format!(
            "UPDATE runchain_meta SET value = '{value}' WHERE key = '{key}'"
        ));
    };
    set("schema_version", "1");
    assert_says(
        &project.says("schema_version"),
        Severity::Warning,
        "schema version 1",
        "runchain_install",
    );
    set("schema_version", "99");
    assert_eq!(project.complaints(), Vec::<&str>::new());
    set("min_writer_version", "99");
    assert_says(
        &project.says("min_writer_version"),
        Severity::Error,
        "99 or newer",
        "newer runchain",
    );
    set("schema_version", "two");
    assert_says(
        &project.says("schema_version"),
        Severity::Error,
        "no number",
        "backup",
    );
}

#[test]
fn a_database_without_a_uuid_is_an_error() {
    let project = Project::installed(SHAPE_A);
    project.run("DELETE FROM runchain_meta WHERE key = 'database_uuid'");
    assert_says(
        &project.says("database_uuid"),
        Severity::Error,
        "no database_uuid",
        "sql/schema.sql",
    );
    // What the remedy reads.
    project.run(schema::SCHEMA_SQL);
    assert_eq!(project.complaints(), Vec::<&str>::new());
}

#[test]
fn a_rollback_journal_is_a_warning() {
    let project = Project::installed(SHAPE_A);
    project.run("PRAGMA journal_mode=DELETE");
    assert_says(
        &project.says("journal_mode"),
        Severity::Warning,
        "delete",
        "PRAGMA journal_mode=WAL;",
    );
    project.run("PRAGMA journal_mode=MEMORY");
    assert_says(
        &project.says("journal_mode"),
        Severity::Warning,
        "memory",
        "PRAGMA journal_mode=WAL;",
    );
}

#[test]
fn sqlite_releases_are_judged_by_what_is_known_of_them() {
    for (version, judgement) in [
        (3_006_023, Release::TooOld),
        (3_034_000, Release::TooOld),
        (3_034_001, Release::WalReset),
        (3_040_001, Release::WalReset),
        (3_044_005, Release::WalReset),
        (3_044_006, Release::Fine),
        (3_045_001, Release::WalReset),
        (3_050_006, Release::WalReset),
        (3_050_007, Release::Fine),
        (3_051_000, Release::WalReset),
        (3_051_002, Release::WalReset),
        (3_051_003, Release::Fine),
        (3_053_002, Release::Fine),
    ] {
        assert_eq!(release(version), judgement, "{version}");
    }
}
