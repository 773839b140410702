//! A program that draws, in a pseudo-terminal of its own, and what a person would see of it.

use super::project::eventually;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A terminal with a child in it. Dropped, the child is killed.
pub(crate) struct Screen {
    child: Child,
    master: File,
    slave: File,
    before: Termios,
    parser: Arc<Mutex<vt100::Parser>>,
    /// Everything that was printed, with its escape sequences.
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// Starts a command in a terminal of its own, so many columns and rows large.
    pub(crate) fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let master = File::from(master);
        resize(&master, columns, rows);
        let before = tcgetattr(&slave).unwrap();
        // It makes the terminal the controlling one of a new session: signals and /dev/tty are the
        // test's then, not those of who runs it. It is a part of util-linux, which Linux can't do without.
        let mut session = Command::new("setsid");
        session
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        for name in ["NO_COLOR", "COLORFGBG", "LC_ALL", "LC_CTYPE"] {
            session.env_remove(name);
        }
        session.env("TERM", "xterm").env("LANG", "C.UTF-8");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = session.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let (mut output, seen) = (master.try_clone().unwrap(), Arc::clone(&parser));
        let printed = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&printed);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let length = match output.read(&mut bytes) {
                    Ok(length @ 1..) => length,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // It fails when the last end of the other side is closed.
                    Ok(0) | Err(_) => break,
                };
                // Kept first: what is on the screen has been printed.
                kept.lock().unwrap().extend_from_slice(&bytes[..length]);
                seen.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self {
            child,
            master,
            slave,
            before,
            parser,
            printed,
        }
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.parser
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        resize(&self.master, columns, rows);
    }

    /// What is on the screen.
    pub(crate) fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Everything that was printed so far, with its escape sequences.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    /// Whether any cell has a colour.
    pub(crate) fn has_colours(&self) -> bool {
        let parser = self.parser.lock().unwrap();
        let (rows, columns) = parser.screen().size();
        (0..rows.get())
            .flat_map(|row| (0..columns.get()).map(move |column| (row, column)))
            .filter_map(|(row, column)| parser.screen().cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    /// Waits until the screen has all of these texts.
    #[track_caller]
    pub(crate) fn until(&self, wanted: &[&str]) {
        eventually(&format!("{wanted:?} on the screen"), || {
            let screen = self.text();
            if wanted.iter().all(|text| screen.contains(text)) {
                Ok(())
            } else {
                Err(format!("\n{screen}"))
            }
        });
    }

    /// Sends the child a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the child's end: its exit code, none after a signal.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        eventually("the program to end", || match self.child.try_wait().unwrap() {
            Some(status) => Ok(status.code()),
            None => Err(self.parser.lock().unwrap().screen().contents()),
        })
    }

    /// The terminal must be as it was before: its own screen, its cursor, its line discipline.
    #[track_caller]
    pub(crate) fn assert_restored(&self) {
        eventually("the terminal's own screen and its cursor", || {
            let parser = self.parser.lock().unwrap();
            let screen = parser.screen();
            if screen.alternate_screen() || screen.hide_cursor() {
                Err(screen.contents())
            } else {
                Ok(())
            }
        });
        let now = tcgetattr(&self.slave).unwrap();
        assert_eq!(now.local_modes, self.before.local_modes, "echo and lines");
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Already waited for, or killed here: an error says that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

fn resize(master: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}
