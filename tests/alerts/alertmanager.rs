//! Debian's Alertmanager, really receiving.

use crate::support::{Project, Service, eventually, monitoring};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server of its own, on a port that the system gave it. Dropped, it is killed.
struct Alertmanager {
    _server: Service,
    port: u16,
    _folder: TempDir,
}

impl Alertmanager {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("alertmanager.yml");
        std::fs::write(
            &config,
            "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
        )
        .unwrap();
        let server = Service::of(
            Command::new(monitoring("RUNCHAIN_TEST_ALERTMANAGER"))
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.path={}", folder.path().join("data").display()))
                .arg("--web.listen-address=127.0.0.1:0")
                .arg("--cluster.listen-address="),
        );
        let port = eventually("Alertmanager's port", || {
            let told = server.told();
            let told_port = told
                .split_once("msg=\"Listening on\" address=127.0.0.1:")
                .and_then(|(_, rest)| rest.split_once('\n'));
            told_port
                .and_then(|(port, _)| port.parse().ok())
                .ok_or_else(|| told.clone())
        });
        let server = Self {
            _server: server,
            port,
            _folder: folder,
        };
        eventually("Alertmanager to be ready", || match server.get("/-/ready") {
            Ok(answer) if answer.starts_with("HTTP/1.0 200") => Ok(()),
            other => Err(format!("{other:?}")),
        });
        server
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The alerts that it holds.
    fn alerts(&self) -> Result<Vec<Value>, String> {
        let answer = self.get("/api/v2/alerts").map_err(|error| error.to_string())?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or(answer.clone())?;
        serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))
    }
}

#[test]
fn a_failed_run_reaches_alertmanager_and_so_does_its_end() {
    let server = Alertmanager::start();
    let project = Project::installed(&format!(
        "instance = 'orders'\n[alerts.channels.am]\nkind = 'alertmanager'\nurl = 'http://127.0.0.1:{}'\nlabels = {{ env = 'test' }}\nresend_ms = 500\n",
        server.port
    ));
    let _service = project.service();
    let conn = rusqlite::Connection::open(project.database()).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn.execute_batch("INSERT INTO runs(run_id, status) VALUES ('run-1', 'FAILED')")
        .unwrap();
    let committed = Instant::now();
    let one = |server: &Alertmanager| match server.alerts()?.as_slice() {
        [alert] => Ok(alert.clone()),
        other => Err(format!("{other:?}")),
    };
    let alert = eventually("Alertmanager to have the alert", || one(&server));
    println!(
        "from commit to Alertmanager: {} ms",
        committed.elapsed().as_millis()
    );
    // The fallback poll would find it after a minute.
    assert!(committed.elapsed() < Duration::from_secs(50));
    let labels = &alert["labels"];
    assert_eq!(labels["alertname"], "run_failed");
    assert_eq!(
        (&labels["severity"], &labels["run_id"], &labels["env"]),
        (&"error".into(), &"run-1".into(), &"test".into())
    );
    // Of two hundred hosts with several databases each, which.
    assert_eq!(labels["instance"], "orders");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(labels["host"], host.trim());
    assert_eq!(
        alert["annotations"]["description"],
        "the run ended with the status FAILED"
    );
    assert_eq!(alert["status"]["state"], "active");
    // It keeps hearing of it: the end that it is given moves on.
    let ends_at = alert["endsAt"].as_str().unwrap().to_owned();
    eventually("a later end", || {
        let now = one(&server)?["endsAt"].as_str().unwrap().to_owned();
        if now > ends_at { Ok(()) } else { Err(now) }
    });
    conn.execute_batch("UPDATE runs SET status = 'RUNNING'; UPDATE runs SET status = 'COMPLETED'")
        .unwrap();
    // What is over leaves this list.
    eventually("the end of the alert", || match server.alerts()?.len() {
        0 => Ok(()),
        left => Err(left.to_string()),
    });
    project.until(
        "SELECT group_concat(state, ' ') FROM runchain_alert_deliveries",
        "sent sent",
    );
}

/// docs/alerts.md shows lines of its configuration.
#[test]
fn the_lines_for_escalation_and_quiet_hours_are_what_alertmanager_takes() {
    let page = std::fs::read_to_string(crate::support::repository().join("docs/alerts.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (lines, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(&config, lines).unwrap();
    let mut amtool = Command::new(monitoring("RUNCHAIN_TEST_AMTOOL"));
    let checked = crate::support::run(amtool.arg("check-config").arg(&config), "");
    assert!(checked.success, "{}{}", checked.stdout, checked.stderr);
}
