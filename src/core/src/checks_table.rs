//! `monitor_checks()`: the findings of [`crate::validate`] as a table-valued function.
//!
//! ```sql
//! SELECT check_name, found, remedy FROM monitor_checks() WHERE severity <> 'ok';
//! ```
//!
//! It looks at files, so no view or trigger may call it.

use crate::Millis;
use crate::error::Result;
use crate::table_function::TableFunction;
use crate::validate::{self, Finding, ValidateOptions};
use rusqlite::Connection;
use rusqlite::types::Value;
use rusqlite::vtab::Context;
use std::ffi::{CStr, c_int};

/// The findings, and which of them is next.
pub(crate) struct Checks {
    findings: Vec<Finding>,
    next: usize,
}

impl TableFunction for Checks {
    const NAME: &'static CStr = c"monitor_checks";
    const SCHEMA: &'static CStr =
        c"CREATE TABLE checks(check_name TEXT, severity TEXT, found TEXT, meaning TEXT, remedy TEXT)";
    const COLUMNS: c_int = 5;
    const ARGUMENTS: c_int = 0;
    const COST: f64 = 1_000.0;

    fn begin(conn: &Connection, _arguments: &[Value]) -> Result<Self> {
        let findings = validate::checks(conn, &ValidateOptions::default(), Millis::now())?;
        Ok(Self { findings, next: 0 })
    }

    fn advance(&mut self) -> Result<()> {
        self.next += 1;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.next >= self.findings.len()
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let Some(finding) = self.findings.get(self.next) else {
            return Ok(());
        };
        match column {
            0 => context.set_result(&finding.check),
            1 => context.set_result(&finding.severity.as_str()),
            2 => context.set_result(&finding.found),
            3 => context.set_result(&finding.meaning),
            _ => context.set_result(&finding.remedy),
        }
    }
}
