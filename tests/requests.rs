//! What somebody asks for: by SQL function, by command line, and by plain INSERT from a connection
//! that has never loaded us. All three get the same, and all of it is audited.

use crate::support::{Finished, Project, SHAPE_A, Sqlite, extension, python};
use serde_json::Value;

/// The archive fails for a run while a file of its name stands in `broken`.
const CONFIG: &str = "
[steps.archive]
command = ['sh', '-c', 'test ! -e \"broken/$RUNCHAIN_RUN_ID\"']
max_attempts = 1
";

/// One run in every state: `history` (finished before us), `active`, `done`, `dead`, `busy` (its
/// steps are ready).
fn project() -> Project {
    let project = Project::new(SHAPE_A, CONFIG);
    std::fs::create_dir(project.path("broken")).unwrap();
    std::fs::write(project.path("broken/dead"), "").unwrap();
    project.sql("INSERT INTO runs(run_id, status) VALUES ('history', 'COMPLETED');");
    project.runchain(&["install"]).exits(0);
    project.sql(
        "INSERT INTO runs(run_id, status) VALUES ('active', 'RUNNING'), ('done', 'COMPLETED'), ('dead', 'FAILED');",
    );
    project.runchain(&["finish", "--run", "done"]).exits(0);
    project.runchain(&["finish", "--run", "dead"]).exits(14);
    // Expanded, because another run is finished; executed by nobody.
    project.sql("INSERT INTO runs(run_id, status) VALUES ('busy', 'COMPLETED');");
    project.runchain(&["finish", "--run", "done"]).exits(0);
    project.sql("DELETE FROM runchain_events WHERE type = 'REQUEST';");
    std::fs::remove_file(project.path("broken/dead")).unwrap();
    project
}

fn with_extension(project: &Project, sql: &str) -> Finished {
    let sql = format!(".load {}\n{sql}\n", extension().display());
    Sqlite::Stock.run(&project.database(), &sql)
}

/// The audit: who asked for what about which run, why, and what came of it.
fn requests(project: &Project) -> Vec<String> {
    project.lines(
        "SELECT coalesce(run_id, '-') || ' ' || json_extract(data, '$.action') || ' ' || json_extract(data, '$.answer')
           || ' ' || coalesce(json_extract(data, '$.actor'), '-') || ' ' || coalesce(json_extract(data, '$.reason'), '-')
         FROM runchain_events WHERE type = 'REQUEST' ORDER BY id;",
    )
}

fn steps(project: &Project, run_id: &str) -> Vec<String> {
    project.lines(&format!(
        "SELECT step, state FROM runchain_steps WHERE run_id = '{run_id}' ORDER BY id;"
    ))
}

