//! Which file is which, and which must not be opened.

use super::*;
use std::collections::BTreeSet;

fn lines(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("{{\"id\":\"e-{id}\",\"type\":\"a\",\"n\":{id}}}\n"))
        .collect()
}

#[test]
fn reading_again_reads_nothing_and_appended_lines_once() {
    let bench = Bench::new();
    assert_eq!(bench.ingest_bytes(lines(0..3)).stored, 3);
    let again = bench.ingest("log.jsonl");
    assert_eq!((again.bytes, again.stored, again.duplicate), (0, 0, 0));
    assert_eq!(bench.ingest_bytes(lines(3..5)).stored, 2);
    assert_eq!(
        bench.text("SELECT count(*), sum(lines), sum(stored) FROM runchain_ingest_files"),
        "1|5|5"
    );
}

#[test]
fn a_call_with_nothing_new_changes_no_row() {
    let bench = Bench::new();
    bench.ingest_bytes(lines(0..3));
    let before = bench.conn.total_changes();
    bench.ingest("log.jsonl");
    assert_eq!(bench.conn.total_changes(), before);
}

#[test]
fn a_file_rotated_by_rename_goes_on_under_its_new_name() {
    let bench = Bench::new();
    bench.ingest_bytes(lines(0..3));
    bench.append("log.jsonl", lines(3..5));
    fs::rename(bench.path("log.jsonl"), bench.path("log.jsonl.1")).unwrap();
    bench.append("log.jsonl", lines(5..6));
    let old = bench.ingest("log.jsonl.1");
    assert_eq!((old.stored, old.duplicate), (2, 0));
    let new = bench.ingest("log.jsonl");
    assert_eq!((new.stored, new.duplicate), (1, 0));
    assert_ne!(old.file_id, new.file_id);
    assert_eq!(
        bench.text("SELECT replace(path, rtrim(path, 'log.jsonl.1'), ''), stored FROM runchain_ingest_files ORDER BY id"),
        "log.jsonl.1|5;log.jsonl|1"
    );
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let bench = Bench::new();
    bench.ingest_bytes(lines(0..5));
    fs::write(bench.path("log.jsonl"), lines(10..11)).unwrap();
    let report = bench.ingest("log.jsonl");
    assert_eq!((report.stored, report.duplicate), (1, 0));
}

#[test]
fn a_file_truncated_and_grown_past_its_checkpoint_is_read_from_its_beginning() {
    let bench = Bench::new();
    bench.ingest_bytes(lines(0..5));
    fs::write(bench.path("log.jsonl"), lines(10..30)).unwrap();
    let report = bench.ingest("log.jsonl");
    assert_eq!((report.stored, report.duplicate, report.rejected), (20, 0, 0));
    assert_eq!(bench.ingest_bytes(lines(30..31)).stored, 1);
}

#[test]
fn a_rewritten_file_with_the_same_beginning_is_another_file() {
    let bench = Bench::new();
    // More than what is hashed of a beginning.
    let head = lines(0..60);
    assert!(head.len() > 1024);
    bench.ingest_bytes(head.clone() + &lines(100..120));
    fs::write(bench.path("log.jsonl"), head + &lines(200..300)).unwrap();
    let report = bench.ingest("log.jsonl");
    assert_eq!((report.stored, report.duplicate, report.rejected), (100, 60, 0));
    assert_eq!(bench.ingest_bytes(lines(300..301)).stored, 1);
    assert_eq!(bench.text("SELECT count(*) FROM runchain_ingest_files"), "2");
}

#[test]
fn what_stood_before_the_checkpoint_is_known_again_however_it_was_read() {
    // Lines over the limit, NUL bytes and batches of one line leave different bytes in the buffer.
    let mut bench = Bench::new();
    bench.options.batch_lines = 1;
    bench.options.max_line_bytes = 2_000;
    let parts = [
        lines(0..100),
        format!("{}\n", "x".repeat(3 << 20)),
        "\0".repeat(5_000) + &lines(100..101),
        lines(101..102),
        "\n".to_owned(),
        format!("{}\n", "y".repeat(6 << 20)) + &lines(102..103),
    ];
    for part in parts {
        bench.ingest_bytes(part);
        assert_eq!(bench.ingest("log.jsonl").bytes, 0);
    }
    assert_eq!(bench.text("SELECT count(*) FROM runchain_ingest_files"), "1");
    assert_eq!(bench.text("SELECT count(*) FROM runchain_ingested"), "103");
}

