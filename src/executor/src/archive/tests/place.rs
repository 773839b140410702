//! Where bags stand, and what is never touched.

use crate::archive::fixture::{Fixture, UUID, ended, run, tree};
use crate::archive::{Archived, Ended, archive, folder_name, verify};
use runchain_core::Millis;
use std::os::unix::fs::symlink;

fn entries(fixture: &Fixture) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(&fixture.options.archive_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn hostile_ids_stay_inside_the_archive_folder() {
    let fixture = Fixture::shape_b();
    let long = "x".repeat(300);
    let ids = [
        "--help", "../x", "a/b", "", &long, "run\n1", "nul\0", "🚀", ".", "..",
    ];
    let outside = tree(fixture.dir.path()).len();
    for id in ids {
        fixture
            .conn
            .execute(
                "INSERT INTO runs(run_id, project_id, phase_id, created_at, state) VALUES (?1, '', '', '', 'failed')",
                [id],
            )
            .unwrap();
        let id = run(id);
        let bag = fixture.seal(&ended(&id));
        assert_eq!(bag.path, fixture.options.archive_dir.join(folder_name(&id)));
        verify(&bag.path).unwrap();
        let info = std::fs::read_to_string(bag.path.join("bag-info.txt")).unwrap();
        assert_eq!(info.lines().count(), 9, "{info}");
        assert!(fixture.seal(&ended(&id)).unchanged);
    }
    assert_eq!(entries(&fixture).len(), ids.len());
    std::fs::remove_dir_all(&fixture.options.archive_dir).unwrap();
    assert_eq!(tree(fixture.dir.path()).len(), outside);
}

#[test]
fn an_older_generation_is_kept_whole_beside_the_new_one() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let first = fixture.seal(&ended(&id));
    let first_tree = tree(&first.path);
    fixture.sql("UPDATE runs SET status = 'PARTIAL' WHERE run_id = 'run-1'");
    let rerun = Ended {
        generation: 2,
        status: Some("PARTIAL".into()),
        phase: "failed".into(),
        ..ended(&id)
    };
    let second = fixture.seal(&rerun);
    let short = &first.digest["sha256:".len()..][..8];
    let aside = fixture.path(&format!(".archive/run-1~g1-{short}"));
    assert_eq!(second.replaced.as_ref(), Some(&aside));
    assert_eq!(tree(&aside), first_tree);
    assert_eq!(verify(&aside).unwrap().digest, first.digest);
    assert_eq!(verify(&second.path).unwrap().digest, second.digest);
    assert_eq!(
        entries(&fixture),
        ["run-1".to_owned(), format!("run-1~g1-{short}")]
    );

    // There and back again: a name that is taken is never overwritten.
    fixture.sql("UPDATE runs SET status = 'COMPLETED' WHERE run_id = 'run-1'");
    assert_eq!(fixture.seal(&ended(&id)).digest, first.digest);
    let fourth = fixture.seal(&rerun);
    assert_ne!(fourth.replaced, Some(aside.clone()));
    assert_eq!(tree(&aside), first_tree);
}

#[test]
fn an_exchange_that_was_cut_short_is_completed() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let first = fixture.seal(&ended(&id));
    let short = first.digest["sha256:".len()..][..8].to_owned();
    let rerun = Ended {
        generation: 2,
        ..ended(&id)
    };
    let second = fixture.seal(&rerun);
    let aside = second.replaced.clone().unwrap();
    // As a crash between the two renames leaves it: the new bag under the older one's later name.
    let swap = fixture.path("swap");
    std::fs::rename(&second.path, &swap).unwrap();
    std::fs::rename(&aside, &second.path).unwrap();
    std::fs::rename(&swap, &aside).unwrap();
    let again = fixture.seal(&rerun);
    assert_eq!(again.digest, second.digest);
    assert_eq!(verify(&aside).unwrap().digest, first.digest);
    assert_eq!(
        entries(&fixture),
        ["run-1".to_owned(), format!("run-1~g1-{short}")]
    );
}

#[test]
fn a_damaged_bag_is_replaced_and_kept() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let first = fixture.seal(&ended(&id));
    std::fs::write(first.path.join("data/run.json"), "{}").unwrap();
    let mended = fixture.seal(&ended(&id));
    assert!(!mended.unchanged);
    assert_eq!(mended.digest, first.digest);
    verify(&mended.path).unwrap();
    assert_eq!(
        std::fs::read_to_string(mended.replaced.unwrap().join("data/run.json")).unwrap(),
        "{}"
    );
}

