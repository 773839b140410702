//! `runchain completions` and `runchain man`: made from the command line itself. Neither needs a
//! configuration or a database.

use crate::cli::{self, CompletionsArgs, ManArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use clap_mangen::Man;
use std::io::{self, Write};
use std::path::Path;

pub(super) fn completions(arguments: &CompletionsArgs) -> Outcome<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::command(), "runchain", &mut script);
    written(io::stdout().write_all(&script))
}

pub(super) fn man(arguments: &ManArgs, output: &Output) -> Outcome<Exit> {
    let command = examples_told(cli::command().disable_help_subcommand(true));
    let Some(dir) = &arguments.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return written(io::stdout().write_all(&page));
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!(
                    "can't write manual pages to {}: {error}; name a folder of yours",
                    dir.display()
                ),
            )
        })?;
    output.line(&format!("manual pages written to {}", shown(dir)))?;
    Ok(Exit::Ok)
}

/// A manual page has no place before its help: the examples stand at its end, with what is there.
fn examples_told(command: clap::Command) -> clap::Command {
    let told: Vec<String> = [command.get_before_help(), command.get_after_help()]
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    command
        .after_help(told.join("\n\n"))
        .mut_subcommands(examples_told)
}

fn shown(dir: &Path) -> String {
    dir.display().to_string()
}

/// Who reads may stop early.
fn written(result: io::Result<()>) -> Outcome<Exit> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Ok),
    }
}
