//! However a byte stream is divided into appends and calls, the same rows come out.

use super::*;

/// A log with a bit of everything that `broken` tests.
fn stream(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut stream = Vec::new();
    for number in 0..60 {
        let kind = [
            "pattern.execution.started",
            "pattern.execution.failed",
            "pattern.execution.completed",
        ][rng.usize(..3)];
        let whole = event(
            &format!("EVT-{number}"),
            kind,
            rng.u32(..60),
            &format!("JOB-{}", rng.u8(..3)),
            &format!("PRUN-{}", rng.u8(..6)),
        );
        match rng.u8(..10) {
            0 => stream.extend(b"\r\n"),
            1 => stream.extend(vec![0; rng.usize(1..40)]),
            2 => stream.extend(vec![b'x'; rng.usize(400..900)]),
            3 => stream.extend(b"{\"type\":\"no id\"}\n"),
            4 => stream.extend(b"{\"half\":\n\xff\n"),
            5 => stream.extend(b"\xEF\xBB\xBF"),
            6 => stream.extend(event("EVT-0", kind, 1, "JOB-0", "PRUN-0").bytes()),
            _ => {}
        }
        stream.extend(whole.bytes());
    }
    stream
}

fn contents(bench: &Bench) -> Vec<Vec<Vec<Value>>> {
    [
        "SELECT event_id, type, at_ms, job_id, extra, line, offset_bytes FROM runchain_ingested ORDER BY offset_bytes",
        "SELECT line, offset_bytes, length_bytes, reason, start FROM runchain_ingest_rejects ORDER BY offset_bytes",
        "SELECT head_bytes, head_sha256, size_bytes, offset_bytes, lines, stored, duplicates, rejected, stored_bytes, rejected_bytes
         FROM runchain_ingest_files",
        "SELECT * FROM uet_executions ORDER BY execution_id",
        "SELECT * FROM uet_tasks ORDER BY task_id",
        "SELECT fingerprint, state, subject, message, count, first_at_ms, last_at_ms FROM runchain_alerts ORDER BY fingerprint",
    ]
    .map(|sql| bench.rows(sql))
    .to_vec()
}

#[test]
fn any_division_into_appends_and_calls_gives_the_same_rows() {
    for seed in 0..25 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let stream = stream(&mut rng);
        let mut whole = Bench::new();
        whole.options.max_line_bytes = 395;
        whole.ingest_bytes(&stream);
        let mut parts = Bench::new();
        parts.options.max_line_bytes = 395;
        let mut rest = &stream[..];
        let largest = [3, 50, 700, 5_000][rng.usize(..4)].max(stream.len() / 100);
        while !rest.is_empty() {
            let (part, left) = rest.split_at(rng.usize(1..=largest).min(rest.len()));
            parts.options.batch_lines = rng.usize(1..9);
            let report = parts.ingest_bytes(part);
            // Whoever remembers it, and whoever doesn't.
            parts.options.unended = report.unended.clone().filter(|_| rng.bool());
            let balance =
                parts.text("SELECT read_bytes + pending_bytes, pending_bytes FROM runchain_ingest_balance");
            assert_eq!(
                balance,
                format!("{}|{}", stream.len() - left.len(), report.pending),
                "seed {seed}"
            );
            rest = left;
        }
        for (parts, whole) in contents(&parts).iter().zip(contents(&whole)) {
            assert_eq!(*parts, whole, "seed {seed}");
        }
    }
}
