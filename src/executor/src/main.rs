//! `runchain`: the companion executor of the runchain extension.
//!
//! `main` reads as the pipeline: command line, settings, command, exit code. Each command is a file
//! of its own below `commands`; the service itself is `drain`.

mod actor;
mod archive;
mod changes;
mod cli;
mod command;
mod commands;
mod config;
mod courier;
mod disk;
mod door;
mod drain;
mod exit;
mod failure;
mod fault;
mod folder;
mod follow;
mod health;
mod identity;
mod log;
mod metrics;
mod monitor;
mod open;
mod other_user;
mod output;
mod projector;
mod pulse;
mod redact;
mod report;
mod retention;
mod service_manager;
mod step;
mod tui;
mod units;
mod wake;

use cli::Cli;
use config::{Settings, Surroundings};
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A part of the executor, not a command: it takes no settings and opens no database.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == command::SUBCOMMAND)
    {
        return command::supervise();
    }
    // In a container, before anything can take its time. Where it fails, the main loop tries again and tells.
    if std::env::args_os().skip(1).any(|word| word == "drain") {
        let _ = command::init::begin();
    }
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let output = Output::new(&cli.global);
    let load = || {
        Surroundings::of_process()
            .and_then(|around| Settings::load(&cli.flags(), cli.global.config.as_deref(), &around))
    };
    let outcome = match load() {
        Ok(settings) => commands::run(&cli.command, settings, &load, &output),
        Err(error) => {
            commands::run_without_settings(&cli.command, &error, &output).unwrap_or_else(|| Err(error.into()))
        }
    };
    match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            let log = log::Log::of_environment();
            if cli.is_service() && log.is_for_machines() && !output.json {
                log.error(&failure.message);
            } else {
                // Nothing is left to say it to when standard error is closed.
                let _ = output.error(&failure, failure.exit.code());
            }
            failure.exit
        }
    }
    .into()
}
