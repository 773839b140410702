//! What channels are told, in which order.

use super::*;
use crate::alert::{Alarm, Own, State, announce, raise, resolve};
use crate::{Millis, schema};

#[test]
fn that_an_alert_is_over_is_never_told_before_that_it_fires() {
    let conn = schema::in_memory();
    let alarm = Alarm {
        own: Own::RunFailed,
        of: &[Some("r")],
        run_id: None,
        subject: "r",
        message: "it broke",
    };
    let plan_newest = |state: State, now: Millis| {
        let change = announce::newest(&conn).unwrap();
        let planned = Planned {
            channel: "ops",
            change,
            alert: 1,
            state,
            digest: false,
            throttle_ms: 0,
            due: now,
        };
        assert!(plan(&conn, &planned, now).unwrap());
    };
    let told = |now: i64| {
        let message = take(&conn, "ops", Millis(now)).unwrap()?;
        let states = message
            .items
            .iter()
            .map(|item| item.change.state)
            .collect::<Vec<_>>();
        Some((message.id, states))
    };
    raise(&conn, &alarm, Millis(1)).unwrap();
    plan_newest(State::Firing, Millis(1));
    assert_eq!(told(1), Some((1, vec![State::Firing])));
    let again = Outcome::Again {
        at: Millis(1_000),
        error: "down".to_owned(),
    };
    settle(&conn, "ops", 1, &again, Millis(2)).unwrap();
    resolve(&conn, Own::RunFailed, &[Some("r")], Millis(3)).unwrap();
    plan_newest(State::Resolved, Millis(3));
    assert_eq!(told(999), None);
    assert_eq!(next_due(&conn, "ops").unwrap(), Some(Millis(1_000)));
    assert_eq!(told(1_000), Some((1, vec![State::Firing])));
    settle(&conn, "ops", 1, &Outcome::Sent, Millis(1_001)).unwrap();
    assert_eq!(told(1_001), Some((2, vec![State::Resolved])));
}
