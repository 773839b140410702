//! What a follower has to tell, and how a person reads it in one line.

use runchain_core::error::Error;
use runchain_core::ingest::IngestReport;
use std::fmt::Write as _;
use std::path::PathBuf;

/// What a follower has to tell.
#[derive(Debug)]
pub(crate) enum News {
    /// What is followed: each place and how many files it has; `None`: it isn't there yet.
    Following {
        /// In the order in which they were named.
        places: Vec<(PathBuf, Option<usize>)>,
        /// Nobody named any.
        are_usual: bool,
    },
    /// A slice was read and committed.
    Read(IngestReport),
    /// Everything that is there was read.
    CaughtUp,
    /// A file or folder can't be read; said once, until it can or the reason is another.
    Refused {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The database refused; it is tried again.
    Failed(Error),
}

impl News {
    /// In a sentence; `None`: nobody has to know.
    pub(crate) fn sentence(&self) -> Option<String> {
        Some(match self {
            Self::Following { places, are_usual } => following(places, *are_usual),
            Self::CaughtUp => return None,
            Self::Read(report) => return rejected(report),
            Self::Refused { path, why } => {
                let path = path.display().to_string();
                if why.contains(&path) {
                    format!("not followed: {why}")
                } else {
                    format!("not followed: {path}: {why}")
                }
            }
            Self::Failed(error) => format!("following event logs: {error}; trying again"),
        })
    }
}

/// How many lines were rejected, and where they stand; `None`: none.
pub(crate) fn rejected(report: &IngestReport) -> Option<String> {
    (report.rejected > 0).then(|| {
        format!(
            "{}: {} lines rejected (SELECT line, reason, start FROM runchain_ingest_rejects WHERE file_id = {})",
            report.path, report.rejected, report.file_id
        )
    })
}

/// One line for all places.
fn following(places: &[(PathBuf, Option<usize>)], are_usual: bool) -> String {
    let mut text = if are_usual {
        "following event logs in the usual places:".to_owned()
    } else {
        "following event logs:".to_owned()
    };
    for (number, (place, files)) in places.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string can't fail.
        let _ = match files {
            Some(1) => write!(text, "{comma} {} (1 file)", place.display()),
            Some(files) => write!(text, "{comma} {} ({files} files)", place.display()),
            None => write!(text, "{comma} {} (not there yet)", place.display()),
        };
    }
    text
}
