//! The rules of runchain, without any of its machinery.
//!
//! runchain makes an orchestrator's own SQLite file act on what is written to it: capture triggers
//! append to a queue, the queue is expanded into lifecycle events and steps, and steps are leased,
//! started and settled. This crate holds those rules once, for both of its hosts: the loadable
//! extension (feature `extension`, inside somebody else's process) and the executor (feature
//! `host`, with its own SQLite).
//!
//! The way of a write, and the modules on it:
//!
//! ```text
//! install, schema, mapping    runchain on a user's table; which table that is
//! capture, triggers           how its writes become rows of the queue
//! sweep, glance, flags        what no trigger saw: whole comparisons, short looks, event tables
//! queue, vocabulary, run_row  rows of the queue are judged, and become phases, events and steps
//! storm, held                 a rush of ended runs waits for a person
//! chain, steps                what a run's end leads to: lease, start, settle, and back again
//! event, audit, counters      what happened, who asked for it, how often
//! ```
//!
//! Beside it:
//!
//! ```text
//! request                     what people and programs ask for, through the same queue
//! ingest, ingested            event logs into the database, and out as events
//! alert                       what a person must see, and what channels were told of it
//! look, explain, validate     what stands there, why, and what mends it
//! retention, forget           what is old goes; what is asked for goes
//! identity, adopt, file_system  which file the database is, and on what it lies
//! liveness, downtime, space   who drains, what waited, whether the disk has room
//! functions, caller           all of it as SQL functions (tables: checks_table, read_events)
//! ```
//!
//! Everything here takes a connection and the time. What does not belong here: threads, child
//! processes, clocks, configuration files, anything printed.

#[cfg(all(feature = "extension", feature = "host"))]
compile_error!(
    "features `extension` and `host` exclude each other: rusqlite would take the loadable path and panic; build the extension in its own workspace"
);

pub mod adopt;
pub mod alert;
pub mod audit;
mod caller;
pub mod capture;
pub mod chain;
mod checks_table;
pub mod counters;
pub mod downtime;
pub mod error;
pub mod event;
pub mod explain;
pub mod file_system;
pub mod flags;
pub mod forget;
pub mod functions;
pub mod glance;
pub mod held;
pub mod id;
pub mod identity;
pub mod ingest;
pub mod ingested;
pub mod install;
pub mod liveness;
pub mod look;
pub mod mapping;
pub mod queue;
mod read_events;
pub mod request;
pub mod retention;
pub mod run_row;
pub mod schema;
pub mod space;
pub mod steps;
pub mod storm;
pub mod sweep;
mod table_function;
pub mod time;
pub mod transaction;
pub mod triggers;
pub mod validate;
pub mod vocabulary;

pub use error::{Error, Result};
pub use id::{ExecutorId, RunId, StepId};
pub use mapping::Mapping;
pub use time::Millis;
