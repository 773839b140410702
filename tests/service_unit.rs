//! The executor under a service manager, which the test plays: units, readiness, reload, stop, watchdog;
//! and as process 1 of a container.

use crate::support::{Project, SHAPE_A, Service, eventually, monitoring, runchain};
use rusqlite::Connection;
use rustix::process::Signal;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a message may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The manager's end of NOTIFY_SOCKET.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Starts `drain` as systemd would.
    fn start(project: &Project, watchdog: Option<Duration>) -> (Self, Service) {
        let path = project.path("notify");
        let manager = Self {
            socket: UnixDatagram::bind(&path).unwrap(),
        };
        let mut command = runchain(project.root());
        command.arg("drain").env("NOTIFY_SOCKET", &path);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        (manager, Service::of(&mut command))
    }

    /// The next message, if one comes in time.
    fn next(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4_096];
        let count = loop {
            match self.socket.recv(&mut buffer) {
                // Who is stopped and goes on is told so where it waits with a timeout.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.ok()?,
            }
        };
        Some(String::from_utf8(buffer[..count].to_vec()).unwrap())
    }

    /// Waits for a message with this line.
    #[track_caller]
    fn until(&self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            if let Some(message) = self.next(Duration::from_secs(1)) {
                if message.lines().any(|one| one.starts_with(line)) {
                    return message;
                }
                seen.push(message);
            }
        }
        panic!("waited in vain for {line}; came: {seen:?}");
    }

    /// Waits until the watchdog is not fed any more: what was sent before may come late.
    #[track_caller]
    fn until_starved(&self) {
        eventually("the watchdog to starve", || match self.fed_within(LONG) {
            0 => Ok(()),
            fed => Err(format!("fed {fed} times")),
        });
    }

    /// How often the watchdog is fed within a time.
    fn fed_within(&self, time: Duration) -> usize {
        let deadline = Instant::now() + time;
        let mut fed = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return fed;
            }
            fed += usize::from(
                self.next(left)
                    .is_some_and(|message| message.contains("WATCHDOG=1")),
            );
        }
    }
}

#[test]
fn ready_is_said_when_the_queue_was_taken_from_and_never_on_a_database_that_is_wrong() {
    let project = Project::installed("");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('r', 'RUNNING');");
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "1\n");
    let (manager, service) = Manager::start(&project, None);
    let first = manager.next(PATIENCE).unwrap();
    assert_eq!(first, "READY=1\n", "nothing comes before it");
    assert_eq!(project.sql("SELECT count(*) FROM runchain_queue;"), "0\n");
    manager.until("STATUS=leading, no step runs");
    service.signal(Signal::TERM);
    manager.until("STOPPING=1");
    drop(service);

    fs::remove_file(project.path("notify")).unwrap();
    project.sql("ALTER TABLE runs RENAME TO jobs;");
    let (manager, mut service) = Manager::start(&project, None);
    assert_eq!(service.ended(), Some(10));
    assert_eq!(manager.next(Duration::from_millis(1)), None);
}

#[test]
fn a_reload_begins_and_ends_for_the_manager_also_when_the_configuration_is_wrong() {
    let project = Project::installed("");
    let (manager, service) = Manager::start(&project, None);
    manager.until("READY=1");
    service.signal(Signal::HUP);
    let message = manager.until("RELOADING=1");
    let since = message
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.unwrap().parse::<u64>().unwrap() > 0, "{message}");
    let message = manager.until("READY=1");
    assert!(
        message.contains("STATUS=the configuration was read again"),
        "{message}"
    );

    project.configure("wrokers = 3");
    service.signal(Signal::HUP);
    manager.until("RELOADING=1");
    let message = manager.until("READY=1");
    assert!(message.contains("the old one stays"), "{message}");
    assert!(message.contains("did you mean workers?"), "{message}");
}

/// It is fed at half of this, as the protocol asks.
const WATCHDOG: Duration = Duration::from_millis(1_000);
/// Within this it is fed, or not at all.
const LONG: Duration = Duration::from_millis(3_500);

#[test]
fn an_idle_executor_feeds_the_watchdog_and_one_in_a_lock_doesn_t() {
    let project = Project::installed("poll_ms = 3600000\nsweep_ms = 3600000");
    let (manager, _service) = Manager::start(&project, Some(WATCHDOG));
    manager.until("READY=1");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    // In rollback mode this keeps readers out, too: the loop hangs in the lock.
    let holder = Connection::open(project.database()).unwrap();
    holder.busy_timeout(PATIENCE).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    manager.until_starved();
    holder.execute_batch("ROLLBACK").unwrap();
    manager.until("WATCHDOG=1");
}

