//! Executors are killed at random moments and at every named point while writers write; then a
//! checker that shares no code with runchain looks at what is left, from outside.
//!
//! Two lanes run at once, one on WAL and one on the rollback journal. Each lane goes through rounds:
//! a new project, several writers, one to three executors, some dozen kills; then the writers stop,
//! one executor drains to the end, and everything is checked against the writers' own ledger.
//!
//! `RUNCHAIN_TEST_SEED` repeats the random choices (not the scheduling), `RUNCHAIN_CRASH_KILLS` says
//! how many kills; `scripts/soak` sets both.

/// What must hold in the database.
mod database;
/// The processes that are killed.
mod executors;
/// What must have come of a ledger.
mod expected;
/// What must hold in the bags, the reports, the logs and the witness file.
mod files;
/// What the writers did.
mod ledger;
/// The writers.
mod load;

use crate::support::{Project, SHAPE_A};
use executors::{Executors, POINTS};
use expected::Expected;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

const KILLS: usize = 300;
const KILLS_OF_A_ROUND: usize = 30;
/// With fewer kills chance decides which points are reached.
const KILLS_FOR_EVERY_POINT: usize = 200;
const DRAIN_PATIENCE: Duration = Duration::from_secs(300);

/// The witness notes that an attempt was begun, and answers which one it was. Some first attempts
/// hang, until `calm` is there: only the end of their executor ends them. While an executor
/// is frozen, later attempts wait for it to be back, so that they meet what comes late of an earlier one.
const CONFIG: &str = r#"
lease_ms = 1000
poll_ms = 1000
sweep_ms = 500
workers = 4
archive.settle_ms = 0
storm.max_transitions = 0
archive.min_free_bytes = 0
retry.base_ms = 20
retry.cap_ms = 200
retry.max_attempts = 1000
logs.rotate_bytes = 3000
logs.keep_files = 100000
monitor.heartbeat_ms = 300
[steps.witness]
command = ["sh", "-c", '''
echo "$RUNCHAIN_RUN_ID $RUNCHAIN_GENERATION $RUNCHAIN_ATTEMPT" >> witness
case $RUNCHAIN_GENERATION-$RUNCHAIN_ATTEMPT in *3-1) [ -e calm ] || sleep 600;; esac
if [ $RUNCHAIN_ATTEMPT -gt 1 ] && [ -e frozen ]; then
  while [ -e frozen ]; do sleep 0.02; done
  sleep 0.4
fi
echo "{\"attempt\": $RUNCHAIN_ATTEMPT}"
''']
pass_env = ["CRASH_EXECUTOR"]
"#;

/// What all rounds together did.
#[derive(Default)]
struct Tally {
    kills: usize,
    rounds: usize,
    freezes: usize,
    commits: usize,
    hits: BTreeMap<&'static str, usize>,
    checked: BTreeMap<&'static str, usize>,
    /// What the first round with a violation found.
    failure: Option<String>,
}

#[test]
fn executors_killed_at_any_moment_lose_nothing_and_do_nothing_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("RUNCHAIN_TEST_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let kills = number("RUNCHAIN_CRASH_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    println!("RUNCHAIN_TEST_SEED={seed} RUNCHAIN_CRASH_KILLS={kills}");
    let began = Instant::now();
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for (lane, journal_mode) in ["wal", "delete"].into_iter().enumerate() {
            let random = Rng::with_seed(seed * 2 + lane as u64);
            let tally = &tally;
            scope.spawn(move || rounds(journal_mode, random, kills.div_ceil(2), seed, tally));
        }
    });
    let tally = tally.into_inner().unwrap();
    println!(
        "{} kills in {} rounds and {:?}; {} commits, {} executors frozen for longer than their lease",
        tally.kills,
        tally.rounds,
        began.elapsed(),
        tally.commits,
        tally.freezes
    );
    println!("checked: {:?}", tally.checked);
    println!("killed at: {:?}", tally.hits);
    if let Some(failure) = &tally.failure {
        panic!("{failure}");
    }
    let missed: Vec<&str> = POINTS
        .into_iter()
        .filter(|point| !tally.hits.contains_key(point))
        .collect();
    assert!(
        missed.is_empty() || kills < KILLS_FOR_EVERY_POINT,
        "nobody was killed at {missed:?}; RUNCHAIN_TEST_SEED={seed}"
    );
}