#[test]
fn enqueue_chain_answers_as_documented() {
    let project = project();
    for (run_id, word, queued) in [
        ("nobody", "no_such_run", false),
        ("active", "run_active", false),
        ("busy", "under_way", false),
        ("dead", "retried", true),
        ("done", "again", true),
        ("history", "queued", true),
    ] {
        let text =
            with_extension(&project, &format!("SELECT enqueue_chain('{run_id}', 'because');")).output();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["run_id"], run_id);
        assert_eq!(
            (&answer["answer"], &answer["queued"]),
            (&word.into(), &queued.into()),
            "{run_id}"
        );
        assert!(answer["message"].is_string());
    }
    for nothing in ["NULL", "x'00'"] {
        let refused = with_extension(&project, &format!("SELECT enqueue_chain({nothing});"));
        assert!(
            refused.stderr.contains("the run id is NULL or a BLOB"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "3\n");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let sql = format!(
        "sql:{}@{}",
        rustix::process::getuid().as_raw(),
        rustix::system::uname().nodename().to_string_lossy()
    );
    assert_eq!(
        requests(&project),
        [
            format!("dead enqueue_chain retried {sql} because"),
            format!("done enqueue_chain again {sql} because"),
            format!("history enqueue_chain queued {sql} because")
        ]
    );
    for run_id in ["busy", "dead", "done", "history"] {
        assert_eq!(
            steps(&project, run_id),
            ["archive|done", "report|done"],
            "{run_id}"
        );
    }
    assert_eq!(steps(&project, "active"), [""; 0]);
}

#[test]
fn the_same_by_plain_insert_is_executed_and_audited() {
    let project = project();
    project.sql(
        "INSERT INTO runchain_queue(action, run_id, actor, reason) VALUES
           ('enqueue_chain', 'nobody', 'ann', 'r1'), ('enqueue_chain', NULL, 'ann', 'r2'),
           ('enqueue_chain', x'00ff', 'ann', 'r3'), ('enqueue_chain', 'active', 'ann', 'r4'),
           ('enqueue_chain', 'busy', 'ann', 'r5'), ('enqueue_chain', 'dead', 'ann', 'r6'),
           ('enqueue_chain', 'done', 'ann', 'r7'), ('enqueue_chain', 'history', NULL, NULL),
           ('explode', 'done', 'ann', 'r9'), (NULL, NULL, NULL, NULL);",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        requests(&project),
        [
            "nobody enqueue_chain no_such_run ann r1",
            "- enqueue_chain refused ann r2",
            "- enqueue_chain refused ann r3",
            "active enqueue_chain run_active ann r4",
            "busy enqueue_chain under_way ann r5",
            "dead enqueue_chain retried ann r6",
            "done enqueue_chain again ann r7",
            "history enqueue_chain queued - -",
            "done explode refused ann r9",
            "-  refused - -",
        ]
    );
    for run_id in ["busy", "dead", "done", "history"] {
        assert_eq!(
            steps(&project, run_id),
            ["archive|done", "report|done"],
            "{run_id}"
        );
    }
    let logged = project.log("monitor.jsonl");
    let audited = logged.iter().filter(|line| line["data"]["actor"] == "ann");
    assert_eq!(audited.count(), 8, "each request stands in the log once");
}

/// A request in the three ways of asking. `{id}` is the step's.
#[test]
fn retry_and_cancel_do_the_same_by_function_command_line_and_insert() {
    for way in [
        "function",
        "command line",
        "insert of the step",
        "insert of the run",
    ] {
        for (action, run_id, step, after) in [
            ("retry", "dead", "archive", ["archive|done", "report|done"]),
            (
                "cancel",
                "busy",
                "archive",
                ["archive|cancelled", "report|cancelled"],
            ),
        ] {
            let project = project();
            let id = project.sql(&format!(
                "SELECT id FROM runchain_steps WHERE run_id = '{run_id}' AND step = '{step}';"
            ));
            let id = id.trim();
            let actor = match way {
                "function" => {
                    with_extension(&project, &format!("SELECT runchain_{action}({id}, 'why');")).output();
                    "sql:"
                }
                "command line" => {
                    project.runchain(&[action, "--reason", "why", run_id]).exits(0);
                    ""
                }
                "insert of the step" => {
                    project.sql(&format!(
                        "INSERT INTO runchain_queue(action, step_id, actor, reason) VALUES ('{action}', {id}, 'bob', 'why');"
                    ));
                    "bob"
                }
                _ => {
                    project.sql(&format!(
                        "INSERT INTO runchain_queue(action, run_id, actor, reason) VALUES ('{action}', '{run_id}', 'bob', 'why');"
                    ));
                    "bob"
                }
            };
            project.runchain(&["drain", "--until-idle"]).exits(0);
            let audit = requests(&project);
            let begins = format!("{run_id} {action} done {actor}");
            assert!(
                audit.len() == 1 && audit[0].starts_with(&begins) && audit[0].ends_with(" why"),
                "{way}: {audit:?}"
            );
            assert_eq!(steps(&project, run_id), after, "{way}: {action}");
        }
    }
}

#[test]
fn an_answer_explains_why_nothing_was_done_and_nothing_else() {
    let project = project();
    project.sql(
        "INSERT INTO runchain_queue(action, run_id) VALUES
           ('retry', 'dead'), ('retry', 'done'), ('cancel', 'busy'), ('cancel', 'done');",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let answers = project.lines(
        "SELECT run_id || ' ' || json_extract(data, '$.action') || ' ' || json_extract(data, '$.answer')
           || ': ' || coalesce(json_extract(data, '$.message'), '-')
         FROM runchain_events WHERE type = 'REQUEST' ORDER BY id;",
    );
    assert_eq!(
        answers,
        [
            "dead retry done: -",
            "done retry nothing_to_do: only a dead step can be retried; to do a whole chain again use enqueue_chain(run_id)",
            "busy cancel done: -",
            "done cancel nothing_to_do: only a step that has not ended can be cancelled",
        ]
    );
}

#[test]
fn a_request_that_makes_no_sense_says_so() {
    let project = project();
    for (sql, says) in [
        ("SELECT runchain_retry(9999);", "there is no step 9999"),
        ("SELECT runchain_retry('dead');", "the step id is no integer"),
        (
            "SELECT runchain_retry(id) FROM runchain_steps WHERE run_id = 'done' LIMIT 1;",
            "only a dead step can be retried",
        ),
        (
            "SELECT runchain_cancel(id) FROM runchain_steps WHERE run_id = 'done' LIMIT 1;",
            "only a step that has not ended can be cancelled",
        ),
    ] {
        let refused = with_extension(&project, sql);
        assert!(
            !refused.success && refused.stderr.contains(says),
            "{says} is not in {}",
            refused.stderr
        );
    }
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "0\n");
    project.runchain(&["retry", "nobody"]).exits(13);
    project.runchain(&["cancel", "nobody"]).exits(13);
    let nothing = project.runchain(&["retry", "done"]).exits(0);
    assert!(
        nothing.stdout.contains("run done has no dead step"),
        "{}",
        nothing.stdout
    );
}

