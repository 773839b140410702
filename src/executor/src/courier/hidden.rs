//! Secrets in what is told of a failed delivery: whoever answers may repeat the URL or the token that it
//! was asked with, and a command may print a variable of its own.
//!
//! Every part of a URL that tells more than the host counts as a secret, since webhooks carry theirs in the
//! path or the query. What does not belong here: values of the user's data, which `redact` knows.

use crate::redact::MARKER;

/// Shorter parts of a URL are words such as "api" or "v2".
const SHORTEST_PART: usize = 6;
/// Shorter texts would be found by chance.
const SHORTEST: usize = 3;

/// What must not be told, longest first.
#[derive(Debug)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    /// A URL, its parts, and a token.
    pub(super) fn of_request(url: &str, token: Option<&str>) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        let parts = path.split(['/', '?', '#', '&', '=']);
        let parts = parts.filter(|part| part.len() >= SHORTEST_PART);
        let user_parts = user.into_iter().flat_map(|user| user.split(':'));
        let whole = [url, rest, path].into_iter().chain(user).chain(token);
        // The host alone may be told: it is what a person has to look at.
        let whole = whole.filter(|text| *text != authority && text.len() > 1);
        Self::of(whole.chain(parts).chain(user_parts).map(str::to_owned))
    }

    /// Values that may be secrets.
    pub(super) fn of_values<'a>(values: impl Iterator<Item = &'a String>) -> Self {
        Self::of(values.cloned())
    }

    fn of(texts: impl Iterator<Item = String>) -> Self {
        let mut all: Vec<String> = texts.filter(|text| text.len() >= SHORTEST).collect();
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self(all)
    }

    /// The text without any of it, also where it breaks off inside a secret.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), MARKER);
        }
        let broken_off = self.0.iter().flat_map(|secret| {
            let ends = secret.char_indices().map(|(end, _)| end);
            ends.filter(|end| *end >= SHORTEST).map(|end| &secret[..end])
        });
        match broken_off
            .filter(|start| text.ends_with(start))
            .map(str::len)
            .max()
        {
            Some(length) => format!("{}{MARKER}", &text[..text.len() - length]),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_repeated_of_a_request_is_hidden_but_the_host() {
        let url = "https://ann:pa55word@hooks.example.org/services/T000/hunter2-key?sig=hunter3-sig&v=1";
        let hidden = Hidden::of_request(url, Some("hunter4"));
        for (told, shown) in [
            ("no such hook: T000/hunter2-key", "no such hook: T000/[redacted]"),
            (url, "[redacted]"),
            ("sig hunter3-sig is wrong", "sig [redacted] is wrong"),
            ("Bearer hunter4?", "Bearer [redacted]?"),
            ("pa55word", "[redacted]"),
            ("cut off: hunter2-k", "cut off: [redacted]"),
            ("can't reach hooks.example.org", "can't reach hooks.example.org"),
        ] {
            assert_eq!(hidden.hide(told), shown, "{told}");
        }
        let plain = Hidden::of_request("http://127.0.0.1:9093", None);
        assert_eq!(plain.hide("127.0.0.1:9093 is down"), "127.0.0.1:9093 is down");
    }
}
