//! TLS against a server whose certificate an authority of the test's own has signed: OpenSSL's, not ours.

use super::channels::fail;
use crate::support::{Project, eventually, monitoring, python_program, run};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Python's own, over TLS. Dropped, it is killed.
struct TlsServer {
    child: Child,
    folder: TempDir,
    port: String,
}

impl TlsServer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        make_certificates(folder.path());
        std::fs::write(at("server.py"), include_str!("tls_server.py")).unwrap();
        let child = Command::new(python_program())
            .arg("server.py")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(at("heard")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            folder,
            port: String::new(),
        };
        server.port = eventually("the server's port", || match server.heard() {
            heard if heard.ends_with('\n') => Ok(heard.trim().to_owned()),
            heard => Err(heard),
        });
        server
    }

    /// Its port, and the path of each request, line by line.
    fn heard(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("heard")).unwrap()
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // Dead or not, it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate of it for 127.0.0.1.
fn make_certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new(monitoring("RUNCHAIN_TEST_OPENSSL"));
        let arguments = arguments.split_whitespace();
        run(command.args(arguments).current_dir(folder), "").output();
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout authority.key -out authority.pem -days 2 -subj /CN=Test-Authority"
    ));
    openssl(&format!(
        "req {key} -keyout server.key -out server.csr -subj /CN=127.0.0.1"
    ));
    std::fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -out server.pem \
         -extfile server.ext",
    );
}

fn with_channel(server: &TlsServer, more: &str) -> Project {
    Project::installed(&format!(
        "[alerts.channels.ops]\nkind = 'webhook'\nurl = 'https://127.0.0.1:{}/hook'\ngroup_ms = 0\n{more}",
        server.port
    ))
}

#[test]
fn a_webhook_is_reached_by_tls_whose_authority_is_configured_and_by_no_other() {
    let server = TlsServer::start();
    let trusting = with_channel(&server, &format!("ca_file = '{}'", server.authority().display()));
    fail(&trusting, "r");
    trusting.runchain(&["drain", "--until-idle"]).exits(0);
    assert_eq!(
        trusting.lines("SELECT state, error FROM runchain_alert_deliveries"),
        ["sent|"]
    );
    assert_eq!(server.heard(), format!("{}\n/hook run_failed\n", server.port));

    let doubting = with_channel(&server, "");
    let refused = doubting.runchain(&["alerts", "test", "ops"]).exits(1).stderr;
    assert!(
        refused.contains("TLS: ")
            && refused.contains("certificate")
            && refused.contains("authorities of your own stand in ca_file"),
        "{refused}"
    );
    fail(&doubting, "r");
    doubting.runchain(&["drain", "--until-idle"]).exits(0);
    let stands = doubting.lines("SELECT state FROM runchain_alert_deliveries WHERE error LIKE 'TLS: %'");
    assert_eq!(stands, ["pending"], "it may be mended");
    assert_eq!(
        server.heard().lines().count(),
        2,
        "nothing was said to who isn't trusted"
    );
}

#[test]
fn a_list_of_authorities_that_can_t_be_read_is_said_by_name() {
    let server = TlsServer::start();
    for (text, why) in [
        (None, "No such file"),
        (Some("no PEM"), "there is no certificate in it"),
    ] {
        let project = with_channel(&server, "ca_file = 'authorities.pem'");
        if let Some(text) = text {
            std::fs::write(project.path("authorities.pem"), text).unwrap();
        }
        let refused = project.runchain(&["alerts", "test", "ops"]).exits(1).stderr;
        assert!(
            refused.contains("can't read ca_file")
                && refused.contains("authorities.pem")
                && refused.contains(why),
            "{refused}"
        );
    }
}
