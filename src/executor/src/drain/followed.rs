//! Event logs: the leader of a service follows them (see `follow`), and says what that has to tell.

use super::lead::Lead;
use super::{Drain, Goal};
use crate::follow::{Follower, How, News, Places};
use crate::wake::Wake;
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
    pub(super) fn hear(&mut self, news: &News) {
        let is_service = *self.goal == Goal::Forever;
        if let News::Failed(error) = news {
            self.make_room_after(error);
        }
        if let Some(sentence) = news.sentence()
            && (is_service || !matches!(news, News::Following { .. }))
        {
            (self.say)(&sentence);
        }
        // What failed is tried again by whoever comes next.
        if !is_service && matches!(news, News::CaughtUp | News::Failed(_)) {
            self.caught_up();
        }
    }
}
