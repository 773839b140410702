//! Executors that are killed, frozen, or die at a named point, and are started again at once.

use crate::support::runchain;
use fastrand::Rng;
use rusqlite::Connection;
use rusqlite::types::FromSql;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The points of the executor's `fault` module.
pub(crate) const POINTS: [&str; 13] = [
    "turn-before-commit",
    "turn-after-commit",
    "settle-before-commit",
    "settle-after-commit",
    "effect-begin",
    "effect-end",
    "archive-before-place",
    "archive-after-place",
    "rotate-before-rename",
    "rotate-after-rename",
    "project-before-append",
    "project-after-append",
    "project-after-cursor",
];

/// The variable that tells the processes of one executor from all others.
pub(crate) const MARK: &str = "CRASH_EXECUTOR";
/// What is left of a killed executor must be gone after its lease; a busy machine gets more.
pub(crate) const LEASE: Duration = Duration::from_millis(1_000);
const SLACK: Duration = Duration::from_secs(29);
/// The longest that one is frozen.
const FREEZE_PATIENCE: Duration = Duration::from_secs(4);
/// An executor that doesn't reach its point is killed like any other.
const PLAN_PATIENCE: Duration = Duration::from_secs(4);

struct Executor {
    child: Child,
    mark: String,
    point: Option<&'static str>,
    started: Instant,
    frozen: Option<Frozen>,
}

/// Stopped for longer than its lease, with steps under way.
struct Frozen {
    since: Instant,
    /// The ids of those steps, as a list for SQL.
    steps: String,
}

