//! What must not be shown: URLs and tokens, and where they come from.
//!
//! A secret stands in the file, in another file, in a credential of the service manager (`LoadCredential`)
//! or in a variable; it is read when it is used, so that a new one needs no restart. It has no `Display`,
//! its `Debug` tells only where it comes from, and errors name the place, never the value.

use super::super::error::Problem;
use super::super::reading::Reading;
use std::fmt;
use std::path::{Path, PathBuf};

/// More than that is no URL and no token.
const LARGEST_BYTES: u64 = 64 * 1024;
/// Where systemd puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A URL or a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// As it stands in the configuration file.
    Text(String),
    /// The content of a file, without white space around it.
    File(PathBuf),
    /// The content of a credential.
    Credential(String),
    /// The value of a variable.
    Variable(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

impl Secret {
    /// Where it comes from.
    pub(crate) fn origin(&self) -> String {
        match self {
            Self::Text(_) => "(not shown)".to_owned(),
            Self::File(path) => format!("file {}", path.display()),
            Self::Credential(name) => format!("credential {name}"),
            Self::Variable(name) => format!("variable {name}"),
        }
    }

    /// The credential that it is.
    pub(super) fn credential(&self) -> Option<&str> {
        match self {
            Self::Credential(name) => Some(name),
            _ => None,
        }
    }

    /// Its value now.
    ///
    /// # Errors
    /// A sentence about the place, without what stands there.
    pub(crate) fn value(&self) -> Result<String, String> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::File(path) => read(path)?,
            Self::Credential(name) => {
                let folder = std::env::var_os(CREDENTIALS).ok_or_else(|| {
                    format!("credential {name}: {CREDENTIALS} is not set; use LoadCredential=")
                })?;
                read(&Path::new(&folder).join(name))?
            }
            Self::Variable(name) => {
                std::env::var(name).map_err(|_| format!("the variable {name} is not set, or no text"))?
            }
        };
        let text = text.trim();
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!("{} is empty or has control characters", self.origin()));
        }
        Ok(text.to_owned())
    }
}

fn read(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("can't read {}: {error}", path.display());
    let size_bytes = std::fs::metadata(path).map_err(told)?.len();
    if size_bytes > LARGEST_BYTES {
        return Err(format!("{} is too large for a secret", path.display()));
    }
    std::fs::read_to_string(path).map_err(told)
}

/// The four ways of naming one secret.
#[derive(Debug, Default)]
pub(super) struct Ways {
    pub(super) text: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) credential: Option<String>,
    pub(super) variable: Option<String>,
}

impl Ways {
    /// The one that was used, if any.
    pub(super) fn settle(
        self,
        reading: &Reading<'_, '_>,
        key: &str,
        root: &Path,
    ) -> Result<Option<Secret>, Problem> {
        let ways = [
            self.text.map(Secret::Text),
            self.file.map(|path| Secret::File(root.join(path))),
            self.credential.map(Secret::Credential),
            self.variable.map(Secret::Variable),
        ];
        let mut given = ways.into_iter().flatten();
        let first = given.next();
        if given.next().is_some() {
            return Err(reading.problem(
                format!("{key} is given in more than one way"),
                format!("keep one of {key}, {key}_file, {key}_credential, {key}_env"),
            ));
        }
        match &first {
            Some(Secret::Credential(name))
                if name.is_empty() || name.contains('/') || name.starts_with('.') =>
            {
                Err(reading.problem(
                    format!("{key}_credential is no name"),
                    "name it as LoadCredential does",
                ))
            }
            _ => Ok(first),
        }
    }
}

/// A URL must be given; where it can be seen, it must be one of HTTP.
pub(super) fn url(reading: &Reading<'_, '_>, ways: Ways, root: &Path) -> Result<Secret, Problem> {
    let Some(url) = ways.settle(reading, "url", root)? else {
        return Err(reading.problem(
            "there is no url",
            "give url_file, url_credential or url_env; url where it is no secret",
        ));
    };
    match &url {
        Secret::Text(text) if !is_http(text) => Err(reading.problem(
            "the url is none of http or https",
            "write it as https://host/path",
        )),
        _ => Ok(url),
    }
}

/// Whether a text can be asked by HTTP.
pub(crate) fn is_http(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
}
