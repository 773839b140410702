//! The text of each file.

use super::Place;
use super::layout::Owner;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What the service may and may not do, with the reasons.
const HARDENING: &str = include_str!("hardening.conf");

/// What a service manager of a user can enforce without privileges.
const HARDENING_OF_USERS: &str = "\
# A user's own manager can't make namespaces for a service, nor take away what the user may do anyway; this
# is what it can enforce.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
UMask=0027
";

/// Exit codes after which the same would happen again until somebody acts: wrong usage or configuration,
/// a newer runchain needed, another database's folders.
const PERMANENT: &str = "2 3 11 12";

/// How long the end of a stop may take after its grace: settling, and the last lines of the logs.
const AFTER_GRACE_S: i64 = 25;

/// What is one service's own.
pub(super) struct Own {
    pub(super) program: PathBuf,
    pub(super) config: Option<PathBuf>,
    pub(super) database: PathBuf,
    pub(super) root: PathBuf,
    pub(super) written: Vec<PathBuf>,
    pub(super) owner: Option<Owner>,
    pub(super) stop_grace_ms: i64,
    /// Credentials that the configuration names.
    pub(super) credentials: Vec<String>,
}

/// Which file.
pub(super) enum Unit<'a> {
    One(&'a Own),
    Template(&'a Own),
    Instance(&'a Own),
}

impl Unit<'_> {
    pub(super) fn text(&self, place: Place) -> String {
        match self {
            Self::One(own) => {
                let which = match &own.config {
                    Some(config) => format!("--config {}", argument(config)),
                    None => format!("--db {}", argument(&own.database)),
                };
                let mut text = head(
                    &format!("runchain on {}", escaped(&own.root.to_string_lossy())),
                    "# Made by `runchain service`; changes belong into a drop-in: systemctl edit runchain",
                );
                text += &service(own, &format!("drain {which}"));
                text += &own.place_and_owner(place);
                text += &hardened(place);
                text + &install(place)
            }
            Self::Template(own) => {
                let mut text = head(
                    "runchain on %i",
                    "# Made by `runchain service`. One instance for each database: runchain@orders reads /etc/runchain/orders.toml, unless\n\
                     # runchain@orders.service.d names another file. Changes belong into a drop-in: systemctl edit runchain@",
                );
                text += &service(own, "drain");
                text += "\nEnvironment=RUNCHAIN_INSTANCE=%i\n";
                text += match place {
                    Place::System => {
                        "Environment=RUNCHAIN_CONFIG=/etc/runchain/%i.toml\n\
                                      # Each instance has the owner of its database: runchain@NAME.service.d.\n\
                                      User=runchain\nGroup=runchain\nProtectHome=yes\nPrivateTmp=yes\n"
                    }
                    Place::User => "Environment=RUNCHAIN_CONFIG=%E/runchain/%i.toml\n",
                };
                text += &hardened(place);
                text + &install(place)
            }
            Self::Instance(own) => {
                let mut text =
                    "# Made by `runchain service`: what this database's service has of its own.\n[Service]\n"
                        .to_owned();
                if let Some(config) = &own.config {
                    let setting = format!("RUNCHAIN_CONFIG={}", config.display());
                    let _ = writeln!(text, "Environment={}", quoted(&setting));
                }
                text + &own.place_and_owner(place)
            }
        }
    }
}

fn head(description: &str, comment: &str) -> String {
    format!(
        "{comment}\n[Unit]\nDescription={description}\nDocumentation=man:systemd.service(5)\n\
         After=network-online.target local-fs.target\nWants=network-online.target\n\
         # A database that isn't there yet comes back, with its mount or its backup: never give up.\n\
         StartLimitIntervalSec=0\n\n[Service]\n"
    )
}

fn service(own: &Own, arguments: &str) -> String {
    let kind = if reloads_by_notify() {
        "Type=notify-reload\n".to_owned()
    } else {
        // systemd before 253.
        "Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n".to_owned()
    };
    let stop_s = own.stop_grace_ms / 1_000 + AFTER_GRACE_S;
    format!(
        "# Ready once the database is validated and the queue was taken from.\n{kind}NotifyAccess=main\n\
         ExecStart={program} {arguments}\n\
         # Fed by the main loop, and only while nothing stands still: see docs/service.md.\n\
         WatchdogSec=2min\n\
         Restart=on-failure\nRestartSec=10\nRestartPreventExitStatus={PERMANENT}\n\
         # A stop waits for running steps (stop_grace_ms). The supervisors of commands end those themselves;\n\
         # what is left then goes with the control group.\n\
         KillMode=mixed\nTimeoutStopSec={stop_s}\n\
         # Secrets come as files that only this service can read, never on the command line.\n",
        program = argument(&own.program),
    )
}

impl Own {
    fn place_and_owner(&self, place: Place) -> String {
        let mut text = self.credentials();
        let _ = writeln!(text, "WorkingDirectory={}", escaped(&self.root.to_string_lossy()));
        if place == Place::User {
            return text;
        }
        let _ = match &self.owner {
            Some(owner) => write!(
                text,
                "# The database's owner: files that SQLite makes beside it stay writable for both.\nUser={}\nGroup={}\n",
                escaped(&owner.user),
                escaped(&owner.group)
            ),
            None => writeln!(
                text,
                "# There is no database yet: the user and group that the orchestrator has.\nUser=runchain\nGroup=runchain"
            ),
        };
        let written: Vec<String> = self
            .written
            .iter()
            .map(|path| quoted(&format!("-{}", path.display())))
            .collect();
        let _ = writeln!(text, "ReadWritePaths={}", written.join(" "));
        text += if self.touches(&["/home", "/root", "/run/user"]) {
            "# Relaxed: program, database or configuration lie below a home folder.\nProtectHome=read-only\n"
        } else {
            "ProtectHome=yes\n"
        };
        text += if self.touches(&["/tmp", "/var/tmp"]) {
            "# Relaxed: program, database or configuration lie in a temporary folder.\nPrivateTmp=no\n"
        } else {
            "PrivateTmp=yes\n"
        };
        text
    }

    /// Where the secrets lie is not ours to know: each line waits for somebody to uncomment it.
    fn credentials(&self) -> String {
        if self.credentials.is_empty() {
            return "# A channel's url_credential = \"ops-url\" in runchain.toml reads what this line hands over:\n\
                    #LoadCredential=ops-url:/etc/runchain/credentials/ops-url\n"
                .to_owned();
        }
        let mut text =
            "# Secrets that runchain.toml names. Uncomment each line once its file is there; root alone needs to read it.\n"
                .to_owned();
        for name in &self.credentials {
            let name = escaped(name);
            let _ = writeln!(text, "#LoadCredential={name}:/etc/runchain/credentials/{name}");
        }
        text
    }

    fn touches(&self, folders: &[&str]) -> bool {
        let paths = [&self.program, &self.database, &self.root];
        let mut all = paths.into_iter().chain(&self.written).chain(&self.config);
        all.any(|path| folders.iter().any(|folder| path.starts_with(folder)))
    }
}

fn hardened(place: Place) -> String {
    match place {
        Place::System => format!("\n{HARDENING}"),
        Place::User => format!("\n{HARDENING_OF_USERS}"),
    }
}

fn install(place: Place) -> String {
    let target = match place {
        Place::System => "multi-user.target",
        Place::User => "default.target",
    };
    format!("\n[Install]\nWantedBy={target}\n")
}

/// Where the instance's own configuration is made by us.
pub(super) fn instance_config(database: &Path, outputs: &[(&'static str, PathBuf)]) -> String {
    let mut text =
        "# Relative paths would start from this folder. Every key: docs/configuration.md.\n".to_owned();
    let _ = writeln!(text, "state_db_path = {}", toml_string(database));
    for (key, folder) in outputs {
        let _ = writeln!(text, "{key} = {}", toml_string(folder));
    }
    text
}

fn toml_string(path: &Path) -> String {
    toml::Value::String(path.to_string_lossy().into_owned()).to_string()
}

pub(super) fn sysusers() -> String {
    "# The user of instances whose database has no owner of its own.\nu runchain - \"runchain executor\" / -\n".to_owned()
}

pub(super) fn tmpfiles() -> String {
    "# It names commands that are run: nobody but root may write here.\nd /etc/runchain 0755 root root -\n"
        .to_owned()
}

/// From version 253 systemd itself asks by SIGHUP and waits for the answer.
fn reloads_by_notify() -> bool {
    let Ok(output) = std::process::Command::new("systemctl").arg("--version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<u32>().ok());
    version.is_some_and(|version| version >= 253)
}

/// A word of ExecStart.
fn argument(path: &Path) -> String {
    quoted(&path.to_string_lossy()).replace('$', "$$")
}

/// A word of a list.
fn quoted(text: &str) -> String {
    let escaped = escaped(text);
    let plain = |character: char| character.is_alphanumeric() || "/._-=+:,@%$".contains(character);
    if text.chars().all(plain) {
        return escaped;
    }
    format!("\"{}\"", escaped.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Specifiers begin with a percent sign.
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}
