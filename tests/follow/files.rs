//! What happens to a followed file: growth, rotation, truncation, deletion, half lines.

use super::*;
use crate::support::Project;
use rustix::process::Signal;

#[test]
fn a_log_rotated_by_rename_is_finished_under_its_new_name_last_line_included() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..3));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 3);
    for round in 0..5 {
        let first = 3 + round * 4;
        // Everything at once, while nobody looks.
        service.signal(Signal::STOP);
        append(&project, EVENTS, &lines(first..first + 1));
        append(&project, EVENTS, line(first + 1, "x.y").trim_end());
        let rotated = project.path(&format!("{EVENTS}.{round}"));
        fs::rename(project.path(EVENTS), rotated).unwrap();
        append(&project, EVENTS, &lines(first + 2..first + 4));
        service.signal(Signal::CONT);
        until_stored(&project, 3 + 4 * (round as usize + 1));
    }
    assert_eq!(
        project.sql("SELECT sum(rejected), sum(duplicates), count(*) FROM runchain_ingest_files"),
        "0|0|6\n"
    );
}

#[test]
fn a_log_rotated_while_nobody_ran_is_finished_at_the_next_start() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..2));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 2);
    service.kill();
    append(&project, EVENTS, &lines(2..4));
    fs::rename(project.path(EVENTS), project.path(&format!("{EVENTS}.1"))).unwrap();
    append(&project, EVENTS, &lines(4..5));
    // Has never been an event log, and is none now.
    append(&project, "state/events/other.txt", &lines(90..91));
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 5);
}

#[test]
fn a_copied_and_truncated_log_is_read_from_its_new_beginning() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..50));
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 50);
    fs::copy(project.path(EVENTS), project.path(&format!("{EVENTS}.1"))).unwrap();
    fs::File::create(project.path(EVENTS)).unwrap();
    append(&project, EVENTS, &lines(50..52));
    until_stored(&project, 52);
    // Grown past where it was.
    fs::write(project.path(EVENTS), lines(52..152)).unwrap();
    until_stored(&project, 152);
}

#[test]
fn a_large_log_that_is_deleted_while_it_is_read_is_read_to_its_end() {
    let project = Project::installed("");
    let service = follows(&project, &["state/events"]);
    append(&project, "away", &lines(0..30_000));
    fs::create_dir_all(project.path("state/events")).unwrap();
    fs::rename(project.path("away"), project.path(EVENTS)).unwrap();
    eventually("the first slice to be read", || {
        let stored = project.sql("SELECT count(*) FROM runchain_ingested");
        if stored == "0\n" { Err(stored) } else { Ok(()) }
    });
    service.signal(Signal::STOP);
    let stored: u32 = project
        .sql("SELECT count(*) FROM runchain_ingested")
        .trim()
        .parse()
        .unwrap();
    println!("{stored} of 30000 events were stored when it was deleted");
    fs::remove_file(project.path(EVENTS)).unwrap();
    service.signal(Signal::CONT);
    until_stored(&project, 30_000);
    // Another of the same name is another file.
    append(&project, EVENTS, &lines(30_000..30_001));
    until_stored(&project, 30_001);
}

#[test]
fn a_new_line_is_not_kept_waiting_by_a_large_log() {
    let project = Project::installed("");
    append(&project, "state/events/large.jsonl", &lines(0..60_000));
    append(&project, "state/events/small.jsonl", &lines(100_000..100_001));
    let _service = follows(&project, &["state/events"]);
    let small = "SELECT count(*) FROM runchain_ingested WHERE event_id >= 'EVT-00000000000000000000100000'";
    project.until(small, "1");
    append(&project, "state/events/small.jsonl", &lines(100_001..100_002));
    project.until(small, "2");
    let large: u32 = project
        .sql("SELECT count(*) - 2 FROM runchain_ingested")
        .trim()
        .parse()
        .unwrap();
    println!("{large} of 60000 events of the large log stood before the second one of the small");
    // Its run is archived and reported meanwhile.
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED');");
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    until_stored(&project, 60_002);
}

#[test]
fn a_last_line_without_newline_is_held_until_it_grows() {
    let project = Project::installed("");
    let whole = line(1, "x.y");
    append(&project, EVENTS, &lines(0..1));
    append(&project, EVENTS, &whole[..40]);
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    project.until("SELECT sum(pending_bytes) FROM runchain_ingest_balance", "40");
    append(&project, EVENTS, &whole[40..]);
    until_stored(&project, 2);
    assert_eq!(
        project.sql("SELECT sum(rejected) FROM runchain_ingest_files"),
        "0\n"
    );
}

#[test]
fn a_last_line_without_newline_is_taken_when_its_run_has_ended() {
    // Half a line waits as long as settling may take.
    let project = Project::installed("archive.settle_limit_ms = 1\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('JOB-1', 'RUNNING');");
    append(&project, EVENTS, &lines(0..1));
    append(&project, EVENTS, line(1, "x.y").trim_end());
    append(&project, "state/events/half.jsonl", &lines(2..3));
    append(&project, "state/events/half.jsonl", "{\"event_id\": \"EVT-");
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 2);
    project.until("SELECT phase FROM runchain_runs", "active");
    project.until(
        "SELECT count(*) FROM runchain_ingest_balance WHERE pending_bytes > 0",
        "2",
    );
    project.sql("UPDATE runs SET status = 'COMPLETED';");
    until_stored(&project, 3);
    project.until(
        "SELECT group_concat(start) FROM runchain_ingest_rejects",
        "{\"event_id\": \"EVT-",
    );
    project.until("SELECT sum(pending_bytes) FROM runchain_ingest_balance", "0");
    // The newline that comes after all is an empty line.
    append(&project, EVENTS, &format!("\n{}", line(3, "x.y")));
    until_stored(&project, 4);
    project.until("SELECT sum(rejected) FROM runchain_ingest_files", "1");
}

#[test]
fn broken_lines_are_counted_and_said_and_what_stands_around_them_is_stored() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    append(&project, EVENTS, &format!("no json\n{}", lines(1..2)));
    until_stored(&project, 2);
    says(
        &service,
        "1 lines rejected (SELECT line, reason, start FROM runchain_ingest_rejects WHERE file_id = 1)",
    );
}
