//! `<run>.html`: one file that a person reads, with no script and nothing loaded from elsewhere.
//!
//! Invariant: whatever stands in the database (run ids, errors, event types) is text on the page and
//! nothing else. The template library escapes it, control characters are made visible first, and the page
//! forbids scripts to itself. What does not belong here: reading the database.

use super::compare::{Column, Comparison};
use super::event_types::OfType;
use super::history::Told;
use super::timeline::{Colour, Drawn, Timeline};
use super::{ReportedBag, Summary};
use crate::output;
use askama::Template;
use runchain_core::Millis;
use std::path::Path;

/// What only the page tells, beside the summary.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) timeline: Timeline,
    pub(super) types: Vec<OfType>,
    pub(super) history: Vec<Told>,
    pub(super) history_left_out: i64,
    pub(super) comparison: Comparison,
}

/// Where the run's other files stand, as links from the page.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) summary: String,
    pub(super) metrics: String,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    run_id: String,
    phase: &'a str,
    colour: Colour,
    facts: Vec<Fact>,
    errors: Vec<Failure>,
    bars: Vec<Drawn<'a>>,
    span: String,
    left_out: u64,
    types: &'a [OfType],
    comparison: &'a Comparison,
    columns: Vec<Column<'a>>,
    history: &'a [Told],
    history_left_out: i64,
    bag: Option<BagLink>,
    files: Files,
    version: &'static str,
    generated_at: &'a str,
}

struct Fact {
    name: &'static str,
    value: String,
}

struct Failure {
    subject: String,
    source: String,
    at: String,
    message: String,
}

struct BagLink {
    link: String,
    path: String,
    size: String,
    digest: String,
    quoted_path: String,
    quoted_run_id: String,
}

/// The page as it stands in its file.
///
/// # Errors
/// Nothing that depends on what is told; the library's type allows for a writer that fails.
pub(super) fn render(
    summary: &Summary<'_>,
    story: &Story,
    bag: Option<ReportedBag<'_>>,
    files: Files,
    reports_dir: &Path,
) -> askama::Result<Vec<u8>> {
    let page = Page {
        run_id: output::clean(summary.run_id),
        phase: summary.phase,
        colour: Colour::of(Some(summary.phase)),
        facts: facts(summary),
        errors: summary.errors.iter().map(Failure::of).collect(),
        bars: story.timeline.drawn(),
        span: story.timeline.span().map_or_else(String::new, |(from, until)| {
            format!(
                "From {} to {} UTC, {}.",
                moment(&from),
                moment(&until),
                output::duration(until.since(from))
            )
        }),
        left_out: story.timeline.left_out,
        types: &story.types,
        comparison: &story.comparison,
        columns: story.comparison.columns(),
        history: &story.history,
        history_left_out: story.history_left_out,
        bag: summary
            .bag
            .as_ref()
            .zip(bag)
            .map(|(entry, bag)| BagLink::of(summary.run_id, &entry.path, bag, reports_dir)),
        files,
        version: env!("CARGO_PKG_VERSION"),
        generated_at: &summary.generated_at,
    };
    page.render().map(String::into_bytes)
}

fn facts(summary: &Summary<'_>) -> Vec<Fact> {
    let fact = |name, value: Option<String>| {
        value.map(|value| Fact {
            name,
            value: output::clean(&value),
        })
    };
    let took = summary
        .duration_seconds
        .map(|seconds| output::duration((seconds * 1_000.0) as i64));
    let counted = |total: u64, failed: u64| match failed {
        0 => total.to_string(),
        failed => format!("{total}, {failed} failed"),
    };
    let times = &summary.timestamps;
    [
        fact("Took", took),
        fact("Status", summary.status.map(str::to_owned)),
        fact("Created", times.created()),
        fact("Started", times.started()),
        fact("Ended", Some(times.ended())),
        fact("Steps", Some(counted(summary.steps.total, summary.steps.failed))),
        fact(
            "Events",
            Some(counted(summary.events.total, summary.events.errors)),
        ),
        fact(
            "Generation",
            (summary.generation > 1).then(|| summary.generation.to_string()),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Failure {
    fn of(line: &super::count::ErrorLine) -> Self {
        let words = [line.step.as_deref(), line.code.as_deref()];
        let subject: Vec<&str> = words.into_iter().flatten().collect();
        Self {
            subject: match subject.is_empty() {
                true => "The run".to_owned(),
                false => output::clean(&subject.join(" ")),
            },
            source: line.source.clone(),
            at: line.at.as_deref().map(output::clean).unwrap_or_default(),
            message: line.message.as_deref().map(lines).unwrap_or_default(),
        }
    }
}

impl BagLink {
    fn of(run_id: &str, path: &str, bag: ReportedBag<'_>, reports_dir: &Path) -> Self {
        Self {
            link: link(reports_dir, bag.path),
            path: output::clean(path),
            size: output::size(bag.size_bytes),
            digest: bag.digest.to_owned(),
            quoted_path: output::clean(&quoted(path)),
            quoted_run_id: output::clean(&quoted(run_id)),
        }
    }
}

/// `to` as a link from a page in `from`; the absolute path where they have nothing in common.
fn link(from: &Path, to: &Path) -> String {
    let shared = from
        .components()
        .zip(to.components())
        .take_while(|(one, other)| one == other);
    let shared = shared.count();
    if shared <= 1 {
        return to.to_string_lossy().into_owned();
    }
    let up = from.components().skip(shared).map(|_| "..".into());
    let down = to
        .components()
        .skip(shared)
        .map(|part| part.as_os_str().to_string_lossy());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=@".contains(character);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Control characters made visible, line by line.
fn lines(text: &str) -> String {
    text.lines().map(output::clean).collect::<Vec<_>>().join("\n")
}

/// For the templates: a moment in UTC, to the second.
pub(super) fn moment(at: &Millis) -> String {
    at.iso()
        .chars()
        .take(19)
        .map(|character| if character == 'T' { ' ' } else { character })
        .collect()
}

/// For the templates: foreign text, control characters made visible.
fn shown(text: &str) -> String {
    output::clean(text)
}

/// For the templates.
fn duration(span_ms: &i64) -> String {
    output::duration(*span_ms)
}

/// One line of the index.
pub(super) struct Listed {
    pub(super) run_id: String,
    pub(super) phase: String,
    pub(super) colour: Colour,
    pub(super) ended: Millis,
    pub(super) took_ms: i64,
    /// Its page, where it stands.
    pub(super) file: Option<String>,
}

#[derive(Template)]
#[template(path = "index.html")]
struct Index<'a> {
    runs: &'a [Listed],
}

/// The index as it stands in its file.
///
/// # Errors
/// As [`render`].
pub(super) fn render_index(runs: &[Listed]) -> askama::Result<Vec<u8>> {
    Index { runs }.render().map(String::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_from_the_page_to_the_bag() {
        for (from, to, expected) in [
            (
                "/srv/jobs/reports",
                "/srv/jobs/.archive/run 1",
                "../.archive/run 1",
            ),
            (
                "/srv/jobs/out/reports",
                "/srv/jobs/.archive/r",
                "../../.archive/r",
            ),
            ("/reports", "/archive/r", "/archive/r"),
        ] {
            assert_eq!(link(Path::new(from), Path::new(to)), expected);
        }
    }

    #[test]
    fn a_word_for_a_shell_can_t_become_a_command() {
        for (word, expected) in [
            ("run-1", "run-1"),
            ("-rf", "'-rf'"),
            ("", "''"),
            ("a; rm -rf $HOME", "'a; rm -rf $HOME'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
