//! Event logs: the leader of a service follows them (see `follow`), and says what that has to tell.

use super::lead::Lead;
use super::{Drain, Goal};
use crate::follow::{Follower, How, News, Places};
use crate::wake::Wake;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

impl Drain<'_> {
    /// The lead was just taken, or the configuration was read again.
    pub(super) fn follow_logs(&mut self) {
        let is_of_one_run = matches!(self.goal, Goal::Run { .. });
        let Some(lead) = self.lead.as_mut().filter(|_| !is_of_one_run) else {
            return;
        };
        lead.follow(None);
        let waker = self.mailbox.waker().clone();
        // Whoever doesn't hear any more is about to end.
        let tell = move |news| {
            waker.send(Wake::Followed(Box::new(news)));
        };
        let started = Places::of_service(&self.settings).and_then(|places| {
            let any = !places.is_empty();
            let how = How {
                settings: Arc::clone(&self.settings),
                format: None,
            };
            any.then(|| Follower::start(how, places, tell)).transpose()
        });
        match started {
            Ok(follower) => lead.follow(follower),
            Err(error) => (self.say)(&format!("no event log is followed: {error}")),
        }
    }

    /// Who ends when nothing is left has read every event log to its end once, and told of it.
    pub(super) fn has_followed(&self) -> bool {
        self.lead.as_ref().is_none_or(Lead::has_followed)
    }

    fn caught_up(&mut self) {
        if let Some(lead) = &mut self.lead {
            lead.caught_up();
        }
        // What was read last is told by another pass.
        self.version.forget();
    }

    /// Says what a follower tells. What it has read is in the database, whose change wakes us by itself.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Following { places, are_usual } if *self.goal == Goal::Forever => {
                (self.say)(&following(&places, are_usual));
            }
            News::Following { .. } => {}
            News::CaughtUp => {
                if *self.goal != Goal::Forever {
                    self.caught_up();
                }
            }
            News::Read(report) => {
                if report.rejected > 0 {
                    (self.say)(&format!(
                        "{}: {} lines rejected (SELECT line, reason, start FROM runchain_ingest_rejects WHERE file_id = {})",
                        report.path, report.rejected, report.file_id
                    ));
                }
            }
            News::Refused { path, why } => {
                let path = path.display().to_string();
                let text = if why.contains(&path) {
                    why
                } else {
                    format!("{path}: {why}")
                };
                (self.say)(&format!("not followed: {text}"));
            }
            News::Failed(error) => {
                self.make_room_after(&error);
                (self.say)(&format!("following event logs: {error}; trying again"));
                if *self.goal != Goal::Forever {
                    // It is tried again by whoever comes next.
                    self.caught_up();
                }
            }
        }
    }
}

/// One line for all places.
fn following(places: &[(PathBuf, Option<usize>)], are_usual: bool) -> String {
    let mut text = if are_usual {
        "following event logs in the usual places:".to_owned()
    } else {
        "following event logs:".to_owned()
    };
    for (number, (place, files)) in places.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string can't fail.
        let _ = match files {
            Some(1) => write!(text, "{comma} {} (1 file)", place.display()),
            Some(files) => write!(text, "{comma} {} ({files} files)", place.display()),
            None => write!(text, "{comma} {} (not there yet)", place.display()),
        };
    }
    text
}
