//! Measures the queue in-process, through the functions that the executor calls; `scripts/bench`
//! runs it and puts peers beside it.
//!
//! ```text
//! queue_bench steps   DIR JOURNAL SYNCHRONOUS BATCH STEPS REPEATS
//! queue_bench history DIR JOURNAL SYNCHRONOUS SAMPLES ROWS...
//! ```
//!
//! Each prints one JSON object. One unit of `steps` is what the executor does for a batch: one
//! transaction that leases and starts, one that settles. `history` fills `runchain_steps` with
//! finished rows up to each number in turn and leases single steps there. Nothing is judged here.

use runchain_core::chain::{Chain, StepSpec};
use runchain_core::install::{self, InstallOptions};
use runchain_core::steps::{self, Backoff, Capacity, Claim, Outcome, Success, Wanted};
use runchain_core::{ExecutorId, Millis, RunId};
use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

type Outcomes<T> = Result<T, Box<dyn Error>>;

/// Time is a parameter of the core; everything here happens at the same.
const NOW: Millis = Millis(1_700_000_000_000);
const BACKOFF: Backoff = Backoff {
    base_ms: 1,
    cap_ms: 1,
};

fn main() -> Outcomes<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let measured = match arguments.as_slice() {
        ["steps", dir, journal, synchronous, batch, steps, repeats] => {
            let conn = open(Path::new(dir), journal, synchronous)?;
            measure_steps(conn, batch.parse()?, steps.parse()?, repeats.parse()?)?
        }
        ["history", dir, journal, synchronous, samples, rows @ ..] => {
            let conn = open(Path::new(dir), journal, synchronous)?;
            measure_history(conn, samples.parse()?, rows)?
        }
        _ => return Err("see the comment at the top of queue_bench.rs for the arguments".into()),
    };
    writeln!(std::io::stdout(), "{measured}")?;
    Ok(())
}

/// A new database with runchain on it. As the executor opens it, but for the durability asked for.
fn open(dir: &Path, journal: &str, synchronous: &str) -> Outcomes<Connection> {
    let conn = Connection::open(dir.join("queue.db"))?;
    conn.pragma_update(None, "journal_mode", journal)?;
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT NOT NULL)")?;
    install::install(&conn, &InstallOptions::default(), NOW)?;
    Ok(conn)
}

/// Makes `count` ready steps, each of a run of its own.
fn fill(conn: &mut Connection, prefix: &str, count: usize) -> Outcomes<()> {
    let chain = Chain(vec![StepSpec::new("work", &[], 5)]);
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for number in 0..count {
        chain.begin(&transaction, &RunId(format!("{prefix}-{number:07}")), 1, NOW)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Where the time of a unit goes.
#[derive(Default)]
struct Parts {
    lease_and_start: Duration,
    settle: Duration,
    commit: Duration,
}

fn measure_steps(
    mut conn: Connection,
    batch: usize,
    count: usize,
    repeats: usize,
) -> Outcomes<serde_json::Value> {
    let executor = ExecutorId("bench".into());
    let mut rates = Vec::new();
    let mut parts = Parts::default();
    for repeat in 0..repeats {
        fill(&mut conn, &format!("run-{repeat}"), count)?;
        let begun = Instant::now();
        let mut claims = Vec::new();
        loop {
            claims = turn(&mut conn, &executor, &claims, batch, &mut parts)?;
            if claims.is_empty() {
                break;
            }
        }
        rates.push(count as f64 / begun.elapsed().as_secs_f64());
    }
    let left: i64 = conn.query_row(
        "SELECT count(*) FROM runchain_steps WHERE state <> 'done'",
        [],
        |row| row.get(0),
    )?;
    if left > 0 {
        return Err("steps were left".into());
    }
    let each = |part: Duration| part.as_secs_f64() * 1e6 / (count * repeats) as f64;
    Ok(json!({
        "per_second": rates,
        "parts_us": {
            "lease_and_start": each(parts.lease_and_start), "settle": each(parts.settle), "commit": each(parts.commit),
        },
    }))
}

/// A turn as the executor takes it: settles what has finished, leases and starts what comes next, in
/// one transaction and one commit.
fn turn(
    conn: &mut Connection,
    executor: &ExecutorId,
    finished: &[Claim],
    batch: usize,
    parts: &mut Parts,
) -> Outcomes<Vec<Claim>> {
    let outcome = Outcome::Done(Success {
        result: json!({ "ok": true }),
        ..Success::default()
    });
    let begun = Instant::now();
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for claim in finished {
        if steps::settle(&transaction, claim, &outcome, BACKOFF, 0.5, NOW)? != steps::Settled::Done {
            return Err("a step of ours could not be settled".into());
        }
    }
    let settled = Instant::now();
    let claims = steps::lease_and_start(&transaction, executor, Wanted::Due, capacity(batch), NOW)?;
    let started = Instant::now();
    transaction.commit()?;
    parts.settle += settled - begun;
    parts.lease_and_start += started - settled;
    parts.commit += started.elapsed();
    Ok(claims)
}

static NO_LIMITS: BTreeMap<String, usize> = BTreeMap::new();

/// Room for `free` steps.
fn capacity(free: usize) -> Capacity<'static> {
    Capacity {
        free,
        running: 0,
        concurrency: &NO_LIMITS,
    }
}

fn measure_history(mut conn: Connection, samples: usize, sizes: &[&str]) -> Outcomes<serde_json::Value> {
    let mut measured = Vec::new();
    let mut present = 0;
    for size in sizes {
        let size: usize = size.parse()?;
        finish(&mut conn, present, size)?;
        present = size;
        fill(&mut conn, &format!("ready-{size}"), samples)?;
        let executor = ExecutorId("bench".into());
        let mut lease_us = Vec::with_capacity(samples);
        let mut cycle_us = Vec::with_capacity(samples);
        for _ in 0..samples {
            let mut parts = Parts::default();
            let begun = Instant::now();
            let claims = turn(&mut conn, &executor, &[], 1, &mut parts)?;
            turn(&mut conn, &executor, &claims, 0, &mut Parts::default())?;
            lease_us.push(parts.lease_and_start.as_secs_f64() * 1e6);
            cycle_us.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        measured.push(json!({ "rows": size, "lease_us": lease_us, "cycle_us": cycle_us }));
    }
    Ok(json!(measured))
}

/// Fills `runchain_steps` with finished rows, from row `from` up to row `to`.
fn finish(conn: &mut Connection, from: usize, to: usize) -> Outcomes<()> {
    let synchronous: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    const CHUNK: usize = 250_000;
    for start in (from..to).step_by(CHUNK) {
        conn.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?2)
             INSERT INTO runchain_steps(run_id, generation, step, state, ready_at_ms, attempts, max_attempts, token,
                                        created_ms, started_ms, finished_ms, result)
             SELECT printf('old-%09d', n), 1, 'work', 'done', ?3, 1, 5, 1, ?3, ?3, ?3, '{\"ok\":true}' FROM numbers",
            (start as i64, (start + CHUNK).min(to) as i64, NOW),
        )?;
    }
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", synchronous)?;
    Ok(())
}
