//! The check whether this is a copy: it compares the place on record with the file. What the logs know
//! only `runchain validate` can ask.

use super::{Context, Verdict};
use crate::error::Result;
use crate::identity::{FileId, Place, Standing, standing};
use std::path::Path;

pub(super) fn identity(context: &Context<'_>) -> Result<Verdict> {
    let file = context.file()?;
    let here = Place::of(file)?;
    let Some(recorded) = Place::recorded(context.conn)? else {
        return Ok(Verdict::ok("no executor has recorded a place yet"));
    };
    let look = |path: &str| FileId::of(Path::new(path));
    let meaning =
        "if two of one UUID were drained, everything would be done twice: no executor drains this one";
    Ok(match standing(&recorded, &here, FileId::of(file), look) {
        Standing::AtHome => Verdict::ok("where it was"),
        Standing::Moved => Verdict::ok(format!("moved here from {}; nothing is left there", recorded.path)),
        Standing::Copy => Verdict::error(format!("a copy of {}, which still stands there", recorded.path), meaning)
            .remedy("runchain adopt --as copy"),
        Standing::Unknown => Verdict::error(
            format!("it comes from {} on another machine", recorded.path),
            meaning,
        )
        .remedy("runchain adopt --as copy; or --as moved, when the original is out of use; or --as restored, from a backup"),
    })
}
