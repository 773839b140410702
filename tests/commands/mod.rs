//! What a person who is called at night types, and what scripts rely on.

mod doctor;
mod following;
mod json;
mod looking;
mod manual;
mod terminal;
mod verifying;
mod waiting;

use crate::support::{Project, SHAPE_A};

/// A step of the user's own that fails for runs whose id ends in `-bad`.
const OWN_STEP: &str = r#"
retry.max_attempts = 2
[steps.upload]
after = ["archive"]
command = ["sh", "-c", "echo uploading $RUNCHAIN_RUN_ID; case $RUNCHAIN_RUN_ID in *-bad) echo connection refused >&2; exit 1;; esac"]
"#;

/// Installed, with [`OWN_STEP`].
fn project() -> Project {
    let project = Project::new(&format!("PRAGMA journal_mode=WAL; {SHAPE_A}"), OWN_STEP);
    project.runchain(&["install"]).exits(0);
    project
}

/// Runs that end, and whatever becomes of their chains.
fn end(project: &Project, runs: &[&str]) {
    for run_id in runs {
        let run_id = run_id.replace('\'', "''");
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ('{run_id}', 'RUNNING');
             UPDATE runs SET status = 'COMPLETED' WHERE run_id = '{run_id}';"
        ));
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
}
