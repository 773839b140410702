//! Every question that the monitor asks of runchain's own tables.
//!
//! Invariant: what an answer costs doesn't grow with history. Each is answered by an index, or reads
//! the newest rows of a table and stops; a test counts the steps on tables of two sizes.

/// Runs of a phase, counted up to a limit.
pub(super) const COUNT_PHASE: &str = "\
SELECT count(*) FROM (SELECT 1 FROM runchain_runs WHERE phase = ?1 LIMIT ?2)";

/// Ends in each minute since a moment.
pub(super) const ENDED: &str = "\
SELECT (phase_since_ms - ?2) / 60000, count(*)
FROM (SELECT phase_since_ms FROM runchain_runs
      WHERE phase = ?1 AND phase_since_ms >= ?2 ORDER BY phase_since_ms DESC LIMIT ?3)
GROUP BY 1";

/// The newest runs of a phase.
pub(super) const NEWEST_OF_PHASE: &str = "\
SELECT run_id, status, phase, phase_since_ms, generation, monitor, stalled_since_ms, first_seen_ms
FROM runchain_runs WHERE phase = ?1 ORDER BY phase_since_ms DESC LIMIT ?2";

/// One run.
pub(super) const RUN: &str = "\
SELECT run_id, status, phase, phase_since_ms, generation, monitor, stalled_since_ms, first_seen_ms
FROM runchain_runs WHERE run_id = ?1";

/// Runs with a dead step: of the newest failures, then any. CROSS: the failures come first, however
/// many dead steps there are.
pub(super) const DEAD: &str = "\
SELECT s.run_id FROM (SELECT step_id FROM runchain_failures ORDER BY id DESC LIMIT 100) AS f
CROSS JOIN runchain_steps AS s ON s.id = f.step_id
WHERE s.finished_ms IS NULL AND s.state = 'dead'
UNION ALL
SELECT run_id FROM (SELECT run_id FROM runchain_steps WHERE finished_ms IS NULL AND state = 'dead' LIMIT 20)";

/// Runs that stand still.
pub(super) const STALLED: &str = "\
SELECT run_id FROM (SELECT run_id, stalled_since_ms FROM runchain_runs WHERE monitor = 'on' LIMIT 10000)
WHERE stalled_since_ms IS NOT NULL LIMIT 20";

/// The steps of a chain.
pub(super) const CHAIN: &str = "\
SELECT id, step, state, attempts, max_attempts, ready_at_ms, note IS NOT NULL,
       created_ms, started_ms, finished_ms, needs, result, error
FROM runchain_steps WHERE run_id = ?1 AND generation = ?2 ORDER BY id";

/// The newest failed attempts of a step.
pub(super) const FAILURES: &str = "\
SELECT attempt, started_ms, ended_ms, error, output_tail FROM runchain_failures
WHERE step_id = ?1 ORDER BY attempt DESC LIMIT 20";

/// The newest failed attempt of all whose step is still there.
pub(super) const LAST_ERROR: &str = "\
SELECT s.run_id, s.step, s.state, f.attempt, s.max_attempts, f.ended_ms, f.error, f.output_tail
FROM (SELECT id, step_id, attempt, ended_ms, error, output_tail FROM runchain_failures ORDER BY id DESC LIMIT 100) AS f
CROSS JOIN runchain_steps AS s ON s.id = f.step_id
ORDER BY f.id DESC LIMIT 1";

/// Steps of a state that have not ended and whose run or name has a text in it.
pub(super) const QUEUE: &str = "\
SELECT id, run_id, step, state, attempts, max_attempts, ready_at_ms, is_deferred, error, output_tail
FROM (SELECT id, run_id, step, state, attempts, max_attempts, ready_at_ms, note IS NOT NULL AS is_deferred, error,
        output_tail
      FROM runchain_steps WHERE finished_ms IS NULL AND state = ?1 LIMIT 20000)
WHERE ?2 = '' OR instr(lower(run_id || ' ' || step || ' ' || state), ?2) > 0 LIMIT ?3";

