//! Surroundings that harm.

use super::*;
use crate::file_system::{Trust, Under, of_magic};
use crate::validate::files::{Ownership, judge_file_system};

#[test]
fn a_shared_file_system_is_an_error_in_wal_and_a_warning_without() {
    for (magic, trust, wal, rollback) in [
        (0x6969, Some(Trust::Shared), Severity::Error, Severity::Warning),
        (
            0xff53_4d42,
            Some(Trust::Shared),
            Severity::Error,
            Severity::Warning,
        ),
        (
            0x0102_1997,
            Some(Trust::Shared),
            Severity::Error,
            Severity::Warning,
        ),
        (
            0x786f_4256,
            Some(Trust::Shared),
            Severity::Error,
            Severity::Warning,
        ),
        (
            0x6573_5546,
            Some(Trust::Unclear),
            Severity::Warning,
            Severity::Warning,
        ),
        (
            0x0102_1994,
            Some(Trust::Volatile),
            Severity::Warning,
            Severity::Warning,
        ),
        (0x794c_7630, Some(Trust::Local), Severity::Ok, Severity::Ok),
        (0xef53, Some(Trust::Local), Severity::Ok, Severity::Ok),
        (0xdead_beef, None, Severity::Ok, Severity::Ok),
    ] {
        let known = of_magic(magic, None);
        assert_eq!(known.as_ref().map(|known| known.trust), trust, "{magic:x}");
        let under = known.map_or(Under::Unknown(magic), Under::Known);
        assert_eq!(judge_file_system(&under, true).severity, wal, "{magic:x}");
        assert_eq!(judge_file_system(&under, false).severity, rollback, "{magic:x}");
    }
    Project::installed(SHAPE_A).says("file_system");
}

#[test]
fn a_journal_file_that_the_owner_cannot_write_is_an_error() {
    let owned = |uid, gid, mode| Ownership { uid, gid, mode };
    let database = owned(1000, 1000, 0o100_644);
    for (sidecar, writable) in [
        (owned(1000, 1000, 0o100_644), true),
        (owned(0, 0, 0o100_644), false),
        (owned(0, 1000, 0o100_644), false),
        (owned(0, 1000, 0o100_664), true),
        (owned(0, 0, 0o100_666), true),
    ] {
        assert_eq!(database.can_write(sidecar), writable, "{sidecar:?}");
    }
    assert!(
        owned(0, 0, 0o100_600).can_write(owned(1000, 1000, 0o100_600)),
        "root writes everything"
    );

    // Only root may give files away; elsewhere the table above has to do.
    let project = Project::installed(SHAPE_A);
    if std::os::unix::fs::chown(project.database(), Some(4711), Some(4711)).is_ok() {
        let finding = project.says("sidecar_files");
        assert_says(
            &finding,
            Severity::Error,
            "orchestration.db-wal belongs to user",
            "chown 4711:4711",
        );
    }
}

#[test]
fn another_state_database_nearby_is_named_with_size_and_age() {
    let project = Project::installed(SHAPE_A);
    let root = project.folder.path();
    std::fs::create_dir(root.join(".worktrees")).unwrap();
    let other = std::fs::File::create(root.join(".worktrees/pipeline_state.db")).unwrap();
    other.set_len(8192).unwrap();
    let written = std::time::UNIX_EPOCH + std::time::Duration::from_millis(NOW.0 as u64 - 3 * 86_400_000);
    other.set_modified(written).unwrap();
    std::fs::write(root.join("old.db"), "").unwrap();
    std::fs::write(root.join("notes.txt"), "").unwrap();
    std::os::unix::fs::symlink(project.database(), root.join("link.db")).unwrap();
    let finding = project.says("nearby_databases");
    assert_says(
        &finding,
        Severity::Warning,
        ".worktrees/pipeline_state.db (8192 bytes, last written 3 d ago)",
        "orchestration.db",
    );
    assert!(finding.found.contains("old.db (0 bytes"), "{finding:?}");
    assert!(
        !finding.found.contains("link.db") && !finding.found.contains("notes"),
        "{finding:?}"
    );
}
