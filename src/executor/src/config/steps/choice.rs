//! `on` and `where`: which runs a step is for, as the file says it.
//!
//! Invariant: what comes out can be asked of a database; whether its words and columns exist there is
//! `config check`'s question, since only the database knows.

use runchain_core::chain::Condition;
use runchain_core::vocabulary::Phase;
use rusqlite::types::Value;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// `where = { column = value }`.
pub(super) type Where = BTreeMap<String, Wanted>;

/// What a column must have: a value, or one of a list.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a value of `where` must be a string, a number, a bool or a list of those"
)]
pub(super) enum Wanted {
    One(Scalar),
    Any(Vec<Scalar>),
}

/// A single value.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(String),
}

impl From<Scalar> for Value {
    /// A bool is what SQL makes of it: 1 or 0.
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool(bool) => Self::Integer(i64::from(bool)),
            Scalar::Integer(number) => Self::Integer(number),
            Scalar::Real(number) => Self::Real(number),
            Scalar::Text(text) => Self::Text(text),
        }
    }
}

/// The conditions of a `where`.
pub(super) fn conditions(table: Where) -> Vec<Condition> {
    let condition = |(column, wanted)| Condition {
        column,
        values: match wanted {
            Wanted::One(scalar) => vec![scalar.into()],
            Wanted::Any(scalars) => scalars.into_iter().map(Value::from).collect(),
        },
    };
    table.into_iter().map(condition).collect()
}

/// What is wrong with an `on` by itself, and the remedy.
pub(super) fn check_on(name: &str, words: &[String]) -> Result<(), (String, &'static str)> {
    if words.is_empty() {
        let what = format!("steps.{name}.on is empty, so that the step would never run");
        return Err((what, "leave it out for every run that is over"));
    }
    for word in words {
        let is_over = |phase: &Phase| !phase.is_terminal() && phase.as_str().eq_ignore_ascii_case(word);
        if word.trim().is_empty() || [Phase::Active, Phase::Deleted].iter().any(is_over) {
            return Err((
                format!("steps.{name}.on: no run is over as {word:?}"),
                "use completed, failed, cancelled or a status word of your own",
            ));
        }
    }
    Ok(())
}

/// What is wrong with a `where` by itself, and the remedy.
pub(super) fn check_where(name: &str, table: &Where) -> Result<(), (String, &'static str)> {
    for (column, wanted) in table {
        if matches!(wanted, Wanted::Any(values) if values.is_empty()) {
            let what = format!("steps.{name}.where.{column} is an empty list, which no value is in");
            return Err((what, "name the values that will do"));
        }
    }
    Ok(())
}

/// Conditions for `config show`.
pub(super) fn shown(conditions: &[Condition]) -> Json {
    let value = |value: &Value| match value {
        Value::Null | Value::Blob(_) => Json::Null,
        Value::Integer(number) => json!(number),
        Value::Real(number) => json!(number),
        Value::Text(text) => json!(text),
    };
    let all = conditions.iter().map(|condition| {
        let values: Vec<Json> = condition.values.iter().map(value).collect();
        let one_or_all = match values.as_slice() {
            [one] => one.clone(),
            _ => Json::Array(values),
        };
        (condition.column.clone(), one_or_all)
    });
    Json::Object(all.collect())
}
