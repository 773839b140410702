//! `docs/steps.md` says what is: its examples are right, its tables are complete.

use super::{end_as, field};
use crate::support::{Project, repository};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn page() -> String {
    fs::read_to_string(repository().join("docs/steps.md")).unwrap()
}

/// What stands between fences of a language.
fn blocks(language: &str) -> Vec<String> {
    let page = page();
    let fence = format!("```{language}\n");
    let after = page.split(&fence).skip(1);
    after
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The words in backquotes of the first column of the table below a heading of its first row.
fn column(heading: &str) -> BTreeSet<String> {
    let page = page();
    let table = page.split(&format!("| {heading} |")).nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|line| {
        line.split('|')
            .nth(1)
            .unwrap()
            .trim()
            .trim_matches('`')
            .to_owned()
    });
    cells.collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_example_of_the_page_passes_config_check() {
    let blocks = blocks("toml");
    assert_eq!(blocks.len(), 2);
    let file = fs::read_to_string(repository().join("examples/runchain.toml")).unwrap();
    assert_eq!(blocks[1], file, "the page shows the file");
    for block in blocks {
        let project = Project::installed("");
        // The programs that a user would have.
        fs::create_dir(project.path("bin")).unwrap();
        for name in ["bin/rclone", "bin/python3", "page.sh"] {
            fs::write(project.path(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(project.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        project.configure(&block);
        let mut check = project.command(&["config", "check"]);
        let output = check.env("PATH", project.path("bin")).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_page_lists_every_key() {
    let project = Project::installed("[steps.x]\ncommand = ['true']\n");
    let shown = project.runchain(&["config", "show", "--json"]).exits(0).json();
    let keys = shown["settings"].as_array().unwrap().iter();
    let of_step = keys.filter_map(|row| row["key"].as_str()?.strip_prefix("steps.x."));
    assert_eq!(column("key"), of_step.map(str::to_owned).collect());
}

#[test]
fn the_page_lists_every_variable_and_every_member_of_the_document() {
    let project = Project::installed(
        "[steps.x]\ncommand = ['sh', '-c', 'env > env.txt; cat > stdin.json']\nafter = ['archive', 'report']\n",
    );
    end_as(&project, "r", "FAILED");
    project.runchain(&["finish", "--run", "r"]).exits(0);
    let env = fs::read_to_string(project.path("env.txt")).unwrap();
    let names = env.lines().filter_map(|line| Some(line.split_once('=')?.0));
    let ours = names.filter(|name| name.starts_with("RUNCHAIN_"));
    assert_eq!(column("variable"), ours.map(str::to_owned).collect());

    let members = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let shown: Value = serde_json::from_str(&blocks("json")[0]).unwrap();
    let told: Value = serde_json::from_slice(&fs::read(project.path("stdin.json")).unwrap()).unwrap();
    assert_eq!(members(&shown), members(&told));
    assert_eq!(members(&shown["database"]), members(&told["database"]));
    for member in members(&shown["results"]["archive"]) {
        assert!(told["results"]["archive"].get(&member).is_some(), "{member}");
    }
}

#[test]
fn the_page_s_exit_codes_are_those_that_mean_something() {
    // Ends with its run's id as the code, but for its fifth start.
    let script = r#"echo x >> "starts-$RUNCHAIN_RUN_ID"; [ $(wc -l < "starts-$RUNCHAIN_RUN_ID") = 5 ] || exit $RUNCHAIN_RUN_ID"#;
    let project = Project::installed(&format!(
        "[steps.x]\ncommand = ['sh', '-c', '''{script}''']\nmax_attempts = 2\n"
    ));
    let codes: Vec<u32> = (0..=255)
        .filter(|code| *code < 4 || (60..=80).contains(code) || *code > 253)
        .collect();
    for code in &codes {
        end_as(&project, &code.to_string(), "FAILED");
    }
    project.runchain(&["drain", "--until-idle"]).exits(0);
    let mut found: [BTreeSet<String>; 3] = Default::default();
    for code in codes.iter().map(u32::to_string) {
        let starts = fs::read_to_string(project.path(&format!("starts-{code}"))).unwrap();
        let state = field(&project, &code, "x", "state");
        match (state.as_str(), starts.lines().count()) {
            ("done", 1) => found[0].insert(code),
            ("done", 5) => found[1].insert(code),
            ("dead", 1) => found[2].insert(code),
            other => {
                assert_eq!(other, ("dead", 2), "{code}");
                true
            }
        };
    }
    assert_eq!(found, [set(&["0"]), set(&["75"]), set(&["64", "65", "77", "78"])]);
    let listed = column("exit code");
    assert_eq!(
        listed,
        set(&["0", "75", "64, 65, 77, 78", "any other, or a signal"])
    );
}