#[test]
fn a_queue_that_can_t_be_expanded_lets_the_watchdog_bite() {
    let project = Project::installed("poll_ms = 3600000\nsweep_ms = 3600000");
    let (manager, service) = Manager::start(&project, Some(WATCHDOG));
    manager.until("WATCHDOG=1");
    project.sql(
        "ALTER TABLE runs RENAME TO away; INSERT INTO runchain_queue(action, run_id) VALUES ('update', 'r');",
    );
    eventually("what stands still", || {
        let told = service.told();
        let said = told.contains("the queue has rows that can't be expanded; the watchdog is not fed");
        if said { Ok(()) } else { Err(told) }
    });
    manager.until_starved();
    project.sql("ALTER TABLE away RENAME TO runs;");
    manager.until("WATCHDOG=1");
}

#[test]
fn a_due_step_that_may_not_be_begun_is_no_reason_to_bite() {
    let project = Project::installed(
        "[steps.archive]\ncommand = [\"sh\", \"-c\", \"until test -e go; do sleep 0.02; done\"]\nconcurrency = 1",
    );
    project.sql("INSERT INTO runs(run_id, status) VALUES ('a', 'COMPLETED'), ('b', 'COMPLETED');");
    let (manager, _service) = Manager::start(&project, Some(WATCHDOG));
    manager.until("READY=1");
    project.until(
        "SELECT group_concat(state, ' ') FROM (SELECT state FROM runchain_steps WHERE step = 'archive' ORDER BY state)",
        "ready running",
    );
    // Longer than the watchdog's time; and it is fed afterwards.
    manager.fed_within(LONG);
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    fs::write(project.path("go"), "").unwrap();
}

fn installed(project: &Project, arguments: &[&str]) -> String {
    let root = project.path("image");
    let root = root.to_str().unwrap();
    let mut all = vec!["service", "install", "--root", root];
    all.extend(arguments);
    project.runchain(&all).exits(0).stdout
}

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new(monitoring("RUNCHAIN_TEST_SYSTEMD_ANALYZE"))
        .args(arguments)
        .arg(unit)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Tenths on systemd's scale, on which 100 is the worst and a unit without any hardening has 96. A service
/// that runs programs of its users and calls out can't have 0.
const MOST_EXPOSED: &str = "--threshold=22";

#[test]
fn units_pass_verification_and_expose_little() {
    let project = Project::installed("");
    installed(&project, &[]);
    let told = installed(&project, &["--instance", "orders"]);
    assert!(
        told.contains("systemctl enable --now runchain@orders.service"),
        "{told}"
    );
    let folder = project.path("image/etc/systemd/system");
    for name in ["runchain.service", "runchain@.service"] {
        let unit = folder.join(name);
        let (good, said) = analyze(&["verify"], &unit);
        // About units of this machine it has its own opinion.
        let about_ours = said.lines().any(|line| line.contains("runchain"));
        assert!(good && !about_ours, "{name}: {said}");
        let (good, said) = analyze(&["security", "--offline=true", "--no-pager", MOST_EXPOSED], &unit);
        assert!(good, "{name}: {said}");
    }
    let own = fs::read_to_string(folder.join("runchain@orders.service.d/10-instance.conf")).unwrap();
    let root = project.root().display();
    assert!(
        own.contains(&format!("Environment=RUNCHAIN_CONFIG={root}/runchain.toml\n")),
        "{own}"
    );
    assert!(own.contains(&format!("ReadWritePaths=-{root}\n")), "{own}");
    assert!(own.contains("User="), "{own}");
}

#[test]
fn each_credential_that_the_configuration_names_has_a_line_to_uncomment() {
    let project = Project::installed(
        "[alerts.channels.ops]\nkind = 'webhook'\nurl_credential = 'ops-url'\ntoken_credential = 'ops-token'\n\
         [deadman]\nurl_credential = 'ping-url'\n",
    );
    installed(&project, &[]);
    installed(&project, &["--instance", "orders"]);
    let folder = project.path("image/etc/systemd/system");
    let unit = folder.join("runchain.service");
    let text = fs::read_to_string(&unit).unwrap();
    let own = fs::read_to_string(folder.join("runchain@orders.service.d/10-instance.conf")).unwrap();
    let wanted = ["ops-token", "ops-url", "ping-url"]
        .map(|name| format!("#LoadCredential={name}:/etc/runchain/credentials/{name}\n"))
        .concat();
    assert!(text.contains(&wanted), "{text}");
    assert!(own.contains(&wanted), "{own}");
    let uncommented = text.replace("#LoadCredential", "LoadCredential");
    assert_eq!(uncommented.matches("\nLoadCredential=").count(), 3);
    fs::write(&unit, uncommented).unwrap();
    let (good, said) = analyze(&["verify"], &unit);
    assert!(good && !said.contains("runchain"), "{said}");
}