#[test]
fn before_the_install_functions_say_that_it_is_missing() {
    let project = Project::new(SHAPE_A, "");
    for call in [
        "enqueue_chain('r')",
        "runchain_retry(1)",
        "runchain_cancel(1)",
        "runchain_status()",
    ] {
        let refused = with_extension(&project, &format!("SELECT {call};"));
        let says = "runchain is not installed in this database; run SELECT runchain_install();";
        assert!(
            !refused.success && refused.stderr.contains(says),
            "{call}: {}",
            refused.stderr
        );
    }
    for arguments in [
        &["retry", "r"][..],
        &["cancel", "r"],
        &["finish", "--run", "r"],
        &["status"],
        &["drain", "--once"],
    ] {
        project.runchain(arguments).exits(9);
    }
}

#[test]
fn no_view_or_trigger_can_call_what_has_a_side_effect() {
    let project = project();
    for call in [
        "enqueue_chain('done')",
        "enqueue_chain('done', 'x')",
        "runchain_retry(1)",
        "runchain_cancel(1)",
        "runchain_install()",
        "runchain_install('{}')",
        "runchain_uninstall()",
        "runchain_uninstall('purge')",
        "ingest_events('x.jsonl')",
        "monitor_validate()",
        "runchain_status()",
        "runchain_debug()",
    ] {
        let view = with_extension(
            &project,
            &format!(
                "CREATE VIEW hostile AS SELECT {call} AS answer; SELECT * FROM hostile; DROP VIEW hostile;"
            ),
        );
        assert!(
            view.stderr.contains("unsafe use of"),
            "view with {call}: {}{}",
            view.stdout,
            view.stderr
        );
        let trigger = with_extension(
            &project,
            &format!(
                "CREATE TRIGGER hostile AFTER INSERT ON events BEGIN SELECT {call}; END;
                 INSERT INTO events(run_id) VALUES ('done'); DROP TRIGGER hostile;"
            ),
        );
        assert!(
            trigger.stderr.contains("unsafe use of"),
            "trigger with {call}: {}",
            trigger.stderr
        );
        project.sql("DROP VIEW IF EXISTS hostile; DROP TRIGGER IF EXISTS hostile;");
    }
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "0\n");
    assert_eq!(project.sql("SELECT count(*) FROM events;"), "0\n");
}

#[test]
fn a_busy_database_is_answered_by_its_own_code() {
    let project = project();
    let script = "
import sqlite3, sys
library, database = sys.argv[1:]
holder = sqlite3.connect(database, isolation_level=None)
holder.execute('BEGIN IMMEDIATE')
caller = sqlite3.connect(database, timeout=0, isolation_level=None)
caller.enable_load_extension(True)
caller.load_extension(library)
dead, = caller.execute(\"SELECT id FROM runchain_steps WHERE run_id = 'dead' AND state = 'dead'\").fetchone()
for call in ('enqueue_chain(\\'done\\')', f'runchain_retry({dead})', f'runchain_cancel({dead})',
             'runchain_install()', 'runchain_uninstall()'):
    try:
        print(call, caller.execute('SELECT ' + call).fetchone())
    except sqlite3.OperationalError as error:
        print(error, getattr(error, 'sqlite_errorcode', 5) & 255)
holder.execute('ROLLBACK')
print('queued' in caller.execute(\"SELECT enqueue_chain('done')\").fetchone()[0])
";
    let library = extension().to_str().unwrap();
    let output = python(script, &[library, project.database().to_str().unwrap()]).output();
    assert_eq!(output, "database is locked 5\n".repeat(5) + "True\n");
}

#[test]
fn a_request_in_the_caller_s_transaction_rolls_back_with_it() {
    let project = project();
    let answer = with_extension(
        &project,
        "BEGIN;
         SELECT enqueue_chain('done') LIKE '%again%';
         SELECT runchain_retry(id) LIKE '%queued%' FROM runchain_steps WHERE state = 'dead';
         SELECT count(*) FROM runchain_queue;
         ROLLBACK;
         SELECT count(*) FROM runchain_queue;",
    );
    assert_eq!(answer.output(), "1\n1\n2\n0\n");
}
