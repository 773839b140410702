//! Real migration tools on an installed database: nothing that they do fails because of us, what they
//! cost us is noticed and mended, and afterwards the database is as the tool alone would have left it.

mod docs;
mod tools;

use crate::support::{Project, Service, eventually};
use tools::{Change, Snippet, Tool};

/// What a change does to the capture triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// They stand.
    Kept,
    /// They are gone; a repair puts them back.
    Lost,
    /// SQLite has taken them along under the new name; a repair finds it.
    Renamed,
    /// They are gone, and the name that the status column has now must be said.
    Named,
    /// There is nothing left to capture; a repair says so.
    Gone,
    /// SQLite refuses the change while they name the column.
    Refused,
}
use Outcome::{Gone, Kept, Lost, Named, Refused, Renamed};

/// What happens to each tool's changes, in the order of [`Change::ALL`]: rebuild, add, rename and drop
/// of a column that isn't mapped, rename and drop of the status, rename and drop of the table.
fn outcomes(tool: Tool) -> [Outcome; 8] {
    match tool {
        // Its batch mode makes the table anew for all but an added column.
        Tool::Alembic => [Lost, Kept, Lost, Lost, Named, Gone, Renamed, Gone],
        Tool::Django | Tool::Drizzle => [Lost, Kept, Kept, Kept, Renamed, Refused, Renamed, Gone],
        Tool::Prisma => [Lost, Kept, Kept, Lost, Renamed, Gone, Renamed, Gone],
    }
}

#[test]
fn what_alembic_changes_passes_is_mended_and_leaves_no_trace_of_us() {
    every_change(Tool::Alembic);
}

#[test]
fn what_django_changes_passes_is_mended_and_leaves_no_trace_of_us() {
    every_change(Tool::Django);
}

#[test]
fn what_drizzle_changes_passes_is_mended_and_leaves_no_trace_of_us() {
    every_change(Tool::Drizzle);
}

#[test]
fn what_prisma_changes_passes_is_mended_and_leaves_no_trace_of_us() {
    every_change(Tool::Prisma);
}

fn every_change(tool: Tool) {
    for (change, outcome) in Change::ALL.into_iter().zip(outcomes(tool)) {
        let project = installed(tool, "");
        let twin = Project::new("", "");
        tool.create(&twin, Snippet::With);
        twin.sql(RUNS);
        change_and_mend(tool, change, outcome, &project);
        tool.change(&twin, change).output();
        if let Some(sql) = meanwhile(change, outcome) {
            twin.sql(&sql);
        }
        project.runchain(&["uninstall"]).exits(0);
        let which = format!("{tool:?} {change:?}");
        assert_eq!(project.sql(USERS_OBJECTS), twin.sql(USERS_OBJECTS), "{which}");
        assert_eq!(rows(&project, change), rows(&twin, change), "{which}");
        project.runchain(&["uninstall", "--purge"]).exits(0);
        assert_eq!(project.sql(ALL_OBJECTS), twin.sql(ALL_OBJECTS), "{which}");
        assert_eq!(rows(&project, change), rows(&twin, change), "{which}");
        assert_eq!(project.sql("PRAGMA integrity_check;"), "ok\n");
    }
}

/// The change, what runs do before anybody has noticed, the repair, and what it must have found.
fn change_and_mend(tool: Tool, change: Change, outcome: Outcome, project: &Project) {
    if outcome == Refused {
        let before = project.sql(ALL_OBJECTS);
        let refused = tool.change(project, change);
        let said = refused.stdout + &refused.stderr;
        assert!(
            !refused.success && said.contains("error in trigger runchain_capture_insert after drop column"),
            "{said}"
        );
        assert_eq!(project.sql(ALL_OBJECTS), before);
        project.runchain(&["uninstall"]).exits(0);
        tool.change(project, change).output();
        return;
    }
    tool.change(project, change).output();
    let triggers = project.runchain(&["status", "--json"]).exits(0).json()["triggers"].clone();
    assert_eq!(
        triggers["in_place"],
        outcome == Kept,
        "{tool:?} {change:?}: {triggers}"
    );
    let meanwhile = meanwhile(change, outcome);
    if let Some(sql) = &meanwhile {
        project.sql(sql);
    }
    let repair = project.runchain(&["install", "--repair"]);
    match outcome {
        Kept | Lost | Renamed => drop(repair.exits(0)),
        Named => {
            let says = "runchain install --repair --table runs --id-column run_id --status-column NAME";
            assert!(repair.exits(10).stderr.contains(says));
            project
                .runchain(&["install", "--repair", "--status-column", "word"])
                .exits(0);
        }
        Gone | Refused => drop(repair.exits(10)),
    }
    if meanwhile.is_some() {
        project.runchain(&["drain", "--until-idle"]).exits(0);
        let archived = "SELECT run_id, count(*) FROM archival_log GROUP BY 1 ORDER BY 1;";
        assert_eq!(
            project.lines(archived),
            ["done|1", "ends|1", "new|1"],
            "{tool:?} {change:?}"
        );
        let valid = project.runchain(&["status", "--json"]).exits(0).json();
        assert_eq!(valid["triggers"]["in_place"], true, "{valid}");
    }
}

