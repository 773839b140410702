//! Each kind of damage ends stored or rejected; `Bench::ingest` checks that the bytes balance.

use super::*;

const GOOD: &str = "{\"id\":\"good\",\"type\":\"a\"}\n";

/// Ingests one damaged line (newline added) and a good one after it; the good one must be stored.
/// Returns the stored ids but for it, and the reasons.
fn damaged(line: &[u8]) -> (String, String) {
    let bench = Bench::new();
    bench.append("log.jsonl", line);
    bench.append("log.jsonl", "\n");
    let report = bench.ingest_bytes(GOOD);
    assert_eq!(report.pending, 0);
    assert_eq!(
        bench.text("SELECT count(*) FROM runchain_ingested WHERE event_id = 'good'"),
        "1"
    );
    assert_eq!(report.bytes as usize, line.len() + 1 + GOOD.len());
    (
        bench.text("SELECT event_id FROM runchain_ingested WHERE event_id <> 'good' ORDER BY id"),
        bench.text("SELECT reason FROM runchain_ingest_rejects ORDER BY id"),
    )
}

fn stored(line: impl AsRef<[u8]>, ids: &str) {
    assert_eq!(damaged(line.as_ref()), (ids.to_owned(), String::new()));
}

fn rejected(line: impl AsRef<[u8]>, reason: &str) {
    let (ids, reasons) = damaged(line.as_ref());
    assert_eq!(ids, "");
    assert!(reasons.starts_with(reason), "{reasons}");
    assert!(!reasons.contains(';'), "one reject: {reasons}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_line() {
    stored("\u{feff}{\"id\":\"x\",\"type\":\"a\"}", "x");
}

#[test]
fn windows_line_ends_are_read() {
    stored("{\"id\":\"x\",\"type\":\"a\"}\r", "x");
}

#[test]
fn empty_lines_are_stored_bytes_and_no_events() {
    let bench = Bench::new();
    let report = bench.ingest_bytes(format!("\n \t\r\n{GOOD}\n"));
    assert_eq!((report.stored, report.rejected), (1, 0));
    assert_eq!(
        bench.text("SELECT lines, stored, stored_bytes, rejected_bytes FROM runchain_ingest_files"),
        format!("4|1|{}|0", 1 + 4 + GOOD.len() + 1)
    );
}

#[test]
fn a_run_of_nul_bytes_does_not_take_the_line_after_it_along() {
    let mut line = vec![0; 5_000];
    line.extend(b"{\"id\":\"x\",\"type\":\"a\"}");
    assert_eq!(damaged(&line), ("x".to_owned(), "NUL bytes".to_owned()));
}

#[test]
fn a_run_of_nul_bytes_larger_than_any_buffer_is_one_reject() {
    let mut bench = Bench::new();
    bench.options.max_line_bytes = 100;
    let run = 17 << 20;
    bench.append("log.jsonl", vec![0; run]);
    let report = bench.ingest("log.jsonl");
    assert_eq!(
        (report.bytes, report.rejected, report.pending),
        (0, 0, run as u64),
        "it may still grow"
    );
    let report = bench.ingest_bytes(GOOD);
    assert_eq!((report.stored, report.rejected), (1, 1));
    assert_eq!(
        bench.text("SELECT line, offset_bytes, length_bytes, reason FROM runchain_ingest_rejects"),
        format!("1|0|{run}|NUL bytes")
    );
}

#[test]
fn invalid_utf8_is_rejected_with_its_place_and_start() {
    let bench = Bench::new();
    bench.append("log.jsonl", GOOD);
    let report = bench.ingest_bytes(b"{\"id\":\"\xff\xfe\",\"type\":\"a\"}\n");
    assert_eq!((report.stored, report.rejected), (1, 1));
    assert_eq!(
        bench.text(
            "SELECT line, offset_bytes, length_bytes, reason, start, at_ms FROM runchain_ingest_rejects"
        ),
        format!(
            "2|{}|23|not UTF-8 from byte 7|{{\"id\":\"\u{fffd}\u{fffd}\",\"type\":\"a\"}}|{}",
            GOOD.len(),
            NOW.0
        )
    );
}

#[test]
fn the_start_of_a_reject_is_two_hundred_characters() {
    let bench = Bench::new();
    bench.ingest_bytes(format!("{}\n", "é".repeat(1_000)));
    assert_eq!(
        bench.text("SELECT length(start), length_bytes FROM runchain_ingest_rejects"),
        "200|2001"
    );
}

#[test]
fn a_nesting_bomb_is_rejected() {
    let bomb = "[".repeat(100_000);
    rejected(&bomb, "nested deeper than 128");
    rejected(
        format!("{{\"type\":\"a\",\"details\":{bomb}"),
        "nested deeper than 128",
    );
    rejected(
        format!(
            "{{\"type\":\"a\",\"details\":{}1{}}}",
            "[".repeat(128),
            "]".repeat(128)
        ),
        "nested deeper than 128",
    );
}

#[test]
fn many_brackets_that_are_not_deep_are_stored() {
    let flat = "[\"[\\\"[\"],".repeat(1_000);
    stored(
        format!("{{\"id\":\"x\",\"type\":\"a\",\"details\":[{flat}[]]}}"),
        "x",
    );
}

#[test]
fn of_a_duplicate_key_the_last_value_wins() {
    let bench = Bench::new();
    bench.ingest_bytes("{\"id\":\"1\",\"type\":\"a\",\"type\":\"b\",\"x\":1,\"y\":2,\"x\":3}\n");
    assert_eq!(
        bench.text("SELECT type, extra FROM runchain_ingested"),
        "b|{\"y\":2,\"x\":3}"
    );
}

#[test]
fn huge_numbers_are_kept_as_they_were_written() {
    let bench = Bench::new();
    let huge = "123456789012345678901234567890";
    bench.ingest_bytes(format!(
        "{{\"id\":{huge},\"type\":\"a\",\"job_id\":1e999,\"time\":{huge},\"details\":{{\"n\":-{huge}.5e400}},\"n\":{huge}}}\n"
    ));
    assert_eq!(
        bench.text("SELECT event_id, job_id, at, at_ms, details, extra FROM runchain_ingested"),
        format!("{huge}|1e999|{huge}|-|{{\"n\":-{huge}.5e400}}|{{\"n\":{huge}}}")
    );
}

#[test]
fn a_lone_surrogate_is_kept_in_json_and_rejected_in_a_column() {
    stored(r#"{"id":"x","type":"a","details":{"s":"\ud800"}}"#, "x");
    rejected(r#"{"id":"\ud800","type":"a"}"#, "id can't be read");
    rejected(r#"{"id":"x","type":"a","\udfff":1}"#, "not a JSON object");
}

#[test]
fn what_is_no_object_or_has_no_type_is_rejected() {
    for line in [
        "[1]",
        "7",
        "\"text\"",
        "null",
        "{\"type\":\"a\"",
        "{\"type\":\"a\"}{\"type\":\"b\"}",
        "{'type':'a'}",
    ] {
        rejected(line, "not a JSON object");
    }
    for line in [
        "{}",
        "{\"id\":\"1\"}",
        "{\"type\":\"\"}",
        "{\"type\":null}",
        "{\"type\":{\"a\":1}}",
    ] {
        rejected(line, "no event type");
    }
}

#[test]
fn a_line_over_the_limit_is_skipped_in_bounded_memory() {
    for newline_at_end_of_buffer in [false, true] {
        let mut bench = Bench::new();
        bench.options.max_line_bytes = 1_000;
        let length = if newline_at_end_of_buffer {
            (8 << 20) - 1
        } else {
            19 << 20
        };
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        bench.append("log.jsonl", GOOD);
        bench.append("log.jsonl", &line);
        let report = bench.ingest_bytes("{\"id\":\"after\",\"type\":\"a\"}\n");
        assert_eq!((report.stored, report.rejected, report.pending), (2, 1, 0));
        assert_eq!(
            bench.text(
                "SELECT line, offset_bytes, length_bytes, reason, length(start) FROM runchain_ingest_rejects"
            ),
            format!(
                "2|{}|{}|longer than the limit of a line|200",
                GOOD.len(),
                line.len()
            )
        );
        assert_eq!(
            bench.text("SELECT line FROM runchain_ingested WHERE event_id = 'after'"),
            "3"
        );
    }
}

#[test]
fn a_line_of_exactly_the_limit_is_stored_and_one_byte_more_is_not() {
    let mut bench = Bench::new();
    bench.options.max_line_bytes = GOOD.len() - 1;
    bench.append("log.jsonl", GOOD);
    let report = bench.ingest_bytes(GOOD.replace("good", "wider"));
    assert_eq!((report.stored, report.rejected), (1, 1));
}

#[test]
fn a_last_line_without_newline_waits_until_it_grows_or_is_final() {
    let mut bench = Bench::new();
    let (whole, half) = GOOD.split_at(10);
    let report = bench.ingest_bytes(whole);
    assert_eq!((report.bytes, report.stored, report.pending), (0, 0, 10));
    let report = bench.ingest_bytes(half.trim_end());
    assert_eq!(
        (report.bytes, report.stored, report.pending),
        (0, 0, GOOD.len() as u64 - 1)
    );
    bench.options.finalise = true;
    let report = bench.ingest("log.jsonl");
    assert_eq!((report.stored, report.pending), (1, 0));
    // Its newline comes later after all.
    bench.options.finalise = false;
    let report = bench.ingest_bytes("\n{\"id\":\"next\",\"type\":\"a\"}\n");
    assert_eq!((report.stored, report.duplicate, report.rejected), (1, 0, 0));
}

#[test]
fn of_a_duplicate_key_that_is_no_field_after_all_the_last_value_wins() {
    let bench = Bench::new();
    bench.ingest_bytes("{\"event\":\"tick\",\"id\":1,\"event\":{\"name\":\"x\"},\"type\":\"a\"}\n");
    assert_eq!(
        bench.text("SELECT type, extra FROM runchain_ingested"),
        "a|{\"event\":{\"name\":\"x\"}}"
    );
}
