//! What keys lead to.

use super::*;
use crate::tui::ask::Verb;
use crate::tui::fixture::NOW;
use crate::tui::fixture::{line, snapshot};
use crate::tui::model::Origin;
use runchain_core::alert::ByHand;

fn press(app: &mut App, keys: &str, snapshot: &Snapshot) -> Option<Effect> {
    keys.chars()
        .map(|letter| {
            let key = match letter {
                '\n' => Key::Enter,
                '\u{1b}' => Key::Esc,
                letter => Key::Char(letter),
            };
            app.key(key, snapshot)
        })
        .last()
        .flatten()
}

fn run(id: &str) -> Follow {
    Follow::Run(RunId(id.to_owned()))
}

#[test]
fn the_run_that_needs_somebody_most_is_one_key_away() {
    let snapshot = snapshot();
    for key in ["\n", "e"] {
        let mut app = App::new(None);
        assert_eq!(press(&mut app, key, &snapshot), Some(Effect::Look));
        assert_eq!(app.screen, Screen::Run);
        assert_eq!(app.want(None).follow, run("nightly-41"));
    }
    // The failed one below it: two keys.
    let mut app = App::new(None);
    press(&mut app, "j\n", &snapshot);
    assert_eq!(app.want(None).follow, run("nightly-43"));
}

#[test]
fn the_cursor_stays_on_its_run_when_others_come_and_on_the_first_row_until_it_is_moved() {
    let mut snapshot = snapshot();
    let mut app = App::new(None);
    press(&mut app, "jj", &snapshot);
    let list = &mut snapshot.overview.as_mut().unwrap().list;
    list.insert(0, line("new", "FAILED", "failed", NOW));
    assert_eq!(app.run_at_cursor(&snapshot), Some(RunId("import-7".to_owned())));
    press(&mut app, "g", &snapshot);
    assert_eq!(app.run_at_cursor(&snapshot), Some(RunId("new".to_owned())));
    snapshot.overview.as_mut().unwrap().list.remove(0);
    assert_eq!(app.run_at_cursor(&snapshot), Some(RunId("nightly-41".to_owned())));
}

#[test]
fn what_changes_something_is_asked_first_with_the_number_of_rows() {
    let snapshot = snapshot();
    let mut app = App::new(None);
    press(&mut app, "3", &snapshot);
    let Some(Effect::Count(request)) = press(&mut app, "r", &snapshot) else {
        panic!("a dead step can be retried");
    };
    assert_eq!(request, Request::Steps(Verb::Retry, vec![StepId(3)]));
    app.confirm(request.clone(), 1);
    let Mode::Confirm(question) = &app.mode else {
        panic!("asked");
    };
    assert_eq!(question.text, "Retry 1 step?");
    assert_eq!(press(&mut app, "n", &snapshot), None);
    assert_eq!(app.said.as_deref(), Some("nothing was changed"));
    app.confirm(request.clone(), 1);
    // Any other key neither asks nor forgets.
    assert_eq!(press(&mut app, "x3", &snapshot), None);
    assert_eq!(
        press(&mut app, "y", &snapshot),
        Some(Effect::Queue(request, None))
    );
}

#[test]
fn a_reason_is_typed_where_it_is_asked_and_goes_with_the_request() {
    let snapshot = snapshot();
    let request = || Request::Pause("archive".to_owned());
    let mut app = App::new(None);
    app.confirm(request(), 3);
    // Every letter is one of the reason, also those that answer and quit.
    assert_eq!(press(&mut app, "rny q?", &snapshot), None);
    app.key(Key::Backspace, &snapshot);
    assert_eq!(
        press(&mut app, "\n", &snapshot),
        Some(Effect::Queue(request(), Some("ny q".to_owned())))
    );
    // Back to the question, where no is still an answer.
    app.confirm(request(), 3);
    assert_eq!(press(&mut app, "rdisk\u{1b}n", &snapshot), None);
    assert_eq!(app.said.as_deref(), Some("nothing was changed"));
    // An empty one is none.
    app.confirm(request(), 3);
    assert_eq!(
        press(&mut app, "r  \n", &snapshot),
        Some(Effect::Queue(request(), None))
    );
    // It has a limit, and pressing on does no harm.
    app.confirm(request(), 3);
    press(&mut app, &format!("r{}", "x".repeat(500)), &snapshot);
    assert_eq!(
        press(&mut app, "\n", &snapshot),
        Some(Effect::Queue(request(), Some("x".repeat(200))))
    );
}

#[test]
fn an_alert_is_acknowledged_and_resolved_but_not_when_it_is_over() {
    let snapshot = snapshot();
    let mut app = App::new(None);
    for (key, change, asks) in [
        ("a", ByHand::Acknowledge, "Acknowledge 1 alert?"),
        ("r", ByHand::Resolve, "Resolve 1 alert?"),
    ] {
        let request = Request::Alert(change, 2);
        assert_eq!(
            press(&mut app, &format!("5{key}"), &snapshot),
            Some(Effect::Count(request.clone()))
        );
        app.confirm(request.clone(), 1);
        let Mode::Confirm(question) = &app.mode else {
            panic!("asked");
        };
        assert_eq!(question.text, asks);
        press(&mut app, "n", &snapshot);
    }
    for key in ["a", "r"] {
        assert_eq!(press(&mut app, &format!("5G{key}"), &snapshot), None);
        assert_eq!(app.said.as_deref(), Some("this alert is resolved already"));
    }
}

