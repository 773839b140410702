//! Everything that is wrong with a bag, file by file: what `verify` tells, where [`super::verify`] stops at
//! the first fault.
//!
//! The digest that the database keeps covers the tag manifest, that covers the manifest, and that covers
//! the payload: who changes a file and writes its manifests anew is found by the digest.

use super::bag::{
    INFO, MANIFEST, MANIFEST_MAX_BYTES, TAG_MANIFEST, hash_file, info_value, open, parse_manifest, read_info,
    read_text,
};
use super::digest::{hex, sha256};
use crate::folder::Folder;
use runchain_core::error::{Error, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use walkdir::WalkDir;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// It is listed, and not there.
    Missing,
    /// It is there, and not listed.
    Extra,
    /// Its bytes are not those that were sealed.
    Changed,
    /// It can't be read, or isn't what it should be.
    Unreadable,
}

/// A file that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Damage {
    /// Its path in the bag.
    pub(crate) file: String,
    /// What is wrong with it.
    pub(crate) fault: Fault,
    /// The same in words.
    pub(crate) message: String,
}

impl Damage {
    fn new(file: &str, fault: Fault, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            fault,
            message: message.into(),
        }
    }
}

/// Reads a whole bag. `digest` is what the database keeps of it.
///
/// # Errors
/// When there is no bag to open.
pub(crate) fn inspect(bag_dir: &Path, digest: &str) -> Result<Vec<Damage>> {
    let bag = open(bag_dir)?;
    let mut found = Vec::new();
    let tags = tags(&bag, digest, &mut found);
    let manifest = match read_text(&bag, MANIFEST, MANIFEST_MAX_BYTES) {
        Ok(text) => parse_manifest(&text).unwrap_or_else(|| {
            found.push(Damage::new(MANIFEST, Fault::Unreadable, "it is no manifest"));
            BTreeMap::new()
        }),
        Err(error) => {
            found.push(of_error(MANIFEST, &error));
            BTreeMap::new()
        }
    };
    let mut payload_bytes = 0;
    for (name, sealed) in tags.iter().chain(&manifest) {
        match hash_file(&bag, name) {
            Ok(read) => {
                if manifest.contains_key(name) {
                    payload_bytes += read.size_bytes;
                }
                if read.digest != *sealed {
                    let by = if manifest.contains_key(name) {
                        MANIFEST
                    } else {
                        TAG_MANIFEST
                    };
                    found.push(Damage::new(
                        name,
                        Fault::Changed,
                        format!("its bytes are not those that {by} lists"),
                    ));
                }
            }
            Err(error) => found.push(of_error(name, &error)),
        }
    }
    found.extend(extra(bag_dir, &tags, &manifest)?);
    let oxum = format!("{payload_bytes}.{}", manifest.len());
    let says_so = |info: &String| info_value(info, "Payload-Oxum") == Some(&oxum);
    if found.is_empty() && !read_info(&bag).is_ok_and(|info| says_so(&info)) {
        found.push(Damage::new(
            INFO,
            Fault::Changed,
            format!("the payload is {oxum}, which is not its Payload-Oxum"),
        ));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The tag manifest, held against the database.
fn tags(bag: &Folder, digest: &str, found: &mut Vec<Damage>) -> BTreeMap<String, String> {
    let text = match read_text(bag, TAG_MANIFEST, MANIFEST_MAX_BYTES) {
        Ok(text) => text,
        Err(error) => {
            found.push(of_error(TAG_MANIFEST, &error));
            return BTreeMap::new();
        }
    };
    let is = format!("sha256:{}", hex(&sha256(text.as_bytes())));
    if is != digest {
        found.push(Damage::new(
            TAG_MANIFEST,
            Fault::Changed,
            format!(
                "its digest is {}, and the database knows {}: it was written anew",
                short(&is),
                short(digest)
            ),
        ));
    }
    let Some(tags) = parse_manifest(&text) else {
        found.push(Damage::new(TAG_MANIFEST, Fault::Unreadable, "it is no manifest"));
        return BTreeMap::new();
    };
    for name in ["bagit.txt", INFO, MANIFEST] {
        if !tags.contains_key(name) {
            found.push(Damage::new(
                name,
                Fault::Extra,
                format!("{TAG_MANIFEST} doesn't list it"),
            ));
        }
    }
    tags
}

/// What stands in the bag and in no manifest.
fn extra(
    bag_dir: &Path,
    tags: &BTreeMap<String, String>,
    manifest: &BTreeMap<String, String>,
) -> Result<Vec<Damage>> {
    let listed: BTreeSet<&Path> = tags.keys().chain(manifest.keys()).map(Path::new).collect();
    let mut found = Vec::new();
    for entry in WalkDir::new(bag_dir).sort_by_file_name() {
        let entry = entry.map_err(|error| Error::io("look through", bag_dir, error.into()))?;
        let name = entry.path().strip_prefix(bag_dir).unwrap_or(entry.path());
        let is_known = listed.contains(name) || name == Path::new(TAG_MANIFEST);
        // Without a tag manifest nothing is known of the files beside it.
        let is_tag = name.components().count() == 1;
        if entry.file_type().is_dir() || is_known || (is_tag && tags.is_empty()) {
            continue;
        }
        found.push(Damage::new(
            &name.to_string_lossy(),
            Fault::Extra,
            "it stands in no manifest",
        ));
    }
    Ok(found)
}

/// As much of a digest as tells it from another.
fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

fn of_error(name: &str, error: &Error) -> Damage {
    match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            Damage::new(name, Fault::Missing, "it is not there")
        }
        Error::Io { source, .. } => Damage::new(name, Fault::Unreadable, source.to_string()),
        other => Damage::new(name, Fault::Unreadable, other.to_string()),
    }
}
