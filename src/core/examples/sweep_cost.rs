//! What the reconciling sweep costs on a large table: total time and the longest single statement.
//!
//! `cargo run --release -p runchain-core --example sweep_cost [RUNS]`, 1,000,000 by default, in a
//! temporary folder, WAL, the cache of SQLite at its default.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use runchain_core::error::{During, Result};
use runchain_core::install::{InstallOptions, install};
use runchain_core::sweep::{self, Sweep};
use runchain_core::{Mapping, Millis};
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// As the executor has it.
const CHUNK_ROWS: u32 = 1_000;

fn main() -> Result<()> {
    let runs: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let folder = std::env::temp_dir().join(format!("sweep-cost-{}", std::process::id()));
    std::fs::create_dir(&folder)
        .map_err(|error| runchain_core::Error::io("create", folder.display().to_string(), error))?;
    let measured = measure(&folder.join("runs.db"), runs);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measure(path: &std::path::Path, runs: u64) -> Result<()> {
    let conn = Connection::open(path).during("open a database")?;
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL, created_at TEXT, metadata_json TEXT);
         INSERT INTO runs WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {runs})
         SELECT lower(hex(randomblob(16))), 'COMPLETED', '2026-01-01T00:00:00Z', '{{\"project\":\"x\"}}' FROM n;"
    ))
    .during("fill a table")?;
    let mapping = install(&conn, &InstallOptions::default(), Millis(0))?.mapping;
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .during("checkpoint")?;
    println!("{runs} runs, chunks of {CHUNK_ROWS} rows");
    for round in 1..=3 {
        sweep_once(&conn, &mapping, &format!("nothing differs, round {round}"))?;
    }
    conn.execute_batch(
        "DROP TRIGGER runchain_capture_update; UPDATE runs SET status = 'FAILED' WHERE rowid % 1000 = 0",
    )
    .during("change rows unseen")?;
    sweep_once(&conn, &mapping, "one in a thousand differs")
}

fn sweep_once(conn: &Connection, mapping: &Mapping, what: &str) -> Result<()> {
    let (mut sweep, mut statements) = (Sweep::default(), 0);
    let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
    while !sweep.is_over() {
        let began = Instant::now();
        sweep::chunk(conn, mapping, &mut sweep, CHUNK_ROWS)?;
        let took = began.elapsed();
        total += took;
        longest = longest.max(took);
        statements += 1;
    }
    println!(
        "{what}: {:.2} s in {statements} statements, the longest {:.1} ms; {} rows compared, {} differ",
        total.as_secs_f64(),
        longest.as_secs_f64() * 1_000.0,
        sweep.compared,
        sweep.found
    );
    Ok(())
}
