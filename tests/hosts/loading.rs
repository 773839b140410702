//! It loads where it can, and where it can't the host gets a sentence and lives on.

use crate::support::{Finished, Sqlite, apsw, cargo, extension, matrix, python, run, stock_sqlite3};
use std::path::Path;
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const NO_FILES: &str = "sqlite3_runchainnofiles_init";
const MEMORY: &str = ":memory:";

fn library() -> &'static str {
    extension().to_str().unwrap()
}

fn shell(sql: &str) -> String {
    stock_sqlite3(Path::new(MEMORY), sql)
}

/// What `nm` or `readelf` says of the extension, line by line.
fn symbols(program: &str, options: &[&str]) -> Vec<String> {
    let listing = run(Command::new(program).args(options).arg(library()), "").output();
    listing.lines().map(str::to_owned).collect()
}

#[test]
fn the_entry_point_named_after_the_file_loads_it() {
    let answer = shell(&format!(
        ".load {} sqlite3_runchain_init\nSELECT runchain_version();\n",
        library()
    ));
    assert_eq!(answer, format!("{VERSION}\n"));
}

/// A process with two SQLite libraries: Python's and apsw's. `order` is which loads first.
fn two_libraries(order: &str) -> Finished {
    let script = "
import apsw, sqlite3, sys

connections = {'sqlite3': sqlite3.connect(':memory:'), 'apsw': apsw.Connection(':memory:')}
versions = {connection.execute('SELECT sqlite_version()').fetchone()[0] for connection in connections.values()}
assert len(versions) == 2, f'one library only: {versions}'
first, second = (connections[name] for name in sys.argv[2].split(','))

for connection in (first, second):
    connection.enable_load_extension(True)
first.load_extension(sys.argv[1])
for attempt in range(2):
    try:
        second.load_extension(sys.argv[1])
        print('both loaded')
    except Exception as error:
        print(error)
    print('first answers', *first.execute('SELECT runchain_version()').fetchone())
    print('second answers', *second.execute('SELECT 6 * 7').fetchone())
first.load_extension(sys.argv[1])
first.close()
second.close()
";
    apsw(script, &[library(), order])
}

#[test]
fn a_second_sqlite_library_in_the_process_gets_a_sentence_and_the_first_goes_on() {
    for order in ["sqlite3,apsw", "apsw,sqlite3"] {
        let output = two_libraries(order).output();
        let refusals = output.lines().filter(|line| {
            line.contains("already loaded in this process by another copy of the SQLite library")
        });
        assert_eq!(refusals.count(), 2, "{order}: {output}");
        let answer = format!("first answers {VERSION}\n");
        assert_eq!(output.matches(&answer).count(), 2, "{order}: {output}");
        assert_eq!(
            output.matches("second answers 42\n").count(),
            2,
            "{order}: {output}"
        );
    }
}

#[test]
fn two_sqlite_libraries_in_one_node_are_told_apart() {
    let script = "
const Database = require('better-sqlite3');
const { DatabaseSync } = require('node:sqlite');
const library = process.argv[2];
const first = new Database(':memory:');
const second = new DatabaseSync(':memory:', { allowExtension: true });
first.loadExtension(library);
try { second.loadExtension(library); console.log('both loaded'); } catch (error) { console.log(error.message); }
console.log(first.prepare('SELECT runchain_version()').pluck().get(), second.prepare('SELECT 42 AS n').get().n);
";
    let mut node = Command::new(matrix("RUNCHAIN_TEST_NODE"));
    node.env("NODE_PATH", matrix("RUNCHAIN_TEST_NODE_PATH"))
        .args(["-", library()]);
    let output = run(&mut node, script).output();
    assert_eq!(
        output,
        format!(
            "error during initialization: runchain is already loaded in this process by another copy of the SQLite library, and can serve only one; \
             use one of the two, or another process\n{VERSION} 42\n"
        )
    );
}

