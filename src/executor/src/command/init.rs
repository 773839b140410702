//! The duties of process 1, for who runs the service in a container without an init.
//!
//! Whatever is orphaned in the container (by `docker exec`, by a command whose supervisor was killed)
//! becomes ours and has to be waited for, or its row in the process table is never freed. And the kernel
//! lets no signal end process 1 that it has no handler for: from the first moment of `main` until the main
//! loop has its own, there is one here. Elsewhere none of this happens.

use super::supervised::Registry;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether signals end the process at once; nothing where we are nobody special.
static ENDS_AT_ONCE: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes the duties over, if they are ours and it wasn't done before.
///
/// # Errors
/// When the system gives no handler or no thread.
pub(crate) fn begin() -> Result<()> {
    if std::process::id() != 1 || ENDS_AT_ONCE.get().is_some() {
        return Ok(());
    }
    let ends_at_once = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        let condition = Arc::clone(&ends_at_once);
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, condition)?;
    }
    let mut children = signal_hook::iterator::Signals::new([SIGCHLD])?;
    std::thread::Builder::new()
        .name("init".to_owned())
        .spawn(move || {
            for _ in children.forever() {
                Registry::lock().reap_foreign();
            }
        })?;
    // Only this thread comes here: nobody else was first.
    let _ = ENDS_AT_ONCE.set(ends_at_once);
    Ok(())
}

/// The main loop has handlers of its own from now on.
pub(crate) fn loop_has_handlers() {
    if let Some(ends_at_once) = ENDS_AT_ONCE.get() {
        ends_at_once.store(false, Ordering::Release);
    }
}
