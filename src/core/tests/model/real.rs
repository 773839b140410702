//! The real queue, driven by the same operations as the model.

use crate::kinds::CHAIN;
use crate::op::{Asked, EXECUTORS, Ending, Limits, Op, Request, Target, Verb, Wanted, Write};
use crate::work::{BACKOFF_BASE_MS, BACKOFF_CAP_MS, LEASE_MS, Settling};
use crate::world::{Hold, World};
use runchain_core::chain::{Chain, StepSpec};
use runchain_core::install::{InstallOptions, install};
use runchain_core::steps::{self, Archival, Backoff, Capacity, Claim, Executor, Outcome, Settled, Success};
use runchain_core::{ExecutorId, Mapping, Millis, RunId, queue};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::fmt::Debug;

const BACKOFF: Backoff = Backoff {
    base_ms: BACKOFF_BASE_MS,
    cap_ms: BACKOFF_CAP_MS,
};

/// A claim of the real queue beside what the model thinks of it.
struct Pair {
    step: usize,
    hold: Hold,
    claim: Claim,
}

pub(crate) struct Bench {
    pub(crate) conn: Connection,
    mapping: Mapping,
    chain: Chain,
    executors: Vec<Executor>,
    pub(crate) executor_names: Vec<String>,
    pub(crate) world: World,
    names: Vec<String>,
    renames: usize,
    claims: Vec<Pair>,
    /// Ids and tokens of the real steps, in the model's order.
    pub(crate) ids: Vec<i64>,
    pub(crate) tokens: Vec<i64>,
}

/// The whole sequence; what differs first is the error.
pub(crate) fn run(ops: &[Op]) -> Result<(), String> {
    let mut bench = Bench::new();
    for (at, op) in ops.iter().enumerate() {
        bench
            .apply(op)
            .and_then(|()| bench.compare())
            .map_err(|what| format!("operation {at}, {op:?}: {what}"))?;
    }
    Ok(())
}

pub(crate) fn same<T: PartialEq + Debug>(what: &str, real: &T, model: &T) -> Result<(), String> {
    if real == model {
        Ok(())
    } else {
        Err(format!(
            "{what}: the queue says\n  {real:?}\nthe model\n  {model:?}"
        ))
    }
}

