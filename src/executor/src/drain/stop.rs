//! What signals ask for: to stop in order, to stop at once, to read the configuration again.

use super::{Drain, Ended, Goal, concurrency_of, millis, trail};
use crate::config::Settings;
use crate::door;
use crate::log::{Entry, Level};
use runchain_core::error::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after the end of a graceful stop ended commands may take to be settled.
const SETTLE_GRACE: Duration = Duration::from_secs(15);

/// A stop under way.
pub(super) struct Stop {
    pub(super) signal: i32,
    pub(super) deadline: Instant,
}

impl Drain<'_> {
    /// What could not be settled in time is left to its lease: a stop has an end.
    pub(super) fn past_grace(&self) -> Option<Ended> {
        let stop = self.stopping.as_ref()?;
        (Instant::now() >= stop.deadline + SETTLE_GRACE).then(|| {
            (self.say)(&format!(
                "{} steps could not be settled; they are left to their lease",
                self.running
            ));
            Ended::Stopped
        })
    }

    pub(super) fn stop(&mut self, signal: i32) -> Option<Ended> {
        if let Some(stop) = &self.stopping {
            (self.say)(&format!(
                "stopping at once; {} steps are left to their lease",
                self.running
            ));
            return Some(Ended::Forced(if signal == stop.signal {
                signal
            } else {
                stop.signal
            }));
        }
        let text = match self.running {
            0 => "stopping".to_owned(),
            running => format!("stopping when {running} running steps are through; again to stop at once"),
        };
        if self.running > 0 {
            (self.say)(&text);
        }
        self.vital.manager.stopping(&text);
        if let Some(lead) = &mut self.lead {
            lead.follow(None);
        }
        self.stopping = Some(Stop {
            signal,
            deadline: Instant::now() + millis(self.settings.stop_grace_ms),
        });
        // The version may not have changed, but there is something to decide.
        self.version.forget();
        None
    }

    /// Takes over a new configuration whole, or keeps the old one and says why.
    pub(super) fn reload_settings(&mut self) {
        self.vital.manager.reloading();
        let told = match (self.reload)() {
            Ok(new) => self.take_over(new),
            Err(error) => Err(format!(
                "the configuration is wrong, so the old one stays: {error}"
            )),
        };
        let (level, text) = match &told {
            Ok(()) => (Level::Info, "the configuration was read again"),
            Err(text) => (Level::Error, text.as_str()),
        };
        self.log.write(&Entry {
            level,
            text,
            run_id: None,
            step: None,
        });
        self.vital.manager.reloaded(text);
    }

    /// The new configuration holds from now on; or why it can't.
    fn take_over(&mut self, new: Settings) -> std::result::Result<(), String> {
        let old = &self.settings;
        let fixed = [
            ("state_db_path", old.state_db_path != new.state_db_path),
            ("logs_dir", old.logs_dir != new.logs_dir),
        ];
        if let Some((key, _)) = fixed.iter().find(|(_, differs)| *differs) {
            return Err(format!(
                "{key} has changed, which needs a restart; the old configuration stays"
            ));
        }
        if let Err(error) = self
            .workers
            .grow_to(&self.workshop, new.workers, self.mailbox.waker())
        {
            self.log.warn(&format!("can't start more workers: {error}"));
        }
        for (key, differs) in [
            ("metrics.listen", old.metrics_listen != new.metrics_listen),
            ("log_format", old.log_format != new.log_format),
            ("log_output", old.log_output != new.log_output),
        ] {
            if differs {
                self.log.warn(&format!(
                    "{key} has changed, which takes effect at the next start"
                ));
            }
        }
        let new = Arc::new(new);
        let old = Arc::clone(&self.settings);
        self.log.use_level(new.log_level);
        self.workshop.use_settings(&new);
        self.chain = new.chain();
        self.concurrency = concurrency_of(&new);
        if let Some(lead) = &mut self.lead {
            lead.use_settings(&new);
        }
        self.settings = new;
        self.follow_logs();
        self.version.forget();
        self.take_over_alerts(&old);
        if *self.goal == Goal::Forever
            && let Err(error) = trail::reloaded(&mut self.conn, &old, &self.settings)
        {
            self.log
                .warn(&format!("{error}; the reload is not in the audit trail"));
        }
        Ok(())
    }

    /// Takes the executor off the list, so that nobody waits for its lease, and says why it ended.
    pub(super) fn leave(&mut self, ended: &Result<Ended>) {
        if self.running > 0 || self.guard.verify(&self.conn).is_err() {
            return;
        }
        self.dismiss_couriers();
        let signal = self.stopping.as_ref().map(|stop| stop.signal);
        let (executor, forever) = (&self.executor, *self.goal == Goal::Forever);
        let left = door::write(&self.conn, |conn| {
            executor.leave(conn)?;
            if forever {
                trail::over(conn, executor, &trail::why(ended, signal))?;
            }
            Ok(())
        });
        if let Err(error) = left {
            self.log
                .warn(&format!("{error}; the lease will run out by itself"));
            return;
        }
        // Nobody else may come for a long time.
        if let Some(lead) = self.lead.as_mut().filter(|_| forever)
            && let Err(error) = lead.duties(&self.settings, &mut self.conn, &self.mapping, false, true)
        {
            self.log
                .warn(&format!("{error}; the next executor writes the rest of the log"));
        }
        if let Some(lead) = self.lead.as_mut().filter(|_| forever)
            && let Err(error) = lead.save_totals(&self.conn)
        {
            self.log.warn(&format!(
                "{error}; the next leader counts the newest events again"
            ));
        }
        if let Some(lead) = &mut self.lead
            && let Err(error) = lead.leave(&self.settings, &self.conn)
        {
            self.log.warn(&format!("{error}; the next executor does it"));
        }
    }
}
