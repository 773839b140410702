//! `config reference`: every key with its type, default and meaning, as Markdown. `docs/configuration.md`
//! is what this prints; a test compares them.

use super::keys;
use super::layers::variable_of;
use super::schema::TABLES;
use super::shape::{Key, Table};
use std::fmt::Write as _;

const HEAD: &str = "# Configuration

`runchain.toml` stands beside `.state`, or is named by `--config` or `RUNCHAIN_CONFIG`; every key is optional.
An option beats a variable, a variable beats the file, the file beats the default. `runchain config show` says
what holds and where it comes from, `runchain config check` what is wrong, with line and column. Relative
paths start from the file's folder.

For an editor that knows JSON Schema: `runchain config schema > runchain.schema.json`.

This page is what `runchain config reference` prints.
";

/// The whole page.
pub(crate) fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for key in by_section(keys()) {
        let (name, last) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if section != Some(name) {
            section = Some(name);
            let heading = if name.is_empty() {
                "Top of the file".to_owned()
            } else {
                format!("`[{name}]`")
            };
            // Writing to a string can't fail, here and below.
            let _ = write!(
                page,
                "\n## {heading}\n\n| key | value | default | means |\n| --- | --- | --- | --- |\n"
            );
        }
        let _ = writeln!(page, "{}", row_of(&key, last));
    }
    for table in TABLES {
        let _ = write!(page, "\n{}", section_of(table));
    }
    page
}

/// The sections in the order in which each begins, wherever the list of keys goes on with one.
fn by_section(mut keys: Vec<Key>) -> Vec<Key> {
    let section = |key: &Key| key.name.rsplit_once('.').map_or("", |(section, _)| section);
    let order: Vec<&str> = keys.iter().map(section).collect();
    keys.sort_by_key(|key| order.iter().position(|one| *one == section(key)));
    keys
}

fn row_of(key: &Key, last: &str) -> String {
    let value = match &key.limits {
        Some(limits) => format!("{} to {}", limits.start(), limits.end()),
        None => key.expected.to_owned(),
    };
    format!(
        "| `{last}`<br>`{}` | {} | `{}` | {} |",
        variable_of(key.name),
        cell(&value),
        key.default,
        cell(key.doc)
    )
}

fn section_of(table: &Table) -> String {
    let mut text = format!(
        "## `{}`\n\n{}\n\n| key | value | default | means |\n| --- | --- | --- | --- |\n",
        table.heading, table.doc
    );
    for field in table.fields {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            field.name,
            cell(&field.kind.words()),
            cell(field.default),
            cell(field.doc)
        );
    }
    text
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
