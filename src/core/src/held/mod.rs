//! Runs that ended in a storm: recorded as over, their chains waiting for a person.
//!
//! A held end looks like one that was finished before runchain came: the phase is recorded, there is no
//! RUN_COMPLETED and no chain. So everything else (monitors, the sweep, `enqueue_chain`, an older
//! executor) treats it right without knowing of storms. A later write of the run either repeats the same
//! phase (it stays held), or takes the held end back: what was last acted on before it holds again, and
//! the write is judged as if the storm had never been. So a mistake that is undone leaves no trace but
//! in the batch.
//!
//! Whether an end is held is `storm`'s judgement; beginning a chain is the queue's.
//!
//! | file | holds |
//! | --- | --- |
//! | `keep` | taking an end in, and the alert that tells of it |
//! | `leave` | how a run leaves its batch, and what it was before |
//! | `decide` | what a person decided about a batch |
//! | `carry_out` | doing that, a bounded part at a time |
//! | `batch` | a batch as it is shown |

mod batch;
mod carry_out;
mod decide;
mod keep;
mod leave;

pub use batch::{Batch, BatchId, StatusCount, batches, find, statuses};
pub use carry_out::{Advanced, advance, is_under_way};
pub(crate) use decide::decide;
pub use decide::{Decision, ask};
pub(crate) use keep::{Keeper, newest_capture};
pub(crate) use leave::{Left, leave, rename, take_back, was};