/// A run ends, another begins and ends, where the table still has a place for it.
fn meanwhile(change: Change, outcome: Outcome) -> Option<String> {
    if matches!(outcome, Gone | Refused) {
        return None;
    }
    let table = if change == Change::RenameTable {
        "jobs"
    } else {
        "runs"
    };
    let status = if change == Change::RenameStatus {
        "word"
    } else {
        "status"
    };
    Some(format!(
        "UPDATE {table} SET {status} = 'COMPLETED' WHERE run_id = 'ends';
         INSERT INTO {table}(run_id, {status}) VALUES ('new', 'FAILED');"
    ))
}

const RUNS: &str = "INSERT INTO runs(run_id, status, priority, note) VALUES
  ('done', 'COMPLETED', 1, 'a'), ('ends', 'RUNNING', 2, 'b'), ('goes on', 'RUNNING', NULL, NULL);";

/// The tool's table with runchain on it and three runs that it knows.
#[track_caller]
fn installed(tool: Tool, config: &str) -> Project {
    // The user's own list of required tables would have to follow a renamed table.
    let project = Project::new("", &format!("required_tables = []\n{config}"));
    tool.create(&project, Snippet::With);
    project.runchain(&["install"]).exits(0);
    project.sql(RUNS);
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project
}

/// What stands in the schema but for what runchain has recorded. (Nobody can drop `sqlite_sequence`.)
const USERS_OBJECTS: &str = "SELECT type, name, tbl_name, sql FROM sqlite_master
  WHERE tbl_name NOT LIKE 'runchain%' AND tbl_name NOT IN ('archival_log', 'uet_executions', 'uet_tasks', 'sqlite_sequence')
  ORDER BY 1, 2;";
const ALL_OBJECTS: &str =
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name <> 'sqlite_sequence' ORDER BY 1, 2;";

fn rows(project: &Project, change: Change) -> String {
    match change {
        Change::DropTable => String::new(),
        Change::RenameTable => project.sql("SELECT * FROM jobs ORDER BY run_id;"),
        _ => project.sql("SELECT * FROM runs ORDER BY run_id;"),
    }
}

#[test]
fn an_executor_notices_what_alembic_and_django_cost_and_a_repair_misses_nothing() {
    for tool in [Tool::Alembic, Tool::Django] {
        lost_and_repaired_by_command(tool);
        lost_and_repaired_by_itself(tool);
    }
}

#[test]
fn an_executor_notices_what_drizzle_and_prisma_cost_and_a_repair_misses_nothing() {
    for tool in [Tool::Drizzle, Tool::Prisma] {
        lost_and_repaired_by_command(tool);
        lost_and_repaired_by_itself(tool);
    }
}

const ALERT: &str = "SELECT group_concat(state) FROM runchain_alerts WHERE rule = 'triggers_lost'";
const TOLD: &str = "SELECT group_concat(type) FROM (SELECT type FROM runchain_events WHERE type LIKE 'TRIGGERS%' ORDER BY id)";
const ARCHIVED: &str = "SELECT group_concat(run_id) FROM (SELECT run_id FROM archival_log ORDER BY run_id)";

/// drizzle-kit with libsql waits for no lock: in rollback mode a reader is enough to end it with
/// "database is locked". In WAL nobody reads in its way, and an executor that has told everything writes
/// nothing meanwhile.
fn in_wal(project: &Project) {
    project.sql("PRAGMA journal_mode = wal;");
}