#[test]
fn an_only_line_taken_without_its_newline_has_the_same_id_in_a_copy() {
    let mut bench = Bench::new();
    bench.options.finalise = true;
    bench.ingest_bytes("{\"type\":\"tick\"}");
    bench.ingest_bytes("\n");
    fs::copy(bench.path("log.jsonl"), bench.path("copy.jsonl")).unwrap();
    assert_eq!(bench.ingest("copy.jsonl").duplicate, 1);
}

#[test]
fn copy_truncate_repeats_nothing() {
    let bench = Bench::new();
    bench.ingest_bytes(lines(0..5));
    bench.append("log.jsonl", lines(5..7));
    fs::copy(bench.path("log.jsonl"), bench.path("log.jsonl.1")).unwrap();
    fs::write(bench.path("log.jsonl"), lines(7..8)).unwrap();
    let copy = bench.ingest("log.jsonl.1");
    assert_eq!((copy.stored, copy.duplicate), (2, 5));
    assert_eq!(bench.ingest("log.jsonl").stored, 1);
    assert_eq!(bench.text("SELECT count(*) FROM runchain_ingested"), "8");
}

#[test]
fn the_same_events_in_two_files_are_stored_once() {
    let bench = Bench::new();
    bench.append("global.jsonl", lines(0..4));
    bench.append("job.jsonl", lines(2..6));
    assert_eq!(bench.ingest("global.jsonl").stored, 4);
    let job = bench.ingest("job.jsonl");
    assert_eq!((job.stored, job.duplicate, job.rejected), (2, 2, 0));
}

#[test]
fn an_event_without_id_is_the_same_in_a_copy_and_another_at_another_place() {
    let bench = Bench::new();
    let line = "{\"type\":\"tick\"}\n";
    assert_eq!(bench.ingest_bytes(line.repeat(3)).stored, 3);
    fs::copy(bench.path("log.jsonl"), bench.path("copy.jsonl")).unwrap();
    assert_eq!(bench.ingest("copy.jsonl").duplicate, 3);
}

#[test]
fn a_file_is_known_through_a_symbolic_link() {
    let bench = Bench::new();
    bench.ingest_bytes(lines(0..2));
    std::os::unix::fs::symlink(bench.path("log.jsonl"), bench.path("link")).unwrap();
    let report = bench.ingest("link");
    assert_eq!(report.bytes, 0);
    assert!(report.path.ends_with("log.jsonl"), "{}", report.path);
}

#[test]
fn an_empty_file_is_no_error() {
    let bench = Bench::new();
    let report = bench.ingest_bytes("");
    assert_eq!((report.bytes, report.pending), (0, 0));
    assert_eq!(bench.ingest_bytes(lines(0..1)).stored, 1);
}

#[test]
fn the_database_and_the_files_beside_it_are_refused_before_they_are_opened() {
    let bench = Bench::new();
    bench.ingest_bytes(lines(0..1));
    fs::hard_link(bench.path("state.db"), bench.path("innocent.jsonl")).unwrap();
    std::os::unix::fs::symlink(bench.path("state.db-wal"), bench.path("link.jsonl")).unwrap();
    let attached = bench.path("other.db");
    bench
        .conn
        .execute("ATTACH ?1 AS other", [attached.to_str().unwrap()])
        .unwrap();
    bench.conn.execute_batch("CREATE TABLE other.t(x)").unwrap();
    // Closing any descriptor of such a file would drop this process's locks on it.
    bench.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = locks(&bench);
    for name in [
        "state.db",
        "state.db-wal",
        "state.db-shm",
        "innocent.jsonl",
        "link.jsonl",
        "other.db",
    ] {
        let refusal = bench.refusal(name);
        assert!(
            refusal.contains("is a file of this database"),
            "{name}: {refusal}"
        );
    }
    assert_eq!(locks(&bench), before);
    bench.conn.execute_batch("COMMIT").unwrap();
}

