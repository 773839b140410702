//! The binary of the previous release, built from the repository's own history into the target folder
//! in use, once: later runs find it there.

use super::build::{repository, target};
use super::programs::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The commit that release 0.1.0 was made of; its schema has version 2.
const COMMIT: &str = "72f5c99";

/// `runchain` of release 0.1.0.
pub(crate) fn previous_release() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(build);
    built.as_deref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

fn build() -> Result<PathBuf, String> {
    let folder = target().join("previous").join(COMMIT);
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
    let archive = folder.join("source.tar");
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(repository())
        .args(["archive", "--output"])
        .arg(&archive)
        .arg(COMMIT);
    let archived = run(&mut git, "");
    if !archived.success {
        return Err(format!(
            "the previous release, commit {COMMIT}, is not in this clone; fetch its history with\n\
             git fetch --unshallow --tags\n{}",
            archived.stderr
        ));
    }
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(&unfinished);
    let extracted = run(&mut tar, "");
    if !extracted.success {
        return Err(format!(
            "cannot unpack the previous release:\n{}",
            extracted.stderr
        ));
    }
    fs::rename(&unfinished, source).map_err(|error| format!("{}: {error}", source.display()))
}
