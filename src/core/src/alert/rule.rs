//! Rules: when an event is an alert. Our own alerts are rules, too, whose cause is not an event of a log;
//! they can be switched off or given another severity by a rule of the same name.
//!
//! Rules stand in `runchain_alert_rules`, so that an ingest by SQL judges as one by the executor does. A
//! row that makes no sense is no rule: what a DBA wrote must not keep events from being stored.

use crate::error::{During, Result};
use crate::{Millis, schema};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To know.
    Info,
    /// To look at some day.
    Warning,
    /// To look at.
    Error,
    /// To look at now.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// The severity of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

/// Alerts of our own: their names and severities, unless a rule of that name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// A run ended in the phase failed.
    RunFailed,
    /// The attempts of a step are used up.
    StepDead,
    /// Nothing of an active run changed for long.
    RunStalled,
    /// A chain takes much longer than others did.
    ChainLate,
    /// The capture triggers are gone.
    TriggersLost,
    /// Nobody drained for long.
    ExecutorWasDown,
    /// The database's disk is full.
    DiskLow,
    /// The logs can't be written.
    LogsUnwritable,
    /// Many runs ended in a rush; their chains are held.
    Storm,
    /// Event logs bring more lines that can't be kept than before.
    IngestRejects,
}

impl Own {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RunFailed,
        Self::StepDead,
        Self::RunStalled,
        Self::ChainLate,
        Self::TriggersLost,
        Self::ExecutorWasDown,
        Self::DiskLow,
        Self::LogsUnwritable,
        Self::Storm,
        Self::IngestRejects,
    ];

    /// The rule's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RunFailed => "run_failed",
            Self::StepDead => "step_dead",
            Self::RunStalled => "run_stalled",
            Self::ChainLate => "chain_late",
            Self::TriggersLost => "triggers_lost",
            Self::ExecutorWasDown => "executor_was_down",
            Self::DiskLow => "disk_low",
            Self::LogsUnwritable => "logs_unwritable",
            Self::Storm => "storm",
            Self::IngestRejects => "ingest_rejects",
        }
    }

    /// How bad it is by default.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::DiskLow | Self::LogsUnwritable => Severity::Critical,
            Self::RunFailed | Self::StepDead | Self::TriggersLost | Self::Storm => Severity::Error,
            Self::RunStalled | Self::ChainLate | Self::ExecutorWasDown | Self::IngestRejects => {
                Severity::Warning
            }
        }
    }

    /// Whether others rely on its row: it can't be switched off.
    #[must_use]
    pub fn is_vital(self) -> bool {
        matches!(
            self,
            Self::TriggersLost | Self::DiskLow | Self::LogsUnwritable | Self::Storm
        )
    }

    /// The severity that holds; `None` where the rule is switched off.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub fn in_force(self, conn: &Connection) -> Result<Option<Severity>> {
        if !schema::table_exists(conn, "runchain_alert_rules")? {
            return Ok(Some(self.severity()));
        }
        let row: Option<(bool, String)> = conn
            .prepare_cached(
                "SELECT enabled, severity FROM runchain_alert_rules WHERE name = ?1 ORDER BY origin LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([self.name()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .during("look an alert rule up")?;
        Ok(match row {
            None => Some(self.severity()),
            Some((false, _)) if !self.is_vital() => None,
            Some((_, word)) => Some(Severity::from_word(&word).unwrap_or(self.severity())),
        })
    }
}

/// What one alert is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A task (of a job, and a type of event).
    Task,
    /// A job.
    Job,
    /// A type of event.
    Type,
    /// Everything that matches.
    Rule,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Task, Self::Job, Self::Type, Self::Rule];

    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Job => "job",
            Self::Type => "type",
            Self::Rule => "rule",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|per| per.as_str() == word)
    }
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The same number or text.
    Equal,
    /// Another.
    Differs,
    /// Less.
    Less,
    /// Less, or the same.
    AtMost,
    /// More.
    More,
    /// More, or the same.
    AtLeast,
    /// Text that has the value in it, or an array with such an element.
    Contains,
}

impl Op {
    /// Every operator with its sign.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Equal, "="),
        (Self::Differs, "!="),
        (Self::Less, "<"),
        (Self::AtMost, "<="),
        (Self::More, ">"),
        (Self::AtLeast, ">="),
        (Self::Contains, "contains"),
    ];

    /// The operator of a sign.
    #[must_use]
    pub fn from_sign(sign: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == sign)
            .map(|(op, _)| *op)
    }

    /// Its sign.
    #[must_use]
    pub fn sign(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(op, _)| *op == self)
            .map_or("=", |(_, sign)| sign)
    }

    /// Compares what an event has with what the rule says: as numbers where both are.
    fn holds(self, found: &serde_json::Value, wanted: &str) -> bool {
        use serde_json::Value;
        let text = match found {
            Value::Null => return self == Self::Differs,
            Value::String(text) => text.clone(),
            Value::Array(elements) if self == Self::Contains => {
                return elements.iter().any(|element| Self::Equal.holds(element, wanted));
            }
            other => other.to_string(),
        };
        if self == Self::Contains {
            return text.contains(wanted);
        }
        let order = match (text.parse::<f64>(), wanted.parse::<f64>()) {
            (Ok(found), Ok(wanted)) => found.partial_cmp(&wanted),
            _ => Some(text.as_str().cmp(wanted)),
        };
        let Some(order) = order else {
            return false;
        };
        match self {
            Self::Equal => order.is_eq(),
            Self::Differs => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Contains => false,
        }
    }
}

