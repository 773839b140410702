//! `runchain health`: one line and an exit code, for probes.

use super::moment::span_ms;
use crate::cli::HealthArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::health::{self, Health};
use crate::output::{Output, paint};
use runchain_core::Millis;
use runchain_core::explain::count;

pub(super) fn health(arguments: &HealthArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let max_age_ms = span_ms("--max-age", &arguments.max_age)?;
    let found = health::look(settings, max_age_ms, Millis::now());
    if output.json {
        output.json_line(&found)?;
    } else {
        let (word, style) = if found.healthy {
            ("healthy", paint::GOOD)
        } else {
            ("unhealthy", paint::BAD)
        };
        output.one_line(word, style, &told(&found))?;
    }
    Ok(if found.healthy { Exit::Ok } else { Exit::Unhealthy })
}

/// What is wrong; where nothing is, what to know all the same.
fn told(found: &Health) -> String {
    let wrong: Vec<&str> = found
        .checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| check.found.as_str())
        .collect();
    if !wrong.is_empty() {
        return wrong.join("; ");
    }
    let number = |number: Option<i64>, thing| {
        number
            .filter(|number| *number > 0)
            .map(|number| count(number, thing))
    };
    let told = [
        Some("an executor is alive, nothing is late".to_owned()),
        number(found.dead_steps, "dead step"),
        number(found.alerts_firing, "firing alert"),
    ];
    let told: Vec<String> = told.into_iter().flatten().collect();
    told.join(", ")
}
