//! `[[flags]]`: tables whose rows say that a run began or ended, where its own row doesn't.
//!
//! Off unless a table is named: an event table often says the same as the row, and a wrong word in it
//! would end runs. What does not belong here: whether the table is there; the leader looks.

use super::error::{Problem, suggest};
use super::file::{File, Located, article};
use super::layers::{Gathered, Layers};
use super::shape::{Field, Kind, Table};
use super::{Row, Source};
use runchain_core::flags::{FlagSource, FlagWord};
use runchain_core::vocabulary::Phase;
use serde_json::json;
use toml::de::{DeTable, DeValue};

const FIELDS: &[Field] = &[
    Field::new(
        "table",
        Kind::Text,
        "the table, or `runchain_ingested` for the kept events of ingested logs",
    )
    .required(),
    Field::new("run_id", Kind::Text, "its column with the run's id").or("run_id"),
    Field::new("type", Kind::Text, "its column with the word").or("event_type; in `runchain_ingested`: type"),
    Field::new("status", Kind::Text, "its column with the run's status"),
    Field::new("time", Kind::Text, "its column with the time").or("none; in `runchain_ingested`: at"),
    Field::new(
        "words",
        Kind::WordTable(&["active", "completed", "failed", "cancelled"]),
        "what a word means",
    )
    .or("RUN_CREATED, RUN_STARTED: active; RUN_COMPLETED, RUN_FAILED, RUN_CANCELLED: what they say"),
];
/// The same for the reference.
pub(super) const TABLE: Table = Table {
    heading: "[[flags]]",
    doc: "A table whose rows say that a run began or ended, where its own row doesn't. Off unless one is named.",
    fields: FIELDS,
};
/// The kept events of ingested logs: a table of ours with columns of its own.
const INGESTED: &str = "runchain_ingested";

/// The tables that the file names.
pub(super) fn resolve(layers: &Layers<'_>, gathered: &mut Gathered) -> Vec<FlagSource> {
    let Some(file) = layers.file else {
        return Vec::new();
    };
    let mut sources = Vec::new();
    for entry in &file.flags {
        match read(file, entry) {
            Ok(source) => {
                gathered.rows.push(row(file, entry, &source));
                sources.push(source);
            }
            Err(problem) => gathered.problems.push(problem),
        }
    }
    sources
}

fn row(file: &File<'_>, entry: &Located<'_>, source: &FlagSource) -> Row {
    let words: serde_json::Map<_, _> = source
        .words
        .iter()
        .map(|one| (one.word.clone(), json!(one.phase)))
        .collect();
    Row {
        key: format!("flags.{}", source.table),
        value: json!({
            "run_id": source.run_id_column, "type": source.type_column, "status": source.status_column,
            "time": source.time_column, "words": words,
        }),
        source: Source::File {
            path: file.path().to_owned(),
            line: file.line(&entry.span()),
        },
    }
}

fn read(file: &File<'_>, entry: &Located<'_>) -> Result<FlagSource, Problem> {
    let problem = |what: String, remedy: String| Problem::new(file.place(&entry.span()), what, remedy);
    let DeValue::Table(table) = entry.get_ref() else {
        return Err(problem(
            format!(
                "flags must be a list of tables, not {}",
                article(entry.get_ref().type_str())
            ),
            "write [[flags]] and its keys below".to_owned(),
        ));
    };
    let keys = TABLE.keys();
    for (key, value) in table {
        if !keys.contains(&key.get_ref().as_ref()) {
            return Err(Problem::new(
                file.place(&key.span()),
                format!("unknown key {} in [[flags]]", key.get_ref()),
                suggest(key.get_ref(), &keys),
            ));
        }
        if key.get_ref() != "words" && value.get_ref().as_str().is_none_or(str::is_empty) {
            return Err(Problem::new(
                file.place(&value.span()),
                format!("{} in [[flags]] must be a name", key.get_ref()),
                "write it as a string".to_owned(),
            ));
        }
    }
    let name = |key: &str| table.get(key)?.get_ref().as_str().map(str::to_owned);
    let flags_table = name("table").ok_or_else(|| {
        problem(
            "[[flags]] names no table".to_owned(),
            "write table = \"events\"".to_owned(),
        )
    })?;
    let is_ingested = flags_table.eq_ignore_ascii_case(INGESTED);
    if flags_table.to_ascii_lowercase().starts_with("runchain_") && !is_ingested {
        return Err(problem(
            format!("{flags_table} is runchain's own table"),
            format!("name the orchestrator's event table, or {INGESTED} for the events of ingested logs"),
        ));
    }
    let type_column = if is_ingested { "type" } else { "event_type" };
    let time_column = if is_ingested { Some("at".to_owned()) } else { None };
    Ok(FlagSource {
        table: flags_table,
        run_id_column: name("run_id").unwrap_or_else(|| "run_id".to_owned()),
        type_column: name("type").unwrap_or_else(|| type_column.to_owned()),
        status_column: name("status"),
        time_column: name("time").or(time_column),
        words: match table.get("words").map(|words| (words, words.get_ref())) {
            None => FlagSource::default_words(),
            Some((_, DeValue::Table(words))) => read_words(file, words)?,
            Some((words, _)) => {
                return Err(Problem::new(
                    file.place(&words.span()),
                    "words in [[flags]] must be a table".to_owned(),
                    "write words = { RUN_COMPLETED = \"completed\" }".to_owned(),
                ));
            }
        },
    })
}

fn read_words(file: &File<'_>, words: &DeTable<'_>) -> Result<Vec<FlagWord>, Problem> {
    let phases = Phase::OF_WORDS.map(Phase::as_str);
    words
        .iter()
        .map(|(word, phase)| {
            let found = phase
                .get_ref()
                .as_str()
                .and_then(|text| Phase::OF_WORDS.into_iter().find(|phase| phase.as_str() == text));
            found
                .map(|phase| FlagWord {
                    word: word.get_ref().to_string(),
                    phase,
                })
                .ok_or_else(|| {
                    Problem::new(
                        file.place(&phase.span()),
                        format!("{} in [[flags]] words is no phase", word.get_ref()),
                        format!("write one of {}", phases.join(", ")),
                    )
                })
        })
        .collect()
}