/// A comparison with one field of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTest {
    /// Dotted: `status`, `details.exit_code`, or a key that has no column.
    pub path: String,
    /// How.
    pub op: Op,
    /// With what.
    pub value: String,
}

/// When events are an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// How bad it is.
    pub severity: Severity,
    /// Types that it is about, with `*` and `?`; none: all.
    pub kind: Option<String>,
    /// Status that it is about.
    pub status: Option<String>,
    /// What a field must say.
    pub test: Option<FieldTest>,
    /// What one alert is of.
    pub per: Per,
    /// So many matching events make an alert.
    pub count: i64,
    /// Within this time.
    pub window_ms: Option<i64>,
    /// No matching event for this long makes an alert; then the above isn't asked.
    pub silence_ms: Option<i64>,
}

/// The name of the built-in rule.
pub const FAILED: &str = "event.failed";

impl Rule {
    /// A rule about every event.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            enabled: true,
            severity: Severity::Error,
            kind: None,
            status: None,
            test: None,
            per: Per::Task,
            count: 1,
            window_ms: None,
            silence_ms: None,
        }
    }

    /// The built-in rule: an event whose type ends in `.failed`.
    #[must_use]
    pub fn failed() -> Self {
        Self {
            kind: Some("*.failed".to_owned()),
            ..Self::named(FAILED)
        }
    }

    /// What it is by its name alone, before anything is said about it.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        if name == FAILED {
            return Self::failed();
        }
        let own = Own::ALL.into_iter().find(|own| own.name() == name);
        Self {
            severity: own.map_or(Severity::Error, Own::severity),
            ..Self::named(name)
        }
    }

    /// Whether it is one of our own, which no event of a log makes.
    #[must_use]
    pub fn is_own(&self) -> bool {
        Own::ALL.iter().any(|own| own.name() == self.name)
    }

    /// Whether events are counted before they are an alert.
    #[must_use]
    pub fn is_windowed(&self) -> bool {
        self.window_ms.is_some()
    }

    /// Judges an event.
    pub(crate) fn matches(&self, event: &dyn Judged) -> bool {
        self.kind
            .as_deref()
            .is_none_or(|glob| glob_matches(glob, event.kind()))
            && self
                .status
                .as_deref()
                .is_none_or(|status| event.status() == Some(status))
            && self.test.as_ref().is_none_or(|test| {
                test.op.holds(
                    &event.field(&test.path).unwrap_or(serde_json::Value::Null),
                    &test.value,
                )
            })
    }
}

/// An event as a rule sees it.
pub(crate) trait Judged {
    /// Its type.
    fn kind(&self) -> &str;
    /// Its status word.
    fn status(&self) -> Option<&str>;
    /// A field by its dotted path.
    fn field(&self, path: &str) -> Option<serde_json::Value>;
}

/// Whether a text is what a pattern with `*` (any characters) and `?` (one) says.
#[must_use]
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where to go on when what follows the last star doesn't fit.
    let mut again: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                again = Some((at, seen));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star, from)) = again else {
                    return false;
                };
                again = Some((star, from + 1));
                at = star + 1;
                seen = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|&left| left == '*')
}

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
    use serde_json::{Value, json};

    struct Event(Value);

    impl Judged for Event {
        fn kind(&self) -> &str {
            self.0["type"].as_str().unwrap_or_default()
        }
        fn status(&self) -> Option<&str> {
            self.0["status"].as_str()
        }
        fn field(&self, path: &str) -> Option<Value> {
            self.0.pointer(&format!("/{}", path.replace('.', "/"))).cloned()
        }
    }

    #[test]
    fn a_pattern_is_matched_as_a_whole() {
        for (pattern, text, matches) in [
            ("*.failed", "pattern.execution.failed", true),
            ("*.failed", "pattern.execution.failed.not", false),
            ("pattern.*.failed", "pattern.a.b.failed", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*a*b", "xxaxxab", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(glob_matches(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_field_is_compared_as_a_number_where_both_are() {
        let event = Event(json!({"type": "x", "details": {"exit_code": 10, "tool": "b", "tags": ["a", 3]}}));
        for (path, op, value, holds) in [
            ("details.exit_code", ">", "9", true),
            ("details.exit_code", "<", "9", false),
            ("details.exit_code", "=", "10.0", true),
            ("details.tool", ">=", "a", true),
            ("details.tool", "!=", "b", false),
            ("details.tags", "contains", "3", true),
            ("details.tool", "contains", "x", false),
            ("details.none", "!=", "b", true),
            ("details.none", "<", "b", false),
        ] {
            let test = FieldTest {
                path: path.to_owned(),
                op: Op::from_sign(op).unwrap(),
                value: value.to_owned(),
            };
            let rule = Rule {
                test: Some(test),
                ..Rule::named("r")
            };
            assert_eq!(rule.matches(&event), holds, "{path} {op} {value}");
        }
    }

    #[test]
    fn of_two_rules_of_one_name_the_configuration_s_counts_and_sql_s_comes_back() {
        let conn = Connection::open_in_memory().unwrap();
        schema::migrate(&conn).unwrap();
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
