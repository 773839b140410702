//! Upgrade and downgrade: what the previous release left is taken over whole or not at all, its binary
//! and this one drain one database side by side, and either can undo the other's installation.
//!
//! The previous release is built from the repository's history (`support/previous.rs`);
//! `upgrade/schema_2.sql` is a database that its binary made.

use crate::support::{Outside, Project, SHAPE_A, Service, disk_shim, eventually, previous_release};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

/// A database of release 0.1.0 with live steps in every state.
const SCHEMA_2: &str = include_str!("upgrade/schema_2.sql");

/// The previous release in a project's folder, like [`Project::command`].
fn previous(project: &Project, arguments: &[&str]) -> Command {
    let mut command = Command::new(previous_release());
    command.current_dir(project.root()).args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RUNCHAIN_")) {
        command.env_remove(name);
    }
    command
}

/// A project whose configuration the previous release can read: it knows no newer key.
fn plain_project(config: &str) -> Project {
    let project = Project::new(SHAPE_A, "");
    let common = "required_tables = ['runs']\narchive.settle_ms = 0\nretry.base_ms = 1\n";
    fs::write(project.path("runchain.toml"), format!("{common}{config}")).unwrap();
    project
}

#[track_caller]
fn previous_does(project: &Project, arguments: &[&str]) {
    let output = previous(project, arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Every row of every table by the columns that are named, as SQL literals.
type Rows = BTreeMap<String, Vec<String>>;

fn columns_of(conn: &Connection) -> BTreeMap<String, Vec<String>> {
    let mut statement = conn
        .prepare(
            "SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c
             WHERE m.type = 'table' AND m.name <> 'sqlite_sequence' ORDER BY m.name, c.cid",
        )
        .unwrap();
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    for row in rows {
        let (table, column): (String, String) = row.unwrap();
        columns.entry(table).or_default().push(column);
    }
    columns
}

fn rows_of(conn: &Connection, columns: &BTreeMap<String, Vec<String>>) -> Rows {
    let read = |table: &String, columns: &Vec<String>| {
        let values: Vec<String> = columns.iter().map(|name| format!("quote(\"{name}\")")).collect();
        let sql = format!("SELECT {} FROM {table}", values.join(" || ' ' || "));
        let mut statement = conn.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    columns
        .iter()
        .map(|(table, columns)| (table.clone(), read(table, columns)))
        .collect()
}

/// What the schema holds, and its version.
fn schema_of(project: &Project) -> String {
    project.sql(
        "SELECT value FROM runchain_meta WHERE key = 'schema_version';
         SELECT type, name, sql FROM sqlite_master WHERE name LIKE 'runchain%' ORDER BY type, name;",
    )
}

#[test]
fn what_the_previous_release_left_is_all_there_after_the_migration_and_goes_on() {
    let project = Project::new(SCHEMA_2, "");
    let (columns, before) = {
        let conn = Connection::open(project.database()).unwrap();
        let columns = columns_of(&conn);
        let rows = rows_of(&conn, &columns);
        (columns, rows)
    };
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "the fixture has no row in {table}");
    }
    project.runchain(&["install"]).exits(0);
    let after = rows_of(&Connection::open(project.database()).unwrap(), &columns);
    for (table, rows) in &before {
        let after: BTreeSet<&String> = after[table].iter().collect();
        let gone: Vec<&String> = rows.iter().filter(|row| !after.contains(row)).collect();
        let wanted: &[&str] = match table.as_str() {
            "runchain_meta" => &["'schema_version' '2'"],
            _ => &[],
        };
        assert_eq!(gone, wanted, "{table}");
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let chains = project.sql(
        "SELECT run_id, generation, step, state, attempts, lost FROM runchain_steps ORDER BY run_id, generation, step;",
    );
    assert_eq!(
        chains,
        "again|1|archive|done|1|0\nagain|1|report|done|1|0\nagain|2|archive|done|1|0\nagain|2|report|done|1|0\n\
         before|1|archive|done|1|0\nbefore|1|report|done|1|0\n\
         cancelled|1|archive|cancelled|0|0\ncancelled|1|report|cancelled|0|0\n\
         dead|1|archive|dead|5|0\ndead|1|report|waiting|0|0\n\
         leased|1|archive|done|1|0\nleased|1|report|done|1|0\n\
         queued|1|archive|done|1|0\nqueued|1|report|done|1|0\n\
         ready|1|archive|done|1|0\nready|1|report|done|1|0\n\
         running|1|archive|done|2|1\nrunning|1|report|done|1|0\n\
         through|1|archive|done|1|0\nthrough|1|report|done|1|0\n"
    );
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "0\n");
}

/// Waits until the executor of this service holds the lead.
fn until_it_leads(project: &Project, service: &Service) {
    let lock = format!("{}.runchain-lock", project.database().display());
    eventually("the lead to pass", || {
        let holder = fs::read_to_string(&lock).unwrap_or_default();
        if holder.contains(&format!("-{}-", service.pid())) {
            Ok(())
        } else {
            Err(format!("{holder}\n{}", service.told()))
        }
    });
}

/// Runs that end, one that ends twice; all of it is done and stands in the logs.
fn chains_come(project: &Project, name: &str) {
    let rows: Vec<String> = (0..6).map(|n| format!("('{name}-{n}', 'COMPLETED')")).collect();
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES {}, ('{name}-twice', 'FAILED');
         UPDATE runs SET status = 'RUNNING' WHERE run_id = '{name}-twice';
         UPDATE runs SET status = 'COMPLETED' WHERE run_id = '{name}-twice';",
        rows.join(", ")
    ));
    project.until(
        &format!("SELECT count(*) FROM runchain_steps WHERE run_id GLOB '{name}-*' AND state = 'done' AND generation = CASE run_id WHEN '{name}-twice' THEN 2 ELSE 1 END"),
        "14",
    );
    project.until(
        "SELECT count(*) FROM runchain_cursors WHERE event_id = (SELECT max(id) FROM runchain_events)",
        "2",
    );
}