#[test]
fn what_is_not_our_bag_of_this_run_is_refused_and_left_as_it_is() {
    let id = run("run-1");
    let refused = |prepare: &dyn Fn(&Fixture)| {
        let fixture = Fixture::shape_a();
        prepare(&fixture);
        let before = tree(fixture.dir.path());
        let says = fixture.refusal(&ended(&id));
        assert_eq!(tree(fixture.dir.path()), before);
        says
    };
    let says = refused(&|fixture| fixture.write(".archive/run-1/notes.txt", b"mine"));
    assert!(
        says.contains("run-1 is not a bag of this run") && says.contains("move it away"),
        "{says}"
    );
    let says = refused(&|fixture| fixture.write(".archive/run-1", b"a file"));
    assert!(says.contains("is not a folder"), "{says}");
    let says = refused(&|fixture| {
        std::fs::create_dir_all(fixture.path(".archive")).unwrap();
        std::fs::create_dir(fixture.path("elsewhere")).unwrap();
        symlink(fixture.path("elsewhere"), fixture.path(".archive/run-1")).unwrap();
    });
    assert!(says.contains("is a symlink"), "{says}");
    let says = refused(&|fixture| {
        std::fs::create_dir(fixture.path("elsewhere")).unwrap();
        symlink(fixture.path("elsewhere"), fixture.path(".archive")).unwrap();
    });
    assert!(says.contains(".archive is a symlink"), "{says}");
    let says = refused(&|fixture| {
        let bag = fixture.seal(&ended(&id));
        let info = bag.path.join("bag-info.txt");
        let text = std::fs::read_to_string(&info).unwrap();
        std::fs::write(&info, text.replace(UUID, "another")).unwrap();
    });
    assert!(says.contains("from database another"), "{says}");
}

#[test]
fn two_executors_at_once_leave_one_whole_bag() {
    let fixture = Fixture::shape_a();
    let database = fixture.path(".state/orchestration.db");
    let id = run("run-1");
    let both = std::sync::Barrier::new(2);
    let (mapping, options) = (&fixture.mapping, &fixture.options);
    let work = || {
        let conn = rusqlite::Connection::open(&database).unwrap();
        both.wait();
        match archive(
            &conn,
            mapping,
            UUID,
            options,
            &ended(&id),
            None,
            Millis(0),
            &|| true,
        )
        .unwrap()
        {
            Archived::Sealed(bag) => bag,
            Archived::Settling { note, .. } => panic!("not quiet: {note}"),
        }
    };
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        (work(), other.join().unwrap())
    });
    assert_eq!(first.digest, second.digest);
    assert_eq!(
        [first.unchanged, second.unchanged]
            .iter()
            .filter(|same| **same)
            .count(),
        1
    );
    assert_eq!(entries(&fixture), ["run-1"]);
    verify(&first.path).unwrap();
}

#[test]
fn a_lost_lease_places_nothing() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let outcome = fixture.archive_while(&ended(&id), &|| false);
    assert!(outcome.unwrap_err().to_string().contains("no longer ours"));
    assert_eq!(entries(&fixture), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_refused_with_figures_before_anything_is_staged() {
    let mut fixture = Fixture::shape_a();
    fixture.options.min_free_bytes = u64::MAX / 2;
    let id = run("run-1");
    let error = fixture.try_archive(&ended(&id), None, 0).unwrap_err();
    assert!(error.is_full(), "{error}");
    let says = error.to_string();
    assert!(
        says.contains("bytes are free") && says.contains("9223372036854775807"),
        "{says}"
    );
    assert_eq!(entries(&fixture), Vec::<String>::new());
}

#[test]
fn dead_stagings_of_whatever_run_are_removed_and_live_ones_left() {
    let fixture = Fixture::shape_a();
    fixture.write(".archive/.staging-run-1-99-0/bag/data/x", b"dead");
    fixture.write(".archive/.staging-run-1-99-1/lock", b"");
    fixture.write(".archive/.staging-run-9-99-1/lock", b"");
    fixture.write(".archive/.staging-run-1-99-2/lock", b"");
    let live = std::fs::File::open(fixture.path(".archive/.staging-run-1-99-2/lock")).unwrap();
    rustix::fs::flock(&live, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let id = run("run-1");
    assert!(matches!(
        fixture.try_archive(&ended(&id), None, 0).unwrap(),
        Archived::Sealed(_)
    ));
    assert_eq!(entries(&fixture), [".staging-run-1-99-2", "run-1"]);
}

#[test]
fn a_bag_waits_while_another_process_is_placing_one_of_the_same_run() {
    let fixture = Fixture::shape_a();
    fixture.write(".archive/.staging-run-1.placing/lock", b"");
    let other = std::fs::File::open(fixture.path(".archive/.staging-run-1.placing/lock")).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let id = run("run-1");
    let Archived::Settling { note, until } = fixture.try_archive(&ended(&id), None, 0).unwrap() else {
        panic!("placed beside another process");
    };
    assert_eq!(until, Millis(1_000));
    assert_eq!(entries(&fixture), [".staging-run-1.placing"]);
    drop(other);
    let placed = fixture.try_archive(&ended(&id), Some(&note), 1_000).unwrap();
    assert!(matches!(placed, Archived::Sealed(bag) if !bag.unchanged));
    assert_eq!(entries(&fixture), ["run-1"]);
}

/// Between the question whether the step is still its own and the rename, an executor may be frozen past
/// its lease; whoever has the step then must not place a newer bag that the rename would put aside.
#[test]
fn nobody_places_a_bag_while_another_one_asks_whether_the_step_is_still_its_own() {
    let fixture = Fixture::shape_a();
    let id = run("run-1");
    let frozen = || {
        let newer = fixture.try_archive(&ended(&id), None, 0).unwrap();
        assert!(matches!(newer, Archived::Settling { .. }), "{newer:?}");
        true
    };
    let placed = fixture.archive_while(&ended(&id), &frozen);
    assert!(matches!(placed.unwrap(), Archived::Sealed(_)));
    let after = fixture.try_archive(&ended(&id), None, 1_000).unwrap();
    assert!(matches!(after, Archived::Sealed(bag) if bag.unchanged));
    assert_eq!(entries(&fixture), ["run-1"]);
}
