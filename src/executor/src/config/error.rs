//! What is wrong with a configuration: all of it at once, each with its place and remedy.

use std::fmt;

/// Everything that is wrong.
#[derive(Debug, Clone)]
pub(crate) struct ConfigError {
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// `file:line:column`, a flag or a variable.
    pub(crate) place: Option<String>,
    /// The key and what is wrong with it.
    pub(crate) what: String,
    /// What to do, starting with a verb, or a question that suggests it.
    pub(crate) remedy: String,
}

impl Problem {
    /// A problem at a place.
    pub(crate) fn new(place: Option<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            place,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

/// The remedy for a word that is not known: the nearest known one, else all of them.
pub(super) fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(right) => format!("did you mean {right}?"),
        None => format!("known keys: {}", known.join(", ")),
    }
}

/// The known word that differs from `word` in a third of its letters at most.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let ranked = known.iter().map(|&right| {
        // heartbeat for heartbeat_ms: a forgotten unit is near, however long it is.
        let near = if right.strip_prefix(word).is_some_and(|rest| rest.starts_with('_')) {
            0
        } else {
            distance(word, right)
        };
        (near, right)
    });
    let (edits, right) = ranked.min_by_key(|&(edits, _)| edits)?;
    (edits <= (word.chars().count() / 3).max(1)).then_some(right)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, &a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let mut best = (above[j] + usize::from(a != b))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a == right[j - 1] && left[i - 1] == b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!(distance("wrokers", "workers"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn far_words_suggest_nothing() {
        assert_eq!(nearest("zzz", &["workers", "poll_ms"]), None);
        assert_eq!(nearest("lease", &["workers", "lease_ms"]), Some("lease_ms"));
    }
}
