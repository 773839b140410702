//! Who asked: one text that stands in the queue and in events, and its parts.
//!
//! | text | said by |
//! | --- | --- |
//! | `ann(1000)@host` | the command line: login name (`?` where the system has none), real uid, host |
//! | `root(0)@host via sudo by ann(1000)` | the same below sudo, as sudo's variables say |
//! | `sql:1000@host` | a SQL function: uid and host of the process that called it |
//! | anything else | a plain INSERT: what was given, as it was given |
//!
//! Who may write to the database can write any of these texts: an actor is as trustworthy as those
//! who may write. What does not belong here: asking the system who it is.

use serde::Serialize;
use std::fmt;

/// A person or program, by its account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The login name; `None` where the system knows none for the uid.
    pub login: Option<String>,
    /// The uid.
    pub uid: u32,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The command line, or the service itself.
    Operator {
        /// The process's real user.
        account: Account,
        /// The machine.
        host: String,
        /// Who called sudo, as its variables say.
        sudo_by: Option<Account>,
    },
    /// A SQL function, by the process that called it.
    Function {
        /// The process's real uid. Its login name would need a look-up in somebody else's process.
        uid: u32,
        /// The machine.
        host: String,
    },
    /// What somebody gave, as it was given.
    Given(String),
}

const SUDO: &str = " via sudo by ";
const FUNCTION: &str = "sql:";

impl Actor {
    /// The process that calls a SQL function.
    #[must_use]
    pub fn of_function() -> Self {
        Self::Function {
            uid: rustix::process::getuid().as_raw(),
            host: host(),
        }
    }

    /// Reads a text; one that has none of the documented forms was given by somebody.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        function(text)
            .or_else(|| operator(text))
            .unwrap_or_else(|| Self::Given(text.to_owned()))
    }

    /// Whether a person who looks for `name` means this actor: the whole text, a login, or a uid.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let account = |one: &Account| one.login.as_deref() == Some(name) || one.uid.to_string() == name;
        let by_part = match self {
            Self::Operator {
                account: own,
                sudo_by,
                ..
            } => account(own) || sudo_by.as_ref().is_some_and(account),
            Self::Function { uid, .. } => name == "sql" || uid.to_string() == name,
            Self::Given(_) => false,
        };
        by_part || self.to_string() == name
    }

    /// The parts as they stand in events: an object, or null where a text was given.
    #[must_use]
    pub fn parts(&self) -> serde_json::Value {
        match self {
            Self::Operator {
                account,
                host,
                sudo_by,
            } => serde_json::json!({
                "by": "command line", "login": account.login, "uid": account.uid, "host": host, "sudo_by": sudo_by,
            }),
            Self::Function { uid, host } => {
                serde_json::json!({ "by": "sql function", "uid": uid, "host": host })
            }
            Self::Given(_) => serde_json::Value::Null,
        }
    }
}

/// The machine's name.
#[must_use]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator {
                account,
                host,
                sudo_by,
            } => {
                write!(f, "{account}@{}", plain(host))?;
                match sudo_by {
                    Some(caller) => write!(f, "{SUDO}{caller}"),
                    None => Ok(()),
                }
            }
            Self::Function { uid, host } => write!(f, "{FUNCTION}{uid}@{}", plain(host)),
            Self::Given(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}({})",
            self.login.as_deref().map_or_else(|| "?".to_owned(), plain),
            self.uid
        )
    }
}

/// What would make the text mean something else is written as `_`.
fn plain(name: &str) -> String {
    let delimits = |c: char| c.is_control() || c.is_whitespace() || "():".contains(c);
    name.chars().map(|c| if delimits(c) { '_' } else { c }).collect()
}

fn function(text: &str) -> Option<Actor> {
    let (uid, host) = text.strip_prefix(FUNCTION)?.split_once('@')?;
    Some(Actor::Function {
        uid: uid.parse().ok()?,
        host: name(host)?,
    })
}

fn operator(text: &str) -> Option<Actor> {
    let (own, caller) = match text.split_once(SUDO) {
        Some((own, caller)) => (own, Some(caller)),
        None => (text, None),
    };
    let (own, machine) = own.split_once(")@")?;
    Some(Actor::Operator {
        account: account(own)?,
        host: name(machine)?,
        sudo_by: match caller {
            Some(caller) => Some(account(caller.strip_suffix(')')?)?),
            None => None,
        },
    })
}

/// `ann(1000`, its closing parenthesis taken off.
fn account(text: &str) -> Option<Account> {
    let (login, uid) = text.split_once('(')?;
    let login = name(login)?;
    Some(Account {
        login: (login != "?").then_some(login),
        uid: uid.parse().ok()?,
    })
}

fn name(text: &str) -> Option<String> {
    (!text.is_empty() && plain(text) == text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Account {
        Account {
            login: Some("ann".into()),
            uid: 1000,
        }
    }

    fn on_box(account: Account, sudo_by: Option<Account>) -> Actor {
        Actor::Operator {
            account,
            host: "box".into(),
            sudo_by,
        }
    }

    #[test]
    fn every_form_is_written_and_read_as_documented() {
        let root = Account {
            login: Some("root".into()),
            uid: 0,
        };
        let cases = [
            (on_box(ann(), None), "ann(1000)@box"),
            (on_box(root, Some(ann())), "root(0)@box via sudo by ann(1000)"),
            (on_box(Account { login: None, uid: 77 }, None), "?(77)@box"),
            (
                Actor::Function {
                    uid: 1000,
                    host: "box".into(),
                },
                "sql:1000@box",
            ),
            (Actor::Given("nightly job".into()), "nightly job"),
        ];
        for (actor, text) in cases {
            assert_eq!(actor.to_string(), text);
            assert_eq!(Actor::parse(text), actor);
        }
    }

    #[test]
    fn what_was_given_is_never_taken_for_more() {
        for text in [
            "",
            "ann",
            "ann(x)@box",
            "ann(1)@",
            "(1)@box",
            "ann(1)@b ox",
            "ann(1)@box via sudo by bob",
            "sql:x@y",
            "sql:1",
        ] {
            assert_eq!(Actor::parse(text), Actor::Given(text.into()), "{text}");
        }
    }

    #[test]
    fn a_login_can_t_pretend_to_be_another() {
        let odd = Account {
            login: Some("x(0)@y via sudo by z(1) ".into()),
            uid: 1000,
        };
        let text = on_box(odd, None).to_string();
        assert_eq!(text, "x_0_@y_via_sudo_by_z_1__(1000)@box");
        assert!(matches!(
            Actor::parse(&text),
            Actor::Operator {
                account: Account { uid: 1000, .. },
                sudo_by: None,
                ..
            }
        ));
    }

    #[test]
    fn an_actor_is_found_by_text_login_and_uid() {
        let actor = on_box(
            Account {
                login: Some("root".into()),
                uid: 0,
            },
            Some(ann()),
        );
        for name in ["root", "0", "ann", "1000", "root(0)@box via sudo by ann(1000)"] {
            assert!(actor.is_called(name), "{name}");
        }
        assert!(!actor.is_called("bob") && !actor.is_called("box"));
        assert!(Actor::Given("nightly".into()).is_called("nightly"));
    }
}
