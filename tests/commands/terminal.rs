//! On a terminal everything fits its width; in a pipe nothing is coloured or cut.

use super::{end, project};
use crate::support::{Project, Seen, on_terminal};
use unicode_width::UnicodeWidthStr;

/// A project with everything that is wide: long ids, long errors, held runs, pauses with reasons.
fn wide() -> Project {
    let project = project();
    end(
        &project,
        &[
            "orders-2026-01-31T12-00-00-eu-central-production-bad",
            "run-1",
            "a-bad",
        ],
    );
    project.configure(&format!("{}\n[storm]\nmax_transitions = 2\n", super::OWN_STEP));
    project.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6)
         INSERT INTO runs(run_id, status) SELECT 'rush-' || i, 'COMPLETED' FROM n;",
    );
    project.runchain(&["drain", "--until-idle"]).exits(0);
    project
        .runchain(&[
            "pause",
            "upload",
            "--reason",
            "the storage is being moved to another building, see the calendar",
        ])
        .exits(0);
    project
        .runchain(&["retry", "--reason", "was it the network after all?", "a-bad"])
        .exits(0);
    project.runchain(&["drain", "--once"]).exits(0);
    project
}

const SCREENS: [&[&str]; 14] = [
    &["status"],
    &["ls"],
    &["show", "a-bad"],
    &["explain", "a-bad"],
    &["explain"],
    &["logs", "a-bad"],
    &["events"],
    &["queue"],
    &["audit"],
    &["held"],
    &["validate"],
    &["doctor"],
    &["verify", "--all"],
    &["health"],
];

fn seen(project: &Project, arguments: &[&str], columns: u16, lines: u16) -> Seen {
    on_terminal(&mut project.command(arguments), columns, lines)
}

#[test]
fn no_line_is_longer_than_the_terminal() {
    let project = wide();
    for (columns, lines) in [(80, 24), (200, 60)] {
        for arguments in SCREENS {
            // One line, however long, is what a probe asks for.
            if arguments == ["health"] {
                continue;
            }
            let seen = seen(&project, arguments, columns, lines);
            for line in seen.lines() {
                // A line to copy is never broken.
                let is_command = line.trim_start().starts_with("$ ") || line.contains("runchain ");
                assert!(
                    line.width() <= usize::from(columns) || is_command,
                    "{arguments:?} at {columns}: {line}"
                );
            }
        }
    }
}

#[test]
fn status_is_one_screen() {
    let project = wide();
    for id in 0..30 {
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ('active-{id}', 'RUNNING');"
        ));
    }
    project.runchain(&["drain", "--once"]).exits(0);
    let seen = seen(&project, &["status"], 80, 24);
    let lines = seen.lines();
    assert!(lines.len() < 24, "{} lines:\n{}", lines.len(), lines.join("\n"));
    assert!(
        lines.iter().any(|line| line.contains("dead step")),
        "{}",
        lines.join("\n")
    );
    assert!(
        lines.iter().any(|line| line.starts_with("next")),
        "{}",
        lines.join("\n")
    );
}

#[test]
fn a_terminal_has_colours_unless_no_color_says_otherwise_and_a_pipe_never() {
    let project = wide();
    let coloured = seen(&project, &["status"], 80, 24).raw;
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    // The helper takes the variable away: it stands in the command line of env.
    let status = project.command(&["status"]);
    let mut without = std::process::Command::new("env");
    without
        .arg("NO_COLOR=1")
        .arg(status.get_program())
        .args(status.get_args())
        .current_dir(project.root());
    let uncoloured = on_terminal(&mut without, 80, 24).raw;
    assert!(!uncoloured.contains('\u{1b}'), "{uncoloured:?}");
    for arguments in SCREENS {
        let ran = project.runchain(arguments);
        assert!(
            !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
            "{arguments:?}"
        );
    }
}

#[test]
fn in_a_pipe_every_row_is_one_whole_line() {
    let project = wide();
    let id = "orders-2026-01-31T12-00-00-eu-central-production-bad";
    let ls = project.runchain(&["ls", "--phase", "completed"]).exits(0).stdout;
    let row = ls.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(
        row.ends_with("archive done, report done, upload dead (2 of 2)"),
        "{row}"
    );
    let audit = project.runchain(&["audit"]).exits(0).stdout;
    let row = audit
        .lines()
        .find(|line| line.contains("the storage is being moved"))
        .unwrap();
    assert!(
        row.contains("pause") && row.ends_with("see the calendar"),
        "{row}"
    );
    let held = project.runchain(&["held"]).exits(0).stdout;
    assert_eq!(held.lines().count(), 2, "{held}");
}

/// At least one state of the bar is seen: the bags are many.
#[test]
fn verify_shows_how_far_it_is_on_a_terminal_only() {
    let project = project();
    let runs: Vec<String> = (0..12).map(|number| format!("r{number}")).collect();
    end(&project, &runs.iter().map(String::as_str).collect::<Vec<_>>());
    let bar = seen(&project, &["verify", "--all"], 80, 24).exits(0).raw;
    assert!(
        bar.contains(" of 12 bags") && bar.contains("\r\u{1b}[K"),
        "{bar:?}"
    );
    assert!(bar.ends_with("12 bags: all as they were sealed\n"), "{bar:?}");
    let quiet = seen(&project, &["verify", "--all", "--quiet"], 80, 24)
        .exits(0)
        .raw;
    assert!(!quiet.contains(" of 12 bags"), "{quiet:?}");
    assert_eq!(project.runchain(&["verify", "--all"]).exits(0).stderr, "");
}
