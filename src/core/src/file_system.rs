//! What lies under a database: which kinds of file system keep SQLite's promises, and which report
//! changes that others make.
//!
//! Invariant: only statfs, stat and the kernel's own list of mounts; no file of the user's is opened.
//! What does not belong here: what to do about it. `validate` says it, the executor refuses or polls.

use crate::error::{Error, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How far a kind of file system can be trusted with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// On this machine: locks and shared memory work, and every change is reported.
    Local,
    /// On this machine, but gone after a restart.
    Volatile,
    /// May or may not be shared with another machine (FUSE).
    Unclear,
    /// Shared with another machine: no memory that all processes share, locks that may lie, and no
    /// report of what others change.
    Shared,
}

impl Trust {
    /// Whether WAL is safe: its index is a memory map that every process must see alike.
    #[must_use]
    pub fn has_coherent_memory(self) -> bool {
        self != Self::Shared
    }

    /// Whether inotify tells of every change.
    #[must_use]
    pub fn reports_changes(self) -> bool {
        matches!(self, Self::Local | Self::Volatile)
    }
}

/// A kind of file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// What people call it.
    pub name: String,
    /// What to think of it.
    pub trust: Trust,
}

/// One row of [`KINDS`].
struct Kind {
    magic: u32,
    name: &'static str,
    trust: Trust,
}

const fn kind(magic: u32, name: &'static str, trust: Trust) -> Kind {
    Kind { magic, name, trust }
}

/// By the magic number of statfs(2). The numbers are those of Linux's `include/uapi/linux/magic.h` and
/// of the statfs(2) manual page; AFS has two there, OpenAFS' and the kernel's own. Not in them: GFS2
/// (`include/uapi/linux/gfs2_ondisk.h`), vboxsf (`fs/vboxsf/super.c`), and those of file systems outside
/// the kernel (ZFS, vmhgfs, prl_fs, Lustre, GPFS, and BeeGFS under its old name FhGFS), which are those
/// that `stat -f` of coreutils knows.
const KINDS: &[Kind] = &[
    kind(0x0000_ef53, "ext2/3/4", Trust::Local),
    kind(0x5846_5342, "XFS", Trust::Local),
    kind(0x9123_683e, "btrfs", Trust::Local),
    kind(0x2fc1_2fc1, "ZFS", Trust::Local),
    kind(0xf2f5_2010, "F2FS", Trust::Local),
    kind(0xca45_1a4e, "bcachefs", Trust::Local),
    kind(0x794c_7630, "overlayfs", Trust::Local),
    kind(0x0102_1994, "tmpfs", Trust::Volatile),
    kind(0x8584_58f6, "ramfs", Trust::Volatile),
    kind(FUSE, "FUSE", Trust::Unclear),
    kind(0x0000_6969, "NFS", Trust::Shared),
    kind(0x0000_517b, "SMB", Trust::Shared),
    kind(0xff53_4d42, "CIFS", Trust::Shared),
    kind(0xfe53_4d42, "SMB2", Trust::Shared),
    kind(0x0102_1997, "9p", Trust::Shared),
    kind(0x786f_4256, "vboxsf", Trust::Shared),
    kind(0xbacb_acbc, "vmhgfs", Trust::Shared),
    kind(0x7c7c_6673, "prl_fs", Trust::Shared),
    kind(0x00c3_6400, "Ceph", Trust::Shared),
    kind(0x5346_414f, "AFS", Trust::Shared),
    kind(0x6b41_4653, "kAFS", Trust::Shared),
    kind(0x7375_7245, "Coda", Trust::Shared),
    kind(0x0bd0_0bd0, "Lustre", Trust::Shared),
    kind(0x4750_4653, "GPFS", Trust::Shared),
    kind(0x1983_0326, "BeeGFS", Trust::Shared),
    kind(0x0116_1970, "GFS2", Trust::Shared),
    kind(0x7461_636f, "OCFS2", Trust::Shared),
];

/// FUSE, and virtiofs, which is the same to statfs.
const FUSE: u32 = 0x6573_5546;

/// File systems that are FUSE to statfs, by the type that the list of mounts gives, and that are known
/// to be shared with another machine or with the host of a virtual one.
const SHARED_BY_FUSE: &[&str] = &[
    "virtiofs",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.juicefs",
    "fuse.mfs",
    "fuse.davfs2",
    "fuse.vmhgfs-fuse",
    "fuse.osxfs",
    "fuse.grpcfuse",
    "fakeowner",
];

