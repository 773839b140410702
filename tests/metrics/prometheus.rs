//! Debian's Prometheus, which really scrapes; its own tool on the rules; and the dashboard, every
//! expression of which has to be answered.

use super::{Address, end, listening, project};
use crate::support::{Service, eventually, monitoring, repository, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn folder() -> PathBuf {
    repository().join("docs/monitoring")
}

fn promtool(arguments: &[&str]) -> String {
    let mut command = Command::new(monitoring("RUNCHAIN_TEST_PROMTOOL"));
    run(command.args(arguments).current_dir(folder()), "").output()
}

/// Each expression of the dashboard, its variables filled in as Grafana does.
fn dashboard_expressions() -> Vec<String> {
    let text = fs::read_to_string(folder().join("grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().replace("$instance", ".*"))
        .collect()
}

/// Kind and name of each rule.
fn rules() -> Vec<(String, String)> {
    let text = fs::read_to_string(folder().join("runchain.rules.yml")).unwrap();
    let names = text.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("- ")?;
        let (kind, name) = line.split_once(": ")?;
        ["alert", "record"]
            .contains(&kind)
            .then(|| (kind.to_owned(), name.to_owned()))
    });
    names.collect()
}

/// Names of series that a text asks for, without those that rules make.
fn series_of(text: &str) -> BTreeSet<String> {
    let words =
        text.split(|character: char| !(character.is_ascii_alphanumeric() || "_:".contains(character)));
    words
        .filter(|word| word.starts_with("runchain_") && *word != "runchain_instance")
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_configuration_pass_promtool_and_its_tests_of_them() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "runchain.rules.yml"]);
    promtool(&["test", "rules", "runchain.rules.test.yml"]);
}

#[test]
fn every_series_that_rules_and_dashboard_ask_for_is_on_the_page() {
    let project = project("[alerts.channels.ops]\nkind = 'command'\ncommand = ['true']\n");
    let (_service, address) = listening(&project);
    end(&project, "good", "COMPLETED");
    project.sql("INSERT INTO runs(run_id, status) VALUES ('on', 'RUNNING');");
    let rules = fs::read_to_string(folder().join("runchain.rules.yml")).unwrap();
    let asks = |line: &&str| !["summary:", "description:"].iter().any(|key| line.contains(key));
    let rules: Vec<&str> = rules.lines().filter(asks).collect();
    let wanted: BTreeSet<String> = series_of(&rules.join("\n"))
        .into_iter()
        .chain(series_of(&dashboard_expressions().join(" ")))
        .collect();
    assert!(wanted.len() > 15, "{wanted:?}");
    eventually("every series", || {
        let page = address.get("/metrics").unwrap().body;
        let found: BTreeSet<&str> = page
            .lines()
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        let missing: Vec<&String> = wanted
            .iter()
            .filter(|name| !found.contains(name.as_str()))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?}"))
        }
    });
}

/// Ended with the test.
struct Prometheus {
    _server: Service,
    address: Address,
}

impl Prometheus {
    fn start(project: &crate::support::Project, scraped: Address) -> Self {
        let rules = folder().join("runchain.rules.yml");
        let config = project.path("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\nrule_files: ['{}']\n\
                 scrape_configs: [{{ job_name: runchain, static_configs: [{{ targets: ['{scraped}'] }}] }}]\n",
                rules.display()
            ),
        )
        .unwrap();
        let server = Service::of(
            Command::new(monitoring("RUNCHAIN_TEST_PROMETHEUS"))
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", project.path("tsdb").display()))
                .arg("--web.listen-address=127.0.0.1:0"),
        );
        let address = eventually("Prometheus's address", || {
            let told = server.told();
            Address::told(&told, "msg=\"Listening on\" address=").ok_or(told)
        });
        eventually("Prometheus to be ready", || match address.get("/-/ready") {
            Ok(answer) if answer.code == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        Self {
            _server: server,
            address,
        }
    }

    fn api(&self, path: &str) -> Value {
        // HTTP/1.0: no chunks.
        let answer = self
            .address
            .send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
            .unwrap();
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
    }

    fn query(&self, expression: &str) -> Value {
        let escaped: String = expression
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
        self.api(&format!("/api/v1/query?query={escaped}"))
    }
}

#[test]
fn a_real_prometheus_scrapes_shows_the_series_and_answers_every_expression() {
    let project = project("");
    let (_service, address) = listening(&project);
    end(&project, "good", "COMPLETED");
    end(&project, "bad", "FAILED");
    let prometheus = Prometheus::start(&project, address);
    let value = |expression: &str| prometheus.query(expression)["data"]["result"][0]["value"][1].clone();
    eventually("the series", || {
        let found = (
            value("up{job=\"runchain\"}"),
            value("runchain_runs_completed_total{runchain_instance=\"orders\"}"),
            value("runchain_runs_failed_total"),
            value("runchain_artifacts_archived_total"),
        );
        let wanted = ("1".into(), "1".into(), "1".into(), "2".into());
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    for expression in dashboard_expressions() {
        let answer = prometheus.query(&expression);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
    }
    // Its types came with it.
    let metadata = prometheus.api("/api/v1/metadata?metric=runchain_wake_latency_seconds");
    assert_eq!(
        metadata["data"]["runchain_wake_latency_seconds"][0]["type"], "histogram",
        "{metadata}"
    );
    eventually("the rules", || {
        let loaded = prometheus.api("/api/v1/rules");
        let groups = loaded["data"]["groups"].as_array().unwrap().clone();
        let loaded: Vec<Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect();
        let healthy = loaded.iter().filter(|rule| rule["health"] == "ok").count();
        if healthy == rules().len() {
            Ok(())
        } else {
            Err(format!("{healthy}: {loaded:?}"))
        }
    });
}
