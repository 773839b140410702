//! Frames as a person sees them, in `frames/`; each was looked at. After a change that is meant:
//! `RUNCHAIN_BLESS=1 cargo test -p runchain frames`, and look at what has changed.

use super::{View, draw, links};
use crate::exit::Exit;
use crate::tui::Screen;
use crate::tui::app::{App, Mode};
use crate::tui::ask::{Request, Verb};
use crate::tui::fixture::{NOW, failed_run, line, snapshot};
use crate::tui::keys::Key;
use crate::tui::links::Link;
use crate::tui::model::{Executor, Snapshot, Trouble};
use crate::tui::still::lines_of;
use crate::tui::theme::Theme;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use runchain_core::RunId;
use std::path::PathBuf;

const PLAIN: Theme = Theme {
    colour: false,
    light: false,
    ascii: false,
};
const COLOURED: Theme = Theme {
    colour: true,
    ..PLAIN
};

fn on(screen: Screen) -> App {
    let mut app = App::new(None);
    app.screen = screen;
    app
}

#[track_caller]
fn looks_like(name: &str, snapshot: &Snapshot, app: &App, theme: Theme, (columns, rows): (u16, u16)) {
    let view = View {
        snapshot: Some(snapshot),
        app,
        theme,
        now: NOW,
    };
    let drawn = lines_of(view, columns, rows).join("\n") + "\n";
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/tui/screens/frames")
        .join(format!("{name}_{columns}x{rows}.txt"));
    if std::env::var_os("RUNCHAIN_BLESS").is_some() {
        std::fs::write(&file, &drawn).unwrap();
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        drawn == wanted,
        "{} is\n{wanted}\nbut drawn was\n{drawn}",
        file.display()
    );
}

fn buffer(snapshot: &Snapshot, app: &App, theme: Theme, columns: u16, rows: u16) -> Buffer {
    let view = View {
        snapshot: Some(snapshot),
        app,
        theme,
        now: NOW,
    };
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, view)).unwrap().buffer.clone()
}

#[test]
fn frames_of_every_screen() {
    let snapshot = snapshot();
    for screen in Screen::ALL {
        looks_like(screen.name(), &snapshot, &on(screen), PLAIN, (80, 24));
    }
}

#[test]
fn frames_of_a_large_terminal_show_the_run_beside_the_list_and_its_events_beside_the_run() {
    let mut snapshot = snapshot();
    snapshot.preview = Some(failed_run());
    let mut app = on(Screen::Dashboard);
    app.is_wide = true;
    looks_like("dashboard", &snapshot, &app, PLAIN, (200, 60));
    looks_like("run", &snapshot, &on(Screen::Run), PLAIN, (200, 60));
}

/// What stands where the links are, and the path that each opens.
fn linked(snapshot: &Snapshot, app: &App, columns: u16, rows: u16) -> Vec<(String, String)> {
    let view = View {
        snapshot: Some(snapshot),
        app,
        theme: PLAIN,
        now: NOW,
    };
    let drawn = buffer(snapshot, app, PLAIN, columns, rows);
    let text = |link: &Link| -> String {
        (link.x..link.x + link.columns)
            .map(|x| drawn[(x, link.y)].symbol())
            .collect()
    };
    let path = |link: &Link| link.address[link.address.find("/srv").unwrap()..].to_owned();
    let links = links(drawn.area, view);
    links.iter().map(|link| (text(link), path(link))).collect()
}

#[test]
fn files_of_a_run_are_links_exactly_where_they_stand() {
    let mut snapshot = snapshot();
    snapshot.run.as_mut().unwrap().steps[1].files =
        ["n.html", "n_summary.json", "a name that is cut off.json"]
            .map(|name| format!("/srv/etl/reports/{name}"))
            .to_vec();
    let mut app = on(Screen::Run);
    let bag = (".archive/nightly-43", "/srv/etl/.archive/nightly-43");
    let page = ("reports/n.html", "/srv/etl/reports/n.html");
    let summary = ("reports/n_summary.json", "/srv/etl/reports/n_summary.json");
    let last = "/srv/etl/reports/a%20name%20that%20is%20cut%20off.json";
    let owned = |links: &[(&str, &str)]| -> Vec<(String, String)> {
        links
            .iter()
            .map(|(text, path)| ((*text).to_owned(), (*path).to_owned()))
            .collect()
    };
    assert_eq!(
        linked(&snapshot, &app, 200, 60),
        owned(&[bag, page, summary, ("reports/a name that is cut off.json", last)])
    );
    assert_eq!(
        linked(&snapshot, &app, 80, 24),
        owned(&[bag, page, summary, ("reports/a name that is cut o…", last)])
    );
    app.scroll = 2;
    let scrolled = linked(&snapshot, &app, 80, 10);
    assert_eq!(scrolled[0], owned(&[page])[0], "the bag is above the window");
    app.scroll = 3;
    assert_eq!(linked(&snapshot, &app, 80, 10), []);
    // Below a box nothing is opened, nor where no run is shown.
    app.scroll = 0;
    app.mode = Mode::Help;
    assert_eq!(linked(&snapshot, &app, 80, 24), []);
    assert_eq!(linked(&snapshot, &on(Screen::Queue), 80, 24), []);
}

