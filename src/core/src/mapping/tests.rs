//! Which table and columns a request means, what is refused, and that the triggers stand as SQLite keeps them.

use super::*;

fn stored_triggers(conn: &Connection) -> Vec<(String, String)> {
    let mut statement = conn
        .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn trigger_texts_are_exactly_what_sqlite_stores() {
    for (table, id, status) in [
        ("runs", "run_id", "status"),
        ("status", "run_id", "runs"),
        ("my \"jobs\"", "the id", "it's"),
    ] {
        let mapping = Mapping {
            table: table.into(),
            id_column: id.into(),
            status_column: status.into(),
        };
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&format!(
            "CREATE TABLE {}({} TEXT, {} TEXT)",
            quote(table),
            quote(id),
            quote(status)
        ))
        .unwrap();
        conn.execute_batch(&mapping.triggers_sql()).unwrap();
        let mut expected: Vec<_> = mapping
            .triggers()
            .into_iter()
            .map(|(name, sql)| (name.to_owned(), sql))
            .collect();
        expected.sort();
        assert_eq!(stored_triggers(&conn), expected);
        assert_eq!(Mapping::installed(&conn).unwrap(), Some(mapping));
    }
}

#[test]
fn both_shapes_of_the_field_are_detected() {
    for (ddl, status) in [
        (
            "CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT)",
            "status",
        ),
        (
            "CREATE TABLE runs(run_id TEXT PRIMARY KEY, project_id TEXT, state TEXT NOT NULL)",
            "state",
        ),
    ] {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(ddl).unwrap();
        let mapping = Mapping::resolve(&conn, &MappingRequest::default()).unwrap();
        assert_eq!(
            (mapping.id_column.as_str(), mapping.status_column.as_str()),
            ("run_id", status)
        );
    }
}

#[test]
fn a_wrong_mapping_names_what_was_found_instead() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE jobs(id INTEGER PRIMARY KEY, phase TEXT); CREATE VIEW runs AS SELECT * FROM jobs",
    )
    .unwrap();
    let says = |request: MappingRequest| Mapping::resolve(&conn, &request).unwrap_err().to_string();
    assert!(says(MappingRequest::default()).contains("runs is a view"));
    let jobs = MappingRequest {
        table: Some("jobs".into()),
        ..MappingRequest::default()
    };
    assert!(says(jobs.clone()).contains("it has: id, phase"));
    assert!(
        says(MappingRequest {
            status_column: Some("state".into()),
            ..jobs
        })
        .contains("state")
    );
    assert!(
        says(MappingRequest {
            table: Some("nope".into()),
            ..MappingRequest::default()
        })
        .contains("it has: jobs")
    );
}

#[test]
fn a_run_is_found_whatever_the_affinity_of_its_id() {
    for declared in ["TEXT", "INTEGER", ""] {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&format!("CREATE TABLE runs(run_id {declared} PRIMARY KEY, status TEXT); INSERT INTO runs VALUES (7, 'DONE')")).unwrap();
        let mapping = Mapping::resolve(&conn, &MappingRequest::default()).unwrap();
        assert_eq!(
            mapping.status_of(&conn, &RunId("7".into())).unwrap(),
            Some(Some("DONE".into())),
            "{declared}"
        );
        assert_eq!(
            mapping.status_of(&conn, &RunId("07".into())).unwrap().is_some(),
            declared == "INTEGER",
            "{declared}"
        );
    }
}
