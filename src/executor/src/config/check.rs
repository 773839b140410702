//! What only the machine and the database can say about a configuration that is right by itself: whether
//! programs are there, and whether words and columns mean anything.
//!
//! Nothing here keeps a service from running: programs get installed and columns added while it
//! runs. `config check` refuses, `drain` says it. What does not belong here: opening the database.

use super::error::{Problem, nearest};
use super::{Action, CommandStep, Settings, Step};
use runchain_core::error::During;
use runchain_core::mapping::MappingRequest;
use runchain_core::vocabulary::{Phase, Vocabulary};
use runchain_core::{Mapping, Result, run_row, schema};
use rusqlite::Connection;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::path::{Path, PathBuf};

/// Where execvp(3) looks when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What a database knows of the words and names that steps use.
#[derive(Debug)]
pub(crate) struct Known {
    /// What status words mean.
    pub(crate) vocabulary: Vocabulary,
    /// The table of runs.
    pub(crate) table: String,
    /// Its columns.
    pub(crate) columns: Vec<String>,
}

impl Known {
    /// What a database knows; where nothing is installed yet, what it will know.
    ///
    /// # Errors
    /// Whatever SQLite answers.
    pub(crate) fn of(conn: &Connection) -> Result<Self> {
        let installed = Mapping::installed(conn)?;
        let mapping = match &installed {
            Some(mapping) => mapping.clone(),
            None => Mapping::resolve(conn, &MappingRequest::default())?,
        };
        let vocabulary = match installed {
            Some(_) => Vocabulary::load(conn)?,
            None => built_in_vocabulary()?,
        };
        Ok(Self {
            vocabulary,
            columns: run_row::columns(conn, &mapping.table)?,
            table: mapping.table,
        })
    }
}

fn built_in_vocabulary() -> Result<Vocabulary> {
    let conn = Connection::open_in_memory().during("open a database in memory")?;
    conn.execute_batch(schema::SCHEMA_SQL)
        .during("make the vocabulary")?;
    Vocabulary::load(&conn)
}

/// Words in `on` that no run can end with, and columns in `where` that the table hasn't.
pub(crate) fn words(settings: &Settings, known: &Known) -> Vec<Problem> {
    let of_step = |step: &Step| {
        let words = step.choice.on.iter();
        let on = words.filter_map(|word| unknown_word(settings, &step.name, word, known));
        let columns = step.choice.conditions.iter().map(|condition| &condition.column);
        let conditions = columns.filter_map(|column| unknown_column(settings, &step.name, column, known));
        on.chain(conditions).collect::<Vec<_>>()
    };
    settings.steps.iter().flat_map(of_step).collect()
}

fn unknown_word(settings: &Settings, step: &str, word: &str, known: &Known) -> Option<Problem> {
    if Phase::terminal(word).is_some() {
        return None;
    }
    let key = format!("steps.{step}.on");
    match known.vocabulary.phase(Some(word)) {
        Some(phase) if phase.is_terminal() => None,
        Some(phase) => Some(problem(
            settings,
            &key,
            format!("{key}: a run whose status is {word} is {phase}, so that the step would never run"),
            "name a phase or a word that ends a run",
        )),
        None => {
            let words = known.vocabulary.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let remedy = match nearest(&word.to_ascii_uppercase(), &words) {
                Some(right) => format!("did you mean {right}?"),
                None => "use completed, failed or cancelled, or add the word: INSERT INTO \
                         runchain_vocabulary(status, phase) VALUES (...)"
                    .to_owned(),
            };
            let what = format!("{key}: {word} is neither a phase nor a status word that this database knows");
            Some(problem(settings, &key, what, remedy))
        }
    }
}

fn unknown_column(settings: &Settings, step: &str, column: &str, known: &Known) -> Option<Problem> {
    if known.columns.iter().any(|name| name.eq_ignore_ascii_case(column)) {
        return None;
    }
    let columns: Vec<&str> = known.columns.iter().map(String::as_str).collect();
    let remedy = nearest(column, &columns).map_or_else(
        || format!("it has {}", columns.join(", ")),
        |right| format!("did you mean {right}?"),
    );
    let key = format!("steps.{step}.where");
    let what = format!("{key}: the table {} has no column {column}", known.table);
    Some(problem(settings, &key, what, remedy))
}

