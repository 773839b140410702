//! The loadable extension: entry points that register runchain's SQL functions in a host's SQLite.
//!
//! SQLite calls an entry point inside somebody else's process, where an abort kills a service that
//! has never heard of us. So each of them answers with a result code and a sentence, whatever
//! happens, and looks at three things before anything of rusqlite runs:
//!
//! - *The host's version.* rusqlite calls functions that SQLite has had since 3.34.1. It does check
//!   the version itself, but its refusal allocates through a table that isn't filled in yet.
//! - *Whether it is the host that we know.* rusqlite keeps the host's functions in variables of the
//!   process. A second SQLite library (Python's `sqlite3` beside `apsw`) would overwrite them, and
//!   connections of the first would be handed to the second.
//! - *Panics* stop here; unwinding into C is not allowed.
//!
//! Messages are therefore written with the allocator of the very host that asks: it frees them.
//!
//! What does not belong here: any function of runchain's (they are in `runchain_core::functions`),
//! threads, and exported symbols other than `sqlite3_*_init`.

use runchain_core::functions::{self, Surface};
use rusqlite::{Connection, ffi};
use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The host's table of functions: one for each SQLite library in a process.
type Api = ffi::sqlite3_api_routines;

/// The oldest host whose SQLite has all that rusqlite's bindings name, as SQLite writes versions.
const OLDEST_HOST: c_int = 3_034_001;

/// The host that loaded us first; the only one from then on.
static HOST: AtomicPtr<Api> = AtomicPtr::new(null_mut());

/// The entry point that SQLite derives from the file name `librunchain`: letters only, less `lib`.
///
/// # Safety
/// To be called by SQLite only, by the rules of `sqlite3_load_extension`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_runchain_init(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut Api,
) -> c_int {
    // SAFETY: the arguments are those of our own caller.
    unsafe { load(db, message, api, |conn| register(&conn, Surface::Full)) }
}

/// The entry point that SQLite tries first, whatever the file is called.
///
/// # Safety
/// To be called by SQLite only, by the rules of `sqlite3_load_extension`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_extension_init(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut Api,
) -> c_int {
    // SAFETY: the arguments are those of our own caller.
    unsafe { sqlite3_runchain_init(db, message, api) }
}

/// Registers nothing that reads files: `.load ./librunchain sqlite3_runchainnofiles_init`. A
/// connection that has the full set already keeps it.
///
/// # Safety
/// To be called by SQLite only, by the rules of `sqlite3_load_extension`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_runchainnofiles_init(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut Api,
) -> c_int {
    // SAFETY: the arguments are those of our own caller.
    unsafe { load(db, message, api, |conn| register(&conn, Surface::NoFiles)) }
}

/// What every entry point does: past the guards, rusqlite's variables are filled in and `register`
/// registers the functions.
///
/// # Safety
/// The first three are what SQLite has called an entry point with.
unsafe fn load(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut Api,
    register: fn(Connection) -> rusqlite::Result<bool>,
) -> c_int {
    // SAFETY: pointers from SQLite's own call; `register` does no more than register.
    let init = || unsafe { Connection::extension_init2(db, message, api, register) };
    // SAFETY: `api` is a constant of the host's, `message` its variable.
    unsafe { enter(&HOST, message, api, init) }
}

/// Runs `load` for the one host that may have it; for any other, and for a panic, it answers with a
/// sentence. `known` is [`HOST`], but for tests.
///
/// # Safety
/// `api` is null or a table that lives as long as the process; `message` is null or writable.
unsafe fn enter(
    known: &AtomicPtr<Api>,
    message: *mut *mut c_char,
    api: *mut Api,
    load: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the table is the host's own constant, which nobody writes to.
    let Some(table) = (unsafe { api.as_ref() }) else {
        return ffi::SQLITE_ERROR;
    };
    // The closure is used once and nothing of it is looked at after a panic.
    let answer = catch_unwind(AssertUnwindSafe(|| {
        check_version(table)?;
        check_host(known, api)?;
        Ok(load())
    }));
    let refusal = match answer {
        Ok(Ok(code)) => return code,
        Ok(Err(refusal)) => refusal,
        Err(_) => {
            "runchain panicked while it was loaded and is not usable in this connection; please report it"
                .to_owned()
        }
    };
    // SAFETY: `message` as our caller promises.
    unsafe { say(table, message, &refusal) };
    ffi::SQLITE_ERROR
}

fn check_version(table: &Api) -> Result<(), String> {
    // SAFETY: a function of SQLite's without arguments, from SQLite's own table.
    let version = table
        .libversion_number
        .map_or(0, |function| unsafe { function() });
    if version >= OLDEST_HOST {
        return Ok(());
    }
    Err(format!(
        "runchain needs SQLite 3.34.1 or newer, and this host has {}.{}.{}; load it in a newer host: the triggers work in this one all the same",
        version / 1_000_000,
        version / 1_000 % 1_000,
        version % 1_000,
    ))
}

fn check_host(known: &AtomicPtr<Api>, api: *mut Api) -> Result<(), String> {
    match known.compare_exchange(null_mut(), api, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(first) if first == api => Ok(()),
        Err(_) => Err(
            "runchain is already loaded in this process by another copy of the SQLite library, and can serve only one; use one of the two, or another process"
                .to_owned(),
        ),
    }
}

/// Hands `text` to the host, in memory of the host's own; without memory it stays silent.
///
/// # Safety
/// `message` is null or writable.
unsafe fn say(table: &Api, message: *mut *mut c_char, text: &str) {
    let (Some(malloc), Ok(length)) = (table.malloc, c_int::try_from(text.len() + 1)) else {
        return;
    };
    if message.is_null() {
        return;
    }
    // SAFETY: `malloc` is sqlite3_malloc, which every SQLite has; its answer is null or `length`
    // bytes, one more than `text` has; `message` is writable as our caller promises.
    unsafe {
        let copy = malloc(length).cast::<c_char>();
        if !copy.is_null() {
            copy.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            copy.add(text.len()).write(0);
        }
        message.write(copy);
    }
}

/// `true`: the library stays loaded until the process ends, so that a host which opens a connection
/// for each write doesn't map it each time, and no destructor of a thread outlives its code.
fn register(conn: &Connection, surface: Surface) -> rusqlite::Result<bool> {
    match functions::register(conn, surface) {
        Ok(()) => Ok(true),
        // SQLite doesn't replace a function while any statement runs, and `SELECT load_extension()`
        // is one. What stands there already is what a second load would bring.
        Err(error) if error.is_busy() && has(conn, surface) => Ok(true),
        Err(error) => Err(rusqlite::Error::ModuleError(format!("runchain: {error}"))),
    }
}

/// Whether an earlier load brought this surface to the connection.
fn has(conn: &Connection, surface: Surface) -> bool {
    let landmark = match surface {
        Surface::Full => "ingest_events",
        Surface::NoFiles => "runchain_version",
    };
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_function_list WHERE name = ?1)",
        [landmark],
        |row| row.get(0),
    )
    .unwrap_or(false)
}

#[cfg(test)]
mod tests;