/// The file system of a magic number; `mounted_as` is its type in the list of mounts, where known.
/// `None`: nothing is known of it.
#[must_use]
pub fn of_magic(magic: u32, mounted_as: Option<&str>) -> Option<FileSystem> {
    let kind = KINDS.iter().find(|kind| kind.magic == magic)?;
    let mut found = FileSystem {
        name: kind.name.to_owned(),
        trust: kind.trust,
    };
    if magic == FUSE
        && let Some(mounted_as) = mounted_as
    {
        mounted_as.clone_into(&mut found.name);
        if SHARED_BY_FUSE.contains(&mounted_as) {
            found.trust = Trust::Shared;
        }
    }
    Some(found)
}

/// What lies under a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Under {
    /// A kind that is known.
    Known(FileSystem),
    /// One that isn't, with its magic number.
    Unknown(u32),
    /// Not to be had on this operating system.
    NotAsked,
}

impl Under {
    /// What to think of it; a file system that nobody knows is taken for a local one.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match self {
            Self::Known(found) => found.trust,
            Self::Unknown(_) | Self::NotAsked => Trust::Local,
        }
    }
}

/// Asks for the file system of a folder.
///
/// # Errors
/// When the system doesn't say.
#[cfg(target_os = "linux")]
pub fn under(folder: &Path) -> Result<Under> {
    let found = rustix::fs::statfs(folder)
        .map_err(|error| Error::io("ask for the file system of", folder, error.into()))?;
    // Magic numbers have 32 bits; the field is wider, and sign-extended on some machines.
    let magic = found.f_type as u32;
    let mounted_as = (magic == FUSE).then(|| mounted_as(folder)).flatten();
    Ok(of_magic(magic, mounted_as.as_deref()).map_or(Under::Unknown(magic), Under::Known))
}

/// Nothing is known elsewhere.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn under(_folder: &Path) -> Result<Under> {
    Ok(Under::NotAsked)
}

/// The type of the mount that a folder lies in, by its device number.
fn mounted_as(folder: &Path) -> Option<String> {
    let device = std::fs::metadata(folder).ok()?.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    mount_type(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &number)
}

/// proc_pid_mountinfo(5): the third field is the device, the first one after ` - ` the type.
fn mount_type(mounts: &str, device: &str) -> Option<String> {
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(device))?;
    let (_, rest) = line.split_once(" - ")?;
    rest.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_mounts_tells_one_fuse_from_another() {
        let mounts = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      90 22 0:51 / /mnt/a\\040b rw,nosuid shared:7 - fuse.sshfs me@host:/ rw,user_id=0\n\
                      91 22 0:52 / /mnt/host rw - virtiofs share rw\n\
                      92 22 0:53 / /mnt/b rw - fuse /usr/bin/bindfs rw\n";
        let of = |device| of_magic(FUSE, mount_type(mounts, device).as_deref()).unwrap();
        assert_eq!(of("0:51").trust, Trust::Shared);
        assert_eq!(of("0:52").name, "virtiofs");
        assert_eq!(of("0:52").trust, Trust::Shared);
        assert_eq!(of("0:53").trust, Trust::Unclear);
        assert_eq!(of("0:99").name, "FUSE");
        assert_eq!(mount_type(mounts, "254:1").as_deref(), Some("ext4"));
    }

    /// As magic.h and statfs(2) write them.
    #[test]
    fn network_file_systems_are_shared_by_their_numbers_and_fuse_alone_is_unclear() {
        for (magic, name) in [
            (0x6969, "NFS"),
            (0x517B, "SMB"),
            (0xFF53_4D42, "CIFS"),
            (0xFE53_4D42, "SMB2"),
            (0x0102_1997, "9p"),
            (0x5346_414F, "AFS"),
            (0x6B41_4653, "kAFS"),
            (0x00C3_6400, "Ceph"),
            (0x7375_7245, "Coda"),
            (0x7461_636F, "OCFS2"),
        ] {
            let found = of_magic(magic, None).unwrap();
            assert_eq!((found.name.as_str(), found.trust), (name, Trust::Shared));
        }
        assert_eq!(of_magic(0x6573_5546, None).unwrap().trust, Trust::Unclear);
        assert_eq!(of_magic(0xEF53, None).unwrap().trust, Trust::Local);
        assert_eq!(of_magic(0x1234, None), None);
    }

    #[test]
    fn no_magic_number_stands_twice() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!(
                KINDS[..index].iter().all(|other| other.magic != kind.magic),
                "{}",
                kind.name
            );
        }
    }
}
