//! What repeats a value that a rule names in another place: alerts repeat events and errors of steps, and
//! lifecycle events repeat both. Whoever tells of them passes them through here.

use super::{MARKER, Redactor};
use serde_json::{Value, json};

impl Redactor {
    /// Why an attempt of a step failed.
    pub(crate) fn step_error(&self, error: &str) -> String {
        self.column("runchain_steps", "error").text(error.to_owned())
    }

    /// What an alert of a rule says: by the rules for its own row, and for what it repeats.
    pub(crate) fn alert_message(&self, rule: &str, message: &str) -> String {
        let repeated = match rule {
            "step_dead" => self.step_error(message),
            _ => self
                .column("runchain_ingested", "error_message")
                .text(message.to_owned()),
        };
        self.column("runchain_alerts", "message").text(repeated)
    }

    /// What an alert is about.
    pub(crate) fn alert_subject(&self, subject: &str) -> String {
        self.column("runchain_alerts", "subject").text(subject.to_owned())
    }

    /// What tells an alert from others. Its parts say what it is about, too: where that must not leave, the
    /// row's number does.
    pub(crate) fn alert_fingerprint(&self, rule: &str, alert: i64, fingerprint: &str) -> String {
        if self.hides_what_alerts_are_about() {
            return json!([rule, MARKER, alert]).to_string();
        }
        self.column("runchain_alerts", "fingerprint")
            .text(fingerprint.to_owned())
    }

    fn hides_what_alerts_are_about(&self) -> bool {
        ["subject", "fingerprint"]
            .iter()
            .any(|column| self.column("runchain_alerts", column).is_whole())
    }

    /// A lifecycle event, by its type.
    pub(crate) fn event(&self, kind: &str, data: &mut Value) {
        if kind.starts_with("ALERT_") {
            self.event_of_alert(data);
        } else if kind.starts_with("STEP_") {
            change(data, "error", |error| self.step_error(error));
        }
    }

    fn event_of_alert(&self, data: &mut Value) {
        let rule = data["rule"].as_str().unwrap_or_default().to_owned();
        change(data, "message", |message| self.alert_message(&rule, message));
        change(data, "subject", |subject| self.alert_subject(subject));
        if let Some(Value::Array(subjects)) = data.get_mut("subjects") {
            for subject in subjects {
                *subject = subject
                    .as_str()
                    .map_or(Value::Null, |subject| self.alert_subject(subject).into());
            }
        }
        if !self.hides_what_alerts_are_about() {
            return;
        }
        let one = json!([rule, MARKER, data["alert"]]);
        if let Some(fingerprint) = data.get_mut("fingerprint") {
            *fingerprint = one;
        }
        if let Some(fingerprints) = data.get_mut("fingerprints") {
            *fingerprints = json!([]);
        }
    }
}

fn change(data: &mut Value, key: &str, by: impl Fn(&str) -> String) {
    if let Some(Value::String(text)) = data.get_mut(key) {
        *text = by(text);
    }
}