#[test]
fn what_would_hit_nothing_is_not_asked() {
    let snapshot = snapshot();
    let mut app = App::new(None);
    press(&mut app, "3j", &snapshot);
    let Some(Effect::Count(request)) = press(&mut app, "r", &snapshot) else {
        panic!("counted");
    };
    assert_eq!(request, Request::Steps(Verb::Retry, Vec::new()), "it runs");
    app.confirm(request, 0);
    assert_eq!(app.mode, Mode::Commands);
    assert!(app.said.unwrap().starts_with("nothing to retry"));
}

#[test]
fn marked_steps_are_meant_together() {
    let snapshot = snapshot();
    let mut app = App::new(None);
    press(&mut app, "3a", &snapshot);
    assert_eq!(
        press(&mut app, "c", &snapshot),
        Some(Effect::Count(Request::Steps(
            Verb::Cancel,
            [3, 9, 7, 8].map(StepId).to_vec()
        )))
    );
    press(&mut app, "a", &snapshot);
    assert!(app.marks.is_empty());
}

#[test]
fn a_filter_is_typed_kept_and_ended() {
    let snapshot = snapshot();
    let mut app = App::new(None);
    // Every letter is one of the filter, also q.
    press(&mut app, "/q", &snapshot);
    assert_eq!(app.filter(), "q");
    press(&mut app, "\u{1b}/import\n", &snapshot);
    assert_eq!(app.runs(&snapshot).len(), 1);
    assert_eq!(app.mode, Mode::Commands);
    press(&mut app, "\u{1b}", &snapshot);
    assert_eq!(app.runs(&snapshot).len(), 6);
}

#[test]
fn a_jump_goes_to_a_screen_or_a_run() {
    let snapshot = snapshot();
    let mut app = App::new(None);
    press(&mut app, ":qu\n", &snapshot);
    assert_eq!(app.screen, Screen::Queue);
    press(&mut app, ":run odd id\n", &snapshot);
    assert_eq!((app.screen, app.want(None).follow), (Screen::Run, run("odd id")));
    press(&mut app, ":nightly-40\n", &snapshot);
    assert_eq!(app.want(None).follow, run("nightly-40"));
    press(&mut app, "f", &snapshot);
    assert_eq!(app.want(None).follow, Follow::Newest);
    assert_eq!(press(&mut app, ":q\n", &snapshot), Some(Effect::Quit));
}

#[test]
fn events_are_followed_until_somebody_goes_up() {
    let mut snapshot = snapshot();
    let mut app = App::new(None);
    press(&mut app, "4", &snapshot);
    assert_eq!(app.cursor(&snapshot), 5);
    press(&mut app, "k", &snapshot);
    snapshot.events.push(Event {
        origin: Origin::Lifecycle,
        id: 99,
        at: Some(NOW),
        kind: "RUN_CREATED".to_owned(),
        run_id: None,
        text: String::new(),
    });
    assert_eq!((app.events(&snapshot).len(), app.cursor(&snapshot)), (6, 4));
    press(&mut app, "G", &snapshot);
    assert_eq!((app.events(&snapshot).len(), app.cursor(&snapshot)), (7, 6));
    press(&mut app, " ", &snapshot);
    assert!(app.held.is_some());
    press(&mut app, "f", &snapshot);
    assert!(app.held.is_none());
}

#[test]
fn the_path_of_the_page_is_copied_else_that_of_the_bag() {
    let mut snapshot = snapshot();
    let mut app = App::new(Some(RunId("nightly-43".to_owned())));
    let copied = |path: &str| Some(Effect::Copy(path.to_owned()));
    assert_eq!(
        press(&mut app, "y", &snapshot),
        copied("/srv/etl/.archive/nightly-43")
    );
    let steps = &mut snapshot.run.as_mut().unwrap().steps;
    steps[1].files = vec!["reports/nightly-43.html".to_owned()];
    assert_eq!(
        press(&mut app, "y", &snapshot),
        copied("/srv/etl/reports/nightly-43.html")
    );
    snapshot.run.as_mut().unwrap().steps.clear();
    assert_eq!(press(&mut app, "y", &snapshot), None);
    assert_eq!(
        app.said.as_deref(),
        Some("there is neither a report nor a bag yet")
    );
}

#[test]
fn control_c_quits_whatever_is_open() {
    let snapshot = snapshot();
    for keys in ["", "/", ":", "?"] {
        let mut app = App::new(None);
        press(&mut app, keys, &snapshot);
        assert_eq!(app.key(Key::Ctrl('c'), &snapshot), Some(Effect::Quit));
    }
}
