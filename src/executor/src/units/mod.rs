//! Files for systemd, as text: units for one database and for many, what each instance has of its own,
//! and the lines of sysusers and tmpfiles that they need.
//!
//! Invariant: what is written passes `systemd-analyze verify`, names no secret, and can be written again
//! with the same result. What does not belong here: writing, starting.

mod layout;
mod text;

use crate::cli::UnitArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use layout::Layout;
use std::path::PathBuf;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitFile {
    /// Where it belongs.
    pub(crate) path: PathBuf,
    /// What stands in it.
    pub(crate) text: String,
    /// Once it is there it is the user's: it is never replaced.
    pub(crate) is_users: bool,
}

/// Whose service manager it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The machine's.
    System,
    /// The caller's own.
    User,
}

impl Place {
    /// As the command line says.
    pub(crate) fn of(unit: &UnitArgs) -> Self {
        if unit.user { Self::User } else { Self::System }
    }
}

/// The files for what the command line asks for.
///
/// # Errors
/// A name that no unit can have; a program or a home folder that can't be told.
pub(crate) fn files(unit: &UnitArgs, settings: &Settings) -> Outcome<Vec<UnitFile>> {
    if let Some(name) = &unit.instance
        && !is_instance(name)
    {
        return Err(Failure::new(
            Exit::Usage,
            format!("{name:?} can't be an instance of a unit; use letters, digits, dots, _ and -"),
        ));
    }
    let layout = Layout::of(unit, settings)?;
    Ok(match &unit.instance {
        None => layout.of_one(),
        Some(name) => layout.of_many(name),
    })
}

/// What a person types next.
pub(crate) fn next_steps(unit: &UnitArgs, place: Place) -> Vec<String> {
    let name = match &unit.instance {
        Some(name) => format!("runchain@{name}.service"),
        None => "runchain.service".to_owned(),
    };
    let systemctl = match place {
        Place::System => "systemctl",
        Place::User => "systemctl --user",
    };
    let mut lines = Vec::new();
    if place == Place::System && unit.instance.is_some() {
        lines.push("next: systemd-sysusers && systemd-tmpfiles --create".to_owned());
    }
    lines.push(format!(
        "next: {systemctl} daemon-reload && {systemctl} enable --now {name}"
    ));
    lines
}

fn is_instance(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
