//! Checks of what lies under and beside the database: its file system and its journal files.
//!
//! Invariant: only stat and statfs. Opening a database or its journals, and
//! closing them again, would drop every lock that this process holds on them.

use super::database::journal_mode_of;
use super::{Context, Verdict, wording};
use crate::error::{Error, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How far a kind of file system can be trusted with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// On this machine, locks and shared memory work.
    Local,
    /// On this machine, but gone after a restart.
    Volatile,
    /// May or may not be shared with another machine (FUSE).
    Unclear,
    /// Shared with another machine: no shared memory across them, and locks that may lie.
    Shared,
}

/// A file system by the magic number of statfs(2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileSystem {
    magic: u32,
    pub(super) name: &'static str,
    pub(super) trust: Trust,
}

const FILE_SYSTEMS: &[FileSystem] = &[
    FileSystem {
        magic: 0x0000_ef53,
        name: "ext2/3/4",
        trust: Trust::Local,
    },
    FileSystem {
        magic: 0x5846_5342,
        name: "XFS",
        trust: Trust::Local,
    },
    FileSystem {
        magic: 0x9123_683e,
        name: "btrfs",
        trust: Trust::Local,
    },
    FileSystem {
        magic: 0x2fc1_2fc1,
        name: "ZFS",
        trust: Trust::Local,
    },
    FileSystem {
        magic: 0xf2f5_2010,
        name: "F2FS",
        trust: Trust::Local,
    },
    FileSystem {
        magic: 0xca45_1a4e,
        name: "bcachefs",
        trust: Trust::Local,
    },
    FileSystem {
        magic: 0x794c_7630,
        name: "overlayfs",
        trust: Trust::Local,
    },
    FileSystem {
        magic: 0x0102_1994,
        name: "tmpfs",
        trust: Trust::Volatile,
    },
    FileSystem {
        magic: 0x8584_58f6,
        name: "ramfs",
        trust: Trust::Volatile,
    },
    FileSystem {
        magic: 0x6573_5546,
        name: "FUSE",
        trust: Trust::Unclear,
    },
    FileSystem {
        magic: 0x0000_6969,
        name: "NFS",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x0000_517b,
        name: "SMB",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0xff53_4d42,
        name: "CIFS",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0xfe53_4d42,
        name: "SMB2",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x0102_1997,
        name: "9p",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x786f_4256,
        name: "vboxsf",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0xbacb_acbc,
        name: "vmhgfs",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x7c7c_6673,
        name: "prl_fs",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x00c3_6400,
        name: "Ceph",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x5346_414f,
        name: "AFS",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x7375_7245,
        name: "Coda",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x0bd0_0bd0,
        name: "Lustre",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x4750_4653,
        name: "GPFS",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x1983_0326,
        name: "BeeGFS",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x0116_1970,
        name: "GFS2",
        trust: Trust::Shared,
    },
    FileSystem {
        magic: 0x7461_636f,
        name: "OCFS2",
        trust: Trust::Shared,
    },
];

/// The file system of a magic number, if it is one of the known.
pub(super) fn file_system_of(magic: u32) -> Option<&'static FileSystem> {
    FILE_SYSTEMS.iter().find(|known| known.magic == magic)
}

pub(super) fn file_system(context: &Context<'_>) -> Result<Verdict> {
    let folder = folder_of(context.file()?);
    let Some(magic) = magic_of(folder)? else {
        return Ok(Verdict::ok("not looked at on this operating system"));
    };
    let wal = journal_mode_of(context.conn)? == "wal";
    Ok(judge_file_system(file_system_of(magic), magic, wal))
}

/// What a file system means for a database in WAL or with a rollback journal.
pub(super) fn judge_file_system(known: Option<&FileSystem>, magic: u32, wal: bool) -> Verdict {
    let move_it = "move the database to a local disk, and let other machines ask through the orchestrator";
    let Some(FileSystem { name, trust, .. }) = known else {
        return Verdict::ok(format!(
            "unknown file system, magic number 0x{magic:x}; taken for a local one"
        ));
    };
    match trust {
        Trust::Local => Verdict::ok(*name),
        Trust::Volatile => Verdict::warning(
            format!("{name}, in memory"),
            "the database is gone when this machine or container restarts",
        )
        .remedy("move the database to a disk"),
        Trust::Unclear => Verdict::warning(
            format!("{name}; what lies behind it can't be seen from here"),
            "if it is shared with another machine, WAL doesn't work on it and locks may lie",
        )
        .remedy(move_it),
        Trust::Shared if wal => Verdict::error(
            format!("{name}, with a WAL database"),
            "WAL needs memory that all processes share; through such a file system the database gets damaged",
        )
        .remedy(format!("PRAGMA journal_mode=DELETE; -- and {move_it}")),
        Trust::Shared => Verdict::warning(
            name.to_string(),
            "locks of network and host-shared file systems may lie, and changes made elsewhere are seen late",
        )
        .remedy(move_it),
    }
}

#[cfg(target_os = "linux")]
fn magic_of(folder: &Path) -> Result<Option<u32>> {
    rustix::fs::statfs(folder)
        // Magic numbers have 32 bits; the field is wider, and sign-extended on some machines.
        .map(|found| Some(found.f_type as u32))
        .map_err(|error| Error::io("ask for the file system of", folder, error.into()))
}

#[cfg(not(target_os = "linux"))]
fn magic_of(_folder: &Path) -> Result<Option<u32>> {
    Ok(None)
}

pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Who may write a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Ownership {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
        }
    }

    /// Whether the owner of this file (the database) can write `sidecar`. A group in common is taken
    /// to include the owner.
    pub(super) fn can_write(self, sidecar: Self) -> bool {
        self.uid == 0
            || self.uid == sidecar.uid
            || (self.gid == sidecar.gid && sidecar.mode & 0o020 != 0)
            || sidecar.mode & 0o002 != 0
    }
}

/// A journal file that the database's owner can't write.
struct Foreign {
    path: PathBuf,
    uid: u32,
}

pub(super) fn sidecars(context: &Context<'_>) -> Result<Verdict> {
    let file = context.file()?;
    let database = std::fs::metadata(file)
        .map(|metadata| Ownership::of(&metadata))
        .map_err(|error| Error::io("stat", file, error))?;
    let mut there = Vec::new();
    let mut foreign: Vec<Foreign> = Vec::new();
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        // One that vanishes between two looks is as good as absent.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        there.push(suffix);
        if !database.can_write(Ownership::of(&metadata)) {
            foreign.push(Foreign {
                path,
                uid: metadata.uid(),
            });
        }
    }
    if foreign.is_empty() {
        return Ok(Verdict::ok(if there.is_empty() {
            "none there".to_owned()
        } else {
            there.join(", ")
        }));
    }
    let found: Vec<String> = foreign
        .iter()
        .map(|file| format!("{} belongs to user {}", file.path.display(), file.uid))
        .collect();
    let paths: Vec<String> = foreign.iter().map(|file| wording::argument(&file.path)).collect();
    let Ownership { uid, gid, mode } = database;
    Ok(Verdict::error(
        format!("{}; the database belongs to user {uid}", found.join(", ")),
        "the database's owner can't write: \"attempt to write a readonly database\"",
    )
    .remedy(format!(
        "chown {uid}:{gid} {paths} && chmod {mode:o} {paths}; then run runchain as user {uid}",
        paths = paths.join(" "),
        mode = mode & 0o666
    )))
}
