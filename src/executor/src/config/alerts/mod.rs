//! `[alerts]` and `[deadman]`: what is an alert, who hears of it, and who hears that all is well.
//!
//! Rules go into the database, where an ingest by SQL finds them; channels and secrets stay in the file:
//! nothing that stands in the database can reach a URL. What does not belong here: sending.

mod channel;
mod deadman;
mod endpoint;
mod rule;
mod secret;

pub(super) use channel::CHANNELS;
pub(crate) use channel::{Channel, Kind};
pub(super) use deadman::DEADMAN;
pub(crate) use deadman::DeadMan;
pub(crate) use endpoint::Endpoint;
pub(super) use rule::RULES;
pub(crate) use secret::{Secret, is_http};

use super::error::Problem;
use super::file::{File, Located};
use super::layers::{Gathered, Layers};
use super::reading::Reading;
use super::{Row, Source};
use runchain_core::alert::rule::Rule;
use serde_json::Value;
use std::collections::BTreeSet;

/// The page that shows these tables.
const PAGE: &str = "docs/alerts.md";

/// What the file says about alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Alerts {
    /// Rules about events, and changes to built-in ones.
    pub(crate) rules: Vec<Rule>,
    /// Where alerts are sent.
    pub(crate) channels: Vec<Channel>,
    /// Who is told that work goes on.
    pub(crate) deadman: Option<DeadMan>,
}

impl Alerts {
    /// The credentials of the service manager that are named, each once.
    pub(crate) fn credentials(&self) -> Vec<String> {
        let channels = self.channels.iter().filter_map(Channel::endpoint);
        let endpoints = channels.chain(self.deadman.as_ref().map(|deadman| &deadman.endpoint));
        let secrets = endpoints.flat_map(|endpoint| std::iter::once(&endpoint.url).chain(&endpoint.token));
        let names: BTreeSet<&str> = secrets.filter_map(Secret::credential).collect();
        names.into_iter().map(str::to_owned).collect()
    }
}

/// Reads all of it; what is wrong becomes a problem, and the rest holds.
pub(super) fn resolve(layers: &Layers<'_>, gathered: &mut Gathered) -> Alerts {
    let Some(file) = layers.file else {
        return Alerts::default();
    };
    let mut alerts = Alerts::default();
    for (name, value) in &file.alert_rules {
        if let Some(rule) = kept(rule::read(file, name, value), gathered) {
            gathered.rows.push(row(
                file,
                value,
                format!("alerts.rules.{name}"),
                rule::shown(&rule),
            ));
            alerts.rules.push(rule);
        }
    }
    for (name, value) in &file.alert_channels {
        if let Some(channel) = kept(channel::read(file, name, value, layers.root), gathered) {
            let key = format!("alerts.channels.{name}");
            gathered.rows.push(row(file, value, key, channel.shown()));
            alerts.channels.push(channel);
        }
    }
    if let Some(value) = &file.deadman
        && let Some(deadman) = kept(deadman::read(file, value, layers.root), gathered)
    {
        gathered
            .rows
            .push(row(file, value, "deadman".to_owned(), deadman.shown()));
        alerts.deadman = Some(deadman);
    }
    alerts
}

fn kept<T>(read: Result<T, Problem>, gathered: &mut Gathered) -> Option<T> {
    read.map_err(|problem| gathered.problems.push(problem)).ok()
}

fn row(file: &File<'_>, value: &Located<'_>, key: String, shown: Value) -> Row {
    Row {
        key,
        value: shown,
        source: Source::File {
            path: file.path().to_owned(),
            line: file.line(&value.span()),
        },
    }
}

/// A name that can stand in URLs, labels and file names.
fn check_name(reading: &Reading<'_, '_>, name: &str) -> Result<(), Problem> {
    let is_fine = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_fine {
        return Ok(());
    }
    Err(reading.problem(
        "the name can't be used",
        "use letters, digits, '.', '_' and '-', at most 64 of them",
    ))
}

#[cfg(test)]
mod tests;
