//! Everything that the queue keeps, beside what the model says.

use crate::kinds::CHAIN;
use crate::real::{Bench, same};
use crate::world::{Failure, Run, State};
use runchain_core::steps;
use std::collections::{BTreeMap, BTreeSet};

impl Bench {
    /// The first difference is the error.
    pub(crate) fn compare(&mut self) -> Result<(), String> {
        self.compare_steps()?;
        let rows = |sql: &str| -> Vec<(String, Option<String>)> {
            let mut select = self.conn.prepare_cached(sql).unwrap();
            let rows = select
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            rows.map(Result::unwrap).collect()
        };
        let number = |sql: &str| -> i64 {
            let mut select = self.conn.prepare_cached(sql).unwrap();
            select.query_row([], |row| row.get(0)).unwrap()
        };
        let table: BTreeMap<_, _> = rows("SELECT run_id, status FROM runs").into_iter().collect();
        same("the table", &table, &self.world.rows)?;
        same("runs", &self.known_runs(), &known_in_order(&self.world.runs))?;
        let pauses: BTreeSet<String> = rows("SELECT step, NULL FROM runchain_pauses")
            .into_iter()
            .map(|(kind, _)| kind)
            .collect();
        same("pauses", &pauses, &self.world.pauses)?;
        let executors = rows("SELECT executor_id, CAST(lease_until_ms AS TEXT) FROM runchain_executors");
        let model: Vec<_> = (self.world.executors.iter())
            .map(|(executor, until)| (self.executor_names[*executor].clone(), Some(until.to_string())))
            .collect();
        same("executors", &executors, &model)?;
        let queued = number("SELECT count(*) FROM runchain_queue");
        same("queue rows", &queued, &(self.world.queued() as i64))?;
        let due = steps::next_due(&self.conn).map_err(|error| error.to_string())?;
        same("next due", &due.map(|at| at.0), &self.world.next_due())?;
        let left = steps::work_left(&self.conn, None, None).map_err(|error| error.to_string())?;
        same("work left", &left, &self.world.work_left())?;
        self.compare_failures()
    }

    fn known_runs(&self) -> Vec<(String, String, Option<String>, i64)> {
        let sql = "SELECT run_id, phase, status, generation FROM runchain_runs ORDER BY run_id";
        let mut select = self.conn.prepare_cached(sql).unwrap();
        let rows = select
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn compare_steps(&mut self) -> Result<(), String> {
        let sql = "SELECT run_id || '/' || generation || '/' || step || ' ' || state || ' attempts ' || attempts || ' lost ' || lost
                     || ' by ' || coalesce(executor_id, '-') || ' due ' || CASE state WHEN 'ready' THEN ready_at_ms ELSE '-' END
                     || ' deadline ' || coalesce(deadline_ms, '-') || ' error ' || coalesce(error, '-'), id, token
                   FROM runchain_steps ORDER BY id";
        let mut select = self.conn.prepare_cached(sql).unwrap();
        let real: Vec<(String, i64, i64)> = select
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        drop(select);
        same("number of steps", &real.len(), &self.world.steps.len())?;
        for (index, (shown, id, token)) in real.iter().enumerate() {
            let step = &self.world.steps[index];
            let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            let model = format!(
                "{}/{}/{} {} attempts {} lost {} by {} due {} deadline {} error {}",
                step.run,
                step.generation,
                CHAIN[step.kind].name,
                format!("{:?}", step.state).to_lowercase(),
                step.attempts,
                step.lost,
                or_dash(step.hold.map(|hold| self.executor_names[hold.executor].clone())),
                or_dash((step.state == State::Ready).then(|| step.ready_at.to_string())),
                or_dash(step.deadline.map(|at| at.to_string())),
                or_dash(step.error.clone()),
            );
            same("a step", shown, &model)?;
            match self.tokens.get(index) {
                None => (self.ids.push(*id), self.tokens.push(*token)),
                Some(before) if token < before => {
                    return Err(format!("the token of {shown} shrank to {token}"));
                }
                Some(_) => ((), self.tokens[index] = *token),
            };
        }
        Ok(())
    }

    fn compare_failures(&self) -> Result<(), String> {
        let sql = "SELECT step_id, attempt, executor_id, error FROM runchain_failures ORDER BY id";
        let mut select = self.conn.prepare_cached(sql).unwrap();
        let real: Vec<Failure> = select
            .query_map([], |row| {
                let (id, name): (i64, String) = (row.get(0)?, row.get(2)?);
                Ok(Failure {
                    step: self.ids.iter().position(|one| *one == id).unwrap(),
                    attempt: row.get(1)?,
                    executor: self.executor_names.iter().position(|one| *one == name).unwrap(),
                    error: row.get(3)?,
                })
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut model = self.world.failures.clone();
        // One recovery takes steps back in whatever order.
        let mut real = real;
        for failures in [&mut real, &mut model] {
            failures.sort_by_key(|failure| failure.step);
        }
        same("failures", &real, &model)
    }
}

fn known_in_order(runs: &BTreeMap<String, Run>) -> Vec<(String, String, Option<String>, i64)> {
    runs.iter()
        .map(|(id, run)| {
            (
                id.clone(),
                run.phase.to_owned(),
                run.status.clone(),
                run.generation,
            )
        })
        .collect()
}
