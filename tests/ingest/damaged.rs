//! One damaged line between two good ones: the good ones are stored, and of the damaged one there is a
//! count and a reason. And again: nothing new is found.

use super::*;
use std::fs;

const BEFORE: &str = "{\"id\":\"before\",\"type\":\"a\"}\n";
const AFTER: &str = "{\"id\":\"after\",\"type\":\"a\"}\n";
/// The limit of a line, newline not counted.
const LIMIT_BYTES: usize = 1 << 20;

/// What becomes of the damaged line.
enum Fate<'a> {
    /// Stored, and this query says this.
    Stored(&'a str, &'a str),
    /// Rejected, for reasons that begin like this.
    Rejected(&'a [&'a str]),
    /// Nothing: its bytes count as read.
    Nothing,
}

#[track_caller]
fn becomes(damaged: impl AsRef<[u8]>, fate: &Fate<'_>) {
    let log = [BEFORE.as_bytes(), damaged.as_ref(), AFTER.as_bytes()].concat();
    for door in DOORS {
        let project = installed();
        fs::write(project.path("log.jsonl"), &log).unwrap();
        let report = door.ingest(&project, "log.jsonl").unwrap();
        let (stored, reasons) = match fate {
            Fate::Stored(..) => (3, &[][..]),
            Fate::Rejected(reasons) => (2, *reasons),
            Fate::Nothing => (2, &[][..]),
        };
        let wanted = Counts {
            stored,
            rejected: reasons.len() as u64,
            ..Counts::default()
        };
        assert_eq!((Counts::of(&report), door), (wanted, door));
        assert_eq!(report["bytes"], log.len());
        balances(&project);
        let said = project.lines("SELECT reason FROM runchain_ingest_rejects ORDER BY offset_bytes");
        assert_eq!(said.len(), reasons.len());
        for (said, wanted) in said.iter().zip(reasons) {
            assert!(said.starts_with(wanted), "{door:?}: {said}");
        }
        if let Fate::Stored(query, answer) = fate {
            assert_eq!(project.sql(query).trim_end(), *answer, "{door:?}");
        }
        let stored = ids(&project);
        assert_eq!((&*stored[0], &**stored.last().unwrap()), ("before", "after"));
        let again = door.ingest(&project, "log.jsonl").unwrap();
        assert_eq!(
            (Counts::of(&again), &again["bytes"]),
            (Counts::default(), &0.into())
        );
    }
}

const OF_X: &str = "SELECT type, extra, details FROM runchain_ingested WHERE event_id = 'x'";

#[test]
fn a_byte_order_mark() {
    becomes(
        "\u{feff}{\"id\":\"x\",\"type\":\"a\"}\n",
        &Fate::Stored(OF_X, "a||"),
    );
}

#[test]
fn windows_line_ends() {
    becomes("{\"id\":\"x\",\"type\":\"a\"}\r\n", &Fate::Stored(OF_X, "a||"));
}

#[test]
fn empty_lines() {
    becomes("\n\r\n \t\n", &Fate::Nothing);
}

#[test]
fn a_run_of_nul_bytes() {
    becomes([0; 4096], &Fate::Rejected(&["NUL bytes"]));
}

#[test]
fn nul_bytes_within_a_line() {
    becomes(
        "{\"id\":\"x\0\",\"type\":\"a\"}\n",
        &Fate::Rejected(&["not a JSON object"]),
    );
}

#[test]
fn invalid_utf8() {
    becomes(
        b"{\"id\":\"\xff\",\"type\":\"a\"}\n",
        &Fate::Rejected(&["not UTF-8 from byte 7"]),
    );
}

#[test]
fn duplicate_keys() {
    becomes(
        "{\"id\":\"y\",\"id\":\"x\",\"type\":\"b\",\"type\":\"a\",\"n\":1,\"n\":2}\n",
        &Fate::Stored(OF_X, "a|{\"n\":2}|"),
    );
}

