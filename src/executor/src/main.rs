//! The companion executor of runchain.

// Temporary: the commands that use all of it follow.
#![allow(dead_code, unused_imports)]

mod cli;
mod config;
mod exit;
mod open;
mod output;

use cli::{Cli, Command, ConfigCommand};
use config::{Settings, Surroundings};
use exit::Exit;
use open::{OpenMode, open_state, required_tables};
use output::Output;
use runchain_core::Millis;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let output = Output::new(&cli.global);
    run(&cli, &output).into()
}

fn run(cli: &Cli, output: &Output) -> Exit {
    let fails = |error: &dyn std::fmt::Display, exit: Exit| {
        // Nothing is left to say it to when standard error is closed.
        let _ = output.error(error, exit.code());
        exit
    };
    let loaded = Surroundings::of_process()
        .and_then(|around| Settings::load(&cli.flags(), cli.global.config.as_deref(), &around));
    let settings = match loaded {
        Ok(settings) => settings,
        Err(error) => return fails(&error, Exit::ConfigInvalid),
    };
    match &cli.command {
        Command::Config(arguments) => {
            let shown = match arguments.command {
                ConfigCommand::Show => config::show(&settings, output),
                ConfigCommand::Check => config::say_ok(&settings, output),
            };
            shown.map_or_else(|error| fails(&error, Exit::Failed), |()| Exit::Ok)
        }
        Command::Validate => {
            let checked = open_state(&settings.state_db_path, OpenMode::ReadOnly)
                .and_then(|conn| required_tables(&conn, &settings.required_tables));
            match checked {
                Ok(()) => Exit::Ok,
                Err(error) => {
                    open::log_failure(&settings, &error, Millis::now());
                    fails(&error, error.exit())
                }
            }
        }
        _ => fails(&"not yet", Exit::Failed),
    }
}
