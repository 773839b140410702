//! The pages of the documentation that promise something.

use crate::support::repository;
use std::fs;
use std::path::Path;

/// Names of all tests below a folder, as the suite lists them: modules by file, `mod.rs` and the folder's
/// own file alike.
fn tests_below(folder: &Path, module: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner = if module.is_empty() {
            stem.to_owned()
        } else {
            format!("{module}::{stem}")
        };
        if path.is_dir() {
            tests_below(&path, &inner, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let inner = if stem == "mod" { module } else { &inner };
            let text = fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("#[test]") {
                let name = text[at..].split("fn ").nth(1).unwrap();
                let name = name.split('(').next().unwrap();
                found.push(format!("{inner}::{name}"));
            }
        }
    }
}

#[test]
fn every_promise_for_production_names_tests_that_exist() {
    let mut tests = Vec::new();
    tests_below(&repository().join("tests"), "", &mut tests);
    let page = fs::read_to_string(repository().join("docs/production.md")).unwrap();
    let (promises, _) = page.split_once("## What it does not promise").unwrap();
    let mut checked = 0;
    for promise in promises.lines().filter(|line| line.starts_with("- ")) {
        let names = promise.split('`').skip(1).step_by(2);
        let names: Vec<&str> = names.filter(|word| word.contains("::")).collect();
        assert!(!names.is_empty(), "no test is named: {promise}");
        for name in names {
            assert!(tests.iter().any(|test| test == name), "there is no test {name}");
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} tests are named");
}
