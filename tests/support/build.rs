//! Builds, once in a test run, what `cargo test` at the root can't: packages whose SQLite is not
//! the executor's. Each has a target folder of its own, below the one in use.

use super::programs::{Finished, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    let executor = Path::new(env!("CARGO_MANIFEST_DIR"));
    executor.ancestors().nth(2).unwrap().to_owned()
}

/// The target folder that this suite was built into.
pub(super) fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The extension as a host loads it.
pub(crate) fn extension() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let library = format!("librunchain{}", std::env::consts::DLL_SUFFIX);
    built(&BUILT, "src/extension", "extension", &library)
}

/// `old-sqlite` on SQLite 3.24.0.
pub(super) fn old_sqlite_3_24() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built(
        &BUILT,
        "tests/writers/sqlite-3.24",
        "writers/sqlite-3.24",
        "old-sqlite",
    )
}

/// `old-sqlite` on SQLite 3.31.1.
pub(super) fn old_sqlite_3_31() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built(
        &BUILT,
        "tests/writers/sqlite-3.31",
        "writers/sqlite-3.31",
        "old-sqlite",
    )
}

/// The library that stands between a program and the disk: `tests/shim/disk.c`.
pub(crate) fn disk_shim() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let result = BUILT.get_or_init(|| {
        let library = target().join("disk_shim.so");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(repository().join("tests/shim/disk.c"))
            .args(["-ldl", "-pthread"]);
        let compiled = run(&mut compiler, "");
        if !compiled.success {
            return Err(format!("cannot compile tests/shim/disk.c:\n{}", compiled.stderr));
        }
        Ok(library)
    });
    result.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

/// Runs cargo on a package that is a workspace of its own; `target_folder` is relative.
pub(crate) fn cargo(subcommand: &str, package: &str, target_folder: &str) -> Finished {
    let mut command = Command::new(env!("CARGO"));
    command
        .args([subcommand, "--locked", "--quiet", "--manifest-path"])
        .arg(repository().join(package).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target().join(target_folder));
    run(&mut command, "")
}

fn built(
    cell: &'static OnceLock<Result<PathBuf, String>>,
    package: &str,
    target_folder: &str,
    product: &str,
) -> &'static Path {
    let result = cell.get_or_init(|| {
        let build = cargo("build", package, target_folder);
        if !build.success {
            return Err(format!("cannot build {package}:\n{}", build.stderr));
        }
        Ok(target().join(target_folder).join("debug").join(product))
    });
    result.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}
