//! A folder that is held open, and what is done in it by names from there.
//!
//! Whoever may write in a folder above ours can put a symlink in the place of one of its parts at
//! any moment, also between a look and the call that follows. So what we write, read for a bag or
//! remove is named from a descriptor, one part after the other, and no part may be a symlink.
//!
//! What does not belong here: what the files hold, and the database's own files, which are never
//! opened at all.

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fstat, mkdirat, openat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// NONBLOCK: a FIFO under the name must not hold us.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// As every new file: the umask decides.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);
const NEW_FOLDER: Mode = Mode::from_raw_mode(0o777);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    /// Opens a folder whose last part is no symlink.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = openat(CWD, path, FOLDER | OFlags::RDONLY, Mode::empty()).map_err(no_folder)?;
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }

    /// Opens a folder that a person has named: it may be a symlink.
    pub(crate) fn open_root(path: &Path) -> io::Result<Self> {
        let fd = openat(
            CWD,
            path,
            FOLDER.difference(OFlags::NOFOLLOW) | OFlags::RDONLY,
            Mode::empty(),
        )?;
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }

    /// Its path as it was opened, for messages and for who works by paths.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it.
    pub(crate) fn child(&self, name: impl AsRef<Path>) -> io::Result<Self> {
        let name = name.as_ref();
        let fd =
            openat(&self.fd, one_part(name)?, FOLDER | OFlags::RDONLY, Mode::empty()).map_err(no_folder)?;
        Ok(Self {
            path: self.path.join(name),
            fd,
        })
    }

    /// A new folder in it; the name must be free.
    pub(crate) fn create_child(&self, name: impl AsRef<Path>) -> io::Result<Self> {
        let name = name.as_ref();
        mkdirat(&self.fd, one_part(name)?, NEW_FOLDER)?;
        self.child(name)
    }

    /// A new file at a relative path, with the folders on the way.
    pub(crate) fn create_file(&self, relative: &Path) -> io::Result<File> {
        let (folders, name) = split(relative)?;
        let mut at = None;
        for part in folders {
            let folder: &Self = at.as_ref().unwrap_or(self);
            match mkdirat(&folder.fd, part, NEW_FOLDER) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            at = Some(folder.child(part)?);
        }
        let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(openat(&at.as_ref().unwrap_or(self).fd, name, flags, NEW_FILE)?.into())
    }

    /// A file in it to read and append to, made where it is missing; anything but a plain file is
    /// refused.
    pub(crate) fn open_to_append(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let flags = FILE | OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
        plain(openat(&self.fd, one_part(name.as_ref())?, flags, NEW_FILE)?)
    }

    /// A plain file at a relative path, to read. `check` sees what it is before it is opened.
    pub(crate) fn open_file(
        &self,
        relative: &Path,
        check: impl FnOnce(&Stat) -> io::Result<()>,
    ) -> io::Result<File> {
        self.open_as(relative, OFlags::RDONLY, check)
    }

    /// A descriptor that names a file at a relative path without opening it: closing it drops nobody's
    /// locks, and what is opened through it is this very file.
    #[cfg(target_os = "linux")]
    pub(crate) fn point_at(&self, relative: &Path) -> io::Result<OwnedFd> {
        let (folders, name) = split(relative)?;
        let below = self.below(&folders)?;
        let folder = below.as_ref().unwrap_or(self);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&folder.fd, name, flags, Mode::empty())?)
    }

    /// A plain file at a relative path, to read and to change in place.
    pub(crate) fn open_to_change(&self, relative: &Path) -> io::Result<File> {
        self.open_as(relative, OFlags::RDWR, |_| Ok(()))
    }

    fn open_as(
        &self,
        relative: &Path,
        access: OFlags,
        check: impl FnOnce(&Stat) -> io::Result<()>,
    ) -> io::Result<File> {
        let (folders, name) = split(relative)?;
        let below = self.below(&folders)?;
        let folder = below.as_ref().unwrap_or(self);
        let named = statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(named.st_mode) != FileType::RegularFile {
            return Err(not_plain());
        }
        check(&named)?;
        let file = openat(&folder.fd, name, FILE | access, Mode::empty())?;
        let opened = fstat(&file)?;
        if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "it was replaced while it was being opened",
            ));
        }
        plain(file)
    }

    /// The names in it.
    pub(crate) fn names(&self) -> io::Result<Vec<std::ffi::OsString>> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(std::ffi::OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Whether the name is still this file's.
    pub(crate) fn names_file(&self, name: &str, file: &File) -> bool {
        match (statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW), fstat(file)) {
            (Ok(named), Ok(held)) => (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino),
            _ => false,
        }
    }

    /// What stands under a name, itself and not what a symlink leads to.
    pub(crate) fn kind(&self, name: &str) -> io::Result<FileType> {
        let stat = statat(&self.fd, one_part(Path::new(name))?, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    /// Renames what is in it, perhaps into another folder.
    pub(crate) fn rename(&self, from: &str, to: &Self, name: &str, flags: RenameFlags) -> Result<(), Errno> {
        renameat_with(&self.fd, from, &to.fd, name, flags)
    }

    /// Removes a file, or the symlink under its name.
    pub(crate) fn remove_file(&self, relative: &Path) -> io::Result<()> {
        let (folders, name) = split(relative)?;
        let below = self.below(&folders)?;
        Ok(unlinkat(
            &below.as_ref().unwrap_or(self).fd,
            name,
            AtFlags::empty(),
        )?)
    }

    /// The folder at the end of the way; none where that is this one.
    fn below(&self, folders: &[&Path]) -> io::Result<Option<Self>> {
        let mut at = None;
        for part in folders {
            at = Some(at.as_ref().unwrap_or(self).child(part)?);
        }
        Ok(at)
    }

    /// Removes a folder with all that is in it, following no symlink.
    pub(crate) fn remove_tree(&self, name: &str) -> io::Result<()> {
        self.remove_below(Path::new(name))
    }

    fn remove_below(&self, name: &Path) -> io::Result<()> {
        let folder = self.child(name)?;
        for entry in folder.names()? {
            let entry = Path::new(&entry);
            match unlinkat(&folder.fd, entry, AtFlags::empty()) {
                // A folder; some file systems say it the second way.
                Err(Errno::ISDIR | Errno::PERM) => folder.remove_below(entry)?,
                removed => removed?,
            }
        }
        Ok(unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// Brings its entries to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }
}

fn plain(file: OwnedFd) -> io::Result<File> {
    if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile {
        return Ok(file.into());
    }
    Err(not_plain())
}

fn not_plain() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "it is not a plain file")
}

/// The system says of a symlink that it is not a directory, or that there are too many of them.
fn no_folder(errno: Errno) -> io::Error {
    match errno {
        Errno::NOTDIR | Errno::LOOP => io::Error::new(
            ErrorKind::NotADirectory,
            "its folder is a symlink, or no folder; runchain follows none",
        ),
        _ => errno.into(),
    }
}

fn one_part(name: &Path) -> io::Result<&Path> {
    let mut parts = name.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(name),
        _ => Err(leaves(name)),
    }
}

