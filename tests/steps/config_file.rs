//! The configuration file names commands, so nobody but root and the caller may be able to write it.

use crate::support::{Project, SHAPE_A};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every command refuses it with these words, and nothing runs or is created.
#[track_caller]
fn refused(project: &Project, says: &str) {
    for command in [
        ["config", "check"].as_slice(),
        &["config", "show"],
        &["status"],
        &["drain", "--once"],
    ] {
        let ran = project.runchain(command).exits(3);
        assert!(ran.stderr.contains(says), "{says} is not in {}", ran.stderr);
    }
    assert!(!project.path("logs").exists());
}

#[test]
fn a_configuration_that_others_can_write_is_refused_with_the_command_that_mends_it() {
    let project = Project::new(SHAPE_A, "[steps.a]\ncommand = ['touch', 'pwned']\n");
    let file = project.path("runchain.toml");
    let shown = file.display();
    project.runchain(&["config", "check"]).exits(0);
    mode(&file, 0o646);
    refused(
        &project,
        &format!("the file {shown} can be written by everybody (mode 0646); run `chmod go-w {shown}`"),
    );
    mode(&file, 0o600);
    mode(project.root(), 0o777);
    let folder = project.root().display();
    refused(
        &project,
        &format!("the folder {folder} can be written by everybody (mode 0777); run `chmod go-w {folder}`"),
    );
    // The command is what it says.
    let mended = std::process::Command::new("sh")
        .args(["-c", &format!("chmod go-w {folder}")])
        .status();
    assert!(mended.unwrap().success());
    project.runchain(&["config", "check"]).exits(0);
}

#[test]
fn a_configuration_of_somebody_else_s_is_refused() {
    // Only root can give a file away; elsewhere the rule has no other test.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let project = Project::new(SHAPE_A, "");
    let file = project.path("runchain.toml");
    let shown = file.display();
    chown(&file, Some(54_321), None).unwrap();
    refused(
        &project,
        &format!(
            "the file {shown} belongs to 54321 and not to root, who runs this; run `chown root {shown}`"
        ),
    );
    chown(&file, Some(0), None).unwrap();
    chown(project.root(), Some(54_321), None).unwrap();
    refused(&project, "belongs to 54321");
    chown(project.root(), Some(0), None).unwrap();
    // A group of several is as good as everybody.
    mode(&file, 0o664);
    chown(&file, None, Some(54_321)).unwrap();
    refused(
        &project,
        &format!("the file {shown} can be written by the group 54321 (mode 0664); run `chmod g-w {shown}`"),
    );
}
