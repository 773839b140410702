//! One request: bounded in time, in what is read of the answer, and in where it goes: no redirect is
//! followed, so that what a configuration names is what is asked. Errors never hold URL or token: also
//! not where whoever answers repeats them.

use super::hidden::Hidden;
use super::send::Answer;
use crate::config::Endpoint;
use runchain_core::Millis;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// So much of an answer is read, for the error.
const ANSWER_BYTES: u64 = 4_096;
/// So much of it is shown.
const SHOWN_CHARS: usize = 200;

/// More than that is no list of authorities.
const LARGEST_CA_BYTES: u64 = 4 * 1024 * 1024;

/// A letter as it is sent.
pub(super) struct Request<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// Where it goes below the endpoint's URL.
    pub(super) path: &'a str,
    /// Sent as `Idempotency-Key`.
    pub(super) number: &'a str,
    /// JSON.
    pub(super) body: String,
    pub(super) timeout: Duration,
}

/// Sends it once.
pub(super) fn post(request: &Request<'_>) -> Answer {
    ask(request.endpoint, request.timeout, |agent, url, token| {
        let url = match request.path {
            "" => url.to_owned(),
            path => format!(
                "{}{path}",
                url.strip_suffix(path).unwrap_or(url).trim_end_matches('/')
            ),
        };
        let mut asked = agent
            .post(&url)
            .content_type("application/json")
            .header("Idempotency-Key", request.number);
        if let Some(token) = token {
            asked = asked.header("Authorization", format!("Bearer {token}"));
        }
        asked.send(&request.body)
    })
}

/// Asks for a URL whose answer doesn't matter.
pub(super) fn get(endpoint: &Endpoint, timeout: Duration) -> Result<(), String> {
    match ask(endpoint, timeout, |agent, url, _| agent.get(url).call()) {
        Answer::Taken => Ok(()),
        Answer::Failed { error, .. } | Answer::Refused { error } => Err(error),
    }
}

type Answered = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// Reads the secrets, asks, and hides them in what came of it.
fn ask(
    endpoint: &Endpoint,
    timeout: Duration,
    send: impl FnOnce(&Agent, &str, Option<&str>) -> Answered,
) -> Answer {
    let token = endpoint
        .token
        .as_ref()
        .map(crate::config::Secret::value)
        .transpose();
    // A file that isn't there yet may come.
    let (url, token, agent) = match (endpoint.url.value(), token, agent(endpoint, timeout)) {
        (Ok(url), Ok(token), Ok(agent)) => (url, token, agent),
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => return Answer::failed(error),
    };
    if !crate::config::is_http(&url) {
        return Answer::Refused {
            error: "the url is none of http or https".to_owned(),
        };
    }
    let hidden = Hidden::of_request(&url, token.as_deref());
    answer_of(send(&agent, &url, token.as_deref()), &hidden)
}

fn agent(endpoint: &Endpoint, timeout: Duration) -> Result<Agent, String> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let trusted = match &endpoint.ca_file {
        None => RootCerts::PlatformVerifier,
        Some(path) => authorities(path)?.into(),
    };
    let tls = TlsConfig::builder()
        .root_certs(trusted)
        .unversioned_rustls_crypto_provider(crypto)
        .build();
    Ok(Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("runchain/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .into())
}

/// The certificates of a PEM file; one without any would trust nobody.
fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let told = |error: &dyn std::fmt::Display| format!("can't read ca_file {}: {error}", path.display());
    let size_bytes = std::fs::metadata(path).map_err(|error| told(&error))?.len();
    if size_bytes > LARGEST_CA_BYTES {
        return Err(told(&"it is too large"));
    }
    let text = std::fs::read(path).map_err(|error| told(&error))?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| told(&error))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(told(&"there is no certificate in it (PEM is expected)"));
    }
    Ok(found)
}

/// Why nothing was answered. That a certificate isn't trusted has a remedy.
fn no_answer(error: &ureq::Error) -> String {
    let text = error.to_string();
    if text.contains("certificate") {
        return format!("TLS: {text}; authorities of your own stand in ca_file");
    }
    text
}

fn answer_of(answered: Answered, hidden: &Hidden) -> Answer {
    let mut response = match answered {
        Ok(response) => response,
        // A URL that can't be one is the configuration's fault.
        Err(ureq::Error::BadUri(_)) => {
            return Answer::Refused {
                error: "the url can't be asked".to_owned(),
            };
        }
        Err(error) => return Answer::failed(hidden.hide(&no_answer(&error))),
    };
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return Answer::Taken;
    }
    let after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| after_ms(text, Millis::now()));
    let text = response
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES)
        .lossy_utf8(true)
        .read_to_string()
        .unwrap_or_default();
    let shown: String = hidden.hide(text.trim()).chars().take(SHOWN_CHARS).collect();
    let error = match shown.as_str() {
        "" => format!("HTTP {status}"),
        shown => format!("HTTP {status}: {shown}"),
    };
    if is_final(status) {
        return Answer::Refused { error };
    }
    Answer::Failed {
        error,
        after_ms: after,
    }
}

/// What asking again can't mend: a redirect, or a fault of ours. Too early, too much and too slow pass.
fn is_final(status: u16) -> bool {
    (300..500).contains(&status) && !matches!(status, 408 | 425 | 429)
}

/// `Retry-After`: seconds, or a date.
fn after_ms(text: &str, now: Millis) -> Option<i64> {
    if let Ok(seconds) = text.trim().parse::<i64>() {
        return Some(seconds.max(0).saturating_mul(1_000));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some(Millis(date.timestamp_millis()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Millis(1_445_412_480_000);
        assert_eq!(after_ms("120", now), Some(120_000));
        assert_eq!(after_ms("-5", now), Some(0));
        assert_eq!(after_ms("Wed, 21 Oct 2015 07:28:30 GMT", now), Some(30_000));
        assert_eq!(after_ms("soon", now), None);
    }

    #[test]
    fn what_asking_again_can_t_mend_is_final() {
        let finals = [301, 400, 401, 403, 404, 410].map(is_final);
        assert_eq!(finals, [true; 6]);
        let others = [408, 425, 429, 500, 502, 503].map(is_final);
        assert_eq!(others, [false; 6]);
    }
}
