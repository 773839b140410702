//! The guards of the entry point against hosts that no machine has ready: tables of functions made
//! by hand. Real hosts are in the suite at the top level.

use super::{Api, enter, sqlite3_runchain_init};
use rusqlite::ffi;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

unsafe extern "C" fn version_3_33() -> c_int {
    3_033_000
}

unsafe extern "C" fn version_3_34_1() -> c_int {
    3_034_001
}

/// Memory for messages, never freed.
unsafe extern "C" fn malloc(size: c_int) -> *mut c_void {
    vec![0xAA_u8; size as usize].leak().as_mut_ptr().cast()
}

unsafe extern "C" fn no_memory(_size: c_int) -> *mut c_void {
    null_mut()
}

fn host(version: unsafe extern "C" fn() -> c_int) -> *mut Api {
    // SAFETY: every field is an optional function pointer, for which zero is None.
    let mut table: Api = unsafe { MaybeUninit::zeroed().assume_init() };
    table.libversion_number = Some(version);
    table.malloc = Some(malloc);
    Box::leak(Box::new(table))
}

struct Answer {
    code: c_int,
    message: Option<String>,
}

fn call(known: &AtomicPtr<Api>, api: *mut Api, load: impl FnOnce() -> c_int) -> Answer {
    let mut message: *mut c_char = null_mut();
    // SAFETY: leaked tables and a local variable.
    let code = unsafe { enter(known, &raw mut message, api, load) };
    let message = (!message.is_null()).then(|| {
        // SAFETY: written by `say`, which ends it with a zero.
        let text = unsafe { CStr::from_ptr(message) };
        text.to_str().unwrap().to_owned()
    });
    Answer { code, message }
}

fn nobody() -> AtomicPtr<Api> {
    AtomicPtr::new(null_mut())
}

#[test]
fn a_panic_becomes_a_sentence() {
    let answer = call(&nobody(), host(version_3_34_1), || panic!("on purpose"));
    assert_eq!(answer.code, ffi::SQLITE_ERROR);
    assert_eq!(
        answer.message.unwrap(),
        "runchain panicked while it was loaded and is not usable in this connection; please report it"
    );
}

#[test]
fn a_host_older_than_3_34_1_gets_a_sentence_and_is_not_remembered() {
    let known = nobody();
    let reached = Cell::new(false);
    let answer = call(&known, host(version_3_33), || {
        reached.set(true);
        ffi::SQLITE_OK
    });
    assert_eq!(answer.code, ffi::SQLITE_ERROR);
    assert_eq!(
        answer.message.unwrap(),
        "runchain needs SQLite 3.34.1 or newer, and this host has 3.33.0; load it in a newer host: the triggers work in this one all the same"
    );
    assert!(!reached.get(), "rusqlite was reached");
    assert!(
        known.load(Ordering::Acquire).is_null(),
        "the old host took the only place"
    );
}

#[test]
fn the_first_host_loads_again_and_again_and_a_second_gets_a_sentence() {
    let known = nobody();
    let (first, second) = (host(version_3_34_1), host(version_3_34_1));
    for _ in 0..2 {
        assert_eq!(call(&known, first, || ffi::SQLITE_OK).code, ffi::SQLITE_OK);
        let refused = call(&known, second, || ffi::SQLITE_OK);
        assert_eq!(refused.code, ffi::SQLITE_ERROR);
        assert_eq!(
            refused.message.unwrap(),
            "runchain is already loaded in this process by another copy of the SQLite library, and can serve only one; use one of the two, or another process"
        );
    }
}

#[test]
fn a_host_without_memory_for_the_message_gets_the_code_alone() {
    let api = host(version_3_33);
    // SAFETY: a table of our own, used by nobody else.
    unsafe { (*api).malloc = Some(no_memory) };
    let answer = call(&nobody(), api, || ffi::SQLITE_OK);
    assert_eq!((answer.code, answer.message), (ffi::SQLITE_ERROR, None));
}

#[test]
fn a_missing_table_is_an_error_code() {
    let mut message: *mut c_char = null_mut();
    // SAFETY: null is what is tested; nothing is followed.
    let code = unsafe { sqlite3_runchain_init(null_mut(), &raw mut message, null_mut()) };
    assert_eq!(code, ffi::SQLITE_ERROR);
    assert!(message.is_null());
}
