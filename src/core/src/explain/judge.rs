//! What follows from the facts: causes put in order, the next thing, the remedies.

use super::facts::Facts;
use super::{Cause, Explanation, Next, Remedy, StepLine, Verdict, run, whole};
use crate::Millis;

/// One thing that was found, with what it means for the next thing and what can be done about it.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    pub(super) next: Option<Next>,
    pub(super) can: Vec<Remedy>,
}

impl Finding {
    /// Nothing is left to do here.
    pub(super) fn through(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::Through, text)
    }

    /// It goes on by itself.
    pub(super) fn goes_on(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::OnItsWay, text)
    }

    /// Somebody has to act.
    pub(super) fn needs_somebody(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Verdict::NeedsSomebody, text)
    }

    pub(super) fn new(code: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            cause: Cause {
                code,
                verdict,
                text: text.into(),
            },
            next: None,
            can: Vec::new(),
        }
    }

    pub(super) fn next(mut self, text: impl Into<String>) -> Self {
        self.next = Some(Next {
            text: text.into(),
            at: None,
        });
        self
    }

    pub(super) fn next_at(mut self, text: impl Into<String>, at: Millis) -> Self {
        self.next = Some(Next {
            text: text.into(),
            at: Some(at),
        });
        self
    }

    pub(super) fn can(mut self, remedy: Remedy) -> Self {
        self.can.push(remedy);
        self
    }
}

/// Judges the facts.
#[must_use]
pub fn judge(facts: &Facts) -> Explanation {
    match &facts.run {
        Some(one) => {
            let (steps, findings) = run::findings(facts, one);
            put_together(Some(one), run::headline(facts, one), steps, findings)
        }
        None => put_together(None, whole::headline(facts), Vec::new(), whole::findings(facts)),
    }
}

fn put_together(
    run: Option<&super::facts::RunFacts>,
    headline: String,
    steps: Vec<StepLine>,
    mut findings: Vec<Finding>,
) -> Explanation {
    // What stands in the way first; among equals the order in which they were found: causes before
    // what follows from them.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.cause.verdict));
    let verdict = findings
        .first()
        .map_or(Verdict::Through, |finding| finding.cause.verdict);
    let worst = || findings.iter().filter(|finding| finding.cause.verdict == verdict);
    // What stands in the way says what it takes; what goes on by itself, what comes first.
    let next = if verdict == Verdict::OnItsWay {
        let timed = worst()
            .filter_map(|finding| finding.next.clone())
            .filter(|next| next.at.is_some());
        let first = timed.min_by_key(|next| next.at);
        worst()
            .find_map(|finding| finding.next.clone().filter(|next| next.at.is_none()))
            .or(first)
    } else {
        worst().find_map(|finding| finding.next.clone())
    };
    let next = next.unwrap_or_else(|| Next {
        text: match verdict {
            Verdict::Through | Verdict::NoSuchRun => "nothing",
            Verdict::OnItsWay => "it goes on by itself",
            Verdict::NeedsSomebody => "nothing, until somebody acts",
        }
        .to_owned(),
        at: None,
    });
    let mut you_can: Vec<Remedy> = Vec::new();
    for remedy in findings.iter().flat_map(|finding| &finding.can) {
        let known = |one: &Remedy| {
            one.arguments == remedy.arguments && (!one.arguments.is_empty() || one.sql == remedy.sql)
        };
        if !you_can.iter().any(known) {
            you_can.push(remedy.clone());
        }
    }
    Explanation {
        run_id: run.map(|run| run.run_id.clone()),
        verdict,
        headline,
        steps,
        causes: findings.into_iter().map(|finding| finding.cause).collect(),
        next,
        you_can,
    }
}
