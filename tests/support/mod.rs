//! What every black-box test needs. It knows no promise of runchain's: those are in the tests.

mod build;
mod invariants;
mod previous;
mod programs;
mod project;
#[cfg(target_os = "linux")]
mod screen;
mod service;
mod sqlite;
mod terminal;
mod tools;

pub(crate) use build::{cargo, disk_shim, extension, repository};
pub(crate) use invariants::Outside;
pub(crate) use previous::previous_release;
pub(crate) use programs::{
    Finished, apsw, apsw_folder, everybodys_runchain, matrix, monitoring, python, python_program, run,
    sqlite3, step_host,
};
pub(crate) use project::{Project, SHAPE_A, SHAPE_B, eventually, tree, whole_lines};
#[cfg(target_os = "linux")]
pub(crate) use screen::Screen;
pub(crate) use service::{Service, runchain};
pub(crate) use sqlite::{Sqlite, stock_sqlite3};
pub(crate) use terminal::{Seen, on_terminal};
pub(crate) use tools::{node_modules, node_tool, python_tools};