#[test]
fn a_host_older_than_3_34_1_gets_a_sentence_and_lives_on() {
    for (host, version) in Sqlite::OLD.into_iter().zip(["3.24.0", "3.31.1"]) {
        for entry in ["", "sqlite3_runchain_init", NO_FILES] {
            let sql = format!(".load {} {entry}\nSELECT 6 * 7;\n", library());
            let stdout = host.run(Path::new(MEMORY), &sql).stdout;
            assert_eq!(
                stdout,
                format!(
                    "error: 1 error during initialization: runchain needs SQLite 3.34.1 or newer, and this host has \
                     {version}; load it in a newer host: the triggers work in this one all the same\n42\n"
                ),
                "{host:?} {entry}"
            );
        }
    }
}

#[test]
fn loading_again_changes_nothing_also_while_a_statement_runs() {
    let script = "
import sqlite3, sys
library, no_files = sys.argv[1:]
for number in range(3):
    connection = sqlite3.connect(':memory:')
    connection.enable_load_extension(True)
    connection.load_extension(library)
    connection.load_extension(library)
    # In here SQLite refuses to replace functions: the SELECT itself is running.
    connection.execute('SELECT load_extension(?)', (library,)).fetchone()
    connection.execute('SELECT load_extension(?, ?)', (library, no_files)).fetchone()
    print(*connection.execute('SELECT runchain_version()').fetchone())
    connection.close()
";
    let output = python(script, &[library(), NO_FILES]).output();
    assert_eq!(output, format!("{VERSION}\n").repeat(3));
}

#[test]
fn the_second_entry_point_registers_nothing_that_touches_files() {
    // Functions and table-valued functions that read or write files.
    let question = "
SELECT name FROM pragma_function_list WHERE name IN ('ingest_events')
UNION ALL
SELECT name FROM pragma_module_list WHERE name IN ('read_events');
SELECT runchain_version();
";
    let without = shell(&format!(".load {} {NO_FILES}\n{question}", library()));
    assert_eq!(without, format!("{VERSION}\n"));
    let with = shell(&format!(".load {}\n{question}", library()));
    assert!(with.contains("ingest_events"), "the question is wrong: {with}");
}

#[test]
fn the_full_set_survives_a_later_load_without_files() {
    let answer = shell(&format!(
        ".load {0}\n.load {0} {NO_FILES}\nSELECT count(*) > 0 FROM pragma_function_list WHERE name = 'ingest_events';\n",
        library()
    ));
    assert_eq!(answer, "1\n");
}

#[test]
fn it_exports_entry_points_and_nothing_else() {
    let mut names: Vec<String> = symbols("nm", &["-D", "--defined-only"])
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "sqlite3_extension_init",
            "sqlite3_runchain_init",
            "sqlite3_runchainnofiles_init"
        ]
    );
}

#[test]
fn it_brings_no_sqlite_and_links_none() {
    let needed = symbols("readelf", &["--dynamic"]);
    assert!(needed.iter().any(|line| line.contains("(NEEDED)")), "{needed:?}");
    assert!(!needed.iter().any(|line| line.contains("sqlite")), "{needed:?}");
    let undefined = symbols("nm", &["-D", "--undefined-only"]);
    assert!(
        !undefined.iter().any(|line| line.contains("sqlite3_")),
        "{undefined:?}"
    );
    // Compiled in, SQLite would show among the local symbols.
    let all = symbols("nm", &[]);
    assert!(
        !all.iter().any(|line| line.ends_with(" sqlite3_open_v2")),
        "SQLite is compiled in"
    );
}

/// No host can be made to panic us from outside; the extension's own tests do it, with the other
/// guards of its entry points.
#[test]
fn a_panic_cannot_leave_the_entry_point() {
    let tests = cargo("test", "src/extension", "extension").output();
    assert!(
        tests.contains("test result: ok.") && !tests.contains(" 0 passed"),
        "{tests}"
    );
}