impl Executor {
    fn signal(&self, signal: Signal) {
        // It may have died of its point meanwhile.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A killed executor whose processes must be gone soon.
struct Remains {
    mark: String,
    killed: Instant,
}

/// The executors of one round.
pub(crate) struct Executors {
    root: PathBuf,
    conn: Connection,
    random: Rng,
    live: Vec<Executor>,
    count: usize,
    started: usize,
    remains: Vec<Remains>,
    looked: Instant,
    pub(crate) kills: usize,
    pub(crate) freezes: usize,
    /// Kills by point.
    pub(crate) hits: BTreeMap<&'static str, usize>,
    pub(crate) violations: Vec<String>,
}

impl Executors {
    pub(crate) fn new(root: &Path, database: &Path, count: usize, random: Rng) -> Self {
        let conn = Connection::open(database).unwrap();
        conn.busy_timeout(Duration::from_millis(100)).unwrap();
        Self {
            root: root.to_owned(),
            conn,
            random,
            live: Vec::new(),
            count,
            started: 0,
            remains: Vec::new(),
            looked: Instant::now(),
            kills: 0,
            freezes: 0,
            hits: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    /// Kills executors until there were so many kills, one way or the other.
    pub(crate) fn kill_until(&mut self, kills: usize, rarest: &dyn Fn() -> &'static str) {
        while self.kills < kills {
            self.reap();
            while self.live.len() < self.count {
                // A third dies at a named point, half of those at the one that was hit least.
                let point = match self.random.u32(..6) {
                    0 => Some(rarest()),
                    1 => Some(POINTS[self.random.usize(..POINTS.len())]),
                    _ => None,
                };
                let leads =
                    point.is_some_and(|point| point.starts_with("project-") || point.starts_with("rotate-"));
                if leads {
                    self.kill_all();
                }
                self.start(point);
                if leads {
                    // Whoever comes first leads.
                    break;
                }
            }
            let moment = Instant::now() + Duration::from_millis(self.random.u64(20..400));
            while Instant::now() < moment {
                self.thaw(false);
                std::thread::sleep(Duration::from_millis(5));
            }
            self.reap();
            if !self.live.is_empty() {
                self.strike();
            }
            self.look_after_the_dead();
        }
        self.kill_all();
    }

    fn kill_all(&mut self) {
        self.thaw(true);
        self.reap();
        while let Some(executor) = self.live.pop() {
            self.bury(executor);
            self.kills += 1;
        }
    }

    /// Waits until nothing of any killed executor runs any more.
    pub(crate) fn wait_for_the_dead(&mut self) {
        while !self.remains.is_empty() {
            self.look_after_the_dead();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn start(&mut self, point: Option<&'static str>) {
        self.started += 1;
        let name = self.root.file_name().unwrap().to_str().unwrap();
        let mark = format!("{name}-{}", self.started);
        let told = File::options()
            .create(true)
            .append(true)
            .open(self.root.join("executors.log"))
            .unwrap();
        let mut command = runchain(&self.root);
        command.arg("drain").env(MARK, &mark);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told);
        if let Some(point) = point {
            // The first time is often before there is anything to do.
            command.env("RUNCHAIN_CRASH_AT", format!("{point}:{}", self.random.u32(1..5)));
        }
        self.live.push(Executor {
            child: command.spawn().unwrap(),
            mark,
            point,
            started: Instant::now(),
            frozen: None,
        });
    }

    /// Takes those that died of their point. One that ends in any other way is a finding.
    fn reap(&mut self) {
        let mut at = 0;
        while at < self.live.len() {
            let Some(status) = self.live[at].child.try_wait().unwrap() else {
                at += 1;
                continue;
            };
            let executor = self.live.remove(at);
            match executor.point {
                Some(point) if status.signal() == Some(9) => {
                    *self.hits.entry(point).or_default() += 1;
                    self.kills += 1;
                }
                _ => {
                    self.violations.push(format!(
                        "executor {} ended by itself with {status}; see executors.log",
                        executor.child.id()
                    ));
                    // Or this round would never end.
                    self.kills += 1;
                }
            }
            self.remains.push(Remains {
                mark: executor.mark.clone(),
                killed: Instant::now(),
            });
        }
    }

    /// Kills one, or freezes it.
    fn strike(&mut self) {
        let at = self.random.usize(..self.live.len());
        let executor = &self.live[at];
        if executor.frozen.is_some()
            || (executor.point.is_some() && executor.started.elapsed() < PLAN_PATIENCE)
        {
            return;
        }
        if self.live.len() > 1 && self.random.u32(..4) == 0 {
            self.freeze(at);
            return;
        }
        let executor = self.live.remove(at);
        self.bury(executor);
        self.kills += 1;
    }

    fn freeze(&mut self, at: usize) {
        let executor = &mut self.live[at];
        executor.signal(Signal::STOP);
        let held = format!(
            "SELECT group_concat(s.id) FROM runchain_steps AS s JOIN runchain_executors AS e USING (executor_id)
             WHERE s.state = 'running' AND e.pid = {}",
            executor.child.id()
        );
        let steps = ask::<Option<String>>(&self.conn, &held).flatten();
        let Some(steps) = steps else {
            // Nothing would be taken from it.
            executor.signal(Signal::CONT);
            return;
        };
        File::create(self.root.join("frozen")).unwrap();
        executor.frozen = Some(Frozen {
            since: Instant::now(),
            steps,
        });
        self.freezes += 1;
    }

    fn bury(&mut self, mut executor: Executor) {
        executor.child.kill().unwrap();
        executor.child.wait().unwrap();
        self.remains.push(Remains {
            mark: executor.mark.clone(),
            killed: Instant::now(),
        });
    }

    /// A frozen one comes back when somebody else runs one of its steps: then it takes two tokens to
    /// tell their settlings apart.
    fn thaw(&mut self, all: bool) {
        for executor in &mut self.live {
            let Some(frozen) = &executor.frozen else {
                continue;
            };
            let taken = format!(
                "SELECT EXISTS (SELECT 1 FROM runchain_steps AS s JOIN runchain_executors AS e USING (executor_id)
                                WHERE s.state = 'running' AND s.id IN ({}) AND e.pid <> {})",
                frozen.steps,
                executor.child.id()
            );
            // It may have stopped in the middle of a write: then nobody gets on until it does.
            let stuck = frozen.since.elapsed() > FREEZE_PATIENCE;
            if all || stuck || ask(&self.conn, &taken) == Some(true) {
                executor.signal(Signal::CONT);
                executor.frozen = None;
            }
        }
        if !self.live.iter().any(|executor| executor.frozen.is_some()) {
            let _ = fs::remove_file(self.root.join("frozen"));
        }
    }

    /// No process outlives its executor and its lease.
    fn look_after_the_dead(&mut self) {
        let due = self.remains.iter().any(|one| one.killed.elapsed() >= LEASE);
        if !due || self.looked.elapsed() < Duration::from_millis(500) {
            return;
        }
        self.looked = Instant::now();
        let marks = marks_of_all_processes();
        let violations = &mut self.violations;
        self.remains.retain(|one| {
            if !marks.contains(&one.mark) {
                return one.killed.elapsed() < LEASE;
            }
            let over = one.killed.elapsed() >= LEASE + SLACK;
            if over {
                violations.push(format!(
                    "a process of executor {} runs {:?} after its death",
                    one.mark,
                    one.killed.elapsed()
                ));
            }
            !over
        });
    }
}

/// One value; `None` where the database is busy.
fn ask<T: FromSql>(conn: &Connection, sql: &str) -> Option<T> {
    conn.query_row(sql, [], |row| row.get(0)).ok()
}

fn marks_of_all_processes() -> Vec<String> {
    let variable = format!("{MARK}=");
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let environments = processes.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
    let marks = environments.filter_map(|environment| {
        environment
            .split(|&byte| byte == 0)
            .find_map(|one| Some(std::str::from_utf8(one).ok()?.strip_prefix(&variable)?.to_owned()))
    });
    marks.collect()
}
