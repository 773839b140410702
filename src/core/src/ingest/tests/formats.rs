//! Presets, mappings, what the first event decides, times that nobody can read.

use super::super::format::{Format, Preset};
use super::*;
use serde_json::json;
use std::sync::Arc;

const EVENTS: &str = "SELECT event_id, type, at, at_ms, run_id, job_id, step_id, pattern_run_id, pattern_id, status, details, extra
                      FROM runchain_ingested ORDER BY id";
const READINGS: &str = "SELECT format, chosen_by, mapping, unread_times FROM runchain_ingest_readings";

fn mapping(json: &serde_json::Value) -> Result<Format> {
    Format::mapping("mine", json.as_object().unwrap())
}

#[test]
fn a_cloud_event_is_known_by_its_source_and_id() {
    let bench = Bench::new();
    let report = bench.ingest_bytes(concat!(
        r#"{"specversion":"1.0","id":"1","type":"com.example.made","source":"/a","time":"2026-03-01T12:00:00Z","subject":"job-7","datacontenttype":"application/json","data":{"run_id":"run-1","status":"success","n":1}}"#,
        "\n",
        r#"{"specversion":"1.0","id":"1","type":"com.example.made","source":"/b","time":"2026-03-01T13:00:00+01:00","jobid":"job-8","subject":"x"}"#,
        "\n",
        r#"{"specversion":"1.0","id":"1","type":"com.example.made","source":"/a","time":"2026-03-01T12:00:00Z","subject":"job-7"}"#,
        "\n",
    ));
    assert_eq!((report.stored, report.duplicate, report.rejected), (2, 1, 0));
    assert_eq!(
        bench.text(EVENTS),
        concat!(
            r#"/a 1|com.example.made|2026-03-01T12:00:00Z|1772366400000|run-1|job-7|-|-|-|success|{"run_id":"run-1","status":"success","n":1}|{"specversion":"1.0","source":"/a","datacontenttype":"application/json"};"#,
            r#"/b 1|com.example.made|2026-03-01T13:00:00+01:00|1772366400000|-|job-8|-|-|-|-|-|{"specversion":"1.0","source":"/b","subject":"x"}"#,
        )
    );
    assert_eq!(bench.text(READINGS), "cloudevents|detected|-|0");
}

#[test]
fn anything_with_a_type_and_a_time_is_an_event() {
    let bench = Bench::new();
    let report = bench.ingest_bytes(concat!(
        r#"{"ts":1772366400,"event":"tick","id":7}"#,
        "\n",
        r#"{"at":1772366400250,"event":{"name":"x"},"type":"nested","event_id":null,"eventId":"e-3"}"#,
        "\n",
        r#"{"timestamp":"2026-03-01T14:00:00.1234567+02:00","type":"powershell","path":"C:\\logs\\a"}"#,
        "\n",
        r#"{"@timestamp":"2026-03-01T12:00:00Z","level":"error","message":"no disk","uuid":"e-4"}"#,
        "\n",
        r#"{"time":"last tuesday","kind":"unclear","event_id":"e-5","id":"other"}"#,
        "\n",
        r#"{"Timestamp":"\/Date(1772366400000)\/","EventType":"ps5","Id":"e-6","taskId":"t"}"#,
        "\n",
    ));
    assert_eq!((report.stored, report.rejected, report.unread_times), (6, 0, 1));
    assert_eq!(
        bench.text("SELECT substr(event_id, 1, 4), type, at, at_ms, pattern_run_id, extra FROM runchain_ingested ORDER BY id"),
        concat!(
            r#"7|tick|1772366400|1772366400000|-|-;"#,
            r#"e-3|nested|1772366400250|1772366400250|-|{"event":{"name":"x"}};"#,
            r#"gen-|powershell|2026-03-01T14:00:00.1234567+02:00|1772366400123|-|{"path":"C:\\logs\\a"};"#,
            r#"e-4|error|2026-03-01T12:00:00Z|1772366400000|-|{"message":"no disk"};"#,
            r#"e-5|unclear|last tuesday|-|-|{"id":"other"};"#,
            r#"e-6|ps5|/Date(1772366400000)/|1772366400000|t|-"#,
        )
    );
    assert_eq!(bench.text(READINGS), "generic|detected|-|1");
    assert_eq!(
        bench.text("SELECT format, unread_times FROM runchain_ingest_balance"),
        "generic|1"
    );
}

