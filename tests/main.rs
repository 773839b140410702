//! The black-box suite: real files, real hosts, the built binary and the built extension.
//!
//! Contents:

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is tests: a panic is how they fail"
)]

/// Builds what is tested, finds the host programs, runs SQL in them.
mod support;

/// What is an alert, how it ends, and who hears of it.
mod alerts;
/// Who did what, when and why.
mod audit;
/// A run's chain: its commands, ids, repetitions and late arrivals.
mod chain;
/// Commands of steps when something is killed: nothing runs on.
mod children;
/// Commands that answer: what runs, what waits, what failed, what to do; on a terminal and as JSON.
#[cfg(target_os = "linux")]
mod commands;
/// Settings, their layers, exit codes; databases that can't be opened.
mod config;
/// The generated reference and the JSON Schema of the configuration.
mod configuration;
/// Eight writers, three executors, one database: errors and latencies.
mod contention;
/// Executors killed at any moment, and what is left.
mod crash;
/// Failures, restarts and outages of a day, and whether everybody heard of everything once.
#[cfg(target_os = "linux")]
mod day;
/// Disks that are full or fail.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod disk;
/// What the documentation promises.
mod docs;
/// The main job on what a real orchestrator writes, also with kill -9 in between.
mod end_to_end;
/// How the lines of event logs are understood, and a look into one with SQL.
mod event_formats;
/// Why a run is where it is, in words, and every command that is suggested, typed.
mod explain;
/// File systems that others share, through FUSE and overlays.
#[cfg(target_os = "linux")]
mod file_systems;
/// Ends that stand in an event table or a log only.
mod flags;
/// Event logs that are followed.
mod follow;
/// Runs that are erased.
mod forget;
/// The extension inside other people's programs: sqlite3, Python, apsw, hosts that are too old.
mod hosts;
/// Databases that are copied, restored, moved, replaced or deleted.
mod identity;
/// Event logs of every kind, through both doors.
mod ingest;
/// Installing, what happens to history, and leaving no trace.
mod install;
/// The logs as somebody else reads them.
mod logs;
/// What the main loop promises whatever happens around it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod main_loop;
/// What a central system reads, over HTTP, and a real Prometheus that reads it.
mod metrics;
/// Alembic, Django, drizzle-kit and Prisma at work on an installed database.
mod migrations;
/// The terminal screen, in a pseudo-terminal and in a pipe.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod monitor;
/// Orchestrator and executor as two users.
#[cfg(target_os = "linux")]
mod permissions;
/// What is left on the disk when the power fails, and what runchain makes of it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod power_loss;
/// Rules of the queue through the binary: priorities, delays, deadlines, limits, pauses, poison.
mod queue_features;
/// What must not leave the database.
mod redact;
/// What somebody asks for by function, by command line or by plain INSERT.
mod requests;
/// What goes when it is old or too much.
mod retention;
/// What hostile schemas, arguments, ids, JSON and symlinks can do: nothing.
mod security;
/// The executor as a service: signals, leases, wakes, and databases that go away.
mod service;
/// What the service says of itself: lines, objects, journal.
#[cfg(target_os = "linux")]
mod service_log;
/// Under systemd and as process 1: units, readiness, reload, watchdog.
#[cfg(target_os = "linux")]
mod service_unit;
/// Steps of the user's own, their configuration, the examples, runs that end again and again.
mod steps;
/// Many runs that end in a rush: held, released, discarded.
mod storms;
/// Installed without triggers: found by comparing.
mod sweep_capture;
/// The previous release and this one on one database: migrations, kills in them, and back again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod upgrade;
/// Nobody drained for a weekend.
mod weekend;
/// Writers that have never heard of runchain, on SQLite 3.24, 3.31 and 3.40.
mod writers;
