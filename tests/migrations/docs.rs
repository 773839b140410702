//! The snippets of docs/migrations.md, as a reader copies them.

use crate::support::repository;

/// The page.
pub(super) fn page() -> String {
    std::fs::read_to_string(repository().join("docs/migrations.md")).unwrap()
}

/// The fenced block of this place (from 0) below `### heading`.
pub(super) fn snippet(heading: &str, place: usize) -> String {
    let page = page();
    let section = page
        .split("\n### ")
        .find(|section| section.lines().next() == Some(heading))
        .unwrap_or_else(|| panic!("docs/migrations.md has no section {heading}"));
    let block = section
        .split("```")
        .nth(2 * place + 1)
        .unwrap_or_else(|| panic!("{heading} has no block {place}"));
    // The first line names the language.
    block.split_once('\n').unwrap().1.to_owned()
}