#[test]
fn the_first_event_decides_however_the_file_grows() {
    let lines = [
        "# a comment\n",
        "{\"header\":true}\n",
        "{\"event_id\":\"1\",\"event_type\":\"a\",\"timestamp\":\"2026-03-01T12:00:00Z\"}\n",
        "{\"id\":\"2\",\"type\":\"b\",\"specversion\":\"1.0\",\"source\":\"/s\"}\n",
    ];
    let (grown, whole) = (Bench::new(), Bench::new());
    for line in lines {
        grown.ingest_bytes(line);
    }
    let report = whole.ingest_bytes(lines.concat());
    assert_eq!(report.format.as_deref(), Some("pattern"));
    assert_eq!(grown.text(READINGS), "pattern|detected|-|0");
    assert_eq!(grown.text(EVENTS), whole.text(EVENTS));
    assert_eq!(grown.text("SELECT event_id FROM runchain_ingested"), "1;2");
    assert_eq!(
        grown.text("SELECT line, substr(reason, 1, 20) FROM runchain_ingest_rejects"),
        "1|not a JSON object: e;2|no event type (looke"
    );
}

#[test]
fn a_file_without_an_event_has_no_format_yet() {
    let bench = Bench::new();
    let report = bench.ingest_bytes("{\"a\":1}\n\n");
    assert_eq!((report.format, report.rejected), (None, 1));
    let report =
        bench.ingest_bytes("{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"a\",\"source\":\"/s\"}\n");
    assert_eq!(report.format.as_deref(), Some("cloudevents"));
}

