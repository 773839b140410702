//! The list of all checks: what each is called, when it applies, what it promises.

use super::{Context, Verdict, database, files, identity, installation, nearby, vocabulary, work};
use crate::error::Result;

/// What must be there for a check to make sense. Where it isn't, another check says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Any database, also before install.
    Nothing,
    /// runchain's tables.
    Tables,
    /// A user's table that is followed.
    Mapping,
    /// A file, and leave to look at its surroundings.
    Files,
    /// Both a file and runchain's tables.
    FilesAndTables,
}

/// One check: a row of [`CHECKS`].
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) needs: Needs,
    /// What holds when all is well; the meaning of an `ok`.
    pub(super) promise: &'static str,
    pub(super) run: fn(&Context<'_>) -> Result<Verdict>,
}

/// Every check, in the order of the answer.
pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "database_file",
        needs: Needs::Nothing,
        promise: "an executor in another process can open the same database",
        run: database::file,
    },
    Check {
        name: "required_tables",
        needs: Needs::Nothing,
        promise: "the tables that monitoring reads are there",
        run: installation::required_tables,
    },
    Check {
        name: "installed",
        needs: Needs::Nothing,
        promise: "runchain follows a table of this database",
        run: installation::installed,
    },
    Check {
        name: "own_objects",
        needs: Needs::Mapping,
        promise: "runchain's tables, indexes and views are all there",
        run: installation::own_objects,
    },
    Check {
        name: "mapping",
        needs: Needs::Mapping,
        promise: "the followed table and its two columns exist",
        run: installation::mapping,
    },
    Check {
        name: "triggers",
        needs: Needs::Mapping,
        promise: "every write to the followed table is captured",
        run: installation::triggers,
    },
    Check {
        name: "foreign_triggers",
        needs: Needs::Mapping,
        promise: "no other trigger keeps the capture triggers from running",
        run: installation::foreign_triggers,
    },
    Check {
        name: "status_words",
        needs: Needs::Mapping,
        promise: "every recent status word has a phase",
        run: vocabulary::status_words,
    },
    Check {
        name: "schema_version",
        needs: Needs::Tables,
        promise: "this build knows the schema",
        run: database::schema_version,
    },
    Check {
        name: "min_writer_version",
        needs: Needs::Tables,
        promise: "this build may write to this database",
        run: database::min_writer_version,
    },
    Check {
        name: "database_uuid",
        needs: Needs::Tables,
        promise: "bags, reports and log lines can say which database they come from",
        run: database::uuid,
    },
    Check {
        name: "identity",
        needs: Needs::FilesAndTables,
        promise: "this is the database that its executors know, at the place where they know it",
        run: identity::identity,
    },
    Check {
        name: "journal_mode",
        needs: Needs::Nothing,
        promise: "readers and the writer don't block each other",
        run: database::journal_mode,
    },
    Check {
        name: "free_pages",
        needs: Needs::Nothing,
        promise: "the database file is about as large as what is in it",
        run: database::free_pages,
    },
    Check {
        name: "host_sqlite",
        needs: Needs::Nothing,
        promise: "the SQLite of this process has no known bug that damages this database",
        run: database::host_sqlite,
    },
    Check {
        name: "executor",
        needs: Needs::FilesAndTables,
        promise: "somebody expands the queue and runs the steps",
        run: work::executor,
    },
    Check {
        name: "queue",
        needs: Needs::Tables,
        promise: "what triggers and requests append is expanded at once",
        run: work::queue,
    },
    Check {
        name: "ready_steps",
        needs: Needs::Tables,
        promise: "due steps are started at once",
        run: work::ready_steps,
    },
    Check {
        name: "pauses",
        needs: Needs::Tables,
        promise: "no kind of steps is paused",
        run: work::pauses,
    },
    Check {
        name: "dead_steps",
        needs: Needs::Tables,
        promise: "no step has used up its attempts",
        run: work::dead_steps,
    },
    Check {
        name: "stalled_runs",
        needs: Needs::Tables,
        promise: "every monitored run moves",
        run: work::stalled_runs,
    },
    Check {
        name: "alerts",
        needs: Needs::Tables,
        promise: "no alert is firing",
        run: work::alerts,
    },
    Check {
        name: "ingest_rejects",
        needs: Needs::Tables,
        promise: "every line of the event logs could be kept",
        run: work::ingest_rejects,
    },
    Check {
        name: "ingest_balance",
        needs: Needs::Tables,
        promise: "bytes read = bytes stored + bytes rejected, for each event log",
        run: work::ingest_balance,
    },
    Check {
        name: "file_system",
        needs: Needs::Files,
        promise: "locks and shared memory work where the database lies",
        run: files::file_system,
    },
    Check {
        name: "sidecar_files",
        needs: Needs::Files,
        promise: "the database's owner can write its journal files",
        run: files::sidecars,
    },
    Check {
        name: "nearby_databases",
        needs: Needs::Files,
        promise: "no other state database lies nearby to be taken for this one",
        run: nearby::databases,
    },
];