/// The locks that anybody holds on the database's files, as the kernel lists them. A list that changes
/// while it is read can miss one, but not again and again.
fn locks(bench: &Bench) -> BTreeSet<String> {
    use std::os::unix::fs::MetadataExt as _;
    let inodes = ["state.db", "state.db-shm"].map(|name| fs::metadata(bench.path(name)).unwrap().ino());
    let mut held = BTreeSet::new();
    for _ in 0..10 {
        let all = fs::read_to_string("/proc/locks").unwrap_or_default();
        let on_ours = |line: &&str| inodes.iter().any(|inode| line.contains(&format!(":{inode} ")));
        // Without the running number.
        let seen = all
            .lines()
            .filter(on_ours)
            .filter_map(|line| line.split_once(": "));
        held.extend(seen.map(|(_, lock)| lock.to_owned()));
    }
    held
}

#[test]
fn another_database_is_no_event_log() {
    let bench = Bench::new();
    let other = Connection::open(bench.path("stranger.db")).unwrap();
    other.execute_batch("CREATE TABLE t(x)").unwrap();
    drop(other);
    assert!(bench.refusal("stranger.db").contains("is an SQLite database"));
}

#[test]
fn what_is_no_regular_file_is_refused_in_a_sentence() {
    let bench = Bench::new();
    fs::create_dir(bench.path("folder")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        bench.path("fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    for (name, what) in [
        ("missing", "there is no event log"),
        ("folder", "is a folder"),
        ("fifo", "is a FIFO"),
        ("/dev/zero", "is a device"),
    ] {
        let refusal = bench.refusal(name);
        assert!(refusal.contains(what), "{name}: {refusal}");
    }
    assert_eq!(bench.text("SELECT count(*) FROM runchain_ingest_files"), "0");
}

#[test]
fn a_call_stops_after_so_many_bytes_and_the_next_goes_on_from_there() {
    let mut bench = Bench::new();
    bench.append("log.jsonl", lines(0..10));
    bench.append("log.jsonl", "{\"id\":\"half");
    let line_bytes = lines(0..1).len() as u64;
    bench.options.at_most_bytes = 4 * line_bytes;
    let first = bench.ingest("log.jsonl");
    assert_eq!(
        (first.stored, first.pending, first.left),
        (4, 0, 6 * line_bytes + 11)
    );
    let second = bench.ingest("log.jsonl");
    assert_eq!((second.stored, second.left), (4, 2 * line_bytes + 11));
    let last = bench.ingest("log.jsonl");
    assert_eq!((last.stored, last.pending, last.left), (2, 11, 0));
}

#[test]
fn of_a_file_that_was_never_read_nothing_is_read_where_only_resuming_is_asked_for() {
    let mut bench = Bench::new();
    bench.ingest_bytes(lines(0..3));
    bench.append("log.jsonl", lines(3..4));
    fs::rename(bench.path("log.jsonl"), bench.path("log.jsonl.1")).unwrap();
    bench.append("other", lines(7..9));
    bench.options.resume_only = true;
    assert_eq!(bench.ingest("other").stored, 0);
    assert_eq!(bench.ingest("log.jsonl.1").stored, 1);
    assert_eq!(bench.text("SELECT count(*) FROM runchain_ingest_files"), "1");
}

#[test]
fn a_file_that_is_opened_through_another_path_is_recorded_and_told_under_its_own() {
    let mut bench = Bench::new();
    bench.append("log.jsonl", lines(0..1));
    bench.options.recorded_as = Some(PathBuf::from("/events/real.jsonl"));
    bench.ingest("log.jsonl");
    assert_eq!(
        bench.text("SELECT path FROM runchain_ingest_files"),
        "/events/real.jsonl"
    );
    let told = bench.try_ingest("missing").unwrap_err().to_string();
    assert!(
        told.starts_with("there is no event log /events/real.jsonl"),
        "{told}"
    );
}

#[test]
fn the_report_says_what_a_file_is() {
    let bench = Bench::new();
    let identity = |name: &str| bench.ingest(name).identity;
    bench.append("log.jsonl", lines(0..5));
    assert_eq!(identity("log.jsonl"), Identity::New);
    assert_eq!(identity("log.jsonl"), Identity::Known);
    fs::rename(bench.path("log.jsonl"), bench.path("log.jsonl.1")).unwrap();
    bench.append("log.jsonl", lines(5..6));
    assert_eq!(identity("log.jsonl.1"), Identity::Renamed);
    assert_eq!(
        identity("log.jsonl"),
        Identity::New,
        "no row has this path any more"
    );
    fs::write(bench.path("log.jsonl"), lines(7..8)).unwrap();
    assert_eq!(identity("log.jsonl"), Identity::Rewritten, "of the same length");
    fs::write(bench.path("log.jsonl"), "").unwrap();
    assert_eq!(identity("log.jsonl"), Identity::Truncated);
    fs::rename(bench.path("log.jsonl.1"), bench.path("gone")).unwrap();
    bench.append("log.jsonl.1", lines(8..9));
    assert_eq!(identity("log.jsonl.1"), Identity::Replaced);
}

#[test]
fn what_is_rewritten_while_it_is_read_is_left_to_the_next_call() {
    use crate::ingest::file::LogFile;
    use crate::ingest::lines::LineReader;
    // By copy-truncate: the program goes on in the file that somebody has open.
    for rewritten in [lines(20..90), lines(20..21), String::new()] {
        let bench = Bench::new();
        bench.append("log.jsonl", lines(0..60));
        let log = LogFile::open(&bench.conn, &bench.path("log.jsonl"), None).unwrap();
        let mut reader = LineReader::new(log.handle().unwrap(), &log, &bench.options);
        let offset = lines(0..9).len() as u64;
        reader.seek(offset, b"").unwrap();
        fs::write(bench.path("log.jsonl"), rewritten).unwrap();
        reader.fill().unwrap();
        assert!(reader.next_chunk().is_none() && reader.at_end());
        assert_eq!((reader.offset(), reader.pending()), (offset, 0));
    }
}

#[test]
fn a_checkpoint_beyond_what_was_there_at_the_opening_is_of_the_same_file_unless_it_was_cut() {
    use crate::ingest::checkpoint::{Checkpoint, Known};
    use crate::ingest::file::LogFile;
    // Within the head that is hashed, and beyond it.
    for (first, all) in [(1, 2), (60, 90)] {
        let bench = Bench::new();
        bench.append("log.jsonl", lines(0..first));
        let opened = || LogFile::open(&bench.conn, &bench.path("log.jsonl"), None).unwrap();
        let log = opened();
        bench.append("log.jsonl", lines(first..all));
        bench.ingest("log.jsonl");
        let found = |log: &LogFile| Checkpoint::find(&bench.conn, log).unwrap();
        assert!(matches!(found(&log), Known::Ahead));
        assert!(matches!(found(&opened()), Known::Row(_)));
        fs::write(bench.path("log.jsonl"), lines(0..first)).unwrap();
        assert!(matches!(found(&log), Known::Nothing));
        assert!(matches!(found(&opened()), Known::Nothing));
    }
}

#[test]
fn a_file_that_was_cut_before_a_pending_run_of_nul_bytes_or_long_line_is_another() {
    for pending in ["\0".repeat(100), "x".repeat(3_000)] {
        let mut bench = Bench::new();
        bench.options.max_line_bytes = 2_000;
        bench.append("log.jsonl", lines(0..100));
        let report = bench.ingest_bytes(&pending);
        assert_eq!((report.stored, report.pending), (100, pending.len() as u64));
        // Behind the head that is hashed, before the checkpoint; and grown past it again.
        OpenOptions::new()
            .write(true)
            .open(bench.path("log.jsonl"))
            .unwrap()
            .set_len(lines(0..90).len() as u64)
            .unwrap();
        let report = bench.ingest_bytes(lines(200..300));
        assert_eq!(
            (report.identity, report.stored, report.duplicate),
            (Identity::Rewritten, 100, 90)
        );
    }
}

/// A log with a line, or NUL bytes, over the limit that has no end, and what a first call says of it.
fn unended(pending: &str) -> (Bench, IngestReport) {
    let mut bench = Bench::new();
    bench.options.max_line_bytes = 2_000;
    bench.append("log.jsonl", lines(0..100));
    let report = bench.ingest_bytes(pending);
    assert_eq!((report.stored, report.pending), (100, pending.len() as u64));
    assert!(report.unended.is_some());
    (bench, report)
}

#[test]
fn a_line_without_end_is_not_read_again_by_who_remembers_it() {
    for byte in ["x", "\0"] {
        let (mut bench, report) = unended(&byte.repeat(100_000));
        // It would end here for whoever reads it.
        let log = OpenOptions::new()
            .write(true)
            .open(bench.path("log.jsonl"))
            .unwrap();
        let middle = lines(0..100).len() as u64 + 50_000;
        std::os::unix::fs::FileExt::write_all_at(&log, b"\n", middle).unwrap();
        bench.options.unended = report.unended;
        let again = bench.ingest_bytes(byte.repeat(10));
        assert_eq!((again.pending, again.rejected), (100_010, 0));
        bench.options.unended = again.unended;
        let ended = bench.ingest_bytes(format!("\n{}", lines(100..101)));
        assert_eq!((ended.rejected, ended.stored, ended.pending), (1, 1, 0));
        let length = if byte == "x" { 100_011 } else { 100_010 };
        assert_eq!(
            bench.text("SELECT length_bytes, length(start) FROM runchain_ingest_rejects"),
            format!("{length}|{}", if byte == "x" { 200 } else { 0 })
        );
        assert_eq!(bench.ingest("log.jsonl").bytes, 0);
    }
}

#[test]
fn a_line_without_end_that_was_cut_off_and_has_grown_again_is_read_from_its_beginning() {
    let (mut bench, report) = unended(&"x".repeat(5_000));
    // Up to its checkpoint, and grown past where it was left.
    let log = OpenOptions::new()
        .write(true)
        .open(bench.path("log.jsonl"))
        .unwrap();
    log.set_len(lines(0..100).len() as u64).unwrap();
    bench.options.unended = report.unended;
    let report = bench.ingest_bytes(lines(100..400));
    assert_eq!((report.stored, report.rejected, report.pending), (300, 0, 0));
}

#[test]
fn a_line_without_end_is_skipped_a_piece_at_a_time_where_that_is_asked_for() {
    let mut bench = Bench::new();
    bench.options.skip_at_most_bytes = 1;
    bench.append("log.jsonl", lines(0..1));
    bench.append("log.jsonl", "x".repeat(40 << 20));
    bench.append("log.jsonl", format!("\n{}", lines(1..2)));
    let (mut calls, mut sum) = (0, IngestReport::default());
    loop {
        let report = bench.ingest("log.jsonl");
        bench.options.unended.clone_from(&report.unended);
        (calls, sum) = (calls + 1, sum.then(report));
        if sum.left == 0 {
            break;
        }
    }
    assert_eq!((sum.stored, sum.rejected, sum.pending), (2, 1, 0));
    // The reader's buffer is 8 MiB.
    assert!((4..=8).contains(&calls), "{calls}");
}

#[test]
fn of_a_log_that_was_cut_off_nothing_is_pending_any_more() {
    let bench = Bench::new();
    bench.append("log.jsonl", lines(0..5));
    assert_eq!(bench.ingest_bytes("{\"half").pending, 6);
    fs::write(bench.path("log.jsonl"), lines(5..6)).unwrap();
    assert_eq!(bench.ingest("log.jsonl").identity, Identity::Truncated);
    assert_eq!(
        bench.text("SELECT read_bytes > 0, pending_bytes FROM runchain_ingest_balance"),
        "1|0;1|0"
    );
}
