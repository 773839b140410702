//! What removing old events costs in a large table: how long a batch holds the write lock, and how long
//! looking for the next one reads.
//!
//! `cargo run --release -p runchain-core --example retention_cost [EVENTS]`, 10,000,000 by default, in a
//! temporary folder, WAL, synchronous=FULL, the cache of SQLite at its default.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use runchain_core::error::{During, Result};
use runchain_core::install::{InstallOptions, install};
use runchain_core::retention::{Limits, Pass, Policy};
use runchain_core::{Mapping, Millis, transaction};
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// As the executor has them.
const LOOK_ROWS: u32 = 200;
const BATCH: Duration = Duration::from_millis(4);
/// Batches that are measured.
const BATCHES: usize = 2_000;
const NOW: Millis = Millis(1_000_000_000_000);

fn main() -> Result<()> {
    let events: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000_000);
    let folder = std::env::temp_dir().join(format!("retention-cost-{}", std::process::id()));
    std::fs::create_dir(&folder)
        .map_err(|error| runchain_core::Error::io("create", folder.display().to_string(), error))?;
    let measured = measure(&folder.join("runs.db"), events);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measure(path: &std::path::Path, events: u64) -> Result<()> {
    let conn = Connection::open(path).during("open a database")?;
    let mapping = fill(&conn, events)?;
    let policy = Policy {
        events: Limits::of_age(86_400_000),
        ..Policy::default()
    };
    let mut pass = Pass::new(policy, NOW);
    let (mut looks, mut locks) = (Vec::new(), Vec::new());
    while locks.len() < BATCHES {
        let began = Instant::now();
        let Some(mut batch) = pass.look(&conn, &mapping, LOOK_ROWS)? else {
            break;
        };
        looks.push(began.elapsed());
        while !batch.is_empty() {
            let mut began = Instant::now();
            let gone = transaction::atomically(&conn, true, || {
                // The lock is held from here on.
                began = Instant::now();
                let until = began + BATCH;
                Pass::remove(&conn, &batch, &|| Instant::now() < until)
            })?;
            locks.push(began.elapsed());
            pass.add_up(&mut batch, &gone);
        }
    }
    let removed: u64 = pass.removed().values().map(|removed| removed.rows).sum();
    println!("{events} events, {removed} removed in {} batches", locks.len());
    print("lock held", &mut locks);
    print("looked", &mut looks);
    Ok(())
}

/// Ten events for each run, all of them old and projected.
fn fill(conn: &Connection, events: u64) -> Result<Mapping> {
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL);",
    )
    .during("make a table")?;
    let mapping = install(conn, &InstallOptions::default(), Millis(0))?.mapping;
    conn.execute_batch(&format!(
        "INSERT INTO runchain_runs(run_id, phase, first_seen_ms, phase_since_ms)
           WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {events} / 10)
           SELECT 'run-' || i, 'completed', 0, 0 FROM n;
         INSERT INTO runchain_events(at_ms, type, run_id, data)
           WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {events})
           SELECT 0, 'RUN_COMPLETED', 'run-' || (i / 10), '{{\"status\":\"COMPLETED\",\"phase\":\"completed\"}}' FROM n;
         INSERT INTO runchain_cursors SELECT 'log.monitor', max(id) FROM runchain_events;
         PRAGMA wal_checkpoint(TRUNCATE);"
    ))
    .during("fill it")?;
    Ok(mapping)
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let ms = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        let time = times.get(place.min(times.len().saturating_sub(1)));
        time.map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
    };
    println!(
        "  {what}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
}
