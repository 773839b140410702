//! The floor of ingest: its SQL statements fed with parsed rows. `ingest_floor DATABASE LOG` prints the
//! seconds of the storing; scripts/bench calls it. With `whole` as a third argument it ingests the log as
//! everybody does, in the same process and build, for a profiler to tell the difference.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use runchain_core::error::{During, Error, Result};
use runchain_core::ingest::floor::store_parsed;
use runchain_core::ingest::{IngestOptions, ingest_path};
use runchain_core::{Millis, functions};
use rusqlite::Connection;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (database, log, whole) = match arguments.as_slice() {
        [database, log] => (database, log, false),
        [database, log, whole] if whole == "whole" => (database, log, true),
        _ => {
            return Err(Error::refused(
                "two arguments are needed",
                "ingest_floor DATABASE LOG [whole]",
            ));
        }
    };
    let conn = Connection::open(database).during("open a database")?;
    // As the command `ingest` has it.
    functions::register(&conn, functions::Surface::Full)?;
    let log = Path::new(log);
    let (took, report) = if whole {
        let began = Instant::now();
        let report = ingest_path(&conn, log, Millis(0), &IngestOptions::default())?;
        (began.elapsed(), report)
    } else {
        store_parsed(&conn, log, Millis(0))?
    };
    println!(
        "{{\"seconds\": {}, \"stored\": {}, \"rejected\": {}, \"duplicate\": {}}}",
        took.as_secs_f64(),
        report.stored,
        report.rejected,
        report.duplicate
    );
    Ok(())
}
