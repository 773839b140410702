//! Named points at which a test lets the process die, as a power cut or an OOM kill would.
//!
//! `RUNCHAIN_CRASH_AT=NAME` or `NAME:N` kills the process by SIGKILL when it reaches the point for
//! the first (or N-th) time. Release builds contain nothing of it. The points:
//!
//! - `turn-before-commit`, `turn-after-commit`: of a turn that settles nothing (expand, lease, start)
//! - `settle-before-commit`, `settle-after-commit`: of a turn that settles
//! - `effect-begin`, `effect-end`: around the execution of a step
//! - `archive-before-place`, `archive-after-place`: around the rename of a bag
//! - `rotate-before-rename`, `rotate-after-rename`: around the rename of a log
//! - `alert-planned`: the deliveries of an alert are committed; `alert-sent`: the channel has one, which is not
//!   settled yet
//! - `project-before-append`, `project-after-append`, `project-after-cursor`: of a projection
//!
//! `RUNCHAIN_PANIC_AT=NAME` makes it panic there, the first time. The points:
//!
//! - `monitor-key`: when the monitor takes a key

/// Dies here if the environment says so.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("RUNCHAIN_CRASH_AT").ok()?;
        Some(match text.split_once(':') {
            Some((point, number)) => (point.to_owned(), number.parse().unwrap_or(1)),
            None => (text, 1),
        })
    });
    if let Some((wanted, number)) = plan
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *number
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) const fn point(_name: &str) {}

/// Panics here if the environment says so.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "a panic is what is tested")]
pub(crate) fn panic_point(name: &str) {
    if std::env::var("RUNCHAIN_PANIC_AT").is_ok_and(|wanted| wanted == name) {
        panic!("a test asked for this panic at {name}");
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) const fn panic_point(_name: &str) {}
