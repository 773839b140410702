//! A symlink, a pipe or a swapped folder in a place that we write to or read from: it is refused in
//! a sentence, replaced, or left out. What it leads to is neither written nor disclosed.

use super::{SECRET, Theirs};
use crate::support::{Project, SHAPE_A, Service, tree};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

fn project(config: &str) -> Project {
    let project = Project::new(SHAPE_A, config);
    project.runchain(&["install"]).exits(0);
    project.sql("INSERT INTO runs(run_id, status) VALUES ('run-1', 'COMPLETED');");
    project
}

/// Everything that `drain` says, which must come to its end.
fn drained(project: &Project) -> String {
    let mut service = Service::of(&mut project.command(&["drain", "--until-idle"]));
    service.ended();
    let errors = project.sql("SELECT coalesce(error, '') FROM runchain_steps;");
    service.told() + &errors
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A symlink in this place, to this name in a folder of theirs, is refused with these words.
fn refused(place: &str, target: &str, says: &str) {
    let project = project("retry.max_attempts = 1");
    let theirs = Theirs::new();
    let place = project.path(place);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    symlink(theirs.path().join(target), &place).unwrap();
    let said = drained(&project);
    assert!(
        said.contains(says) && said.contains(place.to_str().unwrap()),
        "{}: {said}",
        place.display()
    );
    assert!(fs::symlink_metadata(&place).unwrap().is_symlink());
    theirs.is_untouched(project.root());
}

#[test]
fn our_folders_are_no_symlinks() {
    for place in ["logs", ".archive", "reports"] {
        refused(place, "", "is a symlink");
        // One that leads nowhere yet would be filled by who makes a folder there.
        refused(place, "new", "is a symlink");
    }
}

#[test]
fn our_logs_and_locks_are_no_symlinks() {
    for target in ["secret", "new"] {
        refused("logs/monitor.jsonl", target, "not a plain file");
        refused("logs/archival.jsonl", target, "not a plain file");
        refused("logs/.runchain.lock", target, "open the lock file");
        refused(
            ".state/orchestration.db.runchain-lock",
            target,
            "open the lock file",
        );
    }
}

#[test]
fn the_place_of_a_bag_is_no_symlink() {
    refused(".archive/run-1", "", "is a symlink");
    refused(".archive/run-1", "new", "is a symlink");
}

#[test]
fn a_failed_start_writes_its_line_through_no_symlink() {
    let theirs = Theirs::new();
    for place in ["logs", "logs/monitor.jsonl"] {
        let project = Project::new(SHAPE_A, "");
        fs::write(project.database(), "no database").unwrap();
        fs::create_dir_all(project.path(place).parent().unwrap()).unwrap();
        let target = if place == "logs" {
            theirs.path().to_owned()
        } else {
            theirs.path().join("secret")
        };
        symlink(target, project.path(place)).unwrap();
        assert_ne!(project.runchain(&["drain", "--once"]).code, Some(0));
        theirs.is_untouched(project.root());
    }
}

#[test]
fn a_report_replaces_a_symlink_and_leaves_its_target() {
    let project = project("");
    let theirs = Theirs::new();
    fs::create_dir(project.path("reports")).unwrap();
    let reports = [
        "run-1_summary.json",
        "run-1_metrics.json",
        "run-1.html",
        "index.html",
    ]
    .map(|name| project.path("reports").join(name));
    for report in &reports {
        symlink(theirs.path().join("secret"), report).unwrap();
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    for report in &reports {
        assert!(fs::symlink_metadata(report).unwrap().is_file());
        let text = fs::read_to_string(report).unwrap();
        assert!(text.contains("run-1"), "{}: {text}", report.display());
    }
    theirs.is_untouched(project.root());
}

#[test]
fn the_witness_replaces_a_symlink_and_believes_nothing_behind_it() {
    for target in ["secret", "new"] {
        let project = project("");
        let theirs = Theirs::new();
        fs::create_dir(project.path("logs")).unwrap();
        let witness = project.path("logs/.runchain-witness.json");
        symlink(theirs.path().join(target), &witness).unwrap();
        project.runchain(&["drain", "--until-idle"]).exits(0);
        assert!(fs::symlink_metadata(&witness).unwrap().is_file());
        theirs.is_untouched(project.root());
    }
}

#[test]
fn no_ballast_is_made_through_a_symlink() {
    for target in ["secret", "new"] {
        let project = project("ballast_bytes = 65536\narchive.min_free_bytes = 0\n");
        let theirs = Theirs::new();
        symlink(
            theirs.path().join(target),
            project.path(".state/.runchain-ballast"),
        )
        .unwrap();
        let service = project.service();
        project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
        assert!(service.terminate().success());
        theirs.is_untouched(project.root());
    }
}

#[test]
fn what_looks_like_a_dead_staging_folder_is_removed_without_what_it_leads_to() {
    let project = project("");
    let theirs = Theirs::new();
    let staging = project.path(".archive/.staging-run-1-1-0");
    fs::create_dir_all(staging.join("bag")).unwrap();
    symlink(theirs.path(), staging.join("bag/data")).unwrap();
    symlink(theirs.path(), project.path(".archive/.staging-link")).unwrap();
    symlink(theirs.path().join("new"), staging.join("other")).unwrap();
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert!(!staging.exists());
    assert!(project.path(".archive/run-1/bagit.txt").is_file());
    theirs.is_untouched(project.root());
}

#[test]
fn a_payload_file_or_folder_that_is_a_symlink_is_left_out_and_said() {
    let project = project("archive.files = ['artifacts/{run_id}/**', 'more/**']");
    let theirs = Theirs::new();
    fs::create_dir_all(project.path("artifacts/run-1/deep")).unwrap();
    fs::write(project.path("artifacts/run-1/kept"), "kept").unwrap();
    symlink(theirs.path().join("secret"), project.path("artifacts/run-1/file")).unwrap();
    symlink("/etc/shadow", project.path("artifacts/run-1/shadow")).unwrap();
    symlink(theirs.path(), project.path("artifacts/run-1/deep/folder")).unwrap();
    symlink(theirs.path(), project.path("more")).unwrap();
    pipe(&project.path("artifacts/run-1/pipe"));
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let names = fs::read_to_string(project.path(".archive/run-1/data/names.json")).unwrap();
    for left_out in [
        "run-1/file",
        "run-1/shadow",
        "run-1/deep/folder",
        "more",
        "run-1/pipe",
    ] {
        assert!(
            names.contains(left_out),
            "{left_out} is not said to be left out: {names}"
        );
    }
    assert_eq!(
        fs::read_dir(project.path(".archive/run-1/data/files"))
            .unwrap()
            .count(),
        1
    );
    fs::remove_file(project.path("artifacts/run-1/pipe")).unwrap();
    theirs.is_untouched(&project.path(".archive"));
    theirs.is_untouched(&project.path("reports"));
}

#[test]
fn a_bag_that_was_swapped_between_two_steps_is_refused() {
    /// What the refusal says, and what is done to the bag.
    type Swap<'a> = (&'a str, &'a dyn Fn(&Path));
    let theirs = Theirs::new();
    let swaps: [Swap<'_>; 3] = [
        ("is a symlink", &|bag| {
            fs::remove_dir_all(bag).unwrap();
            symlink(theirs.path(), bag).unwrap();
        }),
        ("is not a bag of this run", &|bag| {
            fs::remove_file(bag.join("bag-info.txt")).unwrap();
            symlink(theirs.path().join("secret"), bag.join("bag-info.txt")).unwrap();
        }),
        ("is not a bag of this run", &|bag| {
            fs::remove_file(bag.join("bag-info.txt")).unwrap();
            pipe(&bag.join("bag-info.txt"));
        }),
    ];
    for (says, swap) in swaps {
        let project = project("retry.max_attempts = 1");
        project.runchain(&["drain", "--until-idle"]).exits(0);
        let bag = project.path(".archive/run-1");
        swap(&bag);
        project.sql("UPDATE runs SET status = 'FAILED'; SELECT 1;");
        let said = drained(&project);
        assert!(
            said.contains(says) && said.contains("left as it is"),
            "{says}: {said}"
        );
        let _ = fs::remove_file(bag.join("bag-info.txt"));
        theirs.is_untouched(project.root());
    }
}

#[test]
fn a_payload_of_a_bag_that_became_a_symlink_is_damage_and_the_bag_is_made_anew() {
    let theirs = Theirs::new();
    let project = project("");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let bag = project.path(".archive/run-1");
    fs::rename(bag.join("data"), theirs.path().join("data")).unwrap();
    symlink(theirs.path().join("data"), bag.join("data")).unwrap();
    project
        .sql("INSERT INTO runchain_queue(action, run_id, actor) VALUES ('enqueue_chain', 'run-1', 'test');");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert!(fs::symlink_metadata(bag.join("data")).unwrap().is_dir());
    assert!(bag.join("data/run.json").is_file());
    fs::remove_dir_all(theirs.path().join("data")).unwrap();
    assert_eq!(fs::read_to_string(theirs.path().join("secret")).unwrap(), SECRET);
}

#[test]
fn a_folder_of_reports_that_a_step_swaps_for_a_symlink_is_refused_by_the_next() {
    let theirs = Theirs::new();
    let project = project(&format!(
        "retry.max_attempts = 1
         [steps.swap]
         after = ['archive']
         command = ['ln', '-s', '{}', 'reports']
         [steps.report]
         after = ['swap']
        ",
        theirs.path().display()
    ));
    let said = drained(&project);
    assert!(said.contains("reports is a symlink"), "{said}");
    theirs.is_untouched(project.root());
}

#[test]
fn what_forgetting_erases_is_not_reached_through_a_symlink() {
    for folder in ["reports", "logs", ".archive"] {
        let project = project("");
        project.runchain(&["drain", "--until-idle"]).exits(0);
        // What stands there is the run's own, only elsewhere.
        let theirs = tempfile::tempdir().unwrap();
        let moved = theirs.path().join("moved");
        fs::create_dir(&moved).unwrap();
        for (name, bytes) in tree(&project.path(folder)) {
            fs::create_dir_all(moved.join(&name).parent().unwrap()).unwrap();
            fs::write(moved.join(name), bytes).unwrap();
        }
        let before = tree(&moved);
        fs::remove_dir_all(project.path(folder)).unwrap();
        symlink(&moved, project.path(folder)).unwrap();
        let ran = project.runchain(&["forget", "run-1"]);
        assert!(tree(&moved) == before, "{folder}: {}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stderr.contains("symlink"),
            "{folder}: {:?} {}{}",
            ran.code,
            ran.stdout,
            ran.stderr
        );
    }
}