#[test]
fn a_format_once_given_holds_for_the_rest_of_the_file() {
    let mut bench = Bench::new();
    bench.options.format = Some(Arc::new(
        mapping(&json!({"type": "what", "event_id": "uid", "time": "meta.when", "job_id": ["proc.id", "pid"], "details": []})).unwrap(),
    ));
    bench.append(
        "log.jsonl",
        "{\"uid\":\"1\",\"what\":\"a\",\"meta\":{\"when\":1772366400,\"x\":1},\"pid\":9,\"proc\":{\"id\":7},\"details\":{}}\n",
    );
    let report = bench.ingest("log.jsonl");
    assert_eq!((report.stored, report.format.as_deref()), (1, Some("mine")));
    bench.options.format = None;
    let report = bench
        .ingest_bytes("{\"uid\":\"2\",\"what\":\"b\",\"type\":\"c\",\"meta.when\":1772366401,\"pid\":9}\n");
    assert_eq!((report.stored, report.format.as_deref()), (1, Some("mine")));
    assert_eq!(
        bench.text(EVENTS),
        concat!(
            r#"1|a|1772366400|1772366400000|-|7|-|-|-|-|-|{"meta":{"when":1772366400,"x":1},"pid":9,"proc":{"id":7},"details":{}};"#,
            r#"2|b|1772366401|1772366401000|-|9|-|-|-|-|-|{"type":"c"}"#,
        )
    );
    assert!(
        bench.text(READINGS).starts_with(r#"mine|given|{"type":"what","#),
        "{}",
        bench.text(READINGS)
    );
}

#[test]
fn a_key_may_be_two_fields_and_stays_one_value() {
    let mut bench = Bench::new();
    bench.options.format = Some(Arc::new(
        mapping(&json!({"event_id": "key", "job_id": "key"})).unwrap(),
    ));
    bench.append("log.jsonl", "{\"type\":\"a\",\"key\":\"k-1\"}\n");
    bench.ingest("log.jsonl");
    assert_eq!(
        bench.text("SELECT event_id, job_id, extra FROM runchain_ingested"),
        "k-1|k-1|-"
    );
}

#[test]
fn a_file_that_an_earlier_version_began_goes_on_as_it_was() {
    let bench = Bench::new();
    bench.ingest_bytes("{\"id\":\"1\",\"type\":\"a\"}\n");
    bench
        .conn
        .execute_batch("DELETE FROM runchain_ingest_readings")
        .unwrap();
    let report =
        bench.ingest_bytes("{\"specversion\":\"1.0\",\"id\":\"2\",\"type\":\"a\",\"source\":\"/s\"}\n");
    assert_eq!((report.stored, report.format.as_deref()), (1, Some("pattern")));
    assert_eq!(
        bench.text("SELECT event_id FROM runchain_ingested ORDER BY id"),
        "1;2"
    );
}

#[test]
fn a_misspelt_field_is_refused_with_the_nearest_right_one() {
    for (wrong, says) in [
        (json!({"typ": "a"}), "did you mean type?"),
        (json!({"patern_run_id": "a"}), "did you mean pattern_run_id?"),
        (json!({"zzzzzz": "a"}), "known fields: preset, event_id"),
        (json!({"type": 7}), "type of the mapping mine must be a key"),
        (
            json!({"type": ["a", ""]}),
            "type of the mapping mine must be a key",
        ),
        (
            json!({"job_id": "a..b"}),
            "job_id of the mapping mine must be a key",
        ),
        (json!({"type": []}), "type of the mapping mine has no place"),
        (
            json!({"preset": "patern"}),
            "use one of pattern, cloudevents, generic",
        ),
    ] {
        let refusal = mapping(&wrong).unwrap_err().to_string();
        assert!(refusal.contains(says), "{refusal}");
    }
}

#[test]
fn options_are_read_strictly() {
    for (wrong, says) in [
        ("[]", "give a JSON object"),
        ("{\"presett\":\"pattern\"}", "unknown field `presett`"),
        (
            "{\"preset\":\"pattern\",\"mapping\":{}}",
            "both a preset and a mapping",
        ),
        (
            "{\"preset\":\"other\"}",
            "use one of pattern, cloudevents, generic",
        ),
        ("{\"mapping\":{\"job\":\"a\"}}", "known fields"),
        ("{\"max_line_bytes\":-1}", "the options can't be read"),
    ] {
        let refusal = IngestOptions::from_json(wrong).unwrap_err().to_string();
        assert!(refusal.contains(says), "{refusal}");
    }
    let options =
        IngestOptions::from_json("{\"preset\":\"generic\",\"finalise\":true,\"max_line_bytes\":7}").unwrap();
    assert_eq!((options.finalise, options.max_line_bytes), (true, 7));
    assert_eq!(options.format, Some(Format::preset(Preset::Generic)));
}

#[test]
fn what_is_no_time_is_kept_as_text_and_counted() {
    let bench = Bench::new();
    let report = bench.ingest_bytes(concat!(
        "{\"id\":1,\"type\":\"a\",\"time\":\"soon\"}\n",
        "{\"id\":2,\"type\":\"a\"}\n",
        "{\"id\":1,\"type\":\"a\",\"time\":\"soon\"}\n",
    ));
    assert_eq!((report.stored, report.unread_times), (2, 1));
    let report = bench.ingest_bytes("{\"id\":3,\"type\":\"a\",\"time\":true}\n");
    assert_eq!(report.unread_times, 1);
    assert_eq!(
        bench.text("SELECT event_id, at, at_ms FROM runchain_ingested ORDER BY id"),
        "1|soon|-;2|-|-;3|true|-"
    );
    assert_eq!(
        bench.text("SELECT unread_times FROM runchain_ingest_readings"),
        "2"
    );
}
