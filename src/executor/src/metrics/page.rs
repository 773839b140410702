//! The two pages: `/metrics` in OpenMetrics, `/healthz` in JSON.

use super::look::{STATES, Seen, UNDELIVERED, look};
use super::meters::{self, PREFIX, labels};
use super::{LeadSeen, Shared};
use crate::drain::connect_to_look;
use crate::pulse::Waiting;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runchain_core::counters::{Counter as Total, Counters};
use runchain_core::{Millis, Result};
use rusqlite::Connection;
use serde_json::json;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// Of alerts; those that the database has besides are shown, too.
const SEVERITIES: [&str; 4] = ["info", "warning", "error", "critical"];

type Seconds = Gauge<f64, AtomicU64>;
type Labels = Vec<(&'static str, String)>;

/// Who writes the pages, with a connection of its own.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    shared: &'a Shared,
    conn: Option<Connection>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, conn: None }
    }

    /// Asks the database; one that can't be asked is opened anew the next time.
    fn ask<T>(&mut self, question: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect_to_look(&self.shared.database)?,
        };
        let answer = question(&conn)?;
        self.conn = Some(conn);
        Ok(answer)
    }

    /// `/metrics`
    pub(super) fn metrics(&mut self) -> String {
        let now = Millis::now();
        let seen = self.ask(|conn| look(conn, now));
        let lead = self.shared.lead().clone();
        let trouble = self.trouble(seen.as_ref().ok().map(|seen| Waiting {
            oldest_due: seen.oldest_due,
            is_working: seen.is_working,
        }));
        let mut registry = Registry::with_prefix_and_labels(PREFIX, labels(&self.shared.instance));
        of_executor(&mut registry, self.shared, &lead, seen.is_ok(), trouble.is_none());
        if let Ok(seen) = &seen {
            of_database(&mut registry, self.shared, seen, now);
        }
        if let Some(totals) = &lead.totals {
            of_totals(&mut registry, self.shared, totals);
        }
        let mut page = String::new();
        // Writing to a string can't fail.
        let _ = encode_registry(&mut page, self.shared.meters.registry());
        let _ = encode_registry(&mut page, &registry);
        let _ = encode_eof(&mut page);
        page
    }

    /// `/healthz`: the status code, and why.
    pub(super) fn health(&mut self) -> (u16, String) {
        let now = Millis::now();
        let waiting = self.ask(|conn| Waiting::look(conn, now));
        let trouble = match &waiting {
            Ok(waiting) => self.trouble(Some(*waiting)),
            Err(error) => Some(error.to_string()),
        };
        let oldest = waiting.ok().and_then(|waiting| waiting.oldest_due);
        let body = json!({
            "status": if trouble.is_none() { "ok" } else { "failing" },
            "instance": self.shared.instance,
            "trouble": trouble,
            "leading": self.shared.lead().totals.is_some(),
            "oldest_ready_age_ms": oldest.map(|at| now.since(at)),
        });
        (if trouble.is_none() { 200 } else { 503 }, format!("{body}\n"))
    }

    /// Also a loop that hangs is seen here; a database that can't be asked is trouble of its own.
    fn trouble(&self, waiting: Option<Waiting>) -> Option<String> {
        let nothing = Waiting {
            oldest_due: None,
            is_working: false,
        };
        let facts = self.shared.health.facts().clone();
        facts.trouble(waiting.unwrap_or(nothing), self.shared.patience, Instant::now())
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn seconds(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Seconds::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn gauges(registry: &mut Registry, name: &str, help: &str, values: impl Iterator<Item = (Labels, i64)>) {
    let family = Family::<Labels, Gauge>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    registry.register(name, help, family);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(u64::try_from(value).unwrap_or(0));
    registry.register(name, help, counter);
}

/// A clock that was set back makes no negative ages.
fn age_s(now: Millis, at: Option<Millis>) -> f64 {
    let ms = at.map_or(0, |at| now.since(at).max(0));
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

fn of_executor(registry: &mut Registry, shared: &Shared, lead: &LeadSeen, is_reachable: bool, is_well: bool) {
    // A gauge: not every reader knows OpenMetrics' type for it.
    let build = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("sqlite", rusqlite::version().to_owned()),
        ("schema", runchain_core::schema::VERSION.to_string()),
    ];
    gauges(
        registry,
        "build_info",
        "What was built",
        std::iter::once((build, 1)),
    );
    let started = shared.meters.started().0;
    let started = std::time::Duration::from_millis(u64::try_from(started).unwrap_or(0));
    seconds(
        registry,
        "start_time_seconds",
        "When this executor started, in seconds since 1970",
        started.as_secs_f64(),
    );
    gauge(
        registry,
        "healthy",
        "1 when the main loop comes past, its passes succeed and what is due is begun",
        i64::from(is_well),
    );
    gauge(
        registry,
        "database_reachable",
        "1 when this scrape could read the database",
        i64::from(is_reachable),
    );
    gauge(
        registry,
        "leading",
        "1 when this executor leads: it monitors, projects, and counts the totals",
        i64::from(lead.totals.is_some()),
    );
    counter(
        registry,
        "busy_retries",
        "Statements of this executor that were tried again because somebody else held the lock",
        i64::try_from(meters::busy_retries()).unwrap_or(i64::MAX),
    );
    if let Some(at) = lead.heartbeat_at {
        seconds(
            registry,
            "heartbeat_age_seconds",
            "Since the newest heartbeat of an active run was written to logs/monitor.jsonl; the leader's",
            at.elapsed().as_secs_f64(),
        );
    }
}

fn of_database(registry: &mut Registry, shared: &Shared, seen: &Seen, now: Millis) {
    let of_step = |step: &str, state: &str| vec![("step", step.to_owned()), ("state", state.to_owned())];
    // What isn't there is nothing, which a rule can compare; a series that is missing compares with nothing.
    let configured = shared.steps.iter();
    let none = configured.flat_map(|step| STATES.map(|state| (of_step(step, state), 0)));
    let steps = none.chain(
        seen.steps
            .iter()
            .map(|of| (of_step(&of.step, of.state), of.count)),
    );
    let of_severity = |severity: &str| vec![("severity", severity.to_owned())];
    let alerts = SEVERITIES
        .map(|severity| (of_severity(severity), 0))
        .into_iter()
        .chain(
            seen.alerts_firing
                .iter()
                .map(|(severity, count)| (of_severity(severity), *count)),
        );
    gauges(registry, "steps", "Live steps by kind and state, to 10000", steps);
    gauges(
        registry,
        "alerts_firing",
        "Firing alerts by severity, to 10000",
        alerts,
    );
    let of_channel =
        |channel: &str, state: &str| vec![("channel", channel.to_owned()), ("state", state.to_owned())];
    let none = shared.channels.iter();
    let none = none.flat_map(|channel| UNDELIVERED.map(|state| (of_channel(channel, state), 0)));
    let deliveries = none.chain(
        seen.deliveries
            .iter()
            .map(|of| (of_channel(&of.channel, of.state), of.count)),
    );
    gauges(
        registry,
        "alert_deliveries",
        "Changes of alerts that a channel waits for (pending) or never took (dead), to 10000",
        deliveries,
    );
    for (name, help, value) in [
        (
            "queue_rows",
            "Captured writes that were not expanded yet, to 10000",
            seen.queue_rows,
        ),
        ("runs_active", "Active runs, to 10000", seen.runs_active),
        (
            "runs_stalled",
            "Active runs of which nothing changes, to 10000",
            seen.runs_stalled,
        ),
        (
            "runs_held",
            "Runs whose chains a storm has left waiting for a decision, to 10000",
            seen.runs_held,
        ),
        (
            "paused_kinds",
            "Kinds of steps that are paused",
            seen.paused_kinds,
        ),
        ("executors", "Executors whose lease holds", seen.executors),
        (
            "ingest_lag_bytes",
            "Bytes of followed event logs that were there at the last look and not taken yet",
            seen.ingest.pending_bytes,
        ),
    ] {
        gauge(registry, name, help, value);
    }
    counter(
        registry,
        "ingest_stored",
        "Events stored from event logs",
        seen.ingest.stored,
    );
    counter(
        registry,
        "ingest_rejects",
        "Lines of event logs that were rejected",
        seen.ingest.rejected,
    );
    for (name, help, at) in [
        (
            "oldest_ready_step_age_seconds",
            "Since the oldest ready step is due that isn't paused; 0 when none is",
            seen.oldest_due,
        ),
        (
            "oldest_queue_row_age_seconds",
            "Since the oldest captured write that was not expanded yet; 0 when there is none",
            seen.oldest_queued,
        ),
        (
            "executor_beat_age_seconds",
            "Since any executor last renewed its lease, which it does while it works",
            seen.newest_beat,
        ),
    ] {
        seconds(registry, name, help, age_s(now, at));
    }
}

fn of_totals(registry: &mut Registry, shared: &Shared, totals: &Counters) {
    for (total, name, help) in [
        (Total::RunsCreated, "runs_created", "Runs seen for the first time"),
        (
            Total::RunsCompleted,
            "runs_completed",
            "Ends of runs that went well",
        ),
        (Total::RunsFailed, "runs_failed", "Ends of runs that failed"),
        (
            Total::RunsCancelled,
            "runs_cancelled",
            "Ends of runs that were cancelled",
        ),
        (Total::RunsStalled, "runs_stalls", "Times that a run stalled"),
        (
            Total::ArtifactsArchived,
            "artifacts_archived",
            "Bags that were put in their place",
        ),
    ] {
        counter(registry, name, help, totals.total(total));
    }
    gauge(
        registry,
        "archive_size_bytes",
        "Bytes of the bags that were made, less those that retention has removed",
        totals.total(Total::ArchiveBytes),
    );
    for (total, name, help) in [
        (Total::StepsDone, "steps_done", "Steps that succeeded, by kind"),
        (
            Total::StepRetries,
            "step_retries",
            "Failed attempts that are followed by another, by kind",
        ),
        (
            Total::StepsDead,
            "steps_dead",
            "Steps that used up their attempts, by kind",
        ),
    ] {
        let family = Family::<Labels, Counter>::default();
        let none = shared.steps.iter().map(|step| (step.as_str(), 0));
        for (step, value) in none.chain(totals.of(total)) {
            family
                .get_or_create(&vec![("step", step.to_owned())])
                .inc_by(u64::try_from(value).unwrap_or(0));
        }
        registry.register(name, help, family);
    }
}
