//! A rule: when an event is an alert. Where rules are kept is `rulebook`'s.

use super::own::{Own, Severity};
use serde::Serialize;

/// What one alert is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A task (of a job, and a type of event).
    Task,
    /// A job.
    Job,
    /// A type of event.
    Type,
    /// Everything that matches.
    Rule,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Task, Self::Job, Self::Type, Self::Rule];

    /// As it stands in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Job => "job",
            Self::Type => "type",
            Self::Rule => "rule",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|per| per.as_str() == word)
    }
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The same number or text.
    Equal,
    /// Another.
    Differs,
    /// Less.
    Less,
    /// Less, or the same.
    AtMost,
    /// More.
    More,
    /// More, or the same.
    AtLeast,
    /// Text that has the value in it, or an array with such an element.
    Contains,
}

impl Op {
    /// Every operator with its sign.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Equal, "="),
        (Self::Differs, "!="),
        (Self::Less, "<"),
        (Self::AtMost, "<="),
        (Self::More, ">"),
        (Self::AtLeast, ">="),
        (Self::Contains, "contains"),
    ];

    /// The operator of a sign.
    #[must_use]
    pub fn from_sign(sign: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == sign)
            .map(|(op, _)| *op)
    }

    /// Its sign.
    #[must_use]
    pub fn sign(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(op, _)| *op == self)
            .map_or("=", |(_, sign)| sign)
    }

    /// Compares what an event has with what the rule says: as numbers where both are.
    fn holds(self, found: &serde_json::Value, wanted: &str) -> bool {
        use serde_json::Value;
        let text = match found {
            Value::Null => return self == Self::Differs,
            Value::String(text) => text.clone(),
            Value::Array(elements) if self == Self::Contains => {
                return elements.iter().any(|element| Self::Equal.holds(element, wanted));
            }
            other => other.to_string(),
        };
        if self == Self::Contains {
            return text.contains(wanted);
        }
        let order = match (text.parse::<f64>(), wanted.parse::<f64>()) {
            (Ok(found), Ok(wanted)) => found.partial_cmp(&wanted),
            _ => Some(text.as_str().cmp(wanted)),
        };
        let Some(order) = order else {
            return false;
        };
        match self {
            Self::Equal => order.is_eq(),
            Self::Differs => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Contains => false,
        }
    }
}

/// A comparison with one field of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTest {
    /// Dotted: `status`, `details.exit_code`, or a key that has no column.
    pub path: String,
    /// How.
    pub op: Op,
    /// With what.
    pub value: String,
}

/// When events are an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// How bad it is.
    pub severity: Severity,
    /// Types that it is about, with `*` and `?`; none: all.
    pub kind: Option<String>,
    /// Status that it is about.
    pub status: Option<String>,
    /// What a field must say.
    pub test: Option<FieldTest>,
    /// What one alert is of.
    pub per: Per,
    /// So many matching events make an alert.
    pub count: i64,
    /// Within this time.
    pub window_ms: Option<i64>,
    /// No matching event for this long makes an alert; then the above isn't asked.
    pub silence_ms: Option<i64>,
}

/// The name of the built-in rule.
pub const FAILED: &str = "event.failed";

impl Rule {
    /// A rule about every event.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            enabled: true,
            severity: Severity::Error,
            kind: None,
            status: None,
            test: None,
            per: Per::Task,
            count: 1,
            window_ms: None,
            silence_ms: None,
        }
    }

    /// The built-in rule: an event whose type ends in `.failed`.
    #[must_use]
    pub fn failed() -> Self {
        Self {
            kind: Some("*.failed".to_owned()),
            ..Self::named(FAILED)
        }
    }

    /// What it is by its name alone, before anything is said about it.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        if name == FAILED {
            return Self::failed();
        }
        let own = Own::ALL.into_iter().find(|own| own.name() == name);
        Self {
            severity: own.map_or(Severity::Error, Own::severity),
            ..Self::named(name)
        }
    }

    /// Whether it is one of our own, which no event of a log makes.
    #[must_use]
    pub fn is_own(&self) -> bool {
        Own::ALL.iter().any(|own| own.name() == self.name)
    }

    /// Whether events are counted before they are an alert.
    #[must_use]
    pub fn is_windowed(&self) -> bool {
        self.window_ms.is_some()
    }

    /// Judges an event.
    pub(crate) fn matches(&self, event: &dyn Judged) -> bool {
        self.kind
            .as_deref()
            .is_none_or(|glob| glob_matches(glob, event.kind()))
            && self
                .status
                .as_deref()
                .is_none_or(|status| event.status() == Some(status))
            && self.test.as_ref().is_none_or(|test| {
                test.op.holds(
                    &event.field(&test.path).unwrap_or(serde_json::Value::Null),
                    &test.value,
                )
            })
    }
}

/// An event as a rule sees it.
pub(crate) trait Judged {
    /// Its type.
    fn kind(&self) -> &str;
    /// Its status word.
    fn status(&self) -> Option<&str>;
    /// A field by its dotted path.
    fn field(&self, path: &str) -> Option<serde_json::Value>;
}

/// Whether a text is what a pattern with `*` (any characters) and `?` (one) says.
#[must_use]
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where to go on when what follows the last star doesn't fit.
    let mut again: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                again = Some((at, seen));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star, from)) = again else {
                    return false;
                };
                again = Some((star, from + 1));
                at = star + 1;
                seen = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|&left| left == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct Event(Value);

    impl Judged for Event {
        fn kind(&self) -> &str {
            self.0["type"].as_str().unwrap_or_default()
        }
        fn status(&self) -> Option<&str> {
            self.0["status"].as_str()
        }
        fn field(&self, path: &str) -> Option<Value> {
            self.0.pointer(&format!("/{}", path.replace('.', "/"))).cloned()
        }
    }

    #[test]
    fn a_pattern_is_matched_as_a_whole() {
        for (pattern, text, matches) in [
            ("*.failed", "pattern.execution.failed", true),
            ("*.failed", "pattern.execution.failed.not", false),
            ("pattern.*.failed", "pattern.a.b.failed", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*a*b", "xxaxxab", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(glob_matches(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_field_is_compared_as_a_number_where_both_are() {
        let event = Event(json!({"type": "x", "details": {"exit_code": 10, "tool": "b", "tags": ["a", 3]}}));
        for (path, op, value, holds) in [
            ("details.exit_code", ">", "9", true),
            ("details.exit_code", "<", "9", false),
            ("details.exit_code", "=", "10.0", true),
            ("details.tool", ">=", "a", true),
            ("details.tool", "!=", "b", false),
            ("details.tags", "contains", "3", true),
            ("details.tool", "contains", "x", false),
            ("details.none", "!=", "b", true),
            ("details.none", "<", "b", false),
        ] {
            let test = FieldTest {
                path: path.to_owned(),
                op: Op::from_sign(op).unwrap(),
                value: value.to_owned(),
            };
            let rule = Rule {
                test: Some(test),
                ..Rule::named("r")
            };
            assert_eq!(rule.matches(&event), holds, "{path} {op} {value}");
        }
    }
}
