//! The migration tools that `scripts/tools` finds or installs.

use super::build::{repository, target};
use super::programs::{Finished, python_program, run};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Python with Alembic, SQLAlchemy and Django to import, in a folder.
pub(crate) fn python_tools(folder: &Path) -> Command {
    let mut command = Command::new(python_program());
    command
        .current_dir(folder)
        .env("PYTHONPATH", tool("RUNCHAIN_TEST_MIGRATIONS_PYTHON"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A script of a package of Node's, in a folder; `script` is relative to `node_modules`.
pub(crate) fn node_tool(folder: &Path, script: &str) -> Command {
    let mut command = Command::new(tool("RUNCHAIN_TEST_NODE"));
    command
        .current_dir(folder)
        .arg(node_modules().join(script))
        // No telemetry, no news.
        .env("CHECKPOINT_DISABLE", "1")
        .env("PRISMA_HIDE_UPDATE_MESSAGE", "1")
        .env("NO_COLOR", "1")
        .env(
            "PRISMA_SCHEMA_ENGINE_BINARY",
            node_folder().join("prisma_engine.mjs"),
        );
    command
}

/// Where the packages of Node's are: a project imports them through a link to it.
pub(crate) fn node_modules() -> PathBuf {
    node_folder().join("node_modules")
}

fn node_folder() -> &'static Path {
    Path::new(tool("RUNCHAIN_TEST_MIGRATIONS_NODE"))
}

/// A line of what `scripts/tools` prints. A missing tool fails the tests that need it.
fn tool(key: &str) -> &'static str {
    static TOOLS: OnceLock<Result<HashMap<String, String>, String>> = OnceLock::new();
    let tools = TOOLS.get_or_init(|| {
        let mut script = Command::new(repository().join("scripts/tools"));
        let found: Finished = run(script.env("CARGO_TARGET_DIR", target()), "");
        if !found.success {
            return Err(format!("a migration tool is missing:\n{}", found.stderr));
        }
        let pairs = found.stdout.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect())
    });
    let tools = tools.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"));
    tools
        .get(key)
        .unwrap_or_else(|| panic!("scripts/tools printed no {key}"))
}
