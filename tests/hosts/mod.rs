//! The extension inside other people's programs.
//!
//! The scripts in this folder are what a person writes in each host: connect, load, call the three
//! functions. `docs/hosts.md` shows a line of each.

/// Where it loads, and where it can't: guards, exported symbols, hosts that are too old.
mod loading;
/// Each host with its script; what the script must print; the page that tells of it.
mod matrix;
