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
fn what_is_written_into_a_log_after_its_rotation_is_read_too() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    for round in 0..4 {
        let first = 1 + round * 3;
        // A program that has the log open and isn't told, or that has just opened it.
        let mut writer = OpenOptions::new()
            .append(true)
            .open(project.path(EVENTS))
            .unwrap();
        let half = line(first, "x.y");
        writer.write_all(&half.as_bytes()[..40]).unwrap();
        let rotated = project.path(&format!("{EVENTS}.{round}"));
        fs::rename(project.path(EVENTS), rotated).unwrap();
        append(&project, EVENTS, &lines(first + 1..first + 2));
        // The rotation has been seen by then.
        until_stored(&project, 2 + round as usize * 3);
        writer.write_all(&half.as_bytes()[40..]).unwrap();
        until_stored(&project, 3 + round as usize * 3);
        if round == 2 {
            service.signal(Signal::STOP);
        }
        writer.write_all(lines(first + 2..first + 3).as_bytes()).unwrap();
        if round == 2 {
            service.signal(Signal::CONT);
        }
        until_stored(&project, 4 + round as usize * 3);
    }
    assert_eq!(
        project.sql("SELECT sum(rejected), sum(duplicates), count(*) FROM runchain_ingest_files"),
        "0|0|5\n"
    );
}

#[test]
fn what_is_written_into_a_rotated_log_while_nobody_ran_is_read_at_the_next_start() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    let rotate = |from: &str, to: &str| fs::rename(project.path(from), project.path(to)).unwrap();
    let (first, second) = (format!("{EVENTS}.1"), format!("{EVENTS}.2"));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    rotate(EVENTS, &first);
    append(&project, EVENTS, &lines(1..2));
    until_stored(&project, 2);
    until_read(&project, &first);
    service.kill();
    append(&project, &first, &lines(2..3));
    rotate(&first, &second);
    rotate(EVENTS, &first);
    append(&project, &first, &lines(3..4));
    append(&project, EVENTS, &lines(4..5));
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 5);
    // And on.
    append(&project, &second, &lines(5..6));
    append(&project, &first, &lines(6..7));
    until_stored(&project, 7);
    assert_eq!(
        project.sql("SELECT sum(rejected), sum(duplicates), count(*) FROM runchain_ingest_files"),
        "0|0|3\n"
    );
}

#[test]
fn a_log_that_came_and_went_while_nobody_ran_is_read_at_the_next_start() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    // Older than the first look: nobody's log of today, and no event log.
    append(&project, &format!("{EVENTS}.9"), &lines(90..91));
    append(&project, "state/events/never.read", &lines(91..92));
    let old = fs::File::open(project.path(&format!("{EVENTS}.9"))).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 1);
    service.kill();
    for day in 1..4 {
        for number in (1..day).rev() {
            let (from, to) = (format!("{EVENTS}.{number}"), format!("{EVENTS}.{}", number + 1));
            fs::rename(project.path(&from), project.path(&to)).unwrap();
        }
        fs::rename(project.path(EVENTS), project.path(&format!("{EVENTS}.1"))).unwrap();
        append(&project, EVENTS, &lines(day..day + 1));
        append(&project, &format!("{EVENTS}.{day}.gz"), "packed");
    }
    let _service = follows(&project, &["state/events"]);
    until_stored(&project, 4);
    // And followed on.
    append(&project, &format!("{EVENTS}.1"), &lines(4..5));
    until_stored(&project, 5);
    assert_eq!(
        project.sql("SELECT sum(rejected), sum(duplicates), count(*) FROM runchain_ingest_files"),
        "0|0|4\n"
    );
}

#[test]
fn what_was_written_before_a_log_was_copied_and_truncated_is_read_from_the_copy() {
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..2));
    let service = follows(&project, &["state/events"]);
    until_stored(&project, 2);
    service.signal(Signal::STOP);
    append(&project, EVENTS, &lines(2..4));
    fs::copy(project.path(EVENTS), project.path(&format!("{EVENTS}.1"))).unwrap();
    fs::File::create(project.path(EVENTS)).unwrap();
    append(&project, EVENTS, &lines(4..5));
    service.signal(Signal::CONT);
    until_stored(&project, 5);
}