/// The folders of a relative path, and its last part.
fn split(relative: &Path) -> io::Result<(Vec<&Path>, &Path)> {
    let mut parts = Vec::new();
    for part in relative.components() {
        match part {
            Component::Normal(part) => parts.push(Path::new(part)),
            _ => return Err(leaves(relative)),
        }
    }
    match parts.pop() {
        Some(last) => Ok((parts, last)),
        None => Err(leaves(relative)),
    }
}

fn leaves(path: &Path) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        format!("{} is not a path within the folder", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// `ours` with a folder `inner`, and beside it `theirs` with a file.
    fn folders() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("ours/inner")).unwrap();
        std::fs::create_dir_all(root.path().join("theirs/inner")).unwrap();
        std::fs::write(root.path().join("theirs/inner/secret"), "secret").unwrap();
        let ours = Folder::open(&root.path().join("ours")).unwrap();
        (root, ours)
    }

    fn any(_: &Stat) -> io::Result<()> {
        Ok(())
    }

    #[test]
    fn no_part_of_a_path_may_be_a_symlink_or_lead_out() {
        let (root, ours) = folders();
        symlink(root.path().join("theirs"), root.path().join("ours/link")).unwrap();
        symlink("../theirs/inner/secret", root.path().join("ours/file")).unwrap();
        for path in [
            "link/inner/secret",
            "file",
            "../theirs/inner/secret",
            "/etc/passwd",
            "",
            ".",
        ] {
            let path = Path::new(path);
            assert!(ours.open_file(path, any).is_err(), "{path:?}");
            let below = ours.create_file(&path.join("new"));
            assert!(below.is_err() || path == Path::new(""), "{path:?}");
            assert!(
                ours.remove_file(path).is_err() || path == Path::new("file"),
                "{path:?}"
            );
        }
        assert!(Folder::open(&root.path().join("ours/link")).is_err());
        let theirs = Folder::open(&root.path().join("theirs")).unwrap();
        assert_eq!(theirs.names().unwrap(), ["inner"]);
        assert!(theirs.open_file(Path::new("inner/secret"), any).is_ok());
    }

    #[test]
    fn a_folder_that_is_swapped_for_a_symlink_keeps_what_we_write() {
        let (root, ours) = folders();
        let (ours_path, moved) = (root.path().join("ours"), root.path().join("moved"));
        std::fs::rename(&ours_path, &moved).unwrap();
        symlink(root.path().join("theirs"), &ours_path).unwrap();
        ours.create_file(Path::new("inner/new")).unwrap();
        ours.remove_tree("inner").unwrap();
        ours.create_child("other").unwrap();
        assert!(moved.join("other").is_dir() && !moved.join("inner").exists());
        assert!(root.path().join("theirs/inner/secret").exists());
        assert!(!root.path().join("theirs/other").exists());
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let (root, ours) = folders();
        let path = root.path().join("ours/pipe");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(ours.open_file(Path::new("pipe"), any).is_err());
        assert!(ours.open_to_append("pipe").is_err());
    }
}
