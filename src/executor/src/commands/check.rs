//! `runchain config check`: everything that can be said about a configuration before it is used.
//!
//! The database is only read, and need not be there.

use crate::config::{self, ConfigError, Known, Settings};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::open::{self, OpenMode};
use crate::output::Output;

pub(super) fn check(settings: &Settings, output: &Output) -> Outcome<Exit> {
    let mut settings = settings.clone();
    let mut problems = config::programs(&settings);
    problems.extend(config::folders(&settings));
    match known(&settings) {
        Ok(known) => problems.extend(config::unknown_words(&settings, &known)),
        Err(reason) if settings.steps.iter().any(asks_the_database) => {
            settings.notes.push(format!(
                "`on` and `where` were not compared with the database: {reason}"
            ));
        }
        Err(_) => {}
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems }.into());
    }
    config::say_ok(&settings, output)?;
    Ok(Exit::Ok)
}

fn asks_the_database(step: &config::Step) -> bool {
    !step.choice.on.is_empty() || !step.choice.conditions.is_empty()
}

/// What the database knows, or why it can't be asked.
fn known(settings: &Settings) -> Result<Known, String> {
    let conn =
        open::open_state(&settings.state_db_path, OpenMode::ReadOnly).map_err(|error| error.to_string())?;
    Known::of(&conn).map_err(|error| error.to_string())
}