#[test]
fn a_log_that_is_moved_away_or_deleted_right_after_its_last_lines_is_read_to_its_end() {
    let project = Project::installed("");
    fs::create_dir(project.path("away")).unwrap();
    let service = follows(&project, &["state/events"]);
    for round in 0..4 {
        let first = round * 4;
        append(&project, EVENTS, &lines(first..first + 1));
        until_stored(&project, first as usize + 1);
        let mut writer = OpenOptions::new()
            .append(true)
            .open(project.path(EVENTS))
            .unwrap();
        let mut write = |text: &str| writer.write_all(text.as_bytes()).unwrap();
        // Its last line is whole, but for its newline.
        let last = lines(first + 2..first + 3) + line(first + 3, "x.y").trim_end();
        // Everything while nobody looks, or while somebody does.
        if round < 2 {
            service.signal(Signal::STOP);
            write(&lines(first + 1..first + 2));
        } else {
            write(&(lines(first + 1..first + 2) + &last));
        }
        if round % 2 == 0 {
            fs::rename(project.path(EVENTS), project.path(&format!("away/{round}"))).unwrap();
        } else {
            fs::remove_file(project.path(EVENTS)).unwrap();
        }
        if round < 2 {
            write(&last);
            service.signal(Signal::CONT);
        }
        until_stored(&project, first as usize + 4);
    }
    assert_eq!(
        project.sql("SELECT sum(rejected), sum(duplicates) FROM runchain_ingest_files"),
        "0|0\n"
    );
}

#[test]
fn a_line_that_grows_without_end_is_not_read_again_from_its_beginning() {
    const MB: u64 = 24;
    let project = Project::installed("");
    append(&project, EVENTS, &lines(0..1));
    append(&project, EVENTS, &"x".repeat(usize::try_from(MB).unwrap() << 20));
    let service = follows(&project, &["state/events"]);
    let pending = "SELECT sum(pending_bytes) FROM runchain_ingest_balance";
    project.until(pending, &(MB << 20).to_string());
    let read_bytes = || -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", service.pid())).unwrap();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        read.unwrap().parse().unwrap()
    };
    let before = read_bytes();
    for piece in 1..=40 {
        append(&project, EVENTS, &"x".repeat(4_096));
        project.until(pending, &((MB << 20) + piece * 4_096).to_string());
    }
    let read_mb = (read_bytes() - before) >> 20;
    println!("{read_mb} MB read for 160 kB");
    assert!(read_mb < 10 * MB, "{read_mb} MB read for 160 kB");
    append(&project, EVENTS, &format!("\n{}", lines(1..2)));
    until_stored(&project, 2);
    project.until(
        "SELECT group_concat(reason) FROM runchain_ingest_rejects",
        "longer than the limit of a line",
    );
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
    // It may stand still in the middle of a commit: the database is asked nothing meanwhile.
    service.signal(Signal::STOP);
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
fn a_last_line_of_any_size_counts_as_rejected_when_its_run_has_ended() {
    let project = Project::installed("archive.settle_limit_ms = 1\n");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('JOB-1', 'RUNNING');");
    append(&project, EVENTS, &lines(0..1));
    append(&project, "state/events/long.jsonl", &lines(1..2));
    append(&project, "state/events/long.jsonl", &"x".repeat(2 << 20));
    // What a crash left, larger than any memory.
    let (whole, hole) = (lines(0..1).len() as u64, 1_u64 << 41);
    let log = OpenOptions::new().write(true).open(project.path(EVENTS)).unwrap();
    log.set_len(whole + hole).unwrap();
    let mut service = follows(&project, &["state/events"]);
    until_stored(&project, 2);
    project.until(
        "SELECT sum(pending_bytes) FROM runchain_ingest_balance",
        &(hole + (2 << 20)).to_string(),
    );
    project.sql("UPDATE runs SET status = 'COMPLETED';");
    let rejects = "SELECT group_concat(reason || ' ' || length_bytes, ', ') FROM
                   (SELECT reason, length_bytes FROM runchain_ingest_rejects ORDER BY length_bytes)";
    let wanted = format!("longer than the limit of a line {}, NUL bytes {hole}", 2 << 20);
    project.until(rejects, &wanted);
    service.assert_alive();
    append(&project, EVENTS, &lines(2..3));
    until_stored(&project, 3);
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
