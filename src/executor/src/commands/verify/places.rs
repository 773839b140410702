//! Which bags the database knows, and where each stands: in its run's place, or aside when a later one came.

use crate::archive::{digest_at, folder_name};
use crate::config::Settings;
use runchain_core::error::{During, Result};
use runchain_core::{RunId, mapping};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// Bags that are read at once.
const CHUNK: i64 = 100;

/// A bag that was sealed.
#[derive(Debug)]
pub(super) struct Sealed {
    /// Of its row.
    pub(super) id: i64,
    pub(super) run_id: RunId,
    pub(super) generation: i64,
    pub(super) digest: String,
    path: Option<PathBuf>,
}

/// Where bags are looked for.
#[derive(Debug)]
pub(super) struct Places {
    archive_dir: PathBuf,
    /// Rows with a bag each: a table expression with id, run_id, generation, digest, path.
    source: &'static str,
}

const OF_LOG: &str = "(SELECT id, run_id, generation, digest, archive_path AS path FROM archival_log WHERE digest IS NOT NULL)";
/// Where `archival_log` is the user's own and has no digests: the newest bag of each generation.
const OF_STEPS: &str = "(SELECT id, run_id, generation, json_extract(result, '$.digest') AS digest,
        json_extract(result, '$.path') AS path
 FROM runchain_steps WHERE step = 'archive' AND state = 'done' AND result IS NOT NULL)";

impl Places {
    pub(super) fn of(conn: &Connection, settings: &Settings) -> Result<Self> {
        let columns = mapping::columns(conn, "archival_log")?;
        let has = |name: &str| {
            columns
                .iter()
                .any(|column| column.name.eq_ignore_ascii_case(name))
        };
        Ok(Self {
            archive_dir: settings.archive_dir.clone(),
            source: if has("digest") && has("generation") {
                OF_LOG
            } else {
                OF_STEPS
            },
        })
    }

    /// How many there are.
    pub(super) fn count(&self, conn: &Connection, run_id: Option<&RunId>) -> Result<i64> {
        conn.query_row(
            &format!(
                "SELECT count(*) FROM {} WHERE {}",
                self.source,
                of_run(run_id, "?1")
            ),
            [run_id],
            |row| row.get(0),
        )
        .during("count the bags")
    }

    /// The next ones past a row.
    pub(super) fn after(&self, conn: &Connection, run_id: Option<&RunId>, after: i64) -> Result<Vec<Sealed>> {
        const DOING: &str = "read which bags there are";
        let sql = format!(
            "SELECT id, run_id, generation, digest, path FROM {}
             WHERE id > ?1 AND {} ORDER BY id LIMIT {CHUNK}",
            self.source,
            of_run(run_id, "?2")
        );
        let mut select = conn.prepare_cached(&sql).during(DOING)?;
        let rows = select
            .query_map((after, run_id), |row| {
                Ok(Sealed {
                    id: row.get(0)?,
                    run_id: row.get(1)?,
                    generation: row.get::<_, Option<i64>>(2)?.unwrap_or(0),
                    digest: row.get(3)?,
                    path: row.get::<_, Option<String>>(4)?.map(PathBuf::from),
                })
            })
            .during(DOING)?;
        rows.collect::<rusqlite::Result<_>>().during(DOING)
    }

    /// The folder that has this digest; else, where none has, the one that should.
    pub(super) fn place(&self, sealed: &Sealed) -> PathBuf {
        let folder = folder_name(&sealed.run_id);
        let short = sealed
            .digest
            .trim_start_matches("sha256:")
            .get(..8)
            .unwrap_or("damaged0");
        // The second is one that had lost its tag manifest when it was put aside.
        let asides = [short, "damaged0"].map(|short| format!("{folder}~g{}-{short}", sealed.generation));
        let recorded = sealed.path.as_deref().and_then(Path::parent);
        let parents: Vec<&Path> = std::iter::once(self.archive_dir.as_path())
            .chain(recorded)
            .collect();
        let own: Vec<PathBuf> = parents.iter().map(|parent| parent.join(&folder)).collect();
        let aside: Vec<PathBuf> = parents
            .iter()
            .flat_map(|parent| asides.iter().map(|name| parent.join(name)))
            .collect();
        let is_it = |place: &&PathBuf| digest_at(place).is_ok_and(|digest| digest == sealed.digest);
        let stands = |place: &&PathBuf| place.symlink_metadata().is_ok();
        let found = own.iter().chain(&aside).find(is_it);
        // What stands aside has this row's name; only else the run's own place is meant.
        let meant = found.or_else(|| aside.iter().chain(&own).find(stands));
        meant.unwrap_or(&own[0]).clone()
    }
}

/// A condition that an index on the run answers, where one is asked for.
fn of_run(run_id: Option<&RunId>, parameter: &str) -> String {
    match run_id {
        Some(_) => format!("run_id = {parameter}"),
        None => format!("{parameter} IS NULL"),
    }
}
