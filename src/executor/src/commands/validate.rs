//! `runchain validate`: every check of `monitor_checks()`, with the configured tables.

use super::{open, required};
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::identity;
use crate::open::{OpenMode, required_tables};
use crate::output::Output;
use runchain_core::Millis;
use runchain_core::validate::{self, Finding, Severity, ValidateOptions};
use rusqlite::Connection;

/// The check of the identity again, with what the logs know.
pub(crate) fn ask_the_logs(findings: &mut [Finding], conn: &Connection, settings: &Settings) {
    let Some(finding) = findings
        .iter_mut()
        .find(|one| one.check == "identity" && one.severity == Severity::Ok)
    else {
        return;
    };
    if let Some(unadopted) = identity::unadopted(conn, settings) {
        finding.severity = Severity::Error;
        finding.found = unadopted.what;
        finding.meaning = "no executor drains this database before somebody says what it is".to_owned();
        finding.remedy = Some(unadopted.remedy);
    }
}

pub(super) fn validate(settings: &Settings, output: &Output) -> Outcome<Exit> {
    let conn = open(settings, OpenMode::ReadOnly)?;
    let required = required(&conn, settings)?;
    let options = ValidateOptions {
        required_tables: required.clone(),
        look_at_files: true,
    };
    let mut findings = validate::checks(&conn, &options, Millis::now())?;
    ask_the_logs(&mut findings, &conn, settings);
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