impl Bench {
    fn new() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE runs(run_id TEXT PRIMARY KEY, status TEXT)")
            .unwrap();
        conn.set_prepared_statement_cache_capacity(128);
        let mapping = install(&conn, &InstallOptions::default(), Millis(0))
            .unwrap()
            .mapping;
        let executor_names: Vec<String> = (0..EXECUTORS).map(|n| format!("executor-{n}")).collect();
        Self {
            conn,
            mapping,
            chain: Chain(CHAIN.iter().map(spec).collect()),
            executors: executor_names
                .iter()
                .map(|name| Executor {
                    id: ExecutorId(name.clone()),
                    host: "here".to_owned(),
                    pid: 1,
                })
                .collect(),
            executor_names,
            world: World::at(1_000_000_000_000),
            names: ["a", "b", "c", "d", "e"].map(str::to_owned).into(),
            renames: 0,
            claims: Vec::new(),
            ids: Vec::new(),
            tokens: Vec::new(),
        }
    }

    fn now(&self) -> Millis {
        Millis(self.world.now)
    }

    fn name(&self, index: usize) -> String {
        self.names[index % self.names.len()].clone()
    }

    /// One transaction, as the executor has it.
    fn transaction<T>(
        &self,
        body: impl FnOnce(&Connection) -> runchain_core::Result<T>,
    ) -> Result<T, String> {
        self.conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let value = body(&self.conn).map_err(|error| error.to_string());
        self.conn
            .execute_batch(if value.is_ok() { "COMMIT" } else { "ROLLBACK" })
            .unwrap();
        value
    }

    fn apply(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Write(index, write) => self.write(&self.name(*index), write),
            Op::Rename(index) => self.rename(*index),
            Op::Ask(asked) => self.ask(*asked),
            Op::Expand { limit } => {
                self.world.expand(*limit);
                let now = self.now();
                self.transaction(|conn| queue::expand(conn, &self.mapping, &self.chain, *limit, now))?;
            }
            Op::Lease {
                executor,
                of,
                free,
                limits,
            } => return self.lease(*executor, *of, *free, limits),
            Op::LeaseOnly { executor, ready } => self.lease_only(*executor, *ready),
            Op::Settle(index, ending, half_pauses) => return self.settle(*index, *ending, *half_pauses),
            Op::Renew(executor) => self.renew(*executor)?,
            Op::Leave(executor) => return self.leave(*executor),
            Op::Silence(survivor, half_pauses) => {
                self.world.now += LEASE_MS + 1;
                self.renew(*survivor)?;
                return self.recover(*half_pauses);
            }
            Op::Recover(half_pauses) => return self.recover(*half_pauses),
            Op::Wait { ms } => self.world.now += ms,
        }
        Ok(())
    }

    fn write(&mut self, run: &str, write: &Write) {
        self.world.write(run, write);
        let (sql, status) = match write {
            Write::OrIgnore(status) => ("INSERT OR IGNORE INTO runs VALUES (?1, ?2)", status),
            Write::OrReplace(status) => ("INSERT OR REPLACE INTO runs VALUES (?1, ?2)", status),
            Write::Upsert(status) => (
                "INSERT INTO runs VALUES (?1, ?2) ON CONFLICT(run_id) DO UPDATE SET status = excluded.status",
                status,
            ),
            Write::Update(status) => ("UPDATE runs SET status = ?2 WHERE run_id = ?1", status),
            Write::Delete => ("DELETE FROM runs WHERE run_id = ?1 AND ?2 IS NULL", &None),
            Write::RolledBack(status) => {
                self.conn.execute_batch("BEGIN").unwrap();
                let sql = "INSERT OR REPLACE INTO runs VALUES (?1, ?2)";
                self.conn.execute(sql, params![run, status]).unwrap();
                return self.conn.execute_batch("ROLLBACK").unwrap();
            }
        };
        self.conn.execute(sql, params![run, status]).unwrap();
    }

    /// To an id that nobody ever had; the old one is not used again.
    fn rename(&mut self, index: usize) {
        let index = index % self.names.len();
        let old = self.names[index].clone();
        if !self.world.rows.contains_key(&old) {
            return;
        }
        self.renames += 1;
        let new = format!("r{}", self.renames);
        self.world.rename(&old, &new);
        let sql = "UPDATE runs SET run_id = ?2 WHERE run_id = ?1";
        self.conn.execute(sql, [&old, &new]).unwrap();
        self.names[index] = new;
    }

    fn ask(&mut self, asked: Asked) {
        let request = match asked {
            Asked::Chain(index) => Request::Chain(self.name(index)),
            Asked::OfRun(verb, index) => Request::Steps(verb, Target::Run(self.name(index))),
            Asked::OfStep(_, _) if self.ids.is_empty() => return,
            Asked::OfStep(verb, index) => Request::Steps(verb, Target::Step(index % self.ids.len())),
            Asked::Pause(kind) => Request::Pause(kind),
            Asked::Resume(kind) => Request::Resume(kind),
        };
        let verb_word = |verb: &Verb| match verb {
            Verb::Retry => "retry",
            Verb::Cancel => "cancel",
            Verb::Redo => "redo",
        };
        let (action, run, step_id, kind) = match &request {
            Request::Chain(run) => ("enqueue_chain", Some(run), None, None),
            Request::Steps(verb, Target::Run(run)) => (verb_word(verb), Some(run), None, None),
            Request::Steps(verb, Target::Step(index)) => {
                (verb_word(verb), None, Some(self.ids[*index]), None)
            }
            Request::Pause(kind) => ("pause", None, None, Some(kind)),
            Request::Resume(kind) => ("resume", None, None, Some(kind)),
        };
        let sql = "INSERT INTO runchain_queue(action, run_id, step_id, step) VALUES (?1, ?2, ?3, ?4)";
        self.conn
            .execute(sql, params![action, run, step_id, kind])
            .unwrap();
        self.world.ask(request);
    }

    fn lease(&mut self, executor: usize, of: Wanted, free: usize, limits: &Limits) -> Result<(), String> {
        let held = self.world.held_by(executor);
        // Whoever runs a suspect asks for nothing more.
        if held.iter().any(|index| self.world.steps[*index].lost > 0) {
            return Ok(());
        }
        self.renew(executor)?;
        let concurrency: BTreeMap<String, usize> = limits
            .iter()
            .map(|(kind, limit)| ((*kind).to_owned(), *limit))
            .collect();
        let capacity = Capacity {
            free,
            running: held.len(),
            concurrency: &concurrency,
        };
        let (run, step) = match of {
            Wanted::Due => (None, None),
            Wanted::OfRun(index) => (Some(RunId(self.name(index))), None),
            Wanted::OfStep(index, kind) => (Some(RunId(self.name(index))), Some(kind)),
        };
        let wanted = match &run {
            None => steps::Wanted::Due,
            Some(run_id) => steps::Wanted::OfRun { run_id, step },
        };
        let (id, now) = (&self.executors[executor].id, self.now());
        let real = self.transaction(|conn| steps::lease_and_start(conn, id, wanted, capacity, now))?;
        let run = run.as_ref().map(RunId::as_str);
        let model = self.world.lease(executor, (run, step), free, limits);
        let place = |claim: &Claim| self.ids.iter().position(|id| *id == claim.step_id.0);
        let got: Vec<_> = real.iter().map(place).collect();
        let wanted: Vec<_> = model.iter().map(|(index, _)| Some(*index)).collect();
        same("leased", &got, &wanted)?;
        for (claim, (step, hold)) in real.into_iter().zip(model) {
            same(
                "the claim's deadline",
                &claim.deadline.map(|at| at.0),
                &self.world.steps[step].deadline,
            )?;
            if claim.token <= self.tokens[step] {
                return Err(format!("step {step} was leased with token {} again", claim.token));
            }
            self.claims.push(Pair { step, hold, claim });
        }
        let held = self.world.held_by(executor);
        if held.len() > 1 && held.iter().any(|index| self.world.steps[*index].lost > 0) {
            return Err("a suspect is not alone".to_owned());
        }
        Ok(())
    }

    /// From the newest claim on backwards.
    fn claim_at(&self, index: usize) -> Option<usize> {
        (self.claims.len().checked_sub(1)).map(|last| last - index % self.claims.len())
    }

    /// Into a state that nothing of ours leads to; a suspect would have to be alone.
    fn lease_only(&mut self, executor: usize, ready: usize) {
        let ready_steps = self.world.ready_steps();
        let held = self.world.held_by(executor);
        let suspect = |index: &usize| self.world.steps[*index].lost > 0;
        let Some(step) = (!ready_steps.is_empty()).then(|| ready_steps[ready % ready_steps.len()]) else {
            return;
        };
        if suspect(&step) || held.iter().any(suspect) {
            return;
        }
        self.world.lease_only(step, executor);
        let sql =
            "UPDATE runchain_steps SET state = 'leased', executor_id = ?2, token = token + 1 WHERE id = ?1";
        let name = &self.executor_names[executor];
        self.conn.execute(sql, params![self.ids[step], name]).unwrap();
    }

    fn settle(&mut self, index: usize, ending: Ending, half_pauses: i64) -> Result<(), String> {
        let Some(at) = self.claim_at(index) else {
            return Ok(());
        };
        let pair = &self.claims[at];
        let (now, jitter) = (self.now(), half_pauses as f64 / 2.0);
        let outcome = outcome_of(ending, now);
        let real =
            self.transaction(|conn| steps::settle(conn, &pair.claim, &outcome, BACKOFF, jitter, now))?;
        let real = match real {
            Settled::Done => Settling::Done,
            Settled::Again(at) => Settling::Again(at.0),
            Settled::Dead => Settling::Dead,
            Settled::Fenced => Settling::Fenced,
        };
        let model = self.world.settle(pair.step, pair.hold, ending, half_pauses);
        same("settled", &real, &model)
    }

    fn renew(&mut self, executor: usize) -> Result<(), String> {
        self.world.renew(executor);
        let (executor, now) = (&self.executors[executor], self.now());
        self.transaction(|conn| executor.renew(conn, LEASE_MS, now))
    }

    /// What it holds must be settled before.
    fn leave(&mut self, executor: usize) -> Result<(), String> {
        if !self.world.held_by(executor).is_empty() {
            return Ok(());
        }
        self.world.executors.remove(&executor);
        let executor = &self.executors[executor];
        self.transaction(|conn| executor.leave(conn))
    }

    fn recover(&mut self, half_pauses: i64) -> Result<(), String> {
        let (now, jitter) = (self.now(), half_pauses as f64 / 2.0);
        let real = self.transaction(|conn| steps::recover(conn, BACKOFF, jitter, now))?;
        same(
            "recovered",
            &real,
            &self.world.recover(half_pauses, &self.executor_names),
        )
    }
}

fn spec(kind: &crate::kinds::Kind) -> StepSpec {
    let mut spec = StepSpec::new(kind.name, kind.after, kind.max_attempts as u32);
    spec.priority = kind.priority;
    spec.delay_ms = kind.delay_ms;
    spec.deadline_ms = kind.deadline_ms;
    spec.required = kind.required;
    spec
}

fn outcome_of(ending: Ending, now: Millis) -> Outcome {
    match ending {
        Ending::Done => Outcome::Done(Success::default()),
        Ending::DoneWithBag => Outcome::Done(Success {
            archival: Some(Archival {
                archive_path: "/bag".to_owned(),
                size_bytes: 1,
                digest: "sha256:0".to_owned(),
                unchanged: false,
            }),
            ..Success::default()
        }),
        Ending::Failed { permanent } => Outcome::Failed(steps::Failure {
            error: "it broke".to_owned(),
            permanent,
            ..steps::Failure::default()
        }),
        Ending::Deferred { after_ms } => Outcome::Deferred {
            note: "later".to_owned(),
            until: now.plus(after_ms),
        },
    }
}
