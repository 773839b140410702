//! Which channel hears of a change, and when: planned in the transaction that announces it.

use crate::config::Channel;
use runchain_core::alert::announce::News;
use runchain_core::alert::delivery::{self, Planned};
use runchain_core::alert::{Severity, State};
use runchain_core::{Millis, Result};
use rusqlite::Connection;

/// Plans what every channel hears of one change; how many deliveries.
///
/// # Errors
/// Whatever SQLite answers.
pub(crate) fn plan(
    conn: &Connection,
    channels: &[Channel],
    news: &News,
    digest: bool,
    now: Millis,
) -> Result<usize> {
    let mut planned = 0;
    for channel in channels.iter().filter(|channel| hears(channel, news)) {
        let wanted = Planned {
            channel: &channel.name,
            change: news.change.id,
            alert: news.alert,
            state: news.change.state,
            digest,
            throttle_ms: channel.throttle_ms,
            due: now.plus(channel.group_ms),
        };
        planned += usize::from(delivery::plan(conn, &wanted, now)?);
    }
    Ok(planned)
}

fn hears(channel: &Channel, news: &News) -> bool {
    let severity = Severity::from_word(&news.severity).unwrap_or(Severity::Error);
    let tells = match news.change.state {
        State::Firing => true,
        State::Resolved => channel.resolved,
        // Who acknowledges has heard of it.
        State::Acknowledged => false,
    };
    tells && channel.hears(&news.rule, severity)
}
