//! The binary of the previous release, built from its source in tests/upgrade into the target folder in
//! use, once: later runs find it there. (Not from the repository's history, which a shallow clone or a
//! source package doesn't have.)

use super::build::{repository, target};
use super::programs::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Packages, SQL and lock file of the release, as `git archive` wrote them; its schema has version 2.
const SOURCE: &str = "tests/upgrade/release-0.1.0.tar.gz";
const RELEASE: &str = "0.1.0";

/// `runchain` of release 0.1.0.
pub(crate) fn previous_release() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(build);
    built.as_deref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

fn build() -> Result<PathBuf, String> {
    let folder = target().join("previous").join(RELEASE);
    let (source, products) = (folder.join("source"), folder.join("target"));
    if !source.exists() {
        extract(&folder, &source)?;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "runchain",
            "--manifest-path",
        ])
        .arg(source.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&products);
    let built = run(&mut cargo, "");
    if !built.success {
        return Err(format!("cannot build the previous release:\n{}", built.stderr));
    }
    Ok(products.join("debug/runchain"))
}

/// Into a folder that gets its name when it is whole.
fn extract(folder: &Path, source: &Path) -> Result<(), String> {
    let unfinished = folder.join(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished).map_err(|error| error.to_string())?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf")
        .arg(repository().join(SOURCE))
        .arg("-C")
        .arg(&unfinished);
    let extracted = run(&mut tar, "");
    if !extracted.success {
        return Err(format!(
            "cannot unpack the previous release:\n{}",
            extracted.stderr
        ));
    }
    fs::rename(&unfinished, source).map_err(|error| format!("{}: {error}", source.display()))
}
