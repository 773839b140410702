//! Where everything of a service lies, and whose it is.

use super::text::{Own, Unit, instance_config, sysusers, tmpfiles};
use super::{Place, UnitFile};
use crate::cli::UnitArgs;
use crate::config::{FILE_NAME, Settings, project_of};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use nix::unistd::{Gid, Group, Uid, User};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Units of the machine.
const SYSTEM: &str = "/etc/systemd/system";
/// Configurations of instances.
const CONFIGURATIONS: &str = "/etc/runchain";

/// The paths of one database's service.
pub(super) struct Layout {
    place: Place,
    units: PathBuf,
    own: Own,
    database: PathBuf,
    outputs: [(&'static str, PathBuf); 3],
}

impl Layout {
    pub(super) fn of(unit: &UnitArgs, settings: &Settings) -> Outcome<Self> {
        let place = Place::of(unit);
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("can't tell where this program lies: {error}; is /proc mounted?"),
            )
        })?;
        let here = Project::of(unit, settings)?;
        let mut written: Vec<PathBuf> = here.outputs.iter().map(|(_, folder)| folder.clone()).collect();
        written.push(here.root.clone());
        written.extend(here.database.parent().map(Path::to_owned));
        // Another database has another configuration, which its own executor reads.
        let is_settings_own = here.config == settings.file;
        Ok(Self {
            place,
            units: folder_of_units(place)?,
            own: Own {
                program,
                config: here.config,
                database: here.database.clone(),
                root: here.root,
                written: outermost(written),
                owner: owner_of(&here.database),
                stop_grace_ms: settings.stop_grace_ms,
                credentials: if is_settings_own {
                    settings.alerts.credentials()
                } else {
                    Vec::new()
                },
            },
            database: here.database,
            outputs: here.outputs,
        })
    }

    /// One unit with everything in it.
    pub(super) fn of_one(&self) -> Vec<UnitFile> {
        let text = Unit::One(&self.own).text(self.place);
        vec![file(self.units.join("runchain.service"), text)]
    }

    /// The template, and what is this instance's own.
    pub(super) fn of_many(&self, name: &str) -> Vec<UnitFile> {
        let template = Unit::Template(&self.own).text(self.place);
        let drop_in = Unit::Instance(&self.own).text(self.place);
        let mut files = vec![
            file(self.units.join("runchain@.service"), template),
            file(
                self.units
                    .join(format!("runchain@{name}.service.d/10-instance.conf")),
                drop_in,
            ),
        ];
        if self.own.config.is_none() {
            files.push(UnitFile {
                path: configurations(self.place, &self.units).join(format!("{name}.toml")),
                text: instance_config(&self.database, &self.outputs),
                is_users: true,
            });
        }
        if self.place == Place::System {
            files.push(file("/etc/sysusers.d/runchain.conf".into(), sysusers()));
            files.push(file("/etc/tmpfiles.d/runchain.conf".into(), tmpfiles()));
        }
        files
    }
}

fn file(path: PathBuf, text: String) -> UnitFile {
    UnitFile {
        path,
        text,
        is_users: false,
    }
}

/// What belongs to a database.
struct Project {
    root: PathBuf,
    database: PathBuf,
    config: Option<PathBuf>,
    outputs: [(&'static str, PathBuf); 3],
}

impl Project {
    /// Of the database that is named, else of the one that the configuration has.
    fn of(unit: &UnitArgs, settings: &Settings) -> Outcome<Self> {
        let Some(named) = &unit.database else {
            return Ok(Self {
                root: settings.root.clone(),
                database: settings.state_db_path.clone(),
                config: settings.file.clone(),
                outputs: [
                    ("archive_dir", settings.archive_dir.clone()),
                    ("reports_dir", settings.reports_dir.clone()),
                    ("logs_dir", settings.logs_dir.clone()),
                ],
            });
        };
        let database = std::path::absolute(named)?;
        let root = project_of(&database);
        let config = root.join(FILE_NAME);
        Ok(Self {
            config: config.exists().then_some(config),
            outputs: [
                ("archive_dir", root.join(".archive")),
                ("reports_dir", root.join("reports")),
                ("logs_dir", root.join("logs")),
            ],
            database,
            root,
        })
    }
}

fn folder_of_units(place: Place) -> Outcome<PathBuf> {
    if place == Place::System {
        return Ok(SYSTEM.into());
    }
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
    };
    named("XDG_CONFIG_HOME")
        .or_else(|| named("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("systemd/user"))
        .ok_or_else(|| Failure::new(Exit::Failed, "can't tell your home folder; set HOME"))
}

/// Where `%i.toml` lies: beside the unit folder of a user.
pub(super) fn configurations(place: Place, units: &Path) -> PathBuf {
    match (place, units.ancestors().nth(2)) {
        (Place::User, Some(config_home)) => config_home.join("runchain"),
        _ => CONFIGURATIONS.into(),
    }
}

/// Those of the paths that lie in none of the others.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
    paths
}

/// Whose file it is: the service works as its owner, so that nobody locks the other out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: String,
    pub(super) group: String,
}

fn owner_of(database: &Path) -> Option<Owner> {
    let found = std::fs::metadata(database).ok()?;
    let user = User::from_uid(Uid::from_raw(found.uid())).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(found.gid())).ok().flatten();
    Some(Owner {
        user: user.map_or_else(|| found.uid().to_string(), |user| user.name),
        group: group.map_or_else(|| found.gid().to_string(), |group| group.name),
    })
}
