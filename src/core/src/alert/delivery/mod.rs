//! What is to be sent to channels: one row for each change of an alert and channel, until it is sent, dead
//! or dropped.
//!
//! Rows are planned in the transaction that announces the change, so that nothing is lost over a restart.
//! Rows that leave together carry the number of their message, kept before it is sent: who tries again,
//! also after a crash, sends the same message under the same number, and the channel can tell. What does
//! not belong here: which channels there are, and how one talks to them.

mod message;
mod plan;
mod standing;
#[cfg(test)]
mod tests;

pub use message::{IN_ONE_MESSAGE, Item, Message, Outcome, any_due, next_due, settle, take};
pub use plan::{Planned, plan};
pub use standing::{
    Delivered, Open, Standing, drop_unknown, of_alert, open_alerts, retry, standing, unknown,
};
