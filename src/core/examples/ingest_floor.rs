//! The floor of ingest: its SQL statements fed with parsed rows. `ingest_floor DATABASE LOG` prints the
//! seconds of the storing; scripts/bench calls it.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use runchain_core::error::{During, Error, Result};
use runchain_core::ingest::floor::store_parsed;
use runchain_core::{Millis, functions};
use rusqlite::Connection;
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, log] = arguments.as_slice() else {
        return Err(Error::refused(
            "two arguments are needed",
            "ingest_floor DATABASE LOG",
        ));
    };
    let conn = Connection::open(database).during("open a database")?;
    // As the command `ingest` has it.
    functions::register(&conn, functions::Surface::Full)?;
    let (took, report) = store_parsed(&conn, Path::new(log), Millis(0))?;
    println!(
        "{{\"seconds\": {}, \"stored\": {}, \"rejected\": {}, \"duplicate\": {}}}",
        took.as_secs_f64(),
        report.stored,
        report.rejected,
        report.duplicate
    );
    Ok(())
}
