//! The files that are written for systemd, line by line.

use super::*;

#[test]
fn only_plain_names_are_instances() {
    for (name, may) in [
        ("orders", true),
        ("Orders-2.eu_west", true),
        ("", false),
        ("a/b", false),
        ("..", false),
        ("a b", false),
        ("a%i", false),
    ] {
        assert_eq!(is_instance(name), may, "{name:?}");
    }
}
