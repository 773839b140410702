//! What wakes the loop, and the threads that tell it of keys and signals.

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crossterm::event::{self, Event};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// The watcher's event comes at the write, before the commit is visible: looked again after growing
/// pauses, as the executor does. Together 8 s cover a slow disk, whose commit makes no event of its own.
const LOOK_AGAIN_MS: [u64; 14] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];

/// What wakes the loop.
#[derive(Debug)]
pub(super) enum Heard {
    Input(Event),
    Changed,
    Stop,
    Completed,
    /// By whoever follows event logs.
    Told(String),
}

/// A thread that tells of the signals that end the monitor.
pub(super) fn listen_to_signals(sender: Sender<Heard>) -> Outcome<()> {
    let fails = |error| Failure::new(Exit::Failed, format!("can't listen to signals: {error}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(fails)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                if sender.send(Heard::Stop).is_err() {
                    break;
                }
            }
        })
        .map(|_| ())
        .map_err(fails)
}

/// A thread that sleeps in the terminal's own wait: keys cost nothing while there are none.
pub(super) fn listen_to_keys(sender: Sender<Heard>) -> Outcome<()> {
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || {
            // A terminal that is gone is the end.
            while let Ok(event) = event::read() {
                if sender.send(Heard::Input(event)).is_err() {
                    return;
                }
            }
            let _ = sender.send(Heard::Stop);
        })
        .map(|_| ())
        .map_err(|error| Failure::new(Exit::Failed, format!("can't listen to keys: {error}")))
}

/// A commit that a hint has announced, and that may not be visible yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hinted {
    /// Index into [`LOOK_AGAIN_MS`].
    looks: usize,
    /// When to look next: keys and ticks in between take none of the pauses away.
    pub(super) at: Instant,
}

impl Hinted {
    pub(super) fn now() -> Self {
        Self {
            looks: 0,
            at: Instant::now(),
        }
    }

    /// The look after this one, if there is another.
    pub(super) fn next(self) -> Option<Self> {
        let looks = self.looks + 1;
        let pause = LOOK_AGAIN_MS.get(looks)?;
        let at = Instant::now() + Duration::from_millis(*pause);
        Some(Self { looks, at })
    }
}
