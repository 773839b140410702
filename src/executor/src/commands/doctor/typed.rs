//! How a remedy becomes a line to type into a shell.

use crate::commands::suggest;
use crate::config::Settings;
use runchain_core::explain::quoted;

/// A remedy in words that names its command in backticks.
pub(super) fn in_backticks(remedy: &str) -> Option<String> {
    let (_, rest) = remedy.split_once('`')?;
    let (command, _) = rest.split_once('`')?;
    Some(command.to_owned())
}

/// A statement for the machine's own shell, where no function of ours stands in it.
pub(super) fn sql(statement: &str, settings: &Settings) -> Option<String> {
    let statement = statement.split(" -- ").next().unwrap_or(statement).trim();
    let is_whole = !statement.contains("PHASE") && statement.ends_with(';');
    let is_ours = statement.contains("runchain_") && statement.contains('(') && !statement.contains("FROM");
    (is_sql(statement) && is_whole && !is_ours).then(|| {
        let database = settings.state_db_path.to_string_lossy();
        // By itself the shell doesn't wait for a moment in which somebody else writes.
        format!(
            "sqlite3 -cmd '.timeout 5000' {} {}",
            quoted(&database),
            quoted(statement)
        )
    })
}

/// Whether a remedy is a statement.
pub(super) fn is_sql(remedy: &str) -> bool {
    const VERBS: [&str; 6] = ["SELECT", "PRAGMA", "INSERT", "UPDATE", "DELETE", "VACUUM"];
    VERBS.iter().any(|verb| remedy.starts_with(verb))
}

/// `runchain WORDS`, for this database.
pub(super) fn runchain(words: &[&str], settings: &Settings) -> Option<String> {
    Some(suggest::command(settings, words, None))
}
