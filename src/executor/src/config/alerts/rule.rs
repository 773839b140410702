//! `[alerts.rules.NAME]`: when an event is an alert, or what changes of a built-in rule.

use super::super::error::Problem;
use super::super::file::{File, Located};
use super::super::reading::Reading;
use super::super::shape::{Field, Kind, Table};
use super::{PAGE, check_name};
use runchain_core::alert::rule::{FieldTest, Op, Per, Rule};
use runchain_core::alert::{Own, Severity};
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest window or silence: 31 days.
const LONGEST_MS: i64 = 31 * 24 * 60 * 60 * 1000;

const FIELDS: &[Field] = &[
    Field::new("enabled", Kind::Bool, "Whether the rule is in force.").or("true"),
    Field::new(
        "severity",
        Kind::Word(&["info", "warning", "error", "critical"]),
        "How bad it is.",
    )
    .or("error, or the built-in rule's own"),
    Field::new("type", Kind::Text, "Types of events, with * and ?.").or("every type"),
    Field::new("status", Kind::Text, "Status of the events.").or("every status"),
    Field::new(
        "field",
        Kind::Text,
        "A field that is compared, dotted: details.exit_code.",
    ),
    Field::new(
        "op",
        Kind::Word(&["=", "!=", "<", "<=", ">", ">=", "contains"]),
        "How it is compared; as numbers where both are.",
    )
    .or("="),
    Field::new("value", Kind::Scalar, "With what."),
    Field::new(
        "per",
        Kind::Word(&["task", "job", "type", "rule"]),
        "What one alert is of.",
    )
    .or("task; with window_ms rule"),
    Field::new(
        "count",
        Kind::Integer(1, 1_000_000_000),
        "So many matching events make an alert.",
    )
    .or("1"),
    Field::new(
        "window_ms",
        Kind::Integer(1, LONGEST_MS),
        "Within this time, by the events' own times.",
    ),
    Field::new(
        "silence_ms",
        Kind::Integer(1, LONGEST_MS),
        "No matching event for this long makes an alert.",
    ),
];

/// `[alerts.rules.NAME]`
pub(crate) const RULES: Table = Table {
    heading: "[alerts.rules.NAME]",
    doc: "When an event of a log is an alert; under the name of a built-in rule, what changes of it. See docs/alerts.md.",
    fields: FIELDS,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    enabled: Option<bool>,
    severity: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
    field: Option<String>,
    op: Option<String>,
    value: Option<toml::Value>,
    per: Option<String>,
    count: Option<i64>,
    window_ms: Option<i64>,
    silence_ms: Option<i64>,
}

/// Reads one rule.
pub(super) fn read(file: &File<'_>, name: &str, value: &Located<'_>) -> Result<Rule, Problem> {
    let reading = Reading {
        file,
        shape: &RULES,
        page: PAGE,
        name: format!("alerts.rules.{name}"),
        value,
    };
    check_name(&reading, name)?;
    let table: Written = reading.table()?;
    let mut rule = Rule::of_name(name);
    rule.enabled = table.enabled.unwrap_or(true);
    if let Some(word) = &table.severity {
        rule.severity = severity(&reading, word)?;
    }
    if let Some(own) = Own::ALL.into_iter().find(|own| own.name() == name) {
        return changed(&reading, own, &table, rule);
    }
    rule.kind = table.kind.clone().or(rule.kind);
    rule.status.clone_from(&table.status);
    rule.test = test(&reading, &table)?;
    rule.count = reading.within("count", table.count, 1)?;
    rule.window_ms = limited(&reading, "window_ms", table.window_ms)?;
    rule.silence_ms = limited(&reading, "silence_ms", table.silence_ms)?;
    rule.per = match (&table.per, rule.window_ms) {
        (Some(word), _) => Per::from_word(word)
            .ok_or_else(|| reading.problem(format!("per can't be {word}"), "use task, job, type or rule"))?,
        (None, Some(_)) => Per::Rule,
        (None, None) => rule.per,
    };
    let counts = table.count.is_some() || table.window_ms.is_some();
    if rule.silence_ms.is_some() && (counts || table.per.is_some()) {
        return Err(reading.problem(
            "silence_ms stands beside count, window_ms or per",
            "make two rules of it",
        ));
    }
    if rule.count > 1 && rule.window_ms.is_none() {
        return Err(reading.problem(
            "count has no window_ms",
            "say within which time: window_ms = 60000",
        ));
    }
    Ok(rule)
}

/// Of our own alerts only whether and how bad can be said.
fn changed(reading: &Reading<'_, '_>, own: Own, table: &Written, rule: Rule) -> Result<Rule, Problem> {
    let others = table.kind.is_some()
        || table.status.is_some()
        || table.field.is_some()
        || table.per.is_some()
        || table.count.is_some()
        || table.window_ms.is_some()
        || table.silence_ms.is_some();
    if others {
        return Err(reading.problem(
            "this alert is runchain's own; only severity and enabled can be said of it",
            "leave the others out, or use another name",
        ));
    }
    if own.is_vital() && !rule.enabled {
        return Err(reading.problem(
            "this alert can't be switched off",
            "leave enabled out; which channel hears of it is the channel's `rules`",
        ));
    }
    Ok(rule)
}

fn limited(reading: &Reading<'_, '_>, key: &str, number: Option<i64>) -> Result<Option<i64>, Problem> {
    number
        .map(|number| reading.within(key, Some(number), number))
        .transpose()
}

/// The severity of a word.
pub(super) fn severity(reading: &Reading<'_, '_>, word: &str) -> Result<Severity, Problem> {
    Severity::from_word(word).ok_or_else(|| {
        reading.problem(
            format!("{word} is no severity"),
            "use info, warning, error or critical",
        )
    })
}

fn test(reading: &Reading<'_, '_>, table: &Written) -> Result<Option<FieldTest>, Problem> {
    let (path, value) = match (&table.field, &table.value) {
        (None, None) if table.op.is_none() => return Ok(None),
        (Some(path), Some(value)) if !path.is_empty() => (path, value),
        _ => {
            return Err(reading.problem(
                "field and value belong together",
                "write field = \"details.exit_code\", op = \">=\", value = 3",
            ));
        }
    };
    let sign = table.op.as_deref().unwrap_or("=");
    let op = Op::from_sign(sign).ok_or_else(|| {
        let signs = Op::ALL.map(|(_, sign)| sign).join(", ");
        reading.problem(format!("op can't be {sign}"), format!("use one of {signs}"))
    })?;
    let value = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        _ => return Err(reading.problem("value must be a text, a number or a boolean", "compare one field")),
    };
    Ok(Some(FieldTest {
        path: path.clone(),
        op,
        value,
    }))
}

/// For `config show`.
pub(super) fn shown(rule: &Rule) -> Value {
    let test = rule
        .test
        .as_ref()
        .map(|test| format!("{} {} {}", test.path, test.op.sign(), test.value));
    let mut shown = json!({
        "enabled": rule.enabled, "severity": rule.severity, "type": rule.kind, "status": rule.status, "field": test,
        "per": rule.per, "count": rule.count, "window_ms": rule.window_ms, "silence_ms": rule.silence_ms,
    });
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    shown
}