#[test]
fn deep_nesting() {
    let bomb = format!(
        "{{\"id\":\"x\",\"type\":\"a\",\"details\":{}\n",
        "[".repeat(200_000)
    );
    becomes(bomb, &Fate::Rejected(&["nested deeper than"]));
}

#[test]
fn huge_numbers() {
    let huge = "9".repeat(400);
    becomes(
        format!("{{\"id\":\"x\",\"type\":\"a\",\"time\":{huge},\"n\":-{huge}e{huge}}}\n"),
        &Fate::Stored(
            "SELECT length(at), at_ms, length(extra) FROM runchain_ingested WHERE event_id = 'x'",
            "400||808",
        ),
    );
}

#[test]
fn lone_surrogates() {
    let details = r#"{"text":"\ud800"}"#;
    becomes(
        format!("{{\"id\":\"x\",\"type\":\"a\",\"details\":{details}}}\n"),
        &Fate::Stored(OF_X, &format!("a||{details}")),
    );
    becomes(
        "{\"id\":\"\\udfff\",\"type\":\"a\"}\n",
        &Fate::Rejected(&["id can't be read"]),
    );
}

#[test]
fn lines_that_are_no_events() {
    becomes(
        "[]\n{\"id\":\"x\"}\n{\"id\":\n",
        &Fate::Rejected(&["not a JSON object", "no event type", "not a JSON object"]),
    );
}

#[test]
fn a_line_of_exactly_the_limit_and_one_of_a_byte_more() {
    let frame = "{\"id\":\"x\",\"type\":\"a\",\"text\":\"\"}".len();
    let line = |length: usize| {
        format!(
            "{{\"id\":\"x\",\"type\":\"a\",\"text\":\"{}\"}}\n",
            "t".repeat(length - frame)
        )
    };
    becomes(
        line(LIMIT_BYTES),
        &Fate::Stored(
            "SELECT length(extra) FROM runchain_ingested WHERE event_id = 'x'",
            "1048556",
        ),
    );
    becomes(
        line(LIMIT_BYTES + 1),
        &Fate::Rejected(&["longer than the limit of a line"]),
    );
}

#[test]
fn a_rejected_line_stands_with_its_place_its_length_and_its_start() {
    for door in DOORS {
        let project = installed();
        append(
            &project,
            "log.jsonl",
            format!("{BEFORE}{}\n{AFTER}", "é".repeat(3_000)),
        );
        door.ingest(&project, "log.jsonl").unwrap();
        assert_eq!(
            project.sql("SELECT line, offset_bytes, length_bytes, length(start), substr(start, 1, 3) FROM runchain_ingest_rejects"),
            format!("2|{}|6001|200|ééé\n", BEFORE.len())
        );
    }
}

#[test]
fn a_last_line_without_newline_is_held_until_it_grows() {
    for door in DOORS {
        let project = installed();
        append(&project, "log.jsonl", format!("{BEFORE}{{\"id\":\"x\","));
        let report = door.ingest(&project, "log.jsonl").unwrap();
        let wanted = Counts {
            pending: 10,
            ..stored(1)
        };
        assert_eq!(Counts::of(&report), wanted);
        balances(&project);
        append(&project, "log.jsonl", "\"type\":\"a\"}\n");
        assert_eq!(
            Counts::of(&door.ingest(&project, "log.jsonl").unwrap()),
            stored(1)
        );
        assert_eq!(ids(&project), ["before", "x"]);
    }
}

#[test]
fn a_last_line_without_newline_is_taken_on_request() {
    for door in DOORS {
        let project = installed();
        append(&project, "log.jsonl", format!("{BEFORE}{}", AFTER.trim_end()));
        assert_eq!(
            Counts::of(&door.finalise(&project, "log.jsonl").unwrap()),
            stored(2)
        );
        append(&project, "half.jsonl", "{\"id\":\"half\",");
        let half = door.finalise(&project, "half.jsonl").unwrap();
        assert_eq!(
            Counts::of(&half),
            Counts {
                rejected: 1,
                ..stored(0)
            }
        );
        balances(&project);
    }
}
