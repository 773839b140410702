//! What a `[steps.NAME]` may say, and what is said of one that can't be.

use super::super::{FILE_NAME, Settings, Surroundings};
use super::*;

fn load(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
    let around = Surroundings {
        folder: folder.path().to_owned(),
        variables: BTreeMap::new(),
    };
    Settings::load(&[], None, &around).map_err(|error| error.to_string())
}

fn names(settings: &Settings) -> Vec<&str> {
    settings.steps.iter().map(|step| step.name.as_str()).collect()
}

#[test]
fn archive_then_report_are_built_in() {
    let settings = load("").unwrap();
    assert_eq!(names(&settings), ["archive", "report"]);
    assert_eq!(settings.steps[1].after, ["archive"]);
    assert_eq!(
        (&settings.steps[0].action, settings.steps[0].max_attempts),
        (&Action::Archive, 5)
    );
}

#[test]
fn a_step_stands_after_those_it_needs() {
    let settings = load(
        "[retry]\nmax_attempts = 9\n\
         [steps.archive]\nafter = ['collect']\nmax_attempts = 2\n\
         [steps.collect]\ncommand = ['collect', '{run_id}']\nenv = { RUN = '{run_id}' }\ncwd = 'tools'\n\
         [steps.report]\ncommand = ['orchestrator', 'report']\n",
    )
    .unwrap();
    assert_eq!(names(&settings), ["collect", "archive", "report"]);
    let attempts: Vec<u32> = settings.steps.iter().map(|step| step.max_attempts).collect();
    assert_eq!(attempts, [9, 2, 9]);
    let Action::Command(collect) = &settings.steps[0].action else {
        panic!("collect is no command")
    };
    assert_eq!(collect.cwd, settings.root.join("tools"));
    assert_eq!((collect.timeout_ms, collect.output_bytes), (600_000, 65_536));
    // Its command is replaced, its place in the chain is kept.
    assert!(matches!(settings.steps[2].action, Action::Command(_)));
    assert_eq!(settings.steps[2].after, ["archive"]);
}

#[test]
fn built_in_steps_and_commands_say_which_runs_they_are_for() {
    let settings = load(
        "[steps.archive]\non = ['failed', 'ARCHIVABLE']\n\
         [steps.a]\ncommand = ['x']\nrequire = false\nwhere = { id = 7, p = ['x', 'y'], big = true, r = 0.5 }\n",
    )
    .unwrap();
    let [archive, _, a] = settings.steps.as_slice() else {
        panic!("{:?}", names(&settings))
    };
    assert_eq!(archive.choice.on, ["failed", "ARCHIVABLE"]);
    assert!(archive.required && !a.required);
    let text = |text: &str| rusqlite::types::Value::Text(text.to_owned());
    let wanted = [
        ("big", vec![1.into()]),
        ("id", vec![7.into()]),
        ("p", vec![text("x"), text("y")]),
        ("r", vec![0.5.into()]),
    ];
    let wanted = wanted.map(|(column, values)| Condition {
        column: column.to_owned(),
        values,
    });
    assert_eq!(a.choice.conditions, wanted);
    let shown = settings
        .rows
        .iter()
        .find(|row| row.key == "steps.a.where")
        .unwrap();
    assert_eq!(
        shown.value,
        json!({ "big": 1, "id": 7, "p": ["x", "y"], "r": 0.5 })
    );
}

#[test]
fn a_chain_that_can_t_run_is_refused_by_name() {
    let cases = [
        (
            "[steps.archive]\nafter=['report']",
            "steps wait for each other: archive -> report -> archive",
        ),
        (
            "[steps.a]\ncommand=['x']\nafter=['a']",
            "steps wait for each other: a -> a",
        ),
        (
            "[steps.a]\ncommand=['x']\nafter=['archiv']",
            "steps.a.after names archiv, which is no step; did you mean archive?",
        ),
        ("[steps.a]\ncommand=[]", "steps.a.command is empty"),
        ("[steps.a]\nafter=['archive']", "step a has no command"),
        ("[steps.A]\ncommand=['x']", "step name \"A\" can't be used"),
        (
            "[steps.'../x']\ncommand=['x']",
            "step name \"../x\" can't be used",
        ),
        (
            "[steps.a]\ncommand=['x']\ntimeout=5",
            "toml:3:1: unknown key steps.a.timeout; did you mean timeout_ms?",
        ),
        (
            "[steps.a]\ncommand='x'",
            "toml:2:9: steps.a: invalid type: string",
        ),
        (
            "[steps.a]\ncommand=['x']\ntimeout_ms=0",
            "steps.a.timeout_ms is 0",
        ),
        (
            "[steps.archive]\ntimeout_ms=5",
            "has no meaning without steps.archive.command",
        ),
        ("[steps.a]\ncommand=['{run_id}']", "must not depend on the run"),
        ("[steps.a]\ncommand=['x','{runid}']", "{runid} stands for nothing"),
        (
            "[steps.a]\ncommand=['/bin/sh','-ec','rm {run_id}']",
            "the run id would become shell text",
        ),
        (
            "[steps.a]\ncommand=['x']\non=[]",
            "steps.a.on is empty, so that the step would never run; leave it out",
        ),
        (
            "[steps.archive]\non=['Active']",
            "steps.archive.on: no run is over as \"Active\"; use completed, failed",
        ),
        (
            "[steps.a]\ncommand=['x']\nwhere={x=[]}",
            "steps.a.where.x is an empty list",
        ),
        (
            "[steps.a]\ncommand=['x']\nwhere={x={y=1}}",
            "a value of `where` must be a string, a number, a bool or a list of those",
        ),
        (
            "[steps.a]\ncommand=['x']\nrequires=false",
            "unknown key steps.a.requires; did you mean require?",
        ),
        (
            "[steps.a]\ncommand=['x']\nenv={'A=B'='c'}",
            "\"A=B\" can't be a variable",
        ),
    ];
    for (text, expected) in cases {
        let error = load(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn braces_that_are_not_ours_are_left_alone() {
    for argument in ["{}", "${name}", "{\"a\": 1}", "{run_id}", "x{step}y", "{", "'$1'"] {
        let text = format!("[steps.a]\ncommand = ['sh', '-c', 'true', '''{argument}''']");
        assert!(load(&text).is_ok(), "{argument}: {:?}", load(&text));
    }
}

#[test]
fn secrets_of_the_environment_are_not_shown() {
    let settings = load("[steps.a]\ncommand=['x']\nenv={TOKEN='hunter2'}").unwrap();
    let shown = format!("{:?}", settings.rows);
    assert!(shown.contains("TOKEN") && !shown.contains("hunter2"));
}
