//! What is generated from the list of keys: the reference and the JSON Schema; and what `config check` says
//! about folders.

use crate::support::{Project, SHAPE_A, everybodys_runchain, monitoring, repository, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn the_reference_is_current() {
    let project = Project::new(SHAPE_A, "");
    let page = project.runchain(&["config", "reference"]).exits(0).stdout;
    let kept = fs::read_to_string(repository().join("docs/configuration.md")).unwrap_or_default();
    assert!(
        page == kept,
        "docs/configuration.md is not what the keys say; run: runchain config reference > docs/configuration.md"
    );
}

#[test]
fn every_key_that_is_shown_stands_in_reference_and_schema() {
    let project = Project::new(
        SHAPE_A,
        "[steps.up]\ncommand = ['true']\n[[flags]]\ntable = 'events'",
    );
    let shown = project.runchain(&["config", "show", "--json"]).exits(0).json();
    let page = project.runchain(&["config", "reference"]).exits(0).stdout;
    let schema = project.runchain(&["config", "schema"]).exits(0).json();
    let mut keys = 0;
    for row in shown["settings"].as_array().unwrap() {
        let key = row["key"].as_str().unwrap();
        let words: Vec<&str> = key.split('.').collect();
        if key.starts_with("flags.")
            || key.starts_with("ingest.mappings.")
            || key.starts_with("steps.archive")
            || key.starts_with("steps.report")
        {
            continue;
        }
        keys += 1;
        let last = words.last().unwrap();
        assert!(
            page.contains(&format!("| `{last}`")),
            "{key} isn't in the reference"
        );
        let found = words
            .iter()
            .fold(&schema, |at, word| match &at["additionalProperties"] {
                Value::Object(one) if at["properties"].is_null() => one
                    .get("properties")
                    .map_or(&Value::Null, |_| &at["additionalProperties"]),
                _ => &at["properties"][*word],
            });
        assert!(!found.is_null(), "{key} isn't in the schema");
    }
    assert!(keys > 50);
}

/// Validates TOML texts, which a blank line of `#` separates, against the schema on standard input's first line.
const VALIDATE: &str = r"
import json, sys, tomllib, jsonschema
schema = json.loads(sys.stdin.readline())
validator = jsonschema.Draft202012Validator
validator.check_schema(schema)
for text in sys.stdin.read().split('\0'):
    errors = [error.message for error in validator(schema).iter_errors(tomllib.loads(text))]
    print(json.dumps(errors))
";

/// The first block of TOML of a page.
fn first_toml(page: &str) -> &str {
    let (_, rest) = page.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_schema_takes_the_documented_files_and_refuses_what_config_check_refuses() {
    let project = Project::new(SHAPE_A, "");
    let schema = project.runchain(&["config", "schema"]).exits(0).json();
    let root = repository();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let from_readme = first_toml(&readme);
    let steps = fs::read_to_string(root.join("docs/steps.md")).unwrap();
    let from_steps = first_toml(&steps);
    let example = fs::read_to_string(root.join("examples/runchain.toml")).unwrap();
    let good = [
        from_readme,
        from_steps,
        &example,
        "",
        "[[flags]]\ntable = 'events'\nwords = { X = 'failed' }",
    ];
    let bad = [
        ("wrokers = 2", "'wrokers'"),
        ("workers = 'two'", "'two' is not of type 'integer'"),
        ("workers = 0", "less than the minimum"),
        ("capture = 'magic'", "'magic' is not one of"),
        ("[monitor]\nheartbeat = 1", "'heartbeat'"),
        ("[steps.up]\ncomand = ['x']", "'comand'"),
        ("[steps.up]\ncommand = 'x'", "'x' is not of type 'array'"),
        ("[[flags]]\nrun_id = 'x'", "'table' is a required property"),
    ];
    let texts: Vec<&str> = good.into_iter().chain(bad.map(|(text, _)| text)).collect();
    let mut python = Command::new(monitoring("RUNCHAIN_TEST_JSONSCHEMA"));
    let said = run(
        python.args(["-c", VALIDATE]),
        &format!("{schema}\n{}", texts.join("\0")),
    )
    .output();
    let errors: Vec<Vec<String>> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(errors.len(), texts.len());
    for (text, errors) in good.iter().zip(&errors) {
        assert_eq!(errors, &[""; 0], "{text}");
    }
    for ((text, wanted), errors) in bad.iter().zip(&errors[good.len()..]) {
        assert!(
            errors.len() == 1 && errors[0].contains(wanted),
            "{text}: {errors:?}"
        );
        project.configure(text);
        project.runchain(&["config", "check"]).exits(3);
    }
}

#[test]
fn folders_that_can_t_be_written_are_found_before_work_is() {
    let project = Project::new(SHAPE_A, "archive_dir = 'blocked/bags'");
    fs::write(project.path("blocked"), "").unwrap();
    let ran = project.runchain(&["config", "check"]).exits(3);
    assert!(
        ran.stderr.contains("archive_dir: ") && ran.stderr.contains("blocked is no folder"),
        "{}",
        ran.stderr
    );

    // Root may write everywhere: somebody else asks.
    let project = Project::new(SHAPE_A, "reports_dir = 'closed/reports'");
    fs::create_dir(project.path("closed")).unwrap();
    fs::set_permissions(project.path("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    for path in ["", "logs", ".archive", ".state"] {
        let path = project.path(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut nobody = Command::new("setpriv");
    nobody
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(everybodys_runchain())
        .args(["config", "check"])
        .current_dir(project.root());
    let said = run(&mut nobody, "").stderr;
    assert!(said.contains("reports_dir: "), "{said}");
    assert!(said.contains("can't be made in"), "{said}");
    assert!(
        said.contains("state_db_path: nothing can be written into"),
        "{said}"
    );
}
