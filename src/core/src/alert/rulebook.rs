//! The rules stand in `runchain_alert_rules`, so that an ingest by SQL judges as one by the executor does.
//! A row that makes no sense is no rule: what a DBA wrote must not keep events from being stored.

use super::own::Severity;
use super::rule::{FAILED, FieldTest, Op, Per, Rule};
use crate::error::{During, Result};
use crate::{Millis, schema};
use rusqlite::{Connection, Row};

/// The rules about events that are in force: those of people, and the built-in one unless one of them has
/// its name.
///
/// # Errors
/// Whatever SQLite answers.
pub fn in_force(conn: &Connection) -> Result<Vec<Rule>> {
    let mut rules = written(conn)?;
    if !rules.iter().any(|rule| rule.name == FAILED) {
        rules.insert(0, Rule::failed());
    }
    rules.retain(|rule| rule.enabled && !rule.is_own());
    Ok(rules)
}

/// What people wrote; of two of one name the configuration's.
fn written(conn: &Connection) -> Result<Vec<Rule>> {
    if !schema::table_exists(conn, "runchain_alert_rules")? {
        return Ok(Vec::new());
    }
    let mut statement = conn
        .prepare_cached(
            "SELECT name, enabled, severity, type, status, field, op, value, per, count, window_ms, silence_ms
             FROM runchain_alert_rules ORDER BY name, origin",
        )
        .during("read the alert rules")?;
    let rows = statement
        .query_map([], |row| Ok(read(row).ok().flatten()))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read the alert rules")?;
    let mut rules: Vec<Rule> = rows.into_iter().flatten().collect();
    rules.dedup_by(|later, first| later.name == first.name);
    Ok(rules)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<Rule>> {
    let (severity, op, per): (String, Option<String>, String) = (row.get(2)?, row.get(6)?, row.get(8)?);
    let path: Option<String> = row.get(5)?;
    let test = match (path, op) {
        (Some(path), Some(op)) => Some(FieldTest {
            path,
            op: Op::from_sign(&op).unwrap_or(Op::Equal),
            value: row.get::<_, Option<String>>(7)?.unwrap_or_default(),
        }),
        _ => None,
    };
    let (Some(severity), Some(per)) = (Severity::from_word(&severity), Per::from_word(&per)) else {
        return Ok(None);
    };
    Ok(Some(Rule {
        name: row.get(0)?,
        enabled: row.get(1)?,
        severity,
        kind: row.get(3)?,
        status: row.get(4)?,
        test,
        per,
        count: row.get::<_, i64>(9)?.max(1),
        window_ms: row.get::<_, Option<i64>>(10)?.filter(|ms| *ms > 0),
        silence_ms: row.get::<_, Option<i64>>(11)?.filter(|ms| *ms > 0),
    }))
}

/// Makes the rules of a configuration those of the database; `true` when that changed anything. Alerts of
/// rules that are gone stay as they are.
///
/// # Errors
/// Whatever SQLite answers; the caller rolls back.
pub fn adopt(conn: &Connection, rules: &[Rule], now: Millis) -> Result<bool> {
    if same_as_config(conn, rules)? {
        return Ok(false);
    }
    schema::check_writer(conn)?;
    conn.execute("DELETE FROM runchain_alert_rules WHERE origin = 'config'", [])
        .during("replace the alert rules of the configuration")?;
    for rule in rules {
        let test = rule.test.as_ref();
        conn.prepare_cached(
            "INSERT INTO runchain_alert_rules(name, origin, enabled, severity, type, status, field, op, value, per,
                                              count, window_ms, silence_ms)
             VALUES (?1, 'config', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )
        .and_then(|mut statement| {
            statement.execute((
                &rule.name,
                rule.enabled,
                rule.severity.as_str(),
                &rule.kind,
                &rule.status,
                test.map(|test| &test.path),
                test.map(|test| test.op.sign()),
                test.map(|test| &test.value),
                rule.per.as_str(),
                rule.count,
                rule.window_ms,
                rule.silence_ms,
            ))
        })
        .during("keep an alert rule of the configuration")?;
        if rule.silence_ms.is_some() {
            // From now on: what was before the rule is not held against anybody.
            super::due::heard_first(conn, &rule.name, now)?;
        }
    }
    Ok(true)
}

/// Whether the database has these rules of the configuration already; asked before a lock is taken.
///
/// # Errors
/// Whatever SQLite answers.
pub fn same_as_config(conn: &Connection, rules: &[Rule]) -> Result<bool> {
    if !schema::table_exists(conn, "runchain_alert_rules")? {
        return Ok(rules.is_empty());
    }
    let mut statement = conn
        .prepare_cached(
            "SELECT name, enabled, severity, type, status, field, op, value, per, count, window_ms, silence_ms
             FROM runchain_alert_rules WHERE origin = 'config' ORDER BY name",
        )
        .during("read the alert rules")?;
    let stored = statement
        .query_map([], |row| Ok(read(row).ok().flatten()))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .during("read the alert rules")?;
    let mut wanted: Vec<&Rule> = rules.iter().collect();
    wanted.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stored.iter().map(Option::as_ref).eq(wanted.into_iter().map(Some)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_rules_of_one_name_the_configuration_s_counts_and_sql_s_comes_back() {
        let conn = schema::in_memory();
        conn.execute_batch(
            "INSERT INTO runchain_alert_rules(name, type) VALUES ('mine', 'a.*'), ('event.failed', 'b.*')",
        )
        .unwrap();
        let kinds = |conn: &Connection| -> Vec<String> {
            in_force(conn)
                .unwrap()
                .into_iter()
                .filter_map(|rule| rule.kind)
                .collect()
        };
        assert_eq!(kinds(&conn), ["b.*", "a.*"]);
        let config = Rule {
            kind: Some("c.*".to_owned()),
            ..Rule::named("mine")
        };
        assert!(adopt(&conn, std::slice::from_ref(&config), Millis(1)).unwrap());
        assert!(!adopt(&conn, &[config], Millis(2)).unwrap(), "the same again");
        assert_eq!(kinds(&conn), ["b.*", "c.*"]);
        assert!(adopt(&conn, &[], Millis(3)).unwrap());
        assert_eq!(kinds(&conn), ["b.*", "a.*"]);
        conn.execute_batch("UPDATE runchain_alert_rules SET enabled = 0")
            .unwrap();
        assert_eq!(kinds(&conn), [""; 0]);
    }
}
