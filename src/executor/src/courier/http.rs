//! One request: bounded in time, in what is read of the answer, and in where it goes: no redirect is
//! followed, so that what a configuration names is what is asked. Errors never hold the URL.

use super::send::Answer;
use runchain_core::Millis;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// So much of an answer is read, for the error.
const ANSWER_BYTES: u64 = 4_096;
/// So much of it is shown.
const SHOWN_CHARS: usize = 200;

/// A request with a JSON body.
pub(super) struct Request {
    pub(super) url: String,
    pub(super) token: Option<String>,
    /// Sent as `Idempotency-Key`.
    pub(super) number: String,
    pub(super) body: String,
    pub(super) timeout: Duration,
}

fn agent(timeout: Duration) -> Agent {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(crypto)
        .build();
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("runchain/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .into()
}

/// Sends it once.
pub(super) fn post(request: &Request) -> Answer {
    let agent = agent(request.timeout);
    let mut asked = agent
        .post(&request.url)
        .content_type("application/json")
        .header("Idempotency-Key", &request.number);
    if let Some(token) = &request.token {
        asked = asked.header("Authorization", format!("Bearer {token}"));
    }
    answer_of(asked.send(&request.body))
}

/// Asks for a URL whose answer doesn't matter.
pub(super) fn get(url: &str, timeout: Duration) -> Result<(), String> {
    match answer_of(agent(timeout).get(url).call()) {
        Answer::Taken => Ok(()),
        Answer::Failed { error, .. } | Answer::Refused { error } => Err(error),
    }
}

fn answer_of(answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = match answered {
        Ok(response) => response,
        // A URL that can't be one is the configuration's fault.
        Err(ureq::Error::BadUri(_)) => {
            return Answer::Refused {
                error: "the url can't be asked".to_owned(),
            };
        }
        Err(error) => {
            return Answer::Failed {
                error: error.to_string(),
                after_ms: None,
            };
        }
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
    let shown: String = text.trim().chars().take(SHOWN_CHARS).collect();
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
