//! Folders that runchain writes to: are they there, are they folders, may who runs this write them, and
//! how much room is there.

use super::Finding;
use crate::config::Settings;
use crate::disk::free_bytes;
use crate::other_user;
use crate::output;
use runchain_core::event::Log;
use runchain_core::explain::quoted;
use runchain_core::validate::Severity;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const NO_BAGS: &str = "no run is archived: its step fails until its attempts are used up";
const NO_REPORTS: &str = "no report is written: its step fails until its attempts are used up";
const NO_LOGS: &str = "an executor doesn't start, or writes no log lines until it can";

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let mut findings = match other_user::of_executor(&settings.state_db_path) {
        // Theirs to write; what would let us in might lock them out.
        Some(user) => vec![Finding::ok(
            "folders",
            format!(
                "the executor is user id {user}, and who asks is {}: ask as that user about folders",
                us()
            ),
        )],
        None => of_us(settings),
    };
    findings.push(space(settings));
    findings
}

fn of_us(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![
        folder("archive_folder", &settings.archive_dir, NO_BAGS),
        folder("reports_folder", &settings.reports_dir, NO_REPORTS),
        folder("log_folder", &settings.logs_dir, NO_LOGS),
    ];
    findings.extend(log_files(settings));
    findings
}

fn folder(check: &'static str, dir: &Path, meaning: &str) -> Finding {
    let shown = dir.display();
    let wrong = |found: String| Finding::bad(check, Severity::Error, found, meaning);
    match dir.symlink_metadata() {
        Ok(found) if found.is_symlink() => wrong(format!("{shown} is a link")).remedy(
            "name the folder itself in the configuration: who can turn a link decides where files go",
            None,
        ),
        Ok(found) if !found.is_dir() => wrong(format!("{shown} is no folder"))
            .remedy("move it away, or name another folder in the configuration", None),
        Ok(_) => match may_write(dir) {
            Ok(()) => Finding::ok(check, format!("{shown} can be written")),
            Err(reason) => wrong(format!("{shown} can't be written by {}: {reason}", us()))
                .remedy(format!("let {} write it", us()), Some(let_us_write(dir, true))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => not_there(check, dir, meaning),
        Err(error) => wrong(format!("{shown} can't be looked at: {error}"))
            .remedy(format!("let {} into every folder above it", us()), None),
    }
}

/// It is made when it is needed, if it can be.
fn not_there(check: &'static str, dir: &Path, meaning: &str) -> Finding {
    let above = dir.ancestors().skip(1).find(|folder| folder.exists());
    let Some(above) = above else {
        return Finding::ok(check, format!("{} is made when it is needed", dir.display()));
    };
    match may_write(above) {
        Ok(()) => Finding::ok(check, format!("{} is made when it is needed", dir.display())),
        Err(reason) => Finding::bad(
            check,
            Severity::Error,
            format!(
                "{} is not there, and can't be made in {}: {reason}",
                dir.display(),
                above.display()
            ),
            meaning,
        )
        .remedy(
            format!("make it, for {} to write; as root", us()),
            Some(format!(
                "install -d -o {} -g {} {}",
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
                quoted(&dir.to_string_lossy())
            )),
        ),
    }
}

fn log_files(settings: &Settings) -> Vec<Finding> {
    let files = Log::ALL.map(|log| settings.logs_dir.join(log.file_name()));
    let wrong = files.iter().filter(|path| path.exists()).filter_map(|path| {
        let reason = accessat(
            CWD,
            path.as_path(),
            Access::READ_OK | Access::WRITE_OK,
            AtFlags::EACCESS,
        )
        .err()?;
        let found = format!("{} can't be written by {}: {reason}", path.display(), us());
        Some(
            Finding::bad("log_files", Severity::Error, found, NO_LOGS)
                .remedy(format!("let {} write it", us()), Some(let_us_write(path, false))),
        )
    });
    wrong.collect()
}

fn space(settings: &Settings) -> Finding {
    let reserve = u64::try_from(settings.archive_min_free_bytes).unwrap_or(0);
    let folders = [
        settings.state_db_path.parent(),
        Some(settings.archive_dir.as_path()),
    ];
    let there = folders
        .into_iter()
        .flatten()
        .filter_map(|folder| folder.ancestors().find(|folder| folder.is_dir()));
    let least = there
        .filter_map(|folder| Some((free_bytes(folder).ok()?, folder)))
        .min_by_key(|(free, _)| *free);
    let Some((free, folder)) = least else {
        return Finding::bad(
            "disk_space",
            Severity::Warning,
            "it can't be told how much room there is",
            "a full disk would come as a surprise",
        );
    };
    let found = format!(
        "{} free on the disk of {}; archive.min_free_bytes is {}",
        output::size(free),
        folder.display(),
        output::size(reserve)
    );
    if free < reserve {
        return Finding::bad(
            "disk_space",
            Severity::Error,
            found,
            "no run is archived; when nothing is left, the orchestrator's own writes fail as well",
        )
        .remedy(
            "free some space (runchain prune --dry-run tells what could go), or lower archive.min_free_bytes",
            None,
        );
    }
    Finding::ok("disk_space", found)
}

fn may_write(dir: &Path) -> Result<(), String> {
    accessat(
        CWD,
        dir,
        Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    )
    .map_err(|errno| errno.to_string())
}

/// The owner only has to want to; anybody else asks root.
fn let_us_write(path: &Path, is_folder: bool) -> String {
    let us = rustix::process::geteuid().as_raw();
    let bits = if is_folder { "u+rwx" } else { "u+rw" };
    let name = quoted(&path.to_string_lossy());
    match path.metadata() {
        Ok(found) if found.uid() == us => format!("chmod {bits} {name}"),
        _ => format!("sudo chown {us} {name} && sudo chmod {bits} {name}"),
    }
}

/// Who runs this.
fn us() -> String {
    format!("user id {}", rustix::process::geteuid().as_raw())
}