#[test]
fn installing_again_changes_nothing_and_replaces_no_change_unasked() {
    let project = Project::installed("");
    installed(&project, &["--instance", "orders"]);
    let before = project.tree("image");
    installed(&project, &["--instance", "orders"]);
    assert!(before == project.tree("image"));
    let unit = project.path("image/etc/systemd/system/runchain@.service");
    fs::write(&unit, "[Service]\n").unwrap();
    let image = project.path("image");
    let install = [
        "service",
        "install",
        "--root",
        image.to_str().unwrap(),
        "--instance",
        "orders",
    ];
    let refused = project.runchain(&install).exits(1);
    assert!(
        refused.stderr.contains("differs from what would be written"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read_to_string(&unit).unwrap(), "[Service]\n");
    project.runchain(&[&install[..], &["--force"]].concat()).exits(0);
    assert!(before == project.tree("image"));
}

#[test]
fn an_instance_whose_project_has_no_configuration_gets_one_that_is_its_own_from_then_on() {
    let project = Project::installed("");
    let other = Project::new(SHAPE_A, "");
    fs::remove_file(other.path("runchain.toml")).unwrap();
    let database = other.database();
    let database = database.to_str().unwrap();
    let arguments = ["--instance", "other", "--database", database];
    installed(&project, &arguments);
    let config = project.path("image/etc/runchain/other.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(
        text.contains(&format!("state_db_path = \"{database}\"")),
        "{text}"
    );
    assert!(
        text.contains(&format!("logs_dir = \"{}/logs\"", other.root().display())),
        "{text}"
    );
    project
        .runchain(&["config", "check", "--config", config.to_str().unwrap()])
        .exits(0);
    fs::write(&config, format!("{text}workers = 2\n")).unwrap();
    installed(&project, &arguments);
    assert!(fs::read_to_string(&config).unwrap().ends_with("workers = 2\n"));
}

/// Root makes process spaces of its own in CI.
#[test]
fn as_process_1_it_reaps_orphans_and_ends_by_one_sigterm() {
    let project = Project::installed("");
    project.configure("[steps.archive]\ncommand = [\"sh\", \"-c\", \"ps -e -o pid,ppid,state,comm > seen\"]");
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"])
        // An orphan that ends after the executor has become process 1.
        .arg("(sh -c 'until test -e die; do sleep 0.02; done; exit 0' & echo $! > orphan) & wait $!; exec \"$0\" drain")
        .arg(env!("CARGO_BIN_EXE_runchain"))
        .current_dir(project.root());
    let mut service = Service::of(&mut command);
    project.until("SELECT count(*) FROM runchain_executors WHERE pid = 1", "1");
    let orphan = eventually("the orphan", || {
        let text = fs::read_to_string(project.path("orphan")).map_err(|error| error.to_string())?;
        if text.ends_with('\n') { Ok(text) } else { Err(text) }
    });
    fs::write(project.path("die"), "").unwrap();
    // Each look is a step, which sees the process space from inside.
    let mut run = 0;
    eventually("the orphan to be reaped", || {
        run += 1;
        let id = format!("r{run}");
        project.sql(&format!(
            "INSERT INTO runs(run_id, status) VALUES ('{id}', 'COMPLETED');"
        ));
        project.until(
            &format!("SELECT state FROM runchain_steps WHERE run_id = '{id}' AND step = 'archive'"),
            "done",
        );
        let seen = fs::read_to_string(project.path("seen")).unwrap();
        let is_there = seen
            .lines()
            .any(|line| line.split_whitespace().next() == Some(orphan.trim()));
        if is_there { Err(seen) } else { Ok(()) }
    });
    // `unshare` waits for its child, process 1, and has its exit code.
    let executor = Command::new("pgrep")
        .args(["-P", &service.pid().to_string()])
        .output()
        .unwrap();
    let executor = String::from_utf8(executor.stdout).unwrap();
    let killed = Command::new("kill").arg(executor.trim()).status().unwrap();
    assert!(killed.success());
    assert_eq!(service.ended(), Some(0), "{}", service.told());
}

/// The kernel lets no signal end process 1 that it has no handler for.
#[test]
fn process_1_hears_sigterm_before_it_has_opened_the_database() {
    let project = Project::installed("");
    let conn = Connection::open(project.database()).unwrap();
    conn.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(env!("CARGO_BIN_EXE_runchain"))
        .arg("drain")
        .current_dir(project.root());
    let mut service = Service::of(&mut command);
    let executor = eventually("a handler", || {
        let found = Command::new("pgrep")
            .args(["-P", &service.pid().to_string()])
            .output()
            .unwrap();
        let pid = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
        let mask = caught
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .unwrap_or(0);
        let is_handled = mask & (1 << (Signal::TERM.as_raw() - 1)) != 0;
        // The Rust runtime and the shell catch none of it.
        if is_handled { Ok(pid) } else { Err(status) }
    });
    assert!(Command::new("kill").arg(&executor).status().unwrap().success());
    assert_eq!(service.ended(), Some(143), "{}", service.told());
    drop(conn);
}
