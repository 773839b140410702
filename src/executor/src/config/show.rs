//! `config show`: every key, its value, and where that comes from.

use super::Settings;
use crate::output::Output;
use runchain_core::capture::Capture;
use serde_json::{Value, json};
use std::io;

/// Prints the settings as a table, or as JSON. `installed`: what the database says of a key that is taken
/// over only by an install.
pub(crate) fn show(settings: &Settings, installed: Option<Capture>, output: &Output) -> io::Result<()> {
    if output.json {
        return output.print_json(&as_json(settings, installed));
    }
    for note in &settings.notes {
        output.note(note)?;
    }
    let wanted = settings.capture.as_str();
    if let Some(installed) = installed.filter(|installed| *installed != settings.capture) {
        output.note(&format!(
            "capture is {wanted} by configuration, and {} is installed, which counts: \
             runchain install --capture {wanted} changes that",
            installed.as_str()
        ))?;
    }
    let root = settings.root.to_string_lossy();
    let rows = settings.rows.iter().map(|row| {
        let source = row.source.to_string();
        // The folder of the configuration file stands in every such line: leave it out.
        let source = source
            .strip_prefix(&*root)
            .map(|rest| rest.trim_start_matches('/').to_owned())
            .unwrap_or(source);
        vec![row.key.clone(), plain(&row.value), source]
    });
    let file = file_name(settings).unwrap_or_else(|| "none".into());
    output.line(&format!("configuration file: {file}"))?;
    output.line(&format!("root: {root}"))?;
    output.line("")?;
    output.table(&["key", "value", "from"], rows)
}

/// Prints that `config check` found nothing wrong, and what is odd.
pub(crate) fn say_ok(settings: &Settings, output: &Output) -> io::Result<()> {
    let file = file_name(settings);
    if output.json {
        return output.print_json(&json!({"ok": true, "config_file": file, "notes": settings.notes}));
    }
    for note in &settings.notes {
        output.note(note)?;
    }
    let names: Vec<&str> = settings.steps.iter().map(|step| step.name.as_str()).collect();
    let file = file.unwrap_or_else(|| "no file: the defaults".into());
    output.line(&format!(
        "{file}: ok; the steps of a chain are {}",
        names.join(", ")
    ))
}

fn file_name(settings: &Settings) -> Option<String> {
    settings.file.as_ref().map(|path| path.display().to_string())
}

fn as_json(settings: &Settings, installed: Option<Capture>) -> Value {
    let rows = settings.rows.iter();
    json!({
        "config_file": file_name(settings),
        "root": settings.root.to_string_lossy(),
        "settings": rows.map(|row| json!({"key": row.key, "value": row.value, "from": row.source.json()})).collect::<Vec<_>>(),
        "installed": {"capture": installed},
        "notes": settings.notes,
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
