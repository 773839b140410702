//! What the end of a command means for its step.
//!
//! The codes are those of sysexits(3), which mail systems have given this meaning for decades: 75 is
//! "not now", a few others are "never". Every other code is an ordinary failure.

use crate::command::{self, Ending, Finished, LINE_LIMIT_BYTES, LastLine};
use runchain_core::Millis;
use runchain_core::steps::{Claim, Failure, Outcome, Success};
use serde_json::Value;

/// EX_TEMPFAIL: what the step needs is not there now. Its last attempt isn't used up by that.
const NOT_NOW: i32 = 75;
/// EX_USAGE, EX_DATAERR, EX_NOPERM, EX_CONFIG: trying again can't help.
const NEVER: [i32; 4] = [64, 65, 77, 78];

/// What was said about a command beforehand.
#[derive(Debug)]
pub(crate) struct Circumstances<'a> {
    /// The program.
    pub(crate) program: &'a str,
    /// How long it could run.
    pub(crate) timeout_ms: i64,
    /// How long the executor could be silent.
    pub(crate) lease_ms: i64,
    /// The executor was asked to stop.
    pub(crate) stopping: bool,
}

/// What came of a step whose command has ended.
pub(crate) fn outcome(claim: &Claim, finished: Finished, around: &Circumstances<'_>) -> Outcome {
    let program = around.program;
    let mut failure = Failure::default();
    failure.error = match finished.ending {
        Ending::Exited(status) if status.success() => return done(&finished),
        Ending::Stopped if around.stopping => {
            return Outcome::Deferred {
                note: claim.note.clone().unwrap_or_default(),
                until: Millis::now(),
            };
        }
        Ending::Exited(status) => {
            failure.permanent = status.code().is_some_and(|code| NEVER.contains(&code));
            failure.blameless = status.code() == Some(NOT_NOW);
            let meaning = match (failure.permanent, failure.blameless) {
                (true, _) => ", which means that trying again can't help",
                (_, true) => ", which means that it can't be done now",
                _ => "",
            };
            format!("{program:?} ended with {}{meaning}", command::said(status))
        }
        Ending::TimedOut if claim.deadline.is_some_and(|deadline| deadline <= Millis::now()) => {
            failure.permanent = true;
            format!("{program:?} was ended at the step's deadline")
        }
        Ending::TimedOut => format!(
            "{program:?} was ended after its timeout of {} ms",
            around.timeout_ms
        ),
        Ending::Stopped => format!("{program:?} was ended because its step was cancelled"),
        Ending::Abandoned => format!(
            "{program:?} was ended because the executor gave no sign of life for a part of its lease of {} ms",
            around.lease_ms
        ),
        Ending::Unsupervised => format!("{program:?} was ended because somebody killed its supervisor"),
    };
    failure.output_tail = Some(finished.output_tail);
    Outcome::Failed(failure)
}

fn done(finished: &Finished) -> Outcome {
    let (result, note) = match &finished.last_line {
        LastLine::None => (Value::Null, String::new()),
        LastLine::Kept(line) => (object(line), String::new()),
        LastLine::TooLong(bytes) => (
            Value::Null,
            format!("[no result: the last line has {bytes} bytes, and {LINE_LIMIT_BYTES} is the most]\n"),
        ),
    };
    Outcome::Done(Success {
        result,
        output_tail: Some(note + &finished.output_tail),
        ..Success::default()
    })
}

/// A line as a result, where it is a JSON object.
fn object(line: &str) -> Value {
    serde_json::from_str(line)
        .ok()
        .filter(Value::is_object)
        .unwrap_or(Value::Null)
}
