//! Whose environment a command would inherit from: the service's, where one runs here, for a command that
//! only shows what would be called.

use std::collections::BTreeMap;
use std::fs;

/// The environment that variables are taken from.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// This process's.
    Own,
    /// That of a service, as it was started.
    Service {
        /// Its process.
        pid: u32,
        /// Its variables.
        variables: BTreeMap<String, String>,
    },
}

impl Inherited {
    /// That of an executor on this machine. `None` where it may not be read, or the process is no executor
    /// of ours (any more).
    pub(crate) fn of_service(pid: u32) -> Option<Self> {
        let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).ok();
        let arguments = read("cmdline")?;
        let mut words = arguments.split(|byte| *byte == 0);
        let is_ours = words.next()?.ends_with(b"runchain") && words.any(|word| word == b"drain");
        if !is_ours {
            return None;
        }
        let environment = read("environ")?;
        let variables = environment.split(|byte| *byte == 0).filter_map(|variable| {
            let text = std::str::from_utf8(variable).ok()?;
            let (name, value) = text.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Some(Self::Service {
            pid,
            variables: variables.collect(),
        })
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Own => std::env::var(name).ok(),
            Self::Service { variables, .. } => variables.get(name).cloned(),
        }
    }
}
