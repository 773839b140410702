//! Couriers: alerts leave the machine, each channel by a thread of its own.
//!
//! ```text
//! route.rs    which channel hears of a change
//! worker.rs   one channel: takes a message, sends it, keeps what came of it
//! send.rs     one attempt, by what the channel is
//! http.rs     one request: bounded in time and answer, no redirects
//! body.rs     what a message says: Slack's shape, Alertmanager's, plain JSON
//! hidden.rs   secrets are taken out of what is told of a failure
//! deadman.rs  a sign of life to who expects one
//! ```
//!
//! Invariants: what is sent stands in a durable commit before; a channel that is down or slow holds up
//! nobody but itself; the number of a message is kept before its first attempt, so that whoever gets it
//! twice can tell (at least once, `Idempotency-Key`). Only the leader has couriers. What does not belong
//! here: what is an alert.

mod body;
mod deadman;
mod hidden;
mod http;
mod route;
mod send;
mod worker;

pub(crate) use deadman::SignOfLife;
pub(crate) use route::plan;
pub(crate) use send::{Answer, Letter, Origin, cut, send};

use crate::config::Settings;
use crate::drain::worker::Workshop;
use crate::wake::Waker;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What a courier is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Something was planned.
    Look,
    /// One last round, then the end.
    Finish,
}

/// The couriers of a leader. Dropped, they end after the attempt that they are at.
#[derive(Debug)]
pub(crate) struct Couriers {
    orders: Vec<Sender<Order>>,
    /// Closed when every courier has ended.
    ended: Receiver<()>,
}

impl Couriers {
    /// Starts one for each channel.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        settings: &Settings,
        workshop: &Arc<Workshop>,
        wake: &Waker,
    ) -> std::io::Result<Self> {
        let (alive, ended) = channel();
        let mut orders = Vec::new();
        for one in &settings.alerts.channels {
            let (sender, receiver) = channel();
            let worker = worker::Courier::new(one, settings, workshop, wake);
            let alive = alive.clone();
            std::thread::Builder::new()
                .name(format!("courier-{}", one.name))
                .spawn(move || {
                    worker.work(&receiver);
                    drop(alive);
                })?;
            orders.push(sender);
        }
        Ok(Self { orders, ended })
    }

    /// Something was planned.
    pub(crate) fn look(&self) {
        for order in &self.orders {
            // One that has ended has panicked; the deliveries stay, and the next start finds them.
            let _ = order.send(Order::Look);
        }
    }

    /// Lets them send what is due, for so long at most.
    pub(crate) fn finish(self, within: Duration) {
        for order in &self.orders {
            let _ = order.send(Order::Finish);
        }
        let until = Instant::now() + within;
        // Nothing is ever sent through it: it is closed by the last one.
        let _ = self
            .ended
            .recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}
