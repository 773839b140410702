//! What the command line accepts, and how it helps.

use super::*;

fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::read(
        std::iter::once("runchain")
            .chain(arguments.iter().copied())
            .map(OsString::from),
    )
}

#[test]
fn the_command_line_is_well_formed() {
    command().debug_assert();
}

#[test]
fn any_run_id_is_accepted_as_a_value() {
    let long = "x".repeat(300);
    for id in [
        "--help",
        "-x",
        "--",
        "-",
        "",
        "../x",
        "a/b",
        "--run",
        "--json",
        "two words",
        "🦀",
        "a\nb",
        &long,
    ] {
        let glued = format!("--run={id}");
        for arguments in [vec!["archive", "--run", id], vec!["finish", glued.as_str()]] {
            let cli = read(&arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            let (Command::Archive(run) | Command::Finish(run)) = cli.command else {
                panic!("{arguments:?} became another command");
            };
            assert_eq!(run.run_id, id);
            assert!(!cli.global.json);
        }
        let Command::Show(show) = read(&["show", "--", id]).unwrap().command else {
            panic!("show became another command");
        };
        assert_eq!(show.id, id);
        let Command::Retry(retry) = read(&["retry", "--reason", "-because", "--", id])
            .unwrap()
            .command
        else {
            panic!("retry became another command");
        };
        assert_eq!(
            (retry.id.as_str(), retry.reason.as_deref()),
            (id, Some("-because"))
        );
    }
}

#[test]
fn options_of_every_command_may_stand_before_and_after_its_name() {
    for arguments in [
        ["--db", "x.db", "--json", "status"],
        ["status", "--json", "--db", "x.db"],
    ] {
        let cli = read(&arguments).unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.flags()[0].text, "x.db");
    }
}

#[test]
fn a_typo_suggests_the_right_word() {
    assert!(read(&["instal"]).unwrap_err().to_string().contains("'install'"));
    assert!(
        read(&["drain", "--until-idl"])
            .unwrap_err()
            .to_string()
            .contains("'--until-idle'")
    );
    assert_eq!(
        read(&["drain", "--once", "--until-idle"])
            .unwrap_err()
            .exit_code(),
        2
    );
}

#[test]
fn every_help_shows_examples_before_the_usage() {
    fn check(mut command: clap::Command) {
        let help = command.render_long_help().to_string();
        let examples = help.find("Examples:\n  runchain ");
        assert!(examples.is_some() && examples < help.find("Usage:"), "{help}");
        // clap's own `help` has none.
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            check(sub.clone());
        }
    }
    check(command());
}

#[test]
fn help_lists_every_exit_code() {
    let help = command().render_long_help().to_string();
    for exit in Exit::ALL {
        assert!(help.contains(&format!("{:>3}  ", exit.code())), "{exit:?}");
    }
}
