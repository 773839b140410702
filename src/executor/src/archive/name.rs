//! Names on disk for things whose own names may be anything.
//!
//! A run id never becomes a path by itself: it can be empty, `../x`, `--help`, 300 characters or a
//! newline. What does not belong here: creating anything under these names.

use super::digest::{hex, sha256};
use runchain_core::RunId;
use std::collections::HashSet;

/// Longest id that is its own folder name; the longest suffix in use still fits 255 bytes after it.
const PLAIN_MAX_BYTES: usize = 100;
/// How much of another id stays readable before its hash.
const PREFIX_MAX_BYTES: usize = 40;
/// Longest payload name without its extension.
const PAYLOAD_MAX_BYTES: usize = 120;

/// The folder of a run below the archive folder, and the first part of its reports' names.
///
/// Ids of `[A-Za-z0-9._-]{1,100}` that don't begin with `.` or `-` are themselves. Every other id
/// is a readable prefix, `~` and 16 hex digits of its SHA-256. `~` never occurs in a plain one, so
/// two ids share a folder only if their hashes do.
#[must_use]
pub(crate) fn folder_name(run_id: &RunId) -> String {
    let id = run_id.as_str();
    if id.len() <= PLAIN_MAX_BYTES && is_plain(id) {
        return id.to_owned();
    }
    let mut prefix = sanitised(id, PREFIX_MAX_BYTES);
    if prefix.is_empty() {
        prefix.push('_');
    }
    format!("{prefix}~{}", &hex(&sha256(id.as_bytes()))[..16])
}

/// The payload names that are taken in one folder of a bag.
///
/// Names are made of `[A-Za-z0-9._-]`, so that `sha256sum -c` reads them as they stand (BagIt would
/// percent-encode others). Two names that differ only in case count as one: bags get copied to file
/// systems that can't tell them apart.
#[derive(Debug, Default)]
pub(super) struct PayloadNames {
    taken: HashSet<String>,
}

impl PayloadNames {
    /// A name for `original` that nobody has taken yet. The same originals in the same order get
    /// the same names.
    pub(super) fn claim(&mut self, original: &[u8], extension: &str) -> String {
        let text = String::from_utf8_lossy(original);
        let mut stem = sanitised(&text, PAYLOAD_MAX_BYTES);
        if stem.is_empty() {
            stem.push('_');
        }
        let whole = stem.len() == text.chars().count();
        let plain = format!("{stem}{extension}");
        if whole && self.take(&plain) {
            return plain;
        }
        let hash = hex(&sha256(original));
        // The hash goes before a short file extension, so that tools still know the type.
        let dot = stem.rfind('.').filter(|at| *at > 0 && stem.len() - at <= 10);
        let (head, tail) = stem.split_at(dot.unwrap_or(stem.len()));
        let mut length = 12;
        loop {
            let name = format!("{head}-{}{tail}{extension}", &hash[..length]);
            if length == hash.len() || self.take(&name) {
                return name;
            }
            length += 1;
        }
    }

    fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_ascii_lowercase())
    }
}

/// Whether an id can stand in a path as one component, as it is: for `{run_id}` in a glob.
pub(super) fn is_path_component(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 255
        && id != "."
        && id != ".."
        && !id.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}

/// A text as the value of a `bag-info.txt` line: one line, nothing that a reader strips. What could
/// break out of it is percent-encoded, and so is `%`.
pub(super) fn tag_value(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut value = String::with_capacity(text.len());
    for (index, character) in text.chars().enumerate() {
        let stripped = character == ' ' && (index == 0 || index == last);
        let space = character.is_whitespace() && character != ' ';
        if character == '%' || character.is_control() || space || stripped {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                value.push_str(&format!("%{byte:02X}"));
            }
        } else {
            value.push(character);
        }
    }
    value
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(['.', '-']) && text.bytes().all(is_plain_byte)
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Every other character becomes `_`, and so does a `.` or `-` in front.
fn sanitised(text: &str, max_bytes: usize) -> String {
    text.chars()
        .take(max_bytes)
        .enumerate()
        .map(|(index, c)| {
            let plain = c.is_ascii() && is_plain_byte(c as u8);
            if plain && !(index == 0 && matches!(c, '.' | '-')) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(id: &str) -> String {
        folder_name(&RunId(id.into()))
    }

    #[test]
    fn a_plain_id_is_its_own_folder() {
        for id in ["run-1", "RUN_2.b", "0", "a..b", &"x".repeat(100)] {
            assert_eq!(folder(id), id);
        }
    }

    #[test]
    fn any_other_id_gets_a_hash_and_stays_one_harmless_component() {
        assert_eq!(folder(""), "_~e3b0c44298fc1c14");
        assert_eq!(folder(".."), "_.~5ec1f7e700f37c3d");
        assert_eq!(folder("a/b"), "a_b~c14cddc033f64b9d");
        for id in [
            "--help",
            ".",
            "../x",
            "a b",
            "a~b",
            "\0",
            "run\n1",
            "🚀",
            &"x".repeat(300),
        ] {
            let name = folder(id);
            let (prefix, hash) = name.rsplit_once('~').unwrap();
            assert!(is_plain(prefix) && hash.len() == 16 && name.len() < 100, "{name}");
        }
    }

    #[test]
    fn two_ids_never_share_a_folder() {
        let ids = [
            "a/b",
            "a_b",
            "a b",
            "a\nb",
            "a~b",
            "a_b~c14cddc033f64b9d",
            "",
            "_",
            ".",
            "..",
            "-",
            "A/b",
        ];
        let folders: HashSet<String> = ids.iter().map(|id| folder(id)).collect();
        assert_eq!(folders.len(), ids.len());
    }

    #[test]
    fn payload_names_are_plain_unique_and_repeatable() {
        let claim_all = || {
            let mut names = PayloadNames::default();
            ["a/b.log", "a_b.log", "A_b.log", "", "-rf", "ä"]
                .map(|original| names.claim(original.as_bytes(), ""))
        };
        let names = claim_all();
        assert_eq!(names[0], "a_b.log");
        assert_eq!(names[4], "_rf");
        assert!(
            names[1].starts_with("a_b-") && names[1].ends_with(".log"),
            "{}",
            names[1]
        );
        assert!(names.iter().all(|name| is_plain(name)), "{names:?}");
        let folded: HashSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        assert_eq!(folded.len(), names.len());
        assert_eq!(names, claim_all());
    }

    #[test]
    fn a_tag_value_stays_on_its_line() {
        assert_eq!(tag_value("run-1"), "run-1");
        assert_eq!(tag_value("a\nPayload-Oxum: 0.0"), "a%0APayload-Oxum: 0.0");
        assert_eq!(tag_value(" 100% \0"), "%20100%25 %00");
        assert_eq!(tag_value("a\u{2028}b ü"), "a%E2%80%A8b ü");
    }
}
