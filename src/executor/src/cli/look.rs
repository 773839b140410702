//! Options of what only looks: `show`, `explain`, `audit`.

use clap::Args;

/// `show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run's id; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// `explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The run's id [else the whole database]; after -- it may look like an option
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Read the whole bag, not only look whether it is there
    #[arg(long)]
    pub(crate) verify: bool,
}

/// `audit`
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only of this run
    #[arg(long = "run", value_name = "ID", allow_hyphen_values = true)]
    pub(crate) run_id: Option<String>,
    /// Only by this actor: a login, a uid, or the whole text
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) actor: Option<String>,
    /// Not before this: an age (2h, 7d), a date, or a timestamp; UTC where it names no offset
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after this
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only this verb: retry, pause, uninstall, config_reload, executor_start, ...
    #[arg(long, value_name = "WORD")]
    pub(crate) action: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}
