//! Time as it stands in the database and in the logs. Nobody in this crate reads a clock.

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// The system clock, for the outermost layers: `main` loops and SQL function entry points.
    #[must_use]
    pub fn now() -> Self {
        Self(Utc::now().timestamp_millis())
    }

    /// This moment plus `ms` milliseconds.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment, never negative (clocks step back).
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }

    /// RFC 3339 in UTC with milliseconds and an explicit offset, readable by Python's
    /// `datetime.fromisoformat`: `2026-01-31T12:00:00.000+00:00`. Times beyond chrono's range
    /// saturate at 1970.
    #[must_use]
    pub fn iso(self) -> String {
        DateTime::from_timestamp_millis(self.0)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Millis, false)
    }

    /// Reads an ISO 8601 / RFC 3339 timestamp: any offset or `Z`, `T` or a space, any number of
    /// fraction digits; without an offset it is taken as UTC, as SQLite does.
    #[must_use]
    pub fn parse_iso(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Self(time.timestamp_millis()));
        }
        const LOCAL: [&str; 4] = [
            "%Y-%m-%dT%H:%M:%S%.f%z",
            "%Y-%m-%d %H:%M:%S%.f%z",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y-%m-%d %H:%M:%S%.f",
        ];
        LOCAL[..2]
            .iter()
            .find_map(|format| DateTime::parse_from_str(text, format).ok())
            .map(|time| Self(time.timestamp_millis()))
            .or_else(|| {
                LOCAL[2..]
                    .iter()
                    .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
                    .map(|time| Self(time.and_utc().timestamp_millis()))
            })
    }
}

impl ToSql for Millis {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0))
    }
}

impl FromSql for Millis {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::Millis;

    #[test]
    fn iso_is_what_python_fromisoformat_reads_and_round_trips() {
        assert_eq!(Millis(1_764_168_412_742).iso(), "2025-11-26T14:46:52.742+00:00");
        assert_eq!(
            Millis::parse_iso(&Millis(1_764_168_412_742).iso()),
            Some(Millis(1_764_168_412_742))
        );
    }

    #[test]
    fn every_way_of_writing_one_moment_reads_the_same() {
        for text in [
            "2025-11-26T14:46:52.742613+00:00",
            "2025-11-26T15:46:52.7426130+01:00",
            "2025-11-26T14:46:52.742Z",
            "2025-11-26 14:46:52.742",
            "2025-11-26T14:46:52.742+0000",
        ] {
            assert_eq!(Millis::parse_iso(text), Some(Millis(1_764_168_412_742)), "{text}");
        }
        for text in ["", "yesterday", "2025-13-01T00:00:00Z"] {
            assert_eq!(Millis::parse_iso(text), None, "{text}");
        }
    }
}
