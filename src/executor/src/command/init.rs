//! The duties of process 1, for who runs the service in a container without an init.
//!
//! Whatever is orphaned in the container (by `docker exec`, by a command whose supervisor was killed)
//! becomes ours and has to be waited for, or its row in the process table is never freed. And the kernel
//! lets no signal end process 1 that it has no handler for: until the main loop has its own, there is one
//! here. Elsewhere none of this happens.

use super::supervised::Registry;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Process 1, or nobody special.
#[derive(Debug)]
pub(crate) struct Init {
    /// Signals end the process at once.
    ends_at_once: Option<Arc<AtomicBool>>,
}

impl Init {
    /// Takes the duties over, if they are ours.
    ///
    /// # Errors
    /// When the system gives no handler or no thread.
    pub(crate) fn begin() -> Result<Self> {
        if std::process::id() != 1 {
            return Ok(Self { ends_at_once: None });
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
        Ok(Self {
            ends_at_once: Some(ends_at_once),
        })
    }

    /// The main loop has handlers of its own from now on.
    pub(crate) fn has_handlers(&self) {
        if let Some(ends_at_once) = &self.ends_at_once {
            ends_at_once.store(false, Ordering::Release);
        }
    }
}
