//! Whether the executor that is alive is another user than who asks: then what the asking user may not
//! write is no fault of the installation, and to hand it over would be one.
//!
//! What does not belong here: whether that user may write it. Who can't tells by alerts and dead steps.

use runchain_core::audit;
use runchain_core::liveness::{Liveness, executor_alive};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user id of the executor that leads on this machine, where it isn't ours. `None` as well where that
/// can't be told, as of one in a container.
pub(crate) fn of_executor(database: &Path) -> Option<u32> {
    let Liveness::Alive { who } = executor_alive(database) else {
        return None;
    };
    let (_, place) = who.rsplit_once("pid ")?;
    let (pid, host) = place.trim().split_once(" on ")?;
    let pid: u32 = pid.parse().ok()?;
    if host != audit::host() {
        return None;
    }
    let user = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    (user != rustix::process::geteuid().as_raw()).then_some(user)
}
