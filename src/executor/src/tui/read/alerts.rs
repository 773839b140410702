//! Alerts: those that fire, then the newest of the others.

use super::{all, sql};
use crate::tui::model::Alert;
use runchain_core::error::Result;
use rusqlite::{Connection, Row};

pub(super) fn read(conn: &Connection, filter: &str, limit: usize) -> Result<Vec<Alert>> {
    let mut alerts = all(conn, sql::FIRING, [limit as i64], alert)?;
    alerts.extend(all(conn, sql::QUIET_ALERTS, [limit as i64], alert)?);
    let filter = filter.to_lowercase();
    alerts.retain(|alert| {
        let run = alert.run_id.as_ref().map_or("", |run| run.as_str());
        let text = format!(
            "{} {} {} {run} {}",
            alert.rule, alert.state, alert.subject, alert.message
        );
        text.to_lowercase().contains(&filter)
    });
    Ok(alerts)
}

fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    Ok(Alert {
        id: row.get(0)?,
        rule: row.get(1)?,
        severity: row.get(2)?,
        state: row.get(3)?,
        run_id: row.get(4)?,
        subject: row.get(5)?,
        message: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
        count: row.get(7)?,
        first: row.get(8)?,
        last: row.get(9)?,
    })
}
