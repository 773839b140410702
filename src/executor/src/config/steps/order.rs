//! The order of the chain: unknown names and cycles in `after`.

use super::super::error::{Problem, suggest};
use super::Step;
use std::collections::BTreeMap;

/// Sorts the steps so that each stands after those that it needs; unknown names and cycles are
/// problems. Otherwise the order stays.
pub(super) fn in_order(
    steps: Vec<Step>,
    places: &BTreeMap<String, Option<String>>,
    problems: &mut Vec<Problem>,
) -> Vec<Step> {
    let names: Vec<String> = steps.iter().map(|step| step.name.clone()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let place_of = |name: &str| places.get(name).cloned().flatten();
    let mut waiting = steps;
    for step in &mut waiting {
        for unknown in step.after.iter().filter(|name| !known.contains(&name.as_str())) {
            let what = format!("steps.{}.after names {unknown}, which is no step", step.name);
            let remedy = suggest(unknown, &known).replace("known keys", "known steps");
            problems.push(Problem::new(place_of(&step.name), what, remedy));
        }
        step.after.retain(|name| known.contains(&name.as_str()));
    }
    let mut ordered: Vec<Step> = Vec::new();
    while !waiting.is_empty() {
        let free = |step: &Step| {
            step.after
                .iter()
                .all(|need| ordered.iter().any(|done| done.name == *need))
        };
        let Some(at) = waiting.iter().position(free) else {
            let cycle = cycle(&waiting);
            let place = cycle.first().and_then(|name| place_of(name));
            let what = format!("steps wait for each other: {}", cycle.join(" -> "));
            problems.push(Problem::new(place, what, "take one of them out of an `after`"));
            break;
        };
        ordered.push(waiting.remove(at));
    }
    ordered
}

/// Follows `after` among steps that all wait for one another until a name comes again.
fn cycle(waiting: &[Step]) -> Vec<&str> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = waiting.first();
    while let Some(step) = next {
        if let Some(start) = path.iter().position(|&name| name == step.name) {
            path.drain(..start);
            path.push(&step.name);
            break;
        }
        path.push(&step.name);
        next = waiting.iter().find(|other| step.after.contains(&other.name));
    }
    path
}
