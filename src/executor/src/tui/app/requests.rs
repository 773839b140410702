//! What a person asks for: marks, and the request that a key means.

use super::{App, Effect};
use crate::tui::Screen;
use crate::tui::ask::{Request, Verb, can_change_alert};
use crate::tui::keys::Action;
use crate::tui::model::Snapshot;
use runchain_core::StepId;
use runchain_core::alert::ByHand;
use runchain_core::steps::EVERY_KIND;

impl App {
    pub(super) fn mark(&mut self, action: Action, snapshot: &Snapshot) {
        let ids: Vec<StepId> = snapshot.queue.iter().map(|step| step.id).collect();
        if action == Action::MarkAll {
            if ids.iter().all(|id| self.marks.contains(id)) {
                self.marks.clear();
            } else {
                self.marks.extend(ids);
            }
            return;
        }
        let row = self.cursor(snapshot);
        if let Some(&id) = ids.get(row) {
            if !self.marks.remove(&id) {
                self.marks.insert(id);
            }
            self.move_by(1, snapshot);
        }
    }

    pub(super) fn request(&mut self, action: Action, snapshot: &Snapshot) -> Option<Effect> {
        let row = self.cursor(snapshot);
        let request = match action {
            Action::Retry | Action::Cancel => {
                let verb = if action == Action::Retry {
                    Verb::Retry
                } else {
                    Verb::Cancel
                };
                if self.screen == Screen::Queue {
                    Request::Steps(verb, self.steps_meant(verb, snapshot))
                } else {
                    Request::Run(verb, self.run_at_cursor(snapshot)?)
                }
            }
            Action::Pause => Request::Pause(snapshot.queue.get(row)?.brief.step.clone()),
            Action::PauseAll => Request::Pause(EVERY_KIND.to_owned()),
            Action::Resume => {
                let paused = &snapshot.overview.as_ref()?.paused;
                match paused.first() {
                    Some(pause) => Request::Resume(pause.step.clone()),
                    None => {
                        self.said = Some("nothing is paused".to_owned());
                        return None;
                    }
                }
            }
            Action::Acknowledge | Action::Resolve => {
                let alert = snapshot.alerts.get(row)?;
                let change = if action == Action::Resolve {
                    ByHand::Resolve
                } else {
                    ByHand::Acknowledge
                };
                if !can_change_alert(change, &alert.state) {
                    self.said = Some(format!("this alert is {} already", alert.state));
                    return None;
                }
                Request::Alert(change, alert.id)
            }
            _ => return None,
        };
        Some(Effect::Count(request))
    }

    /// The marked steps, else the one that the cursor is on; of them, those that the verb is for.
    fn steps_meant(&self, verb: Verb, snapshot: &Snapshot) -> Vec<StepId> {
        let row = self.cursor(snapshot);
        let meant = snapshot.queue.iter().enumerate().filter(|(index, step)| {
            let is_meant = if self.marks.is_empty() {
                *index == row
            } else {
                self.marks.contains(&step.id)
            };
            is_meant && verb.applies_to(&step.brief.state)
        });
        meant.map(|(_, step)| step.id).collect()
    }
}
