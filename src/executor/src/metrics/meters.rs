//! What this executor has measured since it started.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use runchain_core::Millis;
use runchain_core::steps::Claim;
use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Before every name.
pub(super) const PREFIX: &str = "runchain";
/// The name among others. Not `instance`: that label is Prometheus' own, for the address that it scrapes.
pub(super) const INSTANCE: &str = "runchain_instance";

/// From a write's own clock to when it was taken up.
const WAKE_S: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0, 600.0,
];
/// How long steps take, and wait until they are begun.
const STEP_S: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3_600.0,
];

/// Statements that were tried again because somebody else held the lock; by the whole process.
static BUSY_RETRIES: AtomicU64 = AtomicU64::new(0);

/// A statement is tried again.
pub(crate) fn busy() {
    BUSY_RETRIES.fetch_add(1, Ordering::Relaxed);
}

/// How often that was.
pub(super) fn busy_retries() -> u64 {
    BUSY_RETRIES.load(Ordering::Relaxed)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    path: &'static str,
    code: u16,
}

#[derive(Debug, Clone)]
struct StepHistogram;

impl MetricConstructor<Histogram> for StepHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(STEP_S)
    }
}

/// Histograms and counters of this process.
#[derive(Debug)]
pub(crate) struct Meters {
    registry: Registry,
    duration_s: Family<OfStep, Histogram, StepHistogram>,
    queued_s: Family<OfStep, Histogram, StepHistogram>,
    wake_s: Histogram,
    requests: Family<OfRequest, Counter>,
    started: Millis,
    /// When the oldest row that is being expanded was written; 0: none is.
    oldest_queued_ms: AtomicI64,
}

/// The labels of every series.
pub(super) fn labels(instance: &str) -> impl Iterator<Item = (Cow<'static, str>, Cow<'static, str>)> {
    std::iter::once((INSTANCE.into(), instance.to_owned().into()))
}

impl Meters {
    /// All at nothing.
    pub(crate) fn new(instance: &str) -> Self {
        let mut registry = Registry::with_prefix_and_labels(PREFIX, labels(instance));
        let meters = |registry: &mut Registry, name: &str, help: &str| {
            let family = Family::<OfStep, Histogram, StepHistogram>::new_with_constructor(StepHistogram);
            registry.register(name, help, family.clone());
            family
        };
        let duration_s = meters(
            &mut registry,
            "step_duration_seconds",
            "From the start of an attempt to its end, by kind of step; of this executor",
        );
        let queued_s = meters(
            &mut registry,
            "step_queue_seconds",
            "From when a step was due to its start, by kind of step; of this executor",
        );
        let wake_s = Histogram::new(WAKE_S);
        registry.register(
            "wake_latency_seconds",
            "From a captured write to when this executor takes it up; the oldest of each batch",
            wake_s.clone(),
        );
        let requests = Family::<OfRequest, Counter>::default();
        registry.register(
            "dashboard_requests",
            "Requests that this executor's HTTP server has answered",
            requests.clone(),
        );
        Self {
            registry,
            duration_s,
            queued_s,
            wake_s,
            requests,
            started: Millis::now(),
            oldest_queued_ms: AtomicI64::new(0),
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn started(&self) -> Millis {
        self.started
    }

    /// The queue has rows; the oldest was written then.
    pub(crate) fn queue_seen(&self, oldest: Option<Millis>) {
        self.oldest_queued_ms
            .store(oldest.map_or(0, |at| at.0), Ordering::Relaxed);
    }

    /// They were expanded, durably.
    pub(crate) fn queue_taken(&self, now: Millis) {
        let oldest = Millis(self.oldest_queued_ms.swap(0, Ordering::Relaxed));
        if oldest.0 > 0 {
            self.wake_s.observe(seconds(now.since(oldest)));
        }
    }

    /// A step is begun.
    pub(crate) fn step_begun(&self, claim: &Claim, now: Millis) {
        let of = self.of_step(claim);
        self.queued_s
            .get_or_create(&of)
            .observe(seconds(now.since(claim.ready_at)));
    }

    /// An attempt has ended, well or not.
    pub(crate) fn step_ended(&self, claim: &Claim, took_s: f64) {
        let of = self.of_step(claim);
        self.duration_s.get_or_create(&of).observe(took_s);
    }

    /// A request was answered.
    pub(super) fn answered(&self, path: &'static str, code: u16) {
        self.requests.get_or_create(&OfRequest { path, code }).inc();
    }

    /// A kind of steps has to be in the configuration to be executed here, which bounds them.
    #[allow(clippy::unused_self, reason = "the labels are this type's own affair")]
    fn of_step(&self, claim: &Claim) -> OfStep {
        OfStep {
            step: claim.step.clone(),
        }
    }
}

/// A clock that was set back makes no negative times.
fn seconds(ms: i64) -> f64 {
    f64::from(u32::try_from(ms.max(0)).unwrap_or(u32::MAX)) / 1_000.0
}
