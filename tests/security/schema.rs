//! What has a side effect or reads files can only be called by who writes the statement.

use crate::support::{extension, python};
use std::collections::{BTreeMap, BTreeSet};

type Attempts = BTreeMap<String, BTreeMap<String, Option<String>>>;

/// Pure: it answers a constant.
const HARMLESS: &str = "runchain_version/0";

#[test]
fn no_place_of_a_hostile_schema_can_call_a_function_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [extension(), folder.path()].map(|path| path.to_str().unwrap());
    let printed = python(include_str!("schema.py"), &arguments).output();
    let attempts: Attempts = serde_json::from_str(&printed).unwrap();

    let functions: BTreeSet<&str> = attempts
        .keys()
        .map(|name| name.split('/').next().unwrap())
        .collect();
    for name in [
        "monitor_validate",
        "ingest_events",
        "enqueue_chain",
        "runchain_install",
        "monitor_checks",
        "read_events",
    ] {
        assert!(functions.contains(name), "{name} was not tried: {functions:?}");
    }
    for (function, places) in &attempts {
        assert!(
            places.len() == 18 || (places.len() == 2 && !function.contains('/')),
            "{function}: {places:?}"
        );
        let name = function.split('/').next().unwrap();
        let refusals = [
            format!("unsafe use of {name}"),
            format!("unsafe use of virtual table \"{name}\""),
            "non-deterministic functions prohibited".to_owned(),
        ];
        for (place, error) in places {
            let error = error.as_deref().unwrap_or("it was called");
            let stopped = refusals.iter().any(|refusal| error.contains(refusal));
            assert_eq!(
                stopped,
                function != HARMLESS,
                "{function} from a {place}: {error}"
            );
        }
    }
}
