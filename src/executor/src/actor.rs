//! Who runs this process, for the audit trail.
//!
//! The login comes from the system's user database by the real uid, never from `$USER`, which
//! anybody sets. Who called sudo is known by sudo's variables alone; the text says "via sudo by".

use nix::unistd::{Uid, User};
use runchain_core::audit::{self, Account, Actor, By};

/// The user of this process.
pub(crate) fn actor() -> Actor {
    let uid = rustix::process::getuid().as_raw();
    Actor::Operator {
        account: Account {
            login: login(uid),
            uid,
        },
        host: audit::host(),
        sudo_by: sudo_by(),
    }
}

/// The user of this process, with a reason.
pub(crate) fn by(reason: Option<&str>) -> By {
    By::new(&actor(), reason)
}

fn login(uid: u32) -> Option<String> {
    // A user database that can't be asked knows nobody: the uid is there all the same.
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map(|user| user.name)
}

fn sudo_by() -> Option<Account> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    Some(Account {
        uid: variable("SUDO_UID")?.parse().ok()?,
        login: variable("SUDO_USER"),
    })
}
