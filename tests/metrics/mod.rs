//! `/metrics` and `/healthz` as others see them: over a socket, from a real Prometheus.

mod http;
mod pages;
mod prometheus;
mod server;

use crate::support::{Project, SHAPE_A, Service, eventually, runchain};
use http::Address;
use std::collections::BTreeMap;

/// A page's samples: name with labels, in the page's order of labels, to value.
type Samples = BTreeMap<String, f64>;

fn project(config: &str) -> Project {
    let project = Project::new(SHAPE_A, &format!("instance = 'orders'\n{config}"));
    project.runchain(&["install"]).exits(0);
    project
}

/// Starts an executor that listens, and waits until it answers.
fn listening(project: &Project) -> (Service, Address) {
    let service = Service::of(
        runchain(project.root())
            .arg("drain")
            .env("RUNCHAIN_METRICS_LISTEN", "127.0.0.1:0"),
    );
    let address = eventually("an address", || {
        let told = service.told();
        Address::told(&told, "metrics at ").ok_or(told)
    });
    (service, address)
}

fn end(project: &Project, run_id: &str, status: &str) {
    project.sql(&format!(
        "INSERT INTO runs(run_id, status) VALUES ('{run_id}', '{status}');"
    ));
    project.until(
        &format!("SELECT state FROM runchain_steps WHERE run_id = '{run_id}' AND step = 'report'"),
        "done",
    );
}

#[track_caller]
fn samples(address: &Address) -> Samples {
    let answer = address.get("/metrics").unwrap();
    assert_eq!(answer.code, 200, "{}", answer.body);
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Waits until a sample without labels of its own has a value, on a page that knows the database, too:
/// a scrape doesn't wait for long where somebody holds its lock.
#[track_caller]
fn until(address: &Address, name: &str, wanted: f64) -> Samples {
    eventually(&format!("{name} to be {wanted}"), || {
        let samples = samples(address);
        let values = [name, "runchain_database_reachable"].map(|name| samples.get(&of(name)).copied());
        if values == [Some(wanted), Some(1.0)] {
            Ok(samples)
        } else {
            Err(format!("{values:?}"))
        }
    })
}

/// A series without labels of its own.
fn of(name: &str) -> String {
    format!("{name}{{runchain_instance=\"orders\"}}")
}
