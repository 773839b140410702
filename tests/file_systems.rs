//! Databases on file systems that others share: said, polled, or refused. The mounts are real; what
//! lies behind a network can't be had here, so bindfs stands for it under the network's name.

use crate::support::{Project, SHAPE_A, Service, eventually, repository, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder and a second way to it, by a file system of its own.
struct Mounted {
    behind: TempDir,
    mount: TempDir,
}

impl Mounted {
    /// Through FUSE, under the name of a type.
    fn fuse(options: &[&str]) -> Self {
        let found = run(&mut Command::new(repository().join("scripts/mounts")), "").output();
        let bindfs = found
            .trim()
            .strip_prefix("RUNCHAIN_TEST_BINDFS=")
            .unwrap()
            .to_owned();
        let mounted = Self::new();
        let mut command = Command::new(bindfs);
        for option in options {
            command.args(["-o", option]);
        }
        run(command.arg(mounted.behind.path()).arg(mounted.mount.path()), "").output();
        mounted
    }

    /// A container's layers: the folder is the image.
    fn overlay() -> Self {
        needs_root("to mount an overlay");
        let mounted = Self::new();
        let at = |name: &str| mounted.behind.path().join(name);
        for name in ["image", "changes", "work"] {
            fs::create_dir(at(name)).unwrap();
        }
        mounted
    }

    fn mount_overlay(&self) {
        let at = |name: &str| self.behind.path().join(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("image"),
            at("changes"),
            at("work")
        );
        let mut command = Command::new("mount");
        command.args(["-t", "overlay", "overlay", "-o", &options]);
        run(command.arg(self.mount.path()), "").output();
    }

    fn new() -> Self {
        Self {
            behind: tempfile::tempdir().unwrap(),
            mount: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The same file by the other way.
    fn behind(&self, path: &Path) -> PathBuf {
        self.behind
            .path()
            .join(path.strip_prefix(self.mount.path()).unwrap())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: whatever still stands in it goes with it.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.mount.path())
            .status();
    }
}

fn needs_root(what: &str) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root {what}: run the suite as root"
    );
}

fn installed(mounted: &Mounted, journal: &str, config: &str) -> Project {
    let project = Project::within(mounted.path(), SHAPE_A, config);
    project.sql(&format!("PRAGMA journal_mode = {journal};"));
    project.runchain(&["install"]).exits(0);
    project
}

fn finding(project: &Project, check: &str) -> serde_json::Value {
    let found = project.runchain(&["validate", "--json"]).json();
    let checks = found["checks"].as_array().unwrap();
    checks.iter().find(|one| one["check"] == check).unwrap().clone()
}

#[test]
fn wal_on_a_shared_file_system_is_refused_unless_the_configuration_allows_it() {
    let mounted = Mounted::fuse(&["subtype=sshfs"]);
    let project = installed(&mounted, "delete", "");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED'); PRAGMA journal_mode = wal;");
    for arguments in [&["drain", "--once"][..], &["install"], &["retry", "r"]] {
        let ran = project.runchain(arguments).exits(7);
        assert!(
            ran.stderr.contains("WAL mode on fuse.sshfs") && ran.stderr.contains("allow_shared_wal"),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(project.sql("SELECT count(*) FROM runchain_steps;"), "0\n");
    let found = finding(&project, "file_system");
    assert_eq!(found["severity"], "error", "{found}");
    assert_eq!(
        project.log("monitor.jsonl").last().unwrap()["event"],
        "STATE_DB_INVALID"
    );
    // Somebody has it open, so that its -wal tells before it is opened.
    let holder = rusqlite::Connection::open(project.database()).unwrap();
    holder
        .query_row("SELECT count(*) FROM runs", [], |_| Ok(()))
        .unwrap();
    project.runchain(&["drain", "--once"]).exits(7);
    drop(holder);
    project.configure("allow_shared_wal = true");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert!(project.path(".archive/r").exists());
    project.configure("");
    project.sql("PRAGMA journal_mode = delete;");
    project.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(finding(&project, "file_system")["severity"], "warning");
}

#[test]
fn what_is_written_where_no_watcher_sees_it_is_found_by_polling() {
    // Nothing is cached between the two ways, as with a server and its client.
    let mounted = Mounted::fuse(&["direct_io", "attr_timeout=0", "entry_timeout=0"]);
    let project = installed(
        &mounted,
        "delete",
        "poll_unwatched_ms = 200\nmonitor.heartbeat_ms = 3600000\n",
    );
    let mut service: Service = project.service();
    eventually("it to say what it does", || {
        let told = service.told();
        if told.contains("looking every 200 ms") {
            Ok(())
        } else {
            Err(told)
        }
    });
    project.until("SELECT count(*) FROM runchain_cursors", "2");
    // For 3.3 s after the last hint it looks again by itself; for silence there is nothing to wait for.
    std::thread::sleep(std::time::Duration::from_secs(4));
    // The two ways don't share their locks: nobody else writes while the other way is written by.
    let holder = rusqlite::Connection::open(project.database()).unwrap();
    holder.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let conn = rusqlite::Connection::open(mounted.behind(&project.database())).unwrap();
    conn.execute("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED')", [])
        .unwrap();
    drop(conn);
    holder.execute_batch("ROLLBACK").unwrap();
    project.until("SELECT count(*) FROM runchain_steps WHERE state = 'done'", "2");
    service.assert_alive();
    assert_eq!(finding(&project, "file_system")["severity"], "warning");
}

#[test]
fn a_database_from_a_container_s_image_is_followed_into_the_layer_above() {
    let mounted = Mounted::overlay();
    // The image is made elsewhere, and never drained there.
    let image = Project::within(&mounted.behind.path().join("image"), SHAPE_A, "");
    image.runchain(&["install"]).exits(0);
    mounted.mount_overlay();
    let root = mounted.path().join(image.root().file_name().unwrap());
    let database = root.join(".state/orchestration.db");
    // Not yet written to, so its inode changes when it is opened for writing.
    let mut service = Service::start(&root);
    let conn = rusqlite::Connection::open(&database).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    conn.execute("INSERT INTO runs(run_id, status) VALUES ('r', 'COMPLETED')", [])
        .unwrap();
    eventually("the bag", || {
        root.join("reports/r_summary.json")
            .exists()
            .then_some(())
            .ok_or_else(|| service.told())
    });
    service.assert_alive();
    assert!(service.terminate().success());
    // Another container of the same layers: device numbers and paths differ, the database is the same.
    drop(conn);
    let second = tempfile::tempdir().unwrap();
    let status = Command::new("mount")
        .arg("--bind")
        .arg(mounted.path())
        .arg(second.path())
        .status();
    assert!(status.unwrap().success());
    let elsewhere = second.path().join(image.root().file_name().unwrap());
    let output = crate::support::runchain(&elsewhere)
        .args(["drain", "--once"])
        .output()
        .unwrap();
    let _ = Command::new("umount").arg("--lazy").arg(second.path()).status();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