#[test]
fn the_previous_release_and_this_one_drain_one_database_side_by_side() {
    for journal in ["delete", "wal"] {
        let project = plain_project("monitor.heartbeat_ms = 100\n");
        project.sql(&format!("PRAGMA journal_mode = {journal};"));
        previous_does(&project, &["install"]);
        let old = Service::of(&mut previous(&project, &["drain"]));
        until_it_leads(&project, &old);
        chains_come(&project, "old");
        // It migrates the schema under the other's feet, and works without the lead.
        let new = project.service();
        chains_come(&project, "old-leads");
        assert!(old.terminate().success());
        until_it_leads(&project, &new);
        chains_come(&project, "new-leads");
        let old = Service::of(&mut previous(&project, &["drain"]));
        project.until(
            &format!(
                "SELECT count(*) FROM runchain_executors WHERE pid = {}",
                old.pid()
            ),
            "1",
        );
        chains_come(&project, "both");
        assert!(new.terminate().success());
        until_it_leads(&project, &old);
        chains_come(&project, "old-leads-again");
        let new = project.service();
        // Now without a word.
        old.kill();
        until_it_leads(&project, &new);
        chains_come(&project, "new-alone");
        assert!(new.terminate().success());
        // The previous release records no bag that it placed for a chain overtaken meanwhile; a pass of ours does.
        project.runchain(&["prune"]).exits(0);
        Outside::of(project.root()).everything_is_done_once();
        assert_eq!(
            project.sql("SELECT count(*) FROM runchain_failures;"),
            "0\n",
            "{journal}"
        );
    }
}

#[test]
fn a_kill_in_the_middle_of_a_migration_leaves_the_old_or_the_new() {
    for journal in ["delete", "wal"] {
        let whole = Project::new(SCHEMA_2, "");
        let old = schema_of(&whole);
        whole.runchain(&["install"]).exits(0);
        let new = schema_of(&whole);
        assert_ne!(old, new);
        let mut left_old = 0;
        for number in 1.. {
            let project = Project::new(SCHEMA_2, "");
            project.sql(&format!("PRAGMA journal_mode = {journal};"));
            let killed = project
                .command(&["install"])
                .env("LD_PRELOAD", disk_shim())
                .env("DISK_SHIM_ROOT", project.root())
                .env("DISK_SHIM_FAULT", format!("kill:orchestration.db:{number}:1"))
                .output()
                .unwrap();
            if killed.status.success() {
                assert!(
                    left_old > 3,
                    "{journal}: only {left_old} kills came before the commit"
                );
                break;
            }
            assert_eq!(
                killed.status.code(),
                None,
                "{}",
                String::from_utf8_lossy(&killed.stderr)
            );
            assert_eq!(project.sql("PRAGMA integrity_check;"), "ok\n");
            let left = schema_of(&project);
            assert!(
                left == old || left == new,
                "{journal}, killed before operation {number}: neither\n{old}\nnor\n{new}\nbut\n{left}"
            );
            left_old += usize::from(left == old);
            project.runchain(&["install"]).exits(0);
            assert_eq!(schema_of(&project), new, "{journal}, {number}");
        }
    }
}

#[test]
fn the_previous_release_works_on_a_database_of_this_one_and_takes_it_off_again() {
    const USERS: &str = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'runchain%' AND name NOT LIKE 'sqlite_%'
                           AND name <> 'archival_log' AND name NOT LIKE 'uet_%' AND tbl_name <> 'archival_log' ORDER BY name;";
    let project = plain_project("");
    let before = project.sql(USERS);
    project.runchain(&["install"]).exits(0);
    let tables = "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name;";
    let (version, ours) = (
        schema_of(&project).lines().next().unwrap().to_owned(),
        project.sql(tables),
    );
    previous_does(&project, &["install"]);
    assert_eq!(schema_of(&project).lines().next(), Some(version.as_str()));
    assert_eq!(project.sql(tables), ours);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    previous_does(&project, &["drain", "--until-idle"]);
    Outside::of(project.root()).everything_is_done_once();

    // A view or a trigger whose table is gone makes it fail.
    let rename = "BEGIN; ALTER TABLE runs RENAME TO jobs; ROLLBACK;";
    previous_does(&project, &["uninstall"]);
    assert_eq!(
        project.sql("SELECT name FROM sqlite_master WHERE type <> 'table' AND type <> 'index';"),
        "",
        "nothing of ours may stand in the way of the user's table"
    );
    assert_eq!(project.sql(USERS), before);
    project.sql(rename);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('s', 'FAILED');");

    previous_does(&project, &["uninstall", "--purge"]);
    project.sql(rename);
    // Tables that only this version knows go by this version's own hand.
    project.runchain(&["uninstall", "--purge"]).exits(0);
    assert_eq!(project.sql(USERS), before);
    assert_eq!(
        project
            .sql("SELECT name FROM sqlite_master WHERE name LIKE 'runchain%' OR tbl_name LIKE 'runchain%';"),
        ""
    );
}
