//! What every black-box test needs. It knows no promise of runchain's: those are in the tests.

mod build;
mod programs;
mod project;
mod sqlite;

pub(crate) use build::{cargo, extension, repository};
pub(crate) use programs::{Finished, apsw, python, run};
pub(crate) use project::{Project, SHAPE_A, SHAPE_B, Service, eventually, tree};
pub(crate) use sqlite::{Sqlite, stock_sqlite3};
