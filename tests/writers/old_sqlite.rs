//! `old-sqlite DATABASE`: reads SQL from standard input and runs it on an old SQLite, for tests.
//!
//! It stands for an orchestrator whose SQLite is years older than runchain. Two packages build this
//! one file, each with the SQLite that its binding bundles. Rows come out as `a|b`, a failure as
//! `error: <code> <text>` and the next statement runs; with `--bail` the first failure ends it with
//! exit code 1. A line `.load FILE [ENTRY]` loads an extension. `--version` says which SQLite it is.
//!
//! What does not belong here: anything of runchain's.

use libsqlite3_sys as ffi;
use std::error::Error;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::ptr::{null, null_mut};

const USAGE: &str = "usage: old-sqlite [--bail] DATABASE < SQL, or old-sqlite --version";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "old-sqlite: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<ExitCode> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let bail = arguments.iter().any(|argument| argument == "--bail");
    arguments.retain(|argument| argument != "--bail");
    let mut out = io::stdout().lock();
    match arguments.as_slice() {
        [only] if only == "--version" => {
            // SAFETY: a constant text of SQLite's.
            writeln!(out, "{}", unsafe { text(ffi::sqlite3_libversion()) })?;
            Ok(ExitCode::SUCCESS)
        }
        [path] => run_script(&Database::open(path)?, bail, &mut out),
        _ => Err(USAGE.into()),
    }
}

/// Gathers lines until SQLite calls them complete (a trigger has semicolons inside), as its own
/// shell does.
fn run_script(database: &Database, bail: bool, out: &mut impl Write) -> Outcome<ExitCode> {
    let mut pending = String::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let result = if pending.is_empty() && line.starts_with(".load ") {
            database.load(&line)
        } else {
            pending.push_str(&line);
            pending.push('\n');
            let sql = CString::new(pending.as_str())?;
            // SAFETY: a text that ends with a zero.
            if unsafe { ffi::sqlite3_complete(sql.as_ptr()) } == 0 {
                continue;
            }
            pending.clear();
            database.execute(&sql, out)
        };
        if let Err(failure) = result {
            writeln!(out, "error: {failure}")?;
            if bail {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    if pending.trim().is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(format!("the input ends inside a statement: {pending}").into())
    }
}

struct Database(*mut ffi::sqlite3);

impl Database {
    fn open(path: &str) -> Outcome<Self> {
        let c_path = CString::new(path)?;
        let mut handle = null_mut();
        // SAFETY: both pointers live through the call.
        let code = unsafe { ffi::sqlite3_open(c_path.as_ptr(), &raw mut handle) };
        let database = Self(handle);
        database
            .check(code)
            .map_err(|failure| format!("open {path}: {failure}"))?;
        // SAFETY: an open connection.
        database.check(unsafe { ffi::sqlite3_busy_timeout(handle, 5_000) })?;
        Ok(database)
    }

    /// Runs every statement of `sql` and prints its rows.
    fn execute(&self, sql: &CStr, out: &mut impl Write) -> Outcome<()> {
        let mut rest = sql.as_ptr();
        // SAFETY: `rest` always points into `sql` or at its final zero.
        while unsafe { *rest } != 0 {
            let mut statement = null_mut();
            // SAFETY: an open connection, a text that ends with a zero, two local variables.
            let code =
                unsafe { ffi::sqlite3_prepare_v2(self.0, rest, -1, &raw mut statement, &raw mut rest) };
            self.check(code)?;
            if statement.is_null() {
                continue; // a comment or white space
            }
            let printed = self.print_rows(statement, out);
            // SAFETY: prepared above, not used after this. Its code repeats that of the last step.
            unsafe { ffi::sqlite3_finalize(statement) };
            printed?;
        }
        Ok(())
    }

    fn print_rows(&self, statement: *mut ffi::sqlite3_stmt, out: &mut impl Write) -> Outcome<()> {
        loop {
            // SAFETY: a statement that the caller has prepared and not yet finalised.
            let code = unsafe { ffi::sqlite3_step(statement) };
            if code == ffi::SQLITE_DONE {
                return Ok(());
            }
            if code != ffi::SQLITE_ROW {
                return self.check(code);
            }
            // SAFETY: the same statement, on a row; each text is used before the next call.
            let row: Vec<String> = unsafe {
                (0..ffi::sqlite3_column_count(statement))
                    .map(|column| text(ffi::sqlite3_column_text(statement, column).cast()))
                    .collect()
            };
            writeln!(out, "{}", row.join("|"))?;
        }
    }

    /// `.load FILE [ENTRY]`
    fn load(&self, line: &str) -> Outcome<()> {
        let mut words = line.split_whitespace().skip(1);
        let file = CString::new(words.next().ok_or(".load needs a file")?)?;
        let entry = words.next().map(CString::new).transpose()?;
        let entry_pointer = entry.as_ref().map_or(null(), |name| name.as_ptr());
        let mut message: *mut c_char = null_mut();
        // SAFETY: an open connection; texts that live through the call; the message is SQLite's
        // and goes back to it.
        unsafe {
            ffi::sqlite3_enable_load_extension(self.0, 1);
            let code = ffi::sqlite3_load_extension(self.0, file.as_ptr(), entry_pointer, &raw mut message);
            if code == ffi::SQLITE_OK {
                return Ok(());
            }
            let failure = format!("{code} {}", text(message));
            ffi::sqlite3_free(message.cast());
            Err(failure.into())
        }
    }

    fn check(&self, code: c_int) -> Outcome<()> {
        if code == ffi::SQLITE_OK {
            return Ok(());
        }
        // SAFETY: SQLite's text for the last call, copied at once.
        Err(format!("{code} {}", unsafe { text(ffi::sqlite3_errmsg(self.0)) }).into())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: opened by `open`; every statement is finalised.
        unsafe { ffi::sqlite3_close(self.0) };
    }
}

/// A copy of a text of SQLite's; empty for NULL.
///
/// # Safety
/// `pointer` is null or a text that ends with a zero.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
