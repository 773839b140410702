//! `runchain validate`: every check of `monitor_checks()`, with the configured tables.

use super::{open, required};
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::{OpenMode, required_tables};
use crate::output::Output;
use runchain_core::Millis;
use runchain_core::validate::{self, Severity, ValidateOptions};

pub(super) fn validate(settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let required = required(&conn, settings)?;
    let options = ValidateOptions {
        required_tables: required.clone(),
        look_at_files: true,
    };
    let findings = validate::checks(&conn, &options, Millis::now())?;
    if output.json {
        output.print_json(&validate::to_json(&findings))?;
    } else {
        let rows = findings.iter().map(|finding| {
            let remedy = finding.remedy.clone().unwrap_or_default();
            [
                finding.severity.as_str().to_owned(),
                finding.check.to_owned(),
                finding.found.clone(),
                remedy,
            ]
        });
        output.table(&["SEVERITY", "CHECK", "FOUND", "REMEDY"], rows)?;
    }
    if let Err(error) = required_tables(&conn, &required) {
        return Err(super::logged(settings, error).into());
    }
    let wrong = |check: &str| {
        findings
            .iter()
            .any(|one| one.check == check && one.severity == Severity::Error)
    };
    Ok(if wrong("installed") {
        Exit::NotInstalled
    } else if wrong("mapping") || wrong("triggers") || wrong("own_objects") {
        Exit::SchemaInvalid
    } else if findings.iter().any(|finding| finding.severity == Severity::Error) {
        Exit::Failed
    } else {
        Exit::Ok
    })
}
