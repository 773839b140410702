//! Precedence, places and suggestions of the configuration.

use super::*;

fn around(folder: &Path, variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        folder: folder.to_owned(),
        variables: variables
            .iter()
            .map(|&(name, text)| (name.to_owned(), text.into()))
            .collect(),
    }
}

fn flag(key: &'static str, name: &'static str, text: &str) -> Flag {
    Flag {
        name,
        key,
        text: text.into(),
    }
}

#[test]
fn each_layer_beats_the_ones_below_it_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let read = |flags: &[Flag], variables: &[(&str, &str)]| {
        let settings = Settings::load(flags, None, &around(folder.path(), variables)).unwrap();
        (
            settings.workers,
            settings.source_of("workers").unwrap().to_string(),
        )
    };
    assert_eq!(read(&[], &[]), (4, "default".into()));
    std::fs::write(folder.path().join(FILE_NAME), "\nworkers = 5\n").unwrap();
    let (workers, place) = read(&[], &[]);
    assert_eq!(workers, 5);
    assert!(place.ends_with("/runchain.toml:2"), "{place}");
    let environment = [("RUNCHAIN_WORKERS", "6")];
    assert_eq!(
        read(&[], &environment),
        (6, "environment RUNCHAIN_WORKERS".into())
    );
    assert_eq!(
        read(&[flag("workers", "--workers", "7")], &environment),
        (7, "flag --workers".into())
    );
    // An empty variable is an unset one.
    assert_eq!(read(&[], &[("RUNCHAIN_WORKERS", "")]).0, 5);
}

#[test]
fn relative_paths_start_where_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    std::fs::create_dir_all(project.join(".state")).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let named = [flag("state_db_path", "--db", "../project/.state/x.db")];

    // No file: beside `.state`.
    let read = |flags: &[Flag], variables: &[(&str, &str)]| {
        Settings::load(flags, None, &around(&elsewhere, variables)).unwrap()
    };
    let settings = read(&named, &[("RUNCHAIN_REPORTS_DIR", "out")]);
    assert_eq!(settings.root, elsewhere.join("../project"));
    assert_eq!(settings.state_db_path, elsewhere.join("../project/.state/x.db"));
    assert_eq!(settings.archive_dir, elsewhere.join("../project/.archive"));
    assert_eq!(settings.reports_dir, elsewhere.join("out"));
    // No `.state`: the database's folder.
    assert_eq!(
        read(&[flag("state_db_path", "--db", "/data/x.db")], &[]).logs_dir,
        Path::new("/data/logs")
    );
    // Nothing named: the current folder.
    assert_eq!(
        read(&[], &[]).state_db_path,
        elsewhere.join(".state/orchestration.db")
    );

    // A file beside `.state`: its folder, also for the database that it names.
    std::fs::write(
        project.join(FILE_NAME),
        "archive_dir = 'bags'\nlogs_dir = '/var/log/x'\n",
    )
    .unwrap();
    let settings = read(&named, &[]);
    assert_eq!(
        settings.file.as_deref(),
        Some(elsewhere.join("../project/runchain.toml").as_path())
    );
    assert_eq!(settings.archive_dir, elsewhere.join("../project/bags"));
    assert_eq!(settings.logs_dir, Path::new("/var/log/x"));
    let settings = read(&[], &[("RUNCHAIN_CONFIG", "../project/runchain.toml")]);
    assert_eq!(
        settings.state_db_path,
        elsewhere.join("../project/.state/orchestration.db")
    );
}

#[test]
fn every_wrong_value_is_said_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "workers = 'four'\n[retry]\nbase_ms = 9\ncap_ms = 8\nmax_attempts = 0\n[monitor]\nheartbeat = 5\n";
    std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
    let environment = [("RUNCHAIN_LEASE_MS", "soon")];
    let error = Settings::load(&[], None, &around(folder.path(), &environment))
        .unwrap_err()
        .to_string();
    for part in [
        "runchain.toml:1:11: workers must be a whole number, not a string",
        "runchain.toml:3: retry.base_ms is 9, more than retry.cap_ms, which is 8",
        "runchain.toml:5:16: retry.max_attempts is 0",
        "runchain.toml:7:1: unknown key monitor.heartbeat; did you mean heartbeat_ms?",
        "environment RUNCHAIN_LEASE_MS: lease_ms must be a whole number, not \"soon\"",
    ] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let says = |text: &str| {
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        Settings::load(&[], None, &around(folder.path(), &[]))
            .unwrap_err()
            .to_string()
    };
    assert!(says("wrokers = 2").contains("runchain.toml:1:1: unknown key wrokers; did you mean workers?"));
    assert!(says("[retri]\nbase_ms = 1").contains("did you mean retry?"));
    assert!(says("settle_ms = 1").contains("it belongs into [archive]"));
    assert!(says("zzz = 1").contains("known keys: "));
    assert!(says("a = = 1").contains("runchain.toml:1:5: "));
    assert!(says("[archive]\nfiles = 'x'").contains("archive.files must be a list of strings, not a string"));
    assert!(
        says("[archive]\nfiles = ['a/*.log', 'b[']")
            .contains("runchain.toml:2: archive.files: error parsing glob 'b['")
    );
    assert!(says("retry = 1").contains("retry must be a table, not an integer"));
}

#[test]
fn a_variable_that_is_nearly_a_key_is_noted() {
    let around = around(
        Path::new("/nowhere"),
        &[("RUNCHAIN_WORKER", "3"), ("RUNCHAIN_RUN_ID", "r")],
    );
    let settings = Settings::load(&[], None, &around).unwrap();
    assert_eq!(
        settings.notes,
        ["RUNCHAIN_WORKER sets nothing; did you mean RUNCHAIN_WORKERS?"]
    );
}

#[test]
fn no_two_keys_share_a_variable() {
    let variables: std::collections::HashSet<String> =
        NAMES.iter().map(|key| layers::variable_of(key)).collect();
    assert_eq!(variables.len(), NAMES.len());
    assert!(!variables.contains("RUNCHAIN_CONFIG"));
}

#[test]
fn a_named_file_must_be_there() {
    let error = Settings::load(
        &[],
        Some(Path::new("no.toml")),
        &around(Path::new("/nowhere"), &[]),
    )
    .unwrap_err();
    assert!(error.to_string().contains("/nowhere/no.toml"), "{error}");
}