#[test]
fn frames_in_ascii_have_nothing_else() {
    let snapshot = snapshot();
    let theme = Theme { ascii: true, ..PLAIN };
    for screen in Screen::ALL {
        let drawn = buffer(&snapshot, &on(screen), theme, 80, 24);
        for cell in drawn.content() {
            assert!(cell.symbol().is_ascii(), "{screen:?}: {:?}", cell.symbol());
        }
    }
    looks_like(
        "dashboard_ascii",
        &snapshot,
        &on(Screen::Dashboard),
        theme,
        (80, 24),
    );
}

#[test]
fn frames_of_help_question_and_trouble() {
    let mut snapshot = snapshot();
    let mut app = on(Screen::Queue);
    app.mode = Mode::Help;
    looks_like("help", &snapshot, &app, PLAIN, (80, 24));
    app.mode = Mode::Commands;
    app.confirm(Request::Run(Verb::Cancel, RunId("nightly-41".to_owned())), 2);
    looks_like("question", &snapshot, &app, PLAIN, (80, 24));
    app.key(Key::Char('r'), &snapshot);
    for letter in "the key was renewed; the upload that failed for want of it is wanted by noon".chars() {
        app.key(Key::Char(letter), &snapshot);
    }
    looks_like("reason", &snapshot, &app, PLAIN, (80, 24));
    let mut app = on(Screen::Alerts);
    app.mode = Mode::Help;
    looks_like("help_alerts", &snapshot, &app, PLAIN, (80, 24));
    snapshot.trouble = Some(Trouble {
        looked_for: "the tables tasks, workstreams in /srv/etl/.state/orchestration.db".to_owned(),
        found: "the state database /srv/etl/.state/orchestration.db lacks required tables: tasks, workstreams (it has: runs, events)"
            .to_owned(),
        remedy: "name the tables that your orchestrator has in required_tables (runchain.toml), or another database with --db"
            .to_owned(),
        exit: Exit::SchemaInvalid,
    });
    snapshot.overview = None;
    snapshot.run = None;
    looks_like("trouble", &snapshot, &on(Screen::Dashboard), PLAIN, (80, 24));
}

#[test]
fn without_an_executor_and_without_a_run_it_says_so() {
    let mut snapshot = snapshot();
    snapshot.run = None;
    if let Some(overview) = &mut snapshot.overview {
        overview.executor = Executor::None(None);
        overview.list.clear();
        overview.last_error = None;
    }
    looks_like("empty", &snapshot, &on(Screen::Dashboard), PLAIN, (80, 24));
}

#[test]
fn that_a_run_stands_still_is_seen_however_long_its_name_is() {
    let mut snapshot = snapshot();
    let run = &mut snapshot.run.as_mut().unwrap().line;
    run.run_id = RunId("orders-of-the-central-warehouse-".repeat(4));
    run.phase = "active".to_owned();
    run.status = Some("RUNNING".to_owned());
    run.monitor = "on".to_owned();
    run.stalled_since = Some(NOW.plus(-420_000));
    run.heartbeat = Some(NOW.plus(-2_000));
    let view = View {
        snapshot: Some(&snapshot),
        app: &on(Screen::Run),
        theme: PLAIN,
        now: NOW,
    };
    for (columns, told) in [
        (80, "…  RUNNING (active) for 3 min, STALLED 7 min"),
        (60, "…  RUNNING (active) for 3 min, STALLED 7 min"),
    ] {
        let lines = lines_of(view, columns, 24);
        assert!(lines[2].ends_with(told), "{}", lines[2]);
    }
    let lines = lines_of(view, 100, 24);
    assert!(
        !lines[2].contains("heartbeat"),
        "half of it tells nobody anything"
    );
}

#[test]
fn a_task_that_a_failed_run_left_running_ends_with_its_run() {
    let mut snapshot = snapshot();
    let task = &mut snapshot.run.as_mut().unwrap().tasks[0];
    task.name = "extract".to_owned();
    task.phase = Some("active".to_owned());
    task.ended = None;
    let started = task.started.unwrap();
    let view = View {
        snapshot: Some(&snapshot),
        app: &on(Screen::Run),
        theme: PLAIN,
        now: NOW.plus(30 * 86_400_000),
    };
    let lines = lines_of(view, 80, 24);
    let line = lines.iter().find(|line| line.contains("extract")).unwrap();
    let lasted = snapshot.run.as_ref().unwrap().line.since.since(started);
    let told = crate::output::duration(lasted);
    assert!(line.ends_with(&told), "{told} is not at the end of {line}");
}