/// Steps of a kind that a pause would hold up.
pub(super) const HELD_UP_BY_PAUSE: &str = "\
SELECT count(*) FROM (
  SELECT step FROM runchain_steps WHERE finished_ms IS NULL AND (state = 'ready' OR state = 'waiting') LIMIT 20000)
WHERE ?1 = '*' OR step = ?1";

/// The newest lifecycle events that have a text in them.
pub(super) const EVENTS: &str = "\
SELECT id, at_ms, type, run_id, step, data
FROM (SELECT id, at_ms, type, run_id, step, data FROM runchain_events ORDER BY id DESC LIMIT 20000)
WHERE ?1 = '' OR instr(lower(type || ' ' || coalesce(run_id, '') || ' ' || coalesce(step, '')), ?1) > 0 LIMIT ?2";

/// The newest events of the user's logs that have a text in them.
pub(super) const LOG_EVENTS: &str = "\
SELECT id, at_ms, type, coalesce(run_id, job_id), step_id, details
FROM (SELECT id, at_ms, type, run_id, job_id, step_id, details FROM runchain_ingested ORDER BY id DESC LIMIT 20000)
WHERE ?1 = '' OR instr(lower(type || ' ' || coalesce(run_id, job_id, '') || ' ' || coalesce(step_id, '')), ?1) > 0
LIMIT ?2";

/// The newest lifecycle events of a run.
pub(super) const EVENTS_OF_RUN: &str = "\
SELECT id, at_ms, type, run_id, step, data FROM runchain_events WHERE run_id = ?1 ORDER BY id DESC LIMIT ?2";

/// The newest events of the user's logs that name a run.
pub(super) const LOG_EVENTS_OF_RUN: &str = "\
SELECT id, at_ms, type, run_id, step_id, details FROM runchain_ingested WHERE run_id = ?1 ORDER BY id DESC LIMIT ?2";

/// The same, where the run is a job of theirs.
pub(super) const LOG_EVENTS_OF_JOB: &str = "\
SELECT id, at_ms, type, job_id, step_id, details FROM runchain_ingested WHERE job_id = ?1 ORDER BY id DESC LIMIT ?2";

/// The newest alerts that fire.
pub(super) const FIRING: &str = "\
SELECT id, rule, severity, state, run_id, subject, message, count, first_at_ms, last_at_ms
FROM runchain_alerts WHERE state = 'firing' ORDER BY last_at_ms DESC LIMIT ?1";

/// The newest of the others.
pub(super) const QUIET_ALERTS: &str = "\
SELECT id, rule, severity, state, run_id, subject, message, count, first_at_ms, last_at_ms
FROM (SELECT * FROM runchain_alerts ORDER BY id DESC LIMIT 2000) WHERE state <> 'firing' LIMIT ?1";

/// All of them, for the test of what they cost.
#[cfg(test)]
pub(super) const ALL: [(&str, &str); 18] = [
    ("COUNT_PHASE", COUNT_PHASE),
    ("ENDED", ENDED),
    ("NEWEST_OF_PHASE", NEWEST_OF_PHASE),
    ("RUN", RUN),
    ("DEAD", DEAD),
    ("STALLED", STALLED),
    ("CHAIN", CHAIN),
    ("FAILURES", FAILURES),
    ("LAST_ERROR", LAST_ERROR),
    ("QUEUE", QUEUE),
    ("HELD_UP_BY_PAUSE", HELD_UP_BY_PAUSE),
    ("EVENTS", EVENTS),
    ("LOG_EVENTS", LOG_EVENTS),
    ("EVENTS_OF_RUN", EVENTS_OF_RUN),
    ("LOG_EVENTS_OF_RUN", LOG_EVENTS_OF_RUN),
    ("LOG_EVENTS_OF_JOB", LOG_EVENTS_OF_JOB),
    ("FIRING", FIRING),
    ("QUIET_ALERTS", QUIET_ALERTS),
];
