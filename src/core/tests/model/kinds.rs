//! The chain under test.

/// A kind of step in the chain under test.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) after: &'static [&'static str],
    pub(crate) priority: i64,
    pub(crate) delay_ms: i64,
    pub(crate) deadline_ms: Option<i64>,
    pub(crate) max_attempts: i64,
    /// Whether those after it wait until it is done.
    pub(crate) required: bool,
}

/// Two ways from `archive` to `ticket`, one of which need not succeed; `probe` stands alone and is
/// urgent.
pub(crate) const CHAIN: [Kind; 5] = [
    kind("archive", &[], 100, 0, None, 3),
    kind("report", &["archive"], 100, 0, Some(4_000), 2),
    optional(kind("upload", &["archive"], 50, 300, None, 3)),
    kind("ticket", &["upload", "report"], 200, 0, None, 1),
    kind("probe", &[], 10, 700, Some(9_000), 2),
];

const fn kind(
    name: &'static str,
    after: &'static [&'static str],
    priority: i64,
    delay_ms: i64,
    deadline_ms: Option<i64>,
    max_attempts: i64,
) -> Kind {
    Kind {
        name,
        after,
        priority,
        delay_ms,
        deadline_ms,
        max_attempts,
        required: true,
    }
}

const fn optional(kind: Kind) -> Kind {
    Kind {
        required: false,
        ..kind
    }
}
