//! Whether a run has become quiet: the judgement alone, without reading anything.
//!
//! Orchestrators write COMPLETED and then their last rows and files. A bag is sealed only after its
//! content stood still for `settle_ms`. What was seen last time travels in the step's note.

use runchain_core::Millis;
use serde::{Deserialize, Serialize};

/// What a deferred archive step remembers until it runs again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Fingerprint of what would go into the bag.
    pub(super) fingerprint: String,
    /// Since when it has been this one.
    pub(super) since_ms: Millis,
    /// When the first look was taken.
    pub(super) first_ms: Millis,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long the content must stand still.
    pub(super) settle_ms: i64,
    /// When to stop waiting for that, counted from the first look.
    pub(super) limit_ms: i64,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again later.
    Wait {
        /// What to remember.
        note: Note,
        /// When to look.
        until: Millis,
    },
    /// Quiet long enough.
    Seal(Note),
    /// Not quiet, but waited long enough.
    SealUnsettled(Note),
}

/// Reads the note of an earlier call. One that can't be read counts as none: waiting anew is safe.
pub(super) fn read_note(note: Option<&str>) -> Option<Note> {
    note.and_then(|text| serde_json::from_str(text).ok())
}

/// Judges the fingerprint that was just taken.
pub(super) fn judge(earlier: Option<&Note>, fingerprint: String, now: Millis, patience: Patience) -> Verdict {
    let first_ms = earlier.map_or(now, |note| note.first_ms.min(now));
    let since_ms = match earlier {
        Some(note) if note.fingerprint == fingerprint => note.since_ms.min(now),
        _ => now,
    };
    let note = Note {
        fingerprint,
        since_ms,
        first_ms,
    };
    if now.since(since_ms) >= patience.settle_ms {
        Verdict::Seal(note)
    } else if now.since(first_ms) >= patience.limit_ms {
        Verdict::SealUnsettled(note)
    } else {
        let until = since_ms
            .plus(patience.settle_ms)
            .min(first_ms.plus(patience.limit_ms));
        Verdict::Wait { note, until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        settle_ms: 2_000,
        limit_ms: 10_000,
    };

    fn note(fingerprint: &str, since: i64, first: i64) -> Note {
        Note {
            fingerprint: fingerprint.into(),
            since_ms: Millis(since),
            first_ms: Millis(first),
        }
    }

    fn judged(earlier: Option<&Note>, fingerprint: &str, now: i64) -> Verdict {
        judge(earlier, fingerprint.into(), Millis(now), PATIENCE)
    }

    #[test]
    fn the_first_look_waits_and_a_quiet_run_is_sealed_after_the_settle_time() {
        let wait = |note, until| Verdict::Wait {
            note,
            until: Millis(until),
        };
        assert_eq!(judged(None, "a", 100), wait(note("a", 100, 100), 2_100));
        assert_eq!(
            judged(Some(&note("a", 100, 100)), "a", 2_099),
            wait(note("a", 100, 100), 2_100)
        );
        assert_eq!(
            judged(Some(&note("a", 100, 100)), "a", 2_100),
            Verdict::Seal(note("a", 100, 100))
        );
        // A clock that stepped back starts the wait anew instead of making it endless.
        assert_eq!(
            judged(Some(&note("a", 9_000, 9_000)), "a", 50),
            wait(note("a", 50, 50), 2_050)
        );
    }

    #[test]
    fn a_change_starts_the_wait_anew_until_the_limit() {
        assert_eq!(
            judged(Some(&note("a", 100, 100)), "b", 9_500),
            Verdict::Wait {
                note: note("b", 9_500, 100),
                until: Millis(10_100)
            }
        );
        assert_eq!(
            judged(Some(&note("a", 100, 100)), "b", 10_100),
            Verdict::SealUnsettled(note("b", 10_100, 100))
        );
    }

    #[test]
    fn a_settle_time_of_zero_seals_at_once() {
        let at_once = Patience {
            settle_ms: 0,
            limit_ms: 0,
        };
        assert_eq!(
            judge(None, "a".into(), Millis(5), at_once),
            Verdict::Seal(note("a", 5, 5))
        );
    }
}