/// The fallback poll is a minute away and the next sweep ten: only the commit itself can have woken it.
fn lost_and_repaired_by_command(tool: Tool) {
    let project = installed(tool, "");
    in_wal(&project);
    let mut service = project.service();
    project.until_told();
    tool.change(&project, Change::Rebuild).output();
    project.until(ALERT, "firing");
    project.until(TOLD, "TRIGGERS_LOST");
    told(&service, "TRIGGERS_LOST: runchain_capture_insert is missing");
    let status = project.runchain(&["status"]).exits(0).stdout;
    assert!(status.contains("triggers  LOST: "), "{status}");
    let problem = "SELECT subject || ': ' || remedy FROM runchain_problems WHERE problem = 'alert';";
    assert!(
        project
            .sql(problem)
            .starts_with("runs: runchain install --repair")
    );
    let validated = project.runchain(&["validate"]).exits(10).stdout;
    assert!(
        validated.contains("runchain_capture_delete is missing"),
        "{validated}"
    );

    project.sql(&meanwhile(Change::Rebuild, Lost).unwrap());
    project.runchain(&["install", "--repair"]).exits(0);
    project.until(ARCHIVED, "done,ends,new");
    project.until(ALERT, "resolved");
    project.until(TOLD, "TRIGGERS_LOST,TRIGGERS_RESTORED");
    // And what is written from now on is captured.
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'goes on';");
    project.until(ARCHIVED, "done,ends,goes on,new");
    service.assert_alive();
    project.until_told();
    let logged: Vec<String> = project
        .log("monitor.jsonl")
        .iter()
        .filter_map(|line| line["event"].as_str())
        .filter(|event| event.starts_with("TRIGGERS"))
        .map(str::to_owned)
        .collect();
    assert_eq!(logged, ["TRIGGERS_LOST", "TRIGGERS_RESTORED"]);
}

fn lost_and_repaired_by_itself(tool: Tool) {
    let project = installed(tool, "auto_repair = true");
    in_wal(&project);
    let mut service = project.service();
    project.until_told();
    tool.change(&project, Change::Rebuild).output();
    project.sql(&meanwhile(Change::Rebuild, Lost).unwrap());
    project.until(TOLD, "TRIGGERS_LOST,TRIGGERS_RESTORED");
    project.until(ALERT, "resolved");
    project.until(ARCHIVED, "done,ends,new");
    told(
        &service,
        "put the capture triggers back on table runs (auto_repair)",
    );
    project.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'goes on';");
    project.until(ARCHIVED, "done,ends,goes on,new");
    service.assert_alive();
}

fn told(service: &Service, sentence: &str) {
    eventually(sentence, || {
        let told = service.told();
        if told.contains(sentence) {
            Ok(())
        } else {
            Err(told)
        }
    });
}

#[test]
fn auto_repair_follows_a_renamed_column_and_leaves_a_renamed_table_to_a_person() {
    let project = installed(Tool::Django, "auto_repair = true");
    let mut service = project.service();
    Tool::Django.change(&project, Change::RenameStatus).output();
    project.until("SELECT status_column FROM runchain_mapping", "word");
    project.sql(&meanwhile(Change::RenameStatus, Renamed).unwrap());
    project.until(ARCHIVED, "done,ends,new");
    // Captured, but nobody can look at the run before a person has spoken.
    project
        .sql("ALTER TABLE runs RENAME TO jobs; UPDATE jobs SET word = 'COMPLETED' WHERE run_id = 'goes on';");
    told(
        &service,
        "can't repair by itself: table runs or its columns were renamed",
    );
    project.runchain(&["install", "--repair"]).exits(0);
    project.until(ARCHIVED, "done,ends,goes on,new");
    service.assert_alive();
}

#[test]
fn with_the_snippets_of_the_docs_no_tool_proposes_to_drop_what_is_ours() {
    for (tool, nothing) in [
        (Tool::Alembic, "No new upgrade operations detected"),
        (Tool::Django, "No changes detected"),
        (Tool::Drizzle, "No changes detected"),
        (Tool::Prisma, "already in sync"),
    ] {
        let project = installed(tool, "");
        let proposal = tool.proposal(&project);
        assert!(proposal.contains(nothing), "{tool:?}: {proposal}");
        for ours in ["runchain", "archival_log", "uet_"] {
            assert!(!proposal.contains(ours), "{tool:?}: {proposal}");
        }
    }
}

#[test]
fn without_the_snippets_they_would() {
    for (tool, drop) in [
        (Tool::Alembic, "('remove_table', Table('runchain_meta'"),
        (Tool::Drizzle, "DROP TABLE `runchain_meta`"),
        (
            Tool::Prisma,
            "You are about to drop the `runchain_meta` table, which is not empty",
        ),
    ] {
        let project = Project::new("", "");
        tool.create(&project, Snippet::Without);
        project.runchain(&["install"]).exits(0);
        let proposal = tool.proposal(&project);
        assert!(proposal.contains(drop), "{tool:?}: {proposal}");
    }
}