/// Programs and folders of steps that aren't there.
pub(crate) fn programs(settings: &Settings) -> Vec<Problem> {
    let of_step = |step: &Step| match &step.action {
        Action::Archive | Action::Report => None,
        Action::Command(command) => unusable(settings, &step.name, command),
    };
    settings.steps.iter().filter_map(of_step).collect()
}

fn unusable(settings: &Settings, step: &str, command: &CommandStep) -> Option<Problem> {
    if !command.cwd.is_dir() {
        let key = format!("steps.{step}.cwd");
        let what = format!("{key}: there is no folder {}", command.cwd.display());
        return Some(problem(settings, &key, what, "create it, or name another"));
    }
    let program = command.command.first()?;
    let key = format!("steps.{step}.command");
    let candidates = candidates(program, command);
    if candidates.iter().any(|path| is_program(path)) {
        return None;
    }
    let there = candidates.iter().find(|path| path.is_file());
    Some(match (there, program.contains('/')) {
        (Some(path), _) => {
            let what = format!("{key}: {} can't be executed", path.display());
            problem(settings, &key, what, format!("run `chmod +x {}`", path.display()))
        }
        (None, true) => {
            let what = format!("{key}: there is no program {}", candidates[0].display());
            problem(settings, &key, what, "create it, or name another")
        }
        (None, false) => {
            let what = format!(
                "{key}: there is no program {program} in PATH ({})",
                path_of(command)
            );
            problem(settings, &key, what, "install it, or name it with its folder")
        }
    })
}

/// Folders that work would be written to, and can't be.
pub(crate) fn folders(settings: &Settings) -> Vec<Problem> {
    let outputs = [
        ("archive_dir", &settings.archive_dir),
        ("reports_dir", &settings.reports_dir),
        ("logs_dir", &settings.logs_dir),
    ];
    let outputs = outputs.map(|(key, folder)| (key, folder.as_path()));
    let database = settings.state_db_path.parent();
    let database = database.filter(|_| settings.state_db_path.exists());
    outputs
        .into_iter()
        .chain(database.map(|folder| ("state_db_path", folder)))
        .filter_map(|(key, folder)| unwritable(settings, key, folder))
        .collect()
}

/// A folder that is missing is made where the nearest one above it can be written.
fn unwritable(settings: &Settings, key: &str, folder: &Path) -> Option<Problem> {
    let nearest = folder.ancestors().find(|path| path.exists())?;
    let shown = nearest.display();
    if !nearest.is_dir() {
        let what = format!("{key}: {shown} is no folder");
        return Some(problem(settings, key, what, "name another, or move it away"));
    }
    if accessat(CWD, nearest, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok() {
        return None;
    }
    let what = if nearest == folder {
        format!("{key}: nothing can be written into {shown}")
    } else {
        format!("{key}: {} can't be made in {shown}", folder.display())
    };
    let remedy = format!("give it to who runs this: chown or chmod u+wx {shown}, or name another");
    Some(problem(settings, key, what, remedy))
}

/// Where the system would look, relative names as the command itself would see them.
fn candidates(program: &str, command: &CommandStep) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![command.cwd.join(program)];
    }
    let path = path_of(command);
    let folders = path.split(':').map(|folder| command.cwd.join(folder));
    folders.map(|folder| folder.join(program)).collect()
}

fn path_of(command: &CommandStep) -> String {
    let own = command.env.get("PATH").cloned();
    own.or_else(|| std::env::var("PATH").ok())
        .unwrap_or_else(|| DEFAULT_PATH.to_owned())
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

fn problem(settings: &Settings, key: &str, what: String, remedy: impl Into<String>) -> Problem {
    let place = settings.source_of(key).map(ToString::to_string);
    Problem::new(place, what, remedy)
}
