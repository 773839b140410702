//! A sign of life to who expects one: sent by a thread of its own, asked for by the main loop after a pass
//! that could do real work. A loop that hangs asks for none, and who waits for it raises the alarm.

use super::http;
use crate::config::DeadMan;
use crate::wake::{Wake, Waker};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The thread, and when the next sign is due. Dropped, the thread ends.
#[derive(Debug)]
pub(crate) struct SignOfLife {
    asked: SyncSender<()>,
    every: Duration,
    due: Instant,
}

impl SignOfLife {
    /// Starts the thread; the first sign is due at once.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(deadman: &DeadMan, wake: &Waker) -> std::io::Result<Self> {
        // One sign under way is enough.
        let (asked, orders) = sync_channel(1);
        let (deadman, wake) = (deadman.clone(), wake.clone());
        let every = Duration::from_millis(u64::try_from(deadman.every_ms).unwrap_or(0));
        std::thread::Builder::new()
            .name("deadman".to_owned())
            .spawn(move || work(&deadman, &orders, &wake))?;
        Ok(Self {
            asked,
            every,
            due: Instant::now(),
        })
    }

    /// When the next sign is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Whether it is due.
    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// It is due: sends it, unless no progress is possible.
    pub(crate) fn pass(&mut self, can_progress: bool) {
        self.due = Instant::now() + self.every;
        if can_progress {
            // The last one is still under way: it says the same.
            let _ = self.asked.try_send(());
        }
    }
}

fn work(deadman: &DeadMan, orders: &Receiver<()>, wake: &Waker) {
    let timeout = Duration::from_millis(u64::try_from(deadman.timeout_ms).unwrap_or(0));
    let mut failing = false;
    while orders.recv().is_ok() {
        let sent = http::get(&deadman.endpoint, timeout);
        match sent {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                wake.send(Wake::Told(format!("deadman: {error}; trying again")));
            }
            Err(_) => {}
        }
    }
}
