//! The orchestrator: writers that have never heard of runchain, on stock SQLite, all at once.
//!
//! They draw the runs that they write to from a small pool, so that runs are repeated, run again,
//! deleted, renamed and made anew under an id that was in use, while their chains are under way.

use super::ledger::{Commit, Op};
use fastrand::Rng;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// A writer never meets an error: what others do to the database is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const POOL: u32 = 20;

/// The writers' own order of commits, beside the tables that are captured.
pub(crate) const SEQUENCE: &str = "CREATE TABLE commits(seq INTEGER PRIMARY KEY AUTOINCREMENT);";

const STATUSES: [&str; 12] = [
    "PENDING",
    "RUNNING",
    "RUNNING",
    "RUNNING",
    "COMPLETED",
    "COMPLETED",
    "COMPLETED",
    "succeeded",
    "FAILED",
    "PARTIAL",
    "cancelled",
    "A_NEW_WORD",
];

/// Writes until `stop`; returns what it committed.
pub(crate) fn write(database: &Path, mut random: Rng, numbers: &AtomicI64, stop: &AtomicBool) -> Vec<Commit> {
    let mut conn = Connection::open(database).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    let recursive = random.bool();
    conn.pragma_update(None, "recursive_triggers", recursive).unwrap();
    let mut commits = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let ops: Vec<Op> = (0..random.u32(1..4))
            .map(|_| draw(&mut random, recursive, numbers.fetch_add(1, Ordering::Relaxed)))
            .collect();
        let transaction = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        transaction
            .execute("INSERT INTO commits DEFAULT VALUES", [])
            .unwrap();
        let seq = transaction.last_insert_rowid();
        for op in &ops {
            execute(&transaction, op);
        }
        if random.u32(..10) == 0 {
            transaction.rollback().unwrap();
        } else {
            transaction.commit().unwrap();
            commits.push(Commit { seq, ops });
        }
        // The pace of the load, not a wait for anything.
        std::thread::sleep(Duration::from_millis(random.u64(5..80)));
    }
    commits
}

fn draw(random: &mut Rng, recursive: bool, n: i64) -> Op {
    let mut id = || format!("run-{}", random.u32(..POOL));
    let (id, other) = (id(), id());
    let status = STATUSES[random.usize(..STATUSES.len())];
    match random.u32(..100) {
        0..12 => Op::Insert { id, status, n },
        12..24 => Op::Replace {
            id,
            status,
            n,
            recursive,
        },
        24..36 => Op::Upsert { id, status, n },
        36..66 => Op::Status { id, status, n },
        66..76 => Op::Touch { id, n },
        76..82 => Op::Delete { id },
        82..90 => Op::Rename { from: id, to: other },
        _ => Op::Event { id, n },
    }
}

fn execute(conn: &Connection, op: &Op) {
    const NEW: &str = "INTO runs(run_id, status, created_at, updated_at, metadata_json)
                       VALUES (?1, ?2, '2026-01-31T12:00:00Z', '2026-01-31T12:00:05Z', 'n' || ?3)";
    let done = match op {
        Op::Insert { id, status, n } => match conn.execute(&format!("INSERT {NEW}"), (id, status, n)) {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                Ok(0)
            }
            done => done,
        },
        Op::Replace { id, status, n, .. } => {
            conn.execute(&format!("INSERT OR REPLACE {NEW}"), (id, status, n))
        }
        Op::Upsert { id, status, n } => conn.execute(
            &format!(
                "INSERT {NEW} ON CONFLICT(run_id) DO UPDATE
                 SET status = excluded.status, metadata_json = excluded.metadata_json"
            ),
            (id, status, n),
        ),
        Op::Status { id, status, n } => conn.execute(
            "UPDATE runs SET status = ?2, metadata_json = 'n' || ?3 WHERE run_id = ?1",
            (id, status, n),
        ),
        Op::Touch { id, n } => conn.execute(
            "UPDATE runs SET metadata_json = 'n' || ?2 WHERE run_id = ?1",
            (id, n),
        ),
        Op::Delete { id } => conn.execute("DELETE FROM runs WHERE run_id = ?1", [id]),
        Op::Rename { from, to } => conn.execute(
            "UPDATE OR IGNORE runs SET run_id = ?2 WHERE run_id = ?1",
            (from, to),
        ),
        Op::Event { id, n } => conn.execute(
            "INSERT INTO events(id, run_id, event_type) VALUES (?2, ?1, 'tool_done')",
            (id, n),
        ),
    };
    done.unwrap_or_else(|error| panic!("a writer met an error at {op:?}: {error}"));
}
