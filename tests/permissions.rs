//! Orchestrator and executor under two users: the orchestrator can always write, or the executor has
//! not begun and says which commands mend it.

use crate::support::{Project, SHAPE_A, Service, eventually, everybodys_runchain, run, runchain};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Ids that need no entry in /etc/passwd.
const OWNER: u32 = 30_001;
const EXECUTOR: u32 = 30_002;
/// The group that both are in.
const SHARED: u32 = 30_000;
/// The executor's own group.
const ALONE: u32 = 30_009;

/// Somebody with a user id, a group, more groups, and perhaps without some of root's rights.
#[derive(Clone, Copy)]
struct Who {
    user: u32,
    group: u32,
    groups: &'static [u32],
    without: Option<&'static str>,
}

const fn who(user: u32, group: u32, groups: &'static [u32]) -> Who {
    Who {
        user,
        group,
        groups,
        without: None,
    }
}

const THE_OWNER: Who = who(OWNER, SHARED, &[]);

impl Who {
    /// Lets a command run as this user, with a umask that shares nothing.
    fn is_running(self, command: &Command) -> Command {
        let mut wrapped = Command::new("setpriv");
        wrapped.args([
            "--reuid",
            &self.user.to_string(),
            "--regid",
            &self.group.to_string(),
        ]);
        let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
        if groups.is_empty() {
            wrapped.arg("--clear-groups");
        } else {
            wrapped.args(["--groups", &groups.join(",")]);
        }
        if let Some(right) = self.without {
            wrapped.args(["--bounding-set", right, "--inh-caps", right]);
        }
        wrapped.args(["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        wrapped
    }
}

/// A project of the owner's, with a folder of the executor's for what comes out.
struct Shared {
    project: Project,
}

impl Shared {
    fn new(journal: &str, database_mode: u32, folder_mode: u32) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root, to be two users: run the suite as root"
        );
        let project = Project::new(
            SHAPE_A,
            "logs_dir = 'out/logs'\narchive_dir = 'out/archive'\nreports_dir = 'out/reports'\n",
        );
        project.sql(&format!("PRAGMA journal_mode = {journal};"));
        project.runchain(&["install"]).exits(0);
        let shared = Self { project };
        fs::create_dir(shared.project.path("out")).unwrap();
        shared.give(shared.project.root(), 0, 0o755);
        shared.give(&shared.project.path("runchain.toml"), 0, 0o644);
        shared.give(&shared.project.path("out"), EXECUTOR, 0o777);
        // What root has made for the install goes to the owner.
        for entry in fs::read_dir(shared.project.path(".state")).unwrap() {
            shared.give(&entry.unwrap().path(), OWNER, database_mode);
        }
        shared.give(&shared.project.path(".state"), OWNER, folder_mode);
        shared
    }

