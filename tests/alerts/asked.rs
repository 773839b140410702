//! What people do with alerts by SQL: asked through the queue, done by an executor, audited.

use crate::support::{Project, extension, python};
use serde_json::Value;

/// Loads the extension and asks; the answer, or what the function refused with.
fn ask(project: &Project, sql: &str) -> String {
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  c.enable_load_extension(True)\nc.load_extension(sys.argv[2])\n\
                  try:\n  print(c.execute(sys.argv[3]).fetchone()[0])\nexcept sqlite3.Error as error:\n  print(error)\n";
    let database = project.database();
    python(
        script,
        &[database.to_str().unwrap(), extension().to_str().unwrap(), sql],
    )
    .output()
    .trim()
    .to_owned()
}

#[test]
fn an_alert_is_acknowledged_and_resolved_by_sql_through_the_queue() {
    let project = Project::installed("");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'FAILED');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let answer: Value =
        serde_json::from_str(&ask(&project, "SELECT runchain_alert_acknowledge(1, 'on it')")).unwrap();
    assert_eq!(
        (&answer["answer"], &answer["rule"], &answer["subject"]),
        (&"queued".into(), &"run_failed".into(), &"r".into())
    );
    assert_eq!(
        project.lines("SELECT state FROM runchain_alerts"),
        ["firing"],
        "an executor does it"
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT state FROM runchain_alerts"),
        ["acknowledged"]
    );
    let answer: Value = serde_json::from_str(&ask(&project, "SELECT runchain_alert_acknowledge(1)")).unwrap();
    assert_eq!(answer["answer"], "nothing_to_do");
    ask(&project, "SELECT runchain_alert_resolve(1, 'mended')");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        project.lines("SELECT state, reason FROM runchain_alert_changes ORDER BY id"),
        ["firing|", "acknowledged|on it", "resolved|mended"]
    );
    let audited = project.lines(
        "SELECT json_extract(data, '$.action'), json_extract(data, '$.alert'), json_extract(data, '$.before.state'),
                json_extract(data, '$.after.state'), json_extract(data, '$.reason')
         FROM runchain_events WHERE type = 'REQUEST' ORDER BY id",
    );
    assert_eq!(
        audited,
        [
            "acknowledge_alert|1|firing|acknowledged|on it",
            "resolve_alert|1|acknowledged|resolved|mended"
        ]
    );
    let actors = project.lines("SELECT count(*) FROM runchain_alert_changes WHERE id > 1 AND actor IS NULL");
    assert_eq!(actors, ["0"]);
    let trail = project.runchain(&["audit"]).exits(0).stdout;
    assert!(
        trail.contains("acknowledge_alert") && trail.contains("on it"),
        "{trail}"
    );
}

#[test]
fn what_can_t_be_done_with_an_alert_is_refused_and_never_from_the_schema() {
    let project = Project::installed("");
    assert!(ask(&project, "SELECT runchain_alert_resolve(7)").contains("there is no alert 7"));
    assert!(ask(&project, "SELECT runchain_alert_resolve('x')").contains("the alert is no integer"));
    project.sql("CREATE VIEW hostile AS SELECT runchain_alert_resolve(1) AS answer;");
    let found = ask(&project, "SELECT answer FROM hostile");
    assert!(
        found.contains("unsafe use of runchain_alert_resolve()"),
        "{found}"
    );
    // Code that loads nothing asks by a plain INSERT, and is refused by an event.
    project.sql("INSERT INTO runchain_queue(action, step_id) VALUES ('resolve_alert', 7), ('acknowledge_alert', NULL);");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(project.lines("SELECT count(*) FROM runchain_queue"), ["0"]);
    assert_eq!(
        project.lines("SELECT count(*) FROM runchain_alert_changes"),
        ["0"]
    );
}
