//! JSON data as a person reads it: what is null left out, with units, without the project's folder.

use crate::output;
use serde_json::Value;
use std::path::Path;

/// An event's data in a line. `--json` has all of it.
pub(super) fn brief(data: &Value, root: &Path) -> String {
    let fields = match data {
        Value::Null => return String::new(),
        Value::Object(fields) => fields,
        other => return other.to_string(),
    };
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    let words = fields.map(|(key, value)| {
        if let (Some(name), Some(span_ms)) = (key.strip_suffix("_ms"), value.as_i64()) {
            return format!("{name} {}", output::duration(span_ms));
        }
        if let (Some(name), Some(bytes)) = (key.strip_suffix("_bytes"), value.as_u64()) {
            return format!("{name} {}", output::size(bytes));
        }
        match value {
            Value::String(text) if key == "digest" => format!("{key} {}", text.get(..19).unwrap_or(text)),
            Value::String(text) => format!("{key} {}", below(root, text)),
            other => format!("{key} {other}"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The same of an event: of what somebody asked for or did only who, what and what came of it; the whole
/// of it stands in `runchain audit`.
pub(super) fn brief_event(kind: &str, data: &Value, root: &Path) -> String {
    if !matches!(kind, "REQUEST" | "OPERATOR_ACTION" | "INSTALLED") {
        return brief(data, root);
    }
    let text = |key: &str| data[key].as_str();
    let mut told = text("action").unwrap_or("install").to_owned();
    for (before, key) in [(" by ", "actor"), (": ", "answer"), ("; reason: ", "reason")] {
        if let Some(text) = text(key) {
            told += before;
            told += text;
        }
    }
    told
}

/// A path without the project's folder, where it lies below that.
pub(super) fn below<'a>(root: &Path, path: &'a str) -> &'a str {
    let relative = Path::new(path).strip_prefix(root).ok();
    relative.and_then(Path::to_str).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_is_told_with_units_and_without_the_project_s_folder() {
        let data = json!({
            "path": "/p/.archive/run-1", "digest": format!("sha256:{}", "ab".repeat(32)), "size_bytes": 2_048,
            "heartbeat_ms": 10_000, "settled": true, "replaced": null,
        });
        assert_eq!(
            brief(&data, Path::new("/p")),
            "path .archive/run-1, digest sha256:abababababab, size 2 KiB, heartbeat 10 s, settled true"
        );
    }

    #[test]
    fn of_what_somebody_did_only_the_outcome_is_told() {
        let data = json!({
            "action": "retry", "actor": "ann(1000)@box", "answer": "done", "reason": "disk was full",
            "before": {"steps": {"archive": "dead"}}, "after": {"steps": {"archive": "ready"}},
        });
        assert_eq!(
            brief_event("REQUEST", &data, Path::new("/p")),
            "retry by ann(1000)@box: done; reason: disk was full"
        );
    }
}