    fn give(&self, path: &Path, user: u32, mode: u32) {
        std::os::unix::fs::chown(path, Some(user), Some(if user == 0 { 0 } else { SHARED })).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// `runchain` as somebody; the service is the process itself, not a shell around it.
    fn runchain(&self, who: Who, arguments: &[&str]) -> Command {
        let mut command = Command::new(everybodys_runchain());
        command.args(arguments);
        command.current_dir(runchain(self.project.root()).get_current_dir().unwrap());
        who.is_running(&command)
    }

    /// The exit code and what was said.
    fn says(&self, who: Who, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.runchain(who, arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// The orchestrator ends a run.
    #[track_caller]
    fn owner_ends(&self, run_id: &str) {
        let mut command = Command::new("sqlite3");
        command.arg("-bail").arg(self.project.database());
        let sql =
            format!(".timeout 10000\nINSERT INTO runs(run_id, status) VALUES ('{run_id}', 'COMPLETED');");
        run(&mut THE_OWNER.is_running(&command), &sql).output();
    }

    fn done(&self, service: &Service, run_id: &str) {
        eventually(run_id, || {
            let path = self.project.path(&format!("out/reports/{run_id}_summary.json"));
            path.exists().then_some(()).ok_or_else(|| service.told())
        });
    }

    /// The owner writes before, while and after somebody drains.
    fn both_work(&self, executor: Who) {
        self.owner_ends("before");
        let mut service = Service::of(&mut self.runchain(executor, &["drain"]));
        self.done(&service, "before");
        for n in 0..3 {
            self.owner_ends(&format!("meanwhile-{n}"));
            self.done(&service, &format!("meanwhile-{n}"));
        }
        service.assert_alive();
        assert!(service.terminate().success());
        self.owner_ends("after");
        // And the owner can be the executor next.
        fs::set_permissions(self.project.path("out"), fs::Permissions::from_mode(0o777)).unwrap();
        let (code, said) = self.says(executor, &["drain", "--until-idle"]);
        assert_eq!(code, Some(0), "{said}");
        let lock = fs::metadata(self.project.path(".state/orchestration.db.runchain-lock")).unwrap();
        let database = fs::metadata(self.project.database()).unwrap();
        assert_eq!(
            lock.mode() & 0o777,
            database.mode() & 0o666,
            "who may write the database may take the lead"
        );
    }

    /// The executor has not begun, and left nothing beside the database.
    fn is_refused(&self, executor: Who, part: &str) -> String {
        self.owner_ends("r");
        let before = self.project.tree(".state");
        for arguments in [&["drain", "--once"][..], &["retry", "r"]] {
            let (code, said) = self.says(executor, arguments);
            assert_eq!(code, Some(7), "{said}");
            assert!(said.contains(part), "{said}");
        }
        let after = self.project.tree(".state");
        assert!(before == after, "something was left beside the database");
        self.owner_ends("s");
        self.says(executor, &["drain", "--once"]).1
    }
}

#[test]
fn a_shared_group_and_a_folder_that_hands_it_on_let_both_work() {
    for journal in ["delete", "wal"] {
        // Whether the group is the executor's first or one of its others.
        for executor in [who(EXECUTOR, SHARED, &[]), who(EXECUTOR, ALONE, &[SHARED])] {
            Shared::new(journal, 0o660, 0o2770).both_work(executor);
        }
    }
}

#[test]
fn a_group_that_new_files_don_t_get_is_refused_with_the_commands_that_mend_it() {
    for journal in ["delete", "wal"] {
        let shared = Shared::new(journal, 0o660, 0o770);
        let executor = who(EXECUTOR, ALONE, &[SHARED]);
        let said = shared.is_refused(executor, "would lock its owner (user id 30001) out");
        // As the message says, word for word.
        let commands = said.split_once("as the owner or root: ").unwrap().1.trim();
        let mut shell = Command::new("sh");
        shell.args(["-c", commands]);
        run(&mut THE_OWNER.is_running(&shell), "").output();
        shared.both_work(executor);
    }
}

#[test]
fn a_stranger_is_refused() {
    let stranger = who(EXECUTOR, ALONE, &[]);
    Shared::new("wal", 0o664, 0o777).is_refused(stranger, "can't be written");
    Shared::new("delete", 0o664, 0o755).is_refused(stranger, "can't be written");
    Shared::new("delete", 0o600, 0o777).is_refused(stranger, "can't read the state database");
    // Where anybody may write, anybody may.
    Shared::new("wal", 0o666, 0o777).both_work(stranger);
}

#[test]
fn a_folder_that_can_t_be_written_is_refused() {
    let executor = who(EXECUTOR, SHARED, &[]);
    Shared::new("delete", 0o660, 0o750).is_refused(executor, "SQLite has to create files in");
}

#[test]
fn root_hands_what_it_creates_to_the_owner_and_without_that_right_is_refused() {
    let root = who(0, 0, &[]);
    for journal in ["delete", "wal"] {
        Shared::new(journal, 0o600, 0o700).both_work(root);
        let powerless = Who {
            without: Some("-chown"),
            ..root
        };
        Shared::new(journal, 0o600, 0o700).is_refused(powerless, "would lock its owner (user id 30001) out");
    }
}

#[test]
fn files_that_somebody_left_beside_the_database_are_refused_with_the_commands_that_mend_it() {
    let shared = Shared::new("delete", 0o660, 0o2770);
    let left = shared.project.path(".state/orchestration.db-journal");
    shared.owner_ends("r");
    fs::write(&left, "").unwrap();
    let executor = who(EXECUTOR, SHARED, &[]);
    let (code, said) = shared.says(executor, &["drain", "--once"]);
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("orchestration.db-journal"), "{said}");
    let commands = said.split_once("as root: ").unwrap().1.trim();
    run(Command::new("sh").args(["-c", commands]), "").output();
    let (code, said) = shared.says(executor, &["drain", "--until-idle"]);
    assert_eq!(code, Some(0), "{said}");
    shared.owner_ends("s");
}

#[test]
fn a_log_folder_that_the_executor_may_not_use_is_an_alert_until_it_may() {
    for mode in [0o700, 0o755] {
        let shared = Shared::new("wal", 0o660, 0o2770);
        let logs = shared.project.path("out/logs");
        fs::create_dir(&logs).unwrap();
        fs::write(logs.join("monitor.jsonl"), "").unwrap();
        shared.give(&logs, 0, mode);
        shared.owner_ends("r");
        let mut service = Service::of(&mut shared.runchain(who(EXECUTOR, SHARED, &[]), &["drain"]));
        let alert = "SELECT state FROM runchain_alerts WHERE rule = 'logs_unwritable'";
        shared.project.until(alert, "firing");
        service.assert_alive();
        shared.give(&logs.join("monitor.jsonl"), EXECUTOR, 0o644);
        shared.give(&logs, EXECUTOR, 0o755);
        shared.project.until(alert, "resolved");
        shared.done(&service, "r");
        assert!(service.terminate().success());
    }
}

#[test]
fn an_owner_who_asks_is_not_told_to_take_the_executor_s_folders_away() {
    let shared = Shared::new("wal", 0o660, 0o2770);
    shared.owner_ends("r");
    let mut service = Service::of(&mut shared.runchain(who(EXECUTOR, SHARED, &[]), &["drain"]));
    shared.done(&service, "r");
    let done = "SELECT count(*) FROM runchain_steps WHERE state = 'done'";
    shared.project.until(done, "2");
    let (code, said) = shared.says(THE_OWNER, &["health"]);
    assert_eq!(code, Some(0), "{said}");
    let output = shared.runchain(THE_OWNER, &["doctor"]).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(!found.contains("chown"), "{found}");
    // With a usual umask the owner can at least read what is there.
    let mut readable = Command::new("chmod");
    run(readable.args(["-R", "a+rX"]).arg(shared.project.path("out")), "").output();
    // Neither half of a run is erased by who can't erase the other.
    shared.project.sql("DELETE FROM runs;");
    let (code, said) = shared.says(THE_OWNER, &["forget", "r"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("nothing was erased") && said.contains("sudo -u '#30002'"),
        "{said}"
    );
    shared.project.until(done, "2");
    service.assert_alive();
    let (code, said) = shared.says(who(EXECUTOR, SHARED, &[]), &["forget", "r"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(service.terminate().success());
}
