//! placeholder
use crate::{Millis, error::Result};
use rusqlite::Connection;
/// x
#[derive(Default, Debug)]
pub struct IngestOptions {}
/// x
#[derive(Debug, serde::Serialize)]
pub struct IngestReport {}
/// x
/// # Errors
/// x
pub fn ingest_path(
    _: &Connection,
    _: &std::path::Path,
    _: Millis,
    _: &IngestOptions,
) -> Result<IngestReport> {
    Ok(IngestReport {})
}
