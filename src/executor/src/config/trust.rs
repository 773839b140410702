//! Whether the configuration file can be trusted: it names the commands that are run.
//!
//! Invariant: nobody but root and the caller can change the file, put another in its place, or turn
//! a link on the way to it. The rules are those by which sshd looks at a user's own files: owner
//! and permissions of the file and of every folder above it; a group may write where it is
//! the owner's private one. In a sticky folder (/tmp) others can neither rename nor remove what isn't
//! theirs, so it counts by its owner only.
//!
//! What does not belong here: what stands in the file.

use super::error::Problem;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Links that are followed on the way to a file; the kernel gives up at this many, too.
const LINKS: usize = 40;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// What keeps the file from being trusted: nothing, or all of it. What can't be looked at is left to
/// who reads the file.
pub(super) fn problems(file: &Path) -> Vec<Problem> {
    let judge = Judge {
        caller: rustix::process::geteuid().as_raw(),
        users: &std::fs::read_to_string("/etc/passwd").unwrap_or_default(),
        groups: &std::fs::read_to_string("/etc/group").unwrap_or_default(),
    };
    judge.problems(file)
}

/// Who asks, and who is who.
struct Judge<'a> {
    /// The caller's user id.
    caller: u32,
    /// As `/etc/passwd`.
    users: &'a str,
    /// As `/etc/group`.
    groups: &'a str,
}

impl Judge<'_> {
    fn problems(&self, file: &Path) -> Vec<Problem> {
        let mut problems = Vec::new();
        for path in way_to(file) {
            let Ok(found) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            problems.extend(self.problem_of(file, &path, &found));
        }
        problems
    }

    fn problem_of(&self, file: &Path, path: &Path, found: &Metadata) -> Option<Problem> {
        let kind = if found.is_dir() {
            "folder"
        } else if found.is_symlink() {
            "link"
        } else {
            "file"
        };
        let problem = |what: String, remedy: String| {
            let what = format!("the configuration file names commands, but the {kind} {what}");
            Some(Problem::new(Some(file.display().to_string()), what, remedy))
        };
        let (shown, quoted) = (path.display(), quoted(path));
        if found.uid() != 0 && found.uid() != self.caller {
            let owner = self.user(self.caller);
            let or_root = if self.caller == 0 { "" } else { " or root" };
            let what = format!(
                "{shown} belongs to {} and not to {owner}, who runs this{or_root}",
                self.user(found.uid()),
            );
            let link = if found.is_symlink() { "-h " } else { "" };
            return problem(
                what,
                format!("run `chown {link}{owner} {quoted}`, or run runchain as its owner"),
            );
        }
        let mode = found.mode() & 0o7777;
        let is_sticky = found.is_dir() && mode & STICKY != 0;
        // A link has no permissions, and what is written to /dev/null is gone.
        if found.is_symlink() || is_sticky || path == Path::new("/dev/null") {
            return None;
        }
        if mode & OTHERS_WRITE != 0 {
            let what = format!("{shown} can be written by everybody (mode {mode:04o})");
            return problem(what, format!("run `chmod go-w {quoted}`"));
        }
        if mode & GROUP_WRITES != 0 && (has_acl(path) || !self.is_private(found.gid(), found.uid())) {
            let what = format!(
                "{shown} can be written by the group {} (mode {mode:04o})",
                self.group(found.gid())
            );
            return problem(what, format!("run `chmod g-w {quoted}`"));
        }
        None
    }

    /// Whether only `owner` (and root) are in a group, as on systems that give each user one.
    fn is_private(&self, gid: u32, owner: u32) -> bool {
        let users: Vec<User<'_>> = self.users.lines().filter_map(User::of_line).collect();
        let own_names: Vec<&str> = (users.iter())
            .filter(|user| user.uid == owner || user.uid == 0)
            .map(|user| user.name)
            .collect();
        let is_primary = users.iter().any(|user| user.uid == owner && user.gid == gid);
        let others = (users.iter()).any(|user| user.gid == gid && user.uid != owner && user.uid != 0);
        let members = self
            .groups
            .lines()
            .filter_map(Group::of_line)
            .find(|group| group.gid == gid);
        is_primary
            && !others
            && members.is_some_and(|group| {
                let mut names = group.members.split(',').filter(|name| !name.is_empty());
                names.all(|name| own_names.contains(&name))
            })
    }

    fn user(&self, uid: u32) -> String {
        let mut users = self.users.lines().filter_map(User::of_line);
        let named = users.find(|user| user.uid == uid);
        named.map_or_else(|| uid.to_string(), |user| user.name.to_owned())
    }

    fn group(&self, gid: u32) -> String {
        let mut groups = self.groups.lines().filter_map(Group::of_line);
        let named = groups.find(|group| group.gid == gid);
        named.map_or_else(|| gid.to_string(), |group| group.name.to_owned())
    }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl<'a> User<'a> {
    fn of_line(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        Some(Self {
            name: fields.first()?,
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
        })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn of_line(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        Some(Self {
            name: fields.first()?,
            gid: fields.get(2)?.parse().ok()?,
            members: fields.get(3)?,
        })
    }
}

/// Every file, folder and link that decides which file is read, the file first.
fn way_to(file: &Path) -> Vec<PathBuf> {
    let mut way = Vec::new();
    let mut seen = BTreeSet::new();
    let mut ends = vec![std::path::absolute(file).unwrap_or_else(|_| file.to_owned())];
    let mut links = 0;
    while let Some(end) = ends.pop() {
        for path in end.ancestors() {
            if !seen.insert(path.to_owned()) {
                continue;
            }
            way.push(path.to_owned());
            if let Ok(target) = std::fs::read_link(path)
                && links < LINKS
            {
                links += 1;
                ends.push(path.parent().unwrap_or(Path::new("/")).join(target));
            }
        }
    }
    way
}

/// Whether more people than owner and group can have been given rights; the mode then shows the most
/// that any of them has as the group's.
fn has_acl(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let mut none = [0_u8; 0];
        let asked = rustix::fs::getxattr(path, "system.posix_acl_access", &mut none);
        !matches!(asked, Err(Errno::NODATA | Errno::OPNOTSUPP))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        true
    }
}

