//! Where the main loop sleeps: until a thread of its own sends a wake, somebody writes to the database, or
//! the time is up.
//!
//! The loop's own thread reads the watch: handing a notice over by another thread would cost another switch
//! between the commit and its claim. What does not belong here: what a wake means.

use super::Wake;
#[cfg(not(target_os = "linux"))]
use super::Watch;
#[cfg(target_os = "linux")]
use super::folder::Folder;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Sends wakes to the loop, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    sender: Sender<Wake>,
    bell: Arc<UnixStream>,
}

impl Waker {
    /// Sends one; `false` when nobody is there any more.
    pub(crate) fn send(&self, wake: Wake) -> bool {
        let sent = self.sender.send(wake).is_ok();
        // What doesn't fit rings by what is there already.
        let _ = (&*self.bell).write(&[0]);
        sent
    }
}

/// The loop's end of it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    wakes: Receiver<Wake>,
    bell: UnixStream,
    #[cfg(target_os = "linux")]
    folder: Option<Folder>,
    #[cfg(not(target_os = "linux"))]
    folder: Option<Watch>,
    waker: Waker,
}

/// Whether a sleep is cut short by what is written to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// It is.
    Light,
    /// It isn't: what is written meanwhile is heard of afterwards.
    Deep,
}

impl Mailbox {
    /// An empty one, that doesn't watch anything yet.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, wakes) = channel();
        let (bell, rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rope.set_nonblocking(true)?;
        let waker = Waker {
            sender,
            bell: Arc::new(rope),
        };
        Ok(Self {
            wakes,
            bell,
            folder: None,
            waker,
        })
    }

    /// What threads send by.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// From now on writes to the database wake.
    ///
    /// # Errors
    /// When the system has no watch to give; the caller polls instead, and says so.
    #[cfg(target_os = "linux")]
    pub(crate) fn watch(&mut self, database: &Path) -> io::Result<()> {
        self.folder = Some(Folder::watch(database)?);
        Ok(())
    }

    /// From now on writes to the database wake.
    ///
    /// # Errors
    /// When the system has no watch to give; the caller polls instead, and says so.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn watch(&mut self, database: &Path) -> io::Result<()> {
        let waker = self.waker.clone();
        let watch = Watch::calling(database, super::is_write, move || {
            waker.send(Wake::Changed);
        });
        self.folder = Some(watch.map_err(io::Error::other)?);
        Ok(())
    }

    /// Whether anything tells of writes.
    pub(crate) fn watches(&self) -> bool {
        self.folder.is_some()
    }

    /// Waits for a wake or the timeout, and takes everything that has arrived. What others do in the folder
    /// is slept through.
    ///
    /// # Errors
    /// Whatever the system answers, but for an interruption.
    pub(crate) fn sleep(&mut self, timeout: Duration, sleep: Sleep) -> io::Result<Vec<Wake>> {
        let began = Instant::now();
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            let wakes = self.doze(left, sleep)?;
            if !wakes.is_empty() || left.is_zero() {
                return Ok(wakes);
            }
        }
    }

    /// The same until anything at all happens.
    fn doze(&mut self, timeout: Duration, sleep: Sleep) -> io::Result<Vec<Wake>> {
        let folder = self.folder.as_mut().filter(|_| sleep == Sleep::Light);
        // Before anything is decided on it: what is written from now on gives another hint.
        #[cfg(not(target_os = "linux"))]
        folder.iter().for_each(|watch| watch.rearm());
        let mut on = vec![PollFd::new(&self.bell, PollFlags::IN)];
        #[cfg(target_os = "linux")]
        on.extend(folder.iter().map(|folder| PollFd::new(*folder, PollFlags::IN)));
        match poll(&mut on, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_set = |index: usize| on.get(index).is_some_and(|one| !one.revents().is_empty());
        let (rung, written) = (is_set(0), is_set(1));
        let mut wakes = Vec::new();
        #[cfg(target_os = "linux")]
        if written && folder.is_some_and(|folder| folder.has_changed()) {
            wakes.push(Wake::Changed);
        }
        if rung {
            // Before the wakes are taken: whoever sends one more rings again.
            while matches!((&self.bell).read(&mut [0; 64]), Ok(64)) {}
        }
        wakes.extend(self.wakes.try_iter());
        Ok(wakes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn whatever_is_sent_ends_a_sleep_and_is_taken_in_order() {
        let mut mailbox = Mailbox::new().unwrap();
        let waker = mailbox.waker().clone();
        std::thread::spawn(move || {
            // More than a bell holds.
            for signal in 0..100_000 {
                assert!(waker.send(Wake::Stop(signal)));
            }
        });
        let mut next = 0;
        while next < 100_000 {
            for wake in mailbox.sleep(LONG, Sleep::Deep).unwrap() {
                assert!(matches!(wake, Wake::Stop(signal) if signal == next));
                next += 1;
            }
        }
        assert!(mailbox.sleep(Duration::ZERO, Sleep::Deep).unwrap().is_empty());
    }

    #[test]
    fn a_write_ends_a_light_sleep_and_is_kept_through_a_deep_one() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        std::fs::write(&database, "").unwrap();
        let mut mailbox = Mailbox::new().unwrap();
        mailbox.watch(&database).unwrap();
        std::fs::write(folder.path().join("a.db-wal"), "x").unwrap();
        assert!(
            mailbox
                .sleep(Duration::from_millis(1), Sleep::Deep)
                .unwrap()
                .is_empty()
        );
        let wakes = mailbox.sleep(LONG, Sleep::Light).unwrap();
        assert!(matches!(wakes[..], [Wake::Changed]), "{wakes:?}");
    }
}
