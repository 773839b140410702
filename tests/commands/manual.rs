//! Completions, manual pages, help, and what is said to who mistypes.

use super::{end, project};
use crate::support::{Project, SHAPE_A, run, runchain};
use std::fs;
use std::process::Command;

#[test]
fn completions_are_printed_for_every_shell_and_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    // A configuration that is wrong is no reason to have no completions.
    fs::write(folder.path().join("runchain.toml"), "not toml").unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = runchain(folder.path())
            .args(["completions", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for word in ["status", "explain", "verify", "max-age"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let bash = runchain(folder.path())
        .args(["completions", "bash"])
        .output()
        .unwrap();
    fs::write(folder.path().join("completions"), bash.stdout).unwrap();
    let mut shell = Command::new("bash");
    shell.current_dir(folder.path()).args([
        "-ec",
        ". ./completions; COMP_WORDS=(runchain expl); COMP_CWORD=1; _runchain runchain expl runchain; echo \"${COMPREPLY[*]}\"",
    ]);
    assert_eq!(run(&mut shell, "").stdout.trim(), "explain");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let page = runchain(folder.path()).arg("man").output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(
        page.contains(".TH runchain 1") && page.contains("Exit codes"),
        "{page}"
    );
    let made = runchain(folder.path())
        .args(["man", "--dir", "man/man1"])
        .output()
        .unwrap();
    assert!(made.status.success());
    let pages: Vec<String> = fs::read_dir(folder.path().join("man/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in [
        "runchain.1",
        "runchain-wait.1",
        "runchain-held-release.1",
        "runchain-config-show.1",
    ] {
        assert!(pages.contains(&name.to_owned()), "{name} is not in {pages:?}");
    }
    let wait = fs::read_to_string(folder.path().join("man/man1/runchain-wait.1")).unwrap();
    assert!(wait.contains("runchain wait run\\-42 && deploy"), "{wait}");
}

#[test]
fn an_unknown_run_is_answered_with_the_ones_that_look_like_it() {
    let project = project();
    end(&project, &["run-41", "run-42"]);
    for arguments in [
        vec!["show", "rnu-42"],
        vec!["wait", "rnu-42"],
        vec!["logs", "rnu-42"],
        vec!["retry", "rnu-42"],
        vec!["cancel", "rnu-42"],
        vec!["verify", "--run", "rnu-42"],
        vec!["finish", "--run", "rnu-42"],
    ] {
        let ran = project.runchain(&arguments).exits(13);
        assert!(
            ran.stderr.contains("did you mean run-42"),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    let far = project.runchain(&["show", "something-else"]).exits(13);
    assert!(!far.stderr.contains("did you mean"), "{}", far.stderr);
}

#[test]
fn a_mistyped_command_or_step_is_answered_with_the_right_word() {
    let project = Project::new(SHAPE_A, super::OWN_STEP);
    project.runchain(&["install"]).exits(0);
    for (arguments, code, says) in [
        (vec!["statsu"], 2, "'status'"),
        (vec!["evnets"], 2, "'events'"),
        (vec!["ls", "--phase", "faild"], 2, "'failed'"),
        (vec!["pause", "uplaod"], 2, "did you mean upload?"),
        (vec!["exec", "uplaod", "--run", "r"], 20, "did you mean upload?"),
        (vec!["queue", "--step", "uplaod"], 20, "did you mean upload?"),
    ] {
        let ran = project.runchain(&arguments).exits(code);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
}
