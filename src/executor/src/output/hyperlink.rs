//! Hyperlinks (OSC 8): a file that a terminal opens at a click.
//!
//! Invariants: an address has nothing in it but what RFC 3986 lets stand unencoded, so that a path can't
//! end the sequence that it stands in. A terminal that is not known to take them gets none. What does not
//! belong here: where a link stands.

use crate::cli::Hyperlink as When;
use runchain_core::audit;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use supports_hyperlinks::Stream;

/// Ends the text of a link.
pub(crate) const END: &str = "\u{1b}]8;;\u{1b}\\";
/// Terminals that show such a sequence as text, or nothing at all, whatever stands around them.
const NEVER: [&str; 2] = ["dumb", "linux"];

/// Whether links are printed.
pub(crate) fn are_wanted(when: When) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let is_never = std::env::var("TERM").is_ok_and(|name| NEVER.contains(&name.as_str()));
            !is_never && supports_hyperlinks::on(Stream::Stdout)
        }
    }
}

/// Begins the text of a link.
pub(crate) fn begin(address: &str) -> String {
    format!("\u{1b}]8;;{address}\u{1b}\\")
}

/// The address of a file on this host, by its absolute path: a terminal on another one knows by the name
/// that it can't open it.
pub(crate) fn of_file(path: &Path) -> String {
    let mut address = format!("file://{}", encoded(audit::host().as_bytes()));
    address.push_str(&encoded(path.as_os_str().as_bytes()));
    address
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_t_end_the_sequence_that_it_stands_in() {
        let address = of_file(Path::new("/p/a b\u{1b}\\;é.html"));
        assert!(address.starts_with("file://"));
        assert!(address.ends_with("/p/a%20b%1B%5C%3B%C3%A9.html"), "{address}");
    }

    #[test]
    fn what_was_asked_for_beats_what_is_known() {
        assert!(are_wanted(When::Always));
        assert!(!are_wanted(When::Never));
    }
}
