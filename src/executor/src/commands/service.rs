//! `runchain service print|install`: units for systemd.

use crate::cli::{InstallUnitArgs, ServiceArgs, ServiceCommand};
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::units::{self, Place, UnitFile};
use serde_json::json;
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(super) fn service(arguments: &ServiceArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    match &arguments.command {
        ServiceCommand::Print(unit) => print(&units::files(unit, settings)?, output),
        ServiceCommand::Install(install) => write_all(install, settings, output),
    }
}

/// One file after the other, each below a comment with its path.
fn print(files: &[UnitFile], output: &Output) -> Outcome<Exit> {
    if output.json {
        let shown = |file: &UnitFile| json!({"path": file.path, "text": file.text});
        output.print_json(&files.iter().map(shown).collect::<Vec<_>>())?;
        return Ok(Exit::Ok);
    }
    for (number, file) in files.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        output.text(&format!("{gap}# {}\n{}", file.path.display(), file.text))?;
    }
    Ok(Exit::Ok)
}

fn write_all(install: &InstallUnitArgs, settings: &Settings, output: &Output) -> Outcome<Exit> {
    let files = units::files(&install.unit, settings)?;
    let root = install.root.as_deref();
    let place = |file: &UnitFile| match root {
        Some(root) => root.join(file.path.strip_prefix("/").unwrap_or(&file.path)),
        None => file.path.clone(),
    };
    // Before the first is written: half of them would be worse than none.
    let mut differing = Vec::new();
    for file in &files {
        let path = place(file);
        let is_other = std::fs::read(&path).is_ok_and(|bytes| bytes != file.text.as_bytes());
        if is_other && !install.force && !file.is_users {
            differing.push(path.display().to_string());
        }
    }
    if !differing.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{} differs from what would be written; look at it with `runchain service print`, then add --force, \
                 or keep your changes in a drop-in (systemctl edit)",
                differing.join(", ")
            ),
        ));
    }
    for file in &files {
        let path = place(file);
        let wrote = write(file, &path)?;
        output.line(&format!("{wrote} {}", path.display()))?;
    }
    for line in units::next_steps(&install.unit, Place::of(&install.unit)) {
        output.line(&line)?;
    }
    Ok(Exit::Ok)
}

/// Writes a file, or leaves what is the user's; says which.
fn write(file: &UnitFile, path: &Path) -> Outcome<&'static str> {
    let fails = |what: &str, at: &Path, error: &std::io::Error| {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => "; run it as root, or with --user for your own service manager",
            _ => "",
        };
        Failure::new(
            Exit::Failed,
            format!("can't {what} {}: {error}{remedy}", at.display()),
        )
    };
    if file.is_users && path.exists() {
        return Ok("kept");
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(|error| fails("make the folder", folder, &error))?;
    // Another name first: systemd may be reading the old one.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&fresh)
        .and_then(|mut opened| {
            std::io::Write::write_all(&mut opened, file.text.as_bytes())?;
            // Whatever the caller's umask is: systemd and the service read it.
            opened.set_permissions(std::fs::Permissions::from_mode(0o644))?;
            opened.sync_all()
        })
        .and_then(|()| std::fs::rename(&fresh, path));
    written.map_err(|error| fails("write", path, &error))?;
    Ok("wrote")
}
