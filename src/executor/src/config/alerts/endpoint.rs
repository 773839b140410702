//! Where a channel or a sign of life goes by HTTP: the URL, a token, and whose certificates count.

use super::super::error::Problem;
use super::super::reading::Reading;
use super::secret::{self, Secret, Ways};
use std::path::{Path, PathBuf};

/// What is asked, and how it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// What is asked.
    pub(crate) url: Secret,
    /// Sent as `Authorization: Bearer`.
    pub(crate) token: Option<Secret>,
    /// Authorities in PEM that are trusted instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Endpoint {
    /// From what was written.
    pub(super) fn read(
        reading: &Reading<'_, '_>,
        url: Ways,
        token: Ways,
        ca_file: Option<PathBuf>,
        root: &Path,
    ) -> Result<Self, Problem> {
        Ok(Self {
            url: secret::url(reading, url, root)?,
            token: token.settle(reading, "token", root)?,
            ca_file: ca_file.map(|path| root.join(path)),
        })
    }
}
