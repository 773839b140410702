//! `[alerts]` as it is read: what is right, and what a wrong one is answered.

use crate::config::{ConfigError, Settings, Surroundings};
use runchain_core::alert::Severity;
use std::collections::BTreeMap;

fn load(text: &str) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runchain.toml");
    std::fs::write(&path, text).unwrap();
    let around = Surroundings {
        folder: folder.path().to_owned(),
        variables: BTreeMap::from([("RUNCHAIN_CONFIG".to_owned(), path.into())]),
    };
    Settings::load(&[], None, &around)
}

fn refusal(text: &str) -> String {
    let text = load(text).unwrap_err().to_string();
    text.split_once("runchain.toml:")
        .map_or(text.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn a_rule_and_a_channel_are_read_with_their_defaults() {
    let settings = load(
        "[alerts.rules.exit]\nfield = 'details.exit_code'\nop = '>='\nvalue = 3\ncount = 5\nwindow_ms = 60000\n\
         [alerts.rules.step_dead]\nseverity = 'critical'\n\
         [alerts.rules.\"event.failed\"]\nenabled = false\n\
         [alerts.channels.ops]\nkind = 'webhook'\nurl = 'https://example.invalid/hunter2'\nmin_severity = 'error'\nrules = ['*.failed']\n",
    )
    .unwrap();
    let exit = settings
        .alerts
        .rules
        .iter()
        .find(|rule| rule.name == "exit")
        .unwrap();
    assert_eq!(exit.test.as_ref().unwrap().value, "3");
    let ops = &settings.alerts.channels[0];
    assert!(ops.hears("event.failed", Severity::Error));
    assert!(!ops.hears("event.failed", Severity::Warning));
    assert!(!ops.hears("step_dead", Severity::Critical));
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_a_remedy() {
    for (text, wanted) in [
        (
            "[alerts]\nrule = 1",
            "2:1: unknown key alerts.rule; did you mean rules?",
        ),
        (
            "[alerts.rules.a]\nsevrity = 'x'",
            "2:1: unknown key alerts.rules.a.sevrity; did you mean severity?",
        ),
        (
            "[alerts.rules.a]\nseverity = 'bad'",
            "alerts.rules.a: bad is no severity; use info, warning, error or critical",
        ),
        (
            "[alerts.rules.a]\ncount = 3",
            "alerts.rules.a: count has no window_ms",
        ),
        (
            "[alerts.rules.a]\nsilence_ms = 5\nper = 'job'",
            "make two rules of it",
        ),
        (
            "[alerts.rules.disk_low]\nenabled = false",
            "this alert can't be switched off",
        ),
        (
            "[alerts.rules.step_dead]\ntype = 'x'",
            "only severity and enabled can be said of it",
        ),
        ("[alerts.channels.a]\nkind = 'slack'", "kind can't be slack"),
        ("[alerts.channels.a]\nkind = 'webhook'", "there is no url"),
        (
            "[alerts.channels.a]\nkind = 'webhook'\nurl = 'file:///etc/passwd'",
            "the url is none of http or https",
        ),
        (
            "[alerts.channels.a]\nkind = 'webhook'\nurl_env = 'A'\nurl_file = 'b'",
            "url is given in more than one way",
        ),
        ("[alerts.channels.a]\nkind = 'command'", "there is no command"),
        (
            "[alerts.channels.a]\nkind = 'command'\ncommand = ['x']\nurl = 'http://a'",
            "url has no meaning for this kind",
        ),
        (
            "[alerts.channels.a]\nkind = 'command'\ncommand = ['x']\ntoken_env = 'A'",
            "token_env has no meaning for this kind",
        ),
        (
            "[alerts.channels.a]\nkind = 'webhook'\nurl = 'http://a'\nmax_attempts = 1001",
            "max_attempts is 1001, outside 1 to 1000",
        ),
        ("[deadman]\nevery_ms = 1", "there is no url"),
    ] {
        let found = refusal(text);
        assert!(found.contains(wanted), "{text}\n{found}");
    }
}

#[test]
fn no_secret_is_shown_nor_debugged() {
    let settings = load(
        "[alerts.channels.ops]\nkind = 'alertmanager'\nurl = 'https://hunter2.invalid'\ntoken = 'hunter2'\n\
         [deadman]\nurl = 'https://example.invalid/hunter2'\n",
    )
    .unwrap();
    let rows: Vec<String> = settings.rows.iter().map(|row| row.value.to_string()).collect();
    assert!(!rows.join("\n").contains("hunter2"), "{rows:?}");
    assert!(rows.join("\n").contains("(not shown)"));
    assert!(!format!("{settings:?}").contains("hunter2"));
}
