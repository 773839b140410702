//! What a service says of itself: one entry, in the form that its reader wants.
//!
//! Human lines for who sits at a terminal, one JSON object a line for who collects output, the journal's
//! own protocol where standard error is the journal. Every form has the level and the instance, and the
//! run and the step where an entry concerns one. These are not the lifecycle logs (`logs/*.jsonl`): those
//! are the projector's.
//!
//! Invariant: a log that can't be written keeps nobody from working. What does not belong here: what is
//! said.

mod form;
mod journal;

use crate::config::Settings;
use journal::Journal;
use runchain_core::{Millis, RunId};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub(crate) const ALL: [Self; [$($word,)*].len()] = [$(Self::$variant,)*];

            /// The word in the configuration.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What a word means.
            pub(crate) fn from_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == word)
            }
        }
    };
}

words! {
    /// How urgent an entry is; the most urgent first.
    Level:
    /// Work stands still, or is lost, until somebody acts.
    Error = "error",
    /// Something is wrong, and is tried again or worked around.
    Warn = "warn",
    /// What was done.
    Info = "info",
    /// What was begun, and why.
    Debug = "debug",
}

words! {
    /// What an entry looks like.
    Form:
    /// By what it is written to.
    Auto = "auto",
    /// A line for a person.
    Human = "human",
    /// A JSON object.
    Json = "json",
    /// A message of journald's own protocol.
    Journal = "journal",
}

words! {
    /// Where entries go, unless the journal takes them.
    Target:
    /// Standard error.
    Stderr = "stderr",
    /// Standard output.
    Stdout = "stdout",
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// How urgent it is.
    pub(crate) level: Level,
    /// The sentence, which names the run, too.
    pub(crate) text: &'a str,
    /// The run that it concerns.
    pub(crate) run_id: Option<&'a RunId>,
    /// The step that it concerns.
    pub(crate) step: Option<&'a str>,
}

/// The log of one process.
#[derive(Debug)]
pub(crate) struct Log {
    sink: Sink,
    target: Target,
    /// Index into [`Level::ALL`].
    least: AtomicU8,
    instance: String,
}

#[derive(Debug)]
enum Sink {
    Human,
    Json,
    Journal(Journal),
}

impl Log {
    /// The log of a service, as the configuration wants it.
    pub(crate) fn of_service(settings: &Settings, quiet: bool) -> Self {
        let log = Self {
            sink: sink(settings.log_format, settings.log_output),
            target: settings.log_output,
            least: AtomicU8::new(Level::Error as u8),
            instance: settings.instance.clone(),
        };
        if !quiet {
            log.use_level(settings.log_level);
        }
        log
    }

    /// The log of a command that somebody waits for: lines on standard error.
    pub(crate) fn of_command(settings: &Settings, quiet: bool) -> Self {
        let log = Self {
            sink: Sink::Human,
            target: Target::Stderr,
            least: AtomicU8::new(Level::Error as u8),
            instance: settings.instance.clone(),
        };
        if !quiet {
            log.use_level(settings.log_level);
        }
        log
    }

    /// For failures before there are settings.
    pub(crate) fn of_environment() -> Self {
        Self {
            sink: sink(Form::Auto, Target::Stderr),
            target: Target::Stderr,
            least: AtomicU8::new(Level::Info as u8),
            instance: std::env::var("RUNCHAIN_INSTANCE").unwrap_or_default(),
        }
    }

    /// From now on.
    pub(crate) fn use_level(&self, least: Level) {
        self.least.store(least as u8, Ordering::Relaxed);
    }

    /// Whether it is written for programs.
    pub(crate) fn is_for_machines(&self) -> bool {
        !matches!(self.sink, Sink::Human)
    }

    /// Work stands still, or is lost, until somebody acts.
    pub(crate) fn error(&self, text: &str) {
        self.plain(Level::Error, text);
    }

    /// Something is wrong, and is tried again or worked around.
    pub(crate) fn warn(&self, text: &str) {
        self.plain(Level::Warn, text);
    }

    /// What was done.
    pub(crate) fn info(&self, text: &str) {
        self.plain(Level::Info, text);
    }

    fn plain(&self, level: Level, text: &str) {
        self.write(&Entry {
            level,
            text,
            run_id: None,
            step: None,
        });
    }

    /// Writes an entry, if it is urgent enough.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        if entry.level as u8 > self.least.load(Ordering::Relaxed) {
            return;
        }
        let now = Millis::now();
        let written = match &self.sink {
            Sink::Human => self.line(&form::human(entry, &self.instance, now)),
            Sink::Json => self.line(&form::json(entry, &self.instance, now)),
            Sink::Journal(journal) => journal
                .send(entry, &self.instance)
                // Too long, or the journal is being restarted.
                .or_else(|_| self.line(&form::prefixed(entry))),
        };
        // A service whose standard error is gone still drains.
        let _ = written;
    }

    /// One write, so that lines of several threads don't mix.
    fn line(&self, text: &str) -> io::Result<()> {
        match self.target {
            Target::Stderr => io::stderr().lock().write_all(text.as_bytes()),
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
        }
    }
}

fn sink(form: Form, target: Target) -> Sink {
    let (is_terminal, journal) = match target {
        Target::Stderr => (io::stderr().is_terminal(), Journal::behind(io::stderr().as_fd())),
        Target::Stdout => (io::stdout().is_terminal(), Journal::behind(io::stdout().as_fd())),
    };
    match (form, journal) {
        (Form::Auto, Some(journal)) => Sink::Journal(journal),
        (Form::Journal, journal) => match journal.or_else(|| Journal::open().ok()) {
            Some(journal) => Sink::Journal(journal),
            None => Sink::Json,
        },
        (Form::Human, _) => Sink::Human,
        (Form::Auto, None) if is_terminal => Sink::Human,
        (Form::Auto | Form::Json, _) => Sink::Json,
    }
}