/// A path as a word for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if text.bytes().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const USERS: &str = "root:x:0:0::/:\nalice:x:7001:7001::/:\nbob:x:7002:7002::/:\ncarol:x:7003:7004::/:\ndave:x:7004:7004::/:\n";
    const GROUPS: &str = "root:x:0:\nalice:x:7001:\nbob:x:7002:alice\nstaff:x:7004:\nadm:x:7005:\n";

    fn judge() -> Judge<'static> {
        Judge {
            caller: rustix::process::geteuid().as_raw(),
            users: USERS,
            groups: GROUPS,
        }
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_group_is_private_when_nobody_else_is_in_it() {
        assert!(judge().is_private(7001, 7001));
        assert!(!judge().is_private(7002, 7002), "alice is a member");
        assert!(!judge().is_private(7004, 7003), "dave has it, too");
        assert!(!judge().is_private(7005, 7001), "it isn't alice's own");
        assert!(!judge().is_private(7099, 7099), "nobody knows it");
    }

    #[test]
    fn what_others_can_write_is_named_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inner = root.join("in here");
        let file = inner.join("runchain.toml");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(&file, "").unwrap();
        let found = || -> Vec<String> { judge().problems(&file).iter().map(ToString::to_string).collect() };
        mode(&inner, 0o755);
        for fine in [0o600, 0o644, 0o755, 0o400] {
            mode(&file, fine);
            assert_eq!(found(), [""; 0], "{fine:o}");
        }
        mode(&file, 0o666);
        let shown = file.display();
        assert_eq!(
            found(),
            [format!(
                "{shown}: the configuration file names commands, but the file {shown} can be written by everybody (mode 0666); \
                 run `chmod go-w '{shown}'`"
            )]
        );
        mode(&file, 0o644);
        mode(&inner, 0o777);
        let inner_shown = inner.display();
        assert_eq!(found().len(), 1);
        assert!(
            found()[0].ends_with(&format!(
                "but the folder {inner_shown} can be written by everybody (mode 0777); run `chmod go-w '{inner_shown}'`"
            )),
            "{found:?}",
            found = found()
        );
        mode(&inner, 0o1777);
        assert_eq!(found(), [""; 0], "a sticky folder of ours");
    }

    #[test]
    fn a_link_is_followed_with_everything_on_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["open", "shut"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(root.join("shut/runchain.toml"), "").unwrap();
        symlink("../shut", root.join("open/link")).unwrap();
        symlink(root.join("open/link"), root.join("start")).unwrap();
        let file = root.join("start/runchain.toml");
        assert_eq!(judge().problems(&file), []);
        // Nothing of the path as it is given, nor of the real file's, is open: only what lies between.
        mode(&root.join("open"), 0o777);
        let problems = judge().problems(&file);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].what.contains("/open can be written by everybody"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_link_to_itself_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("loop");
        symlink("loop", &file).unwrap();
        assert_eq!(judge().problems(&file), []);
    }
}