#[expect(clippy::print_stdout, reason = "progress, for people who run the soak")]
fn rounds(journal_mode: &str, mut random: Rng, kills: usize, seed: u64, tally: &Mutex<Tally>) {
    let mut done = 0;
    while done < kills && tally.lock().unwrap().failure.is_none() {
        let round = Round::new(journal_mode, random.fork());
        let began = Instant::now();
        let outcome = round.run(KILLS_OF_A_ROUND.min(kills - done), tally);
        done += outcome.kills;
        let mut all = tally.lock().unwrap();
        all.kills += outcome.kills;
        all.rounds += 1;
        println!(
            "{:>5} kills: a round in {journal_mode} with {} kills, {} runs to check, took {:.1?}",
            all.kills,
            outcome.kills,
            outcome.runs,
            began.elapsed()
        );
        drop(all);
        if !outcome.violations.is_empty() {
            tally.lock().unwrap().failure = Some(format!(
                "after {done} kills in {journal_mode}, RUNCHAIN_TEST_SEED={seed}, kept in {}:\n  {}",
                round.keep(),
                outcome.violations.join("\n  ")
            ));
        }
    }
}

/// A project of its own with everything that happens to it.
struct Round {
    project: Project,
    random: Mutex<Rng>,
}

struct Outcome {
    kills: usize,
    runs: usize,
    violations: Vec<String>,
}

impl Round {
    fn new(journal_mode: &str, random: Rng) -> Self {
        let ddl = format!(
            "PRAGMA journal_mode = {journal_mode}; {SHAPE_A} {}",
            load::SEQUENCE
        );
        let project = Project::new(&ddl, CONFIG);
        project.runchain(&["install"]).exits(0);
        Self {
            project,
            random: Mutex::new(random),
        }
    }

    fn run(&self, kills: usize, tally: &Mutex<Tally>) -> Outcome {
        let database = self.project.database();
        let mut random = self.random.lock().unwrap();
        let (stop, numbers) = (AtomicBool::new(false), AtomicI64::new(1));
        let mut executors = Executors::new(self.project.root(), &database, random.usize(1..4), random.fork());
        let rarest = || {
            let tally = tally.lock().unwrap();
            POINTS
                .into_iter()
                .min_by_key(|point| tally.hits.get(point).copied().unwrap_or(0))
                .unwrap()
        };
        let mut commits = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..random.u32(2..5))
                .map(|_| {
                    let (random, database) = (random.fork(), &database);
                    let (numbers, stop) = (&numbers, &stop);
                    scope.spawn(move || load::write(database, random, numbers, stop))
                })
                .collect();
            executors.kill_until(kills, &rarest);
            stop.store(true, Ordering::Relaxed);
            let commits = writers.into_iter().flat_map(|writer| writer.join().unwrap());
            commits.collect::<Vec<_>>()
        });
        executors.wait_for_the_dead();
        let mut violations = std::mem::take(&mut executors.violations);
        let calm_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        violations.extend(self.drain());
        // Bags of the killed whose steps were cancelled get their rows; nothing is old enough to go.
        self.project.runchain(&["prune"]).exits(0);

        commits.sort_by_key(|commit| commit.seq);
        let expected = Expected::of(&commits);
        let mut checked = BTreeMap::new();
        violations.extend(database::violations(&database, &expected, &mut checked));
        violations.extend(files::violations(
            &self.project,
            &expected,
            calm_ms as i64,
            &mut checked,
        ));
        let mut tally = tally.lock().unwrap();
        tally.freezes += executors.freezes;
        tally.commits += commits.len();
        for (point, hits) in &executors.hits {
            *tally.hits.entry(point).or_default() += hits;
        }
        for (what, number) in checked {
            *tally.checked.entry(what).or_default() += number;
        }
        Outcome {
            kills: executors.kills,
            runs: expected.rows.len(),
            violations,
        }
    }

    /// One executor, undisturbed, to the end of all work.
    fn drain(&self) -> Option<String> {
        std::fs::write(self.project.path("calm"), "").unwrap();
        let told = std::fs::File::create(self.project.path("drain.log")).unwrap();
        let mut command = self.project.command(&["drain", "--until-idle"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(told)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + DRAIN_PATIENCE;
        loop {
            match child.try_wait().unwrap() {
                Some(status) if status.success() => return None,
                Some(status) => return Some(format!("the last drain ended with {status}; see drain.log")),
                None if Instant::now() >= deadline => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    return Some(format!("the last drain was not through after {DRAIN_PATIENCE:?}"));
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Leaves the folder for who looks into a failure.
    fn keep(self) -> String {
        self.project.keep().display().to_string()
    }
}