#[test]
fn that_nothing_could_be_read_for_a_while_is_said_beside_the_database() {
    let snapshot = snapshot();
    let mut app = on(Screen::Dashboard);
    app.locked_for = Some(std::time::Duration::from_millis(12_900));
    let view = View {
        snapshot: Some(&snapshot),
        app: &app,
        theme: PLAIN,
        now: NOW,
    };
    let title = "─── /srv/etl/.state/orchestration.db ─────── LOCKED by another process for 12 s";
    assert_eq!(lines_of(view, 80, 24)[1], title);
}

#[test]
fn without_colours_no_cell_has_one_and_with_them_only_the_sixteen() {
    let sixteen = |colour| !matches!(colour, Color::Rgb(..) | Color::Indexed(_));
    for screen in Screen::ALL {
        let snapshot = snapshot();
        for cell in buffer(&snapshot, &on(screen), PLAIN, 80, 24).content() {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
        }
        for light in [false, true] {
            let theme = Theme { light, ..COLOURED };
            for cell in buffer(&snapshot, &on(screen), theme, 80, 24).content() {
                assert!(sixteen(cell.fg) && cell.bg == Color::Reset, "{cell:?}");
                assert!(!light || cell.fg != Color::Yellow, "yellow on white");
            }
        }
    }
}

/// The look of the first cell of a text.
#[track_caller]
fn look_of(buffer: &Buffer, text: &str) -> (Color, Modifier) {
    let area = buffer.area;
    for y in 0..area.height {
        let row: String = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
        if let Some(at) = row.find(text) {
            let x = u16::try_from(row[..at].chars().count()).unwrap();
            return (buffer[(x, y)].fg, buffer[(x, y)].modifier);
        }
    }
    panic!("{text} is not in {buffer:?}");
}

#[test]
fn what_failed_is_red_and_a_firing_alert_stands_out() {
    let snapshot = snapshot();
    let events = buffer(&snapshot, &on(Screen::Events), COLOURED, 80, 24);
    assert_eq!(look_of(&events, "pattern.execution.failed").0, Color::Red);
    assert_eq!(look_of(&events, "RUN_ARCHIVED").0, Color::Reset);
    let dashboard = buffer(&snapshot, &on(Screen::Dashboard), COLOURED, 80, 24);
    let (colour, modifier) = look_of(&dashboard, "1 firing");
    assert_eq!(colour, Color::Red);
    assert!(modifier.contains(Modifier::REVERSED));
}

#[test]
fn text_of_others_can_t_act_on_the_terminal() {
    let mut snapshot = snapshot();
    let hostile = "\u{1b}[2J\u{202e}run\r\n\u{9b}31m";
    if let Some(overview) = &mut snapshot.overview {
        overview.list.insert(0, line(hostile, hostile, "failed", NOW));
        overview.last_error.as_mut().unwrap().error = hostile.to_owned();
    }
    snapshot.run.as_mut().unwrap().line.run_id = RunId(hostile.to_owned());
    snapshot.run.as_mut().unwrap().causes[0].text = hostile.to_owned();
    snapshot.events[0].text = hostile.to_owned();
    snapshot.queue[0].error = Some(hostile.to_owned());
    snapshot.alerts[0].message = hostile.to_owned();
    for screen in Screen::ALL {
        for cell in buffer(&snapshot, &on(screen), PLAIN, 80, 24).content() {
            let acts = |letter: char| letter.is_control() || letter == '\u{202e}';
            assert!(
                !cell.symbol().chars().any(acts),
                "{screen:?}: {:?}",
                cell.symbol()
            );
        }
    }
}

#[test]
fn no_size_is_too_small() {
    let mut snapshot = snapshot();
    snapshot.preview = Some(failed_run());
    for screen in Screen::ALL {
        for (columns, rows) in [(1, 1), (3, 2), (10, 4), (20, 8), (40, 10), (500, 3)] {
            let mut app = on(screen);
            buffer(&snapshot, &app, COLOURED, columns, rows);
            app.key(Key::Char('?'), &snapshot);
            buffer(&snapshot, &app, COLOURED, columns, rows);
            app.mode = Mode::Commands;
            app.confirm(Request::Pause("archive".to_owned()), 3);
            buffer(&snapshot, &app, COLOURED, columns, rows);
            app.key(Key::Char('r'), &snapshot);
            app.key(Key::Char('x'), &snapshot);
            buffer(&snapshot, &app, COLOURED, columns, rows);
        }
    }
}
