//! Where metrics are offered: an address of TCP, or the path of a socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Before the path of a socket.
const UNIX: &str = "unix:";

/// An address, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nothing is offered.
    #[default]
    Nowhere,
    /// An address with a port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl Listen {
    /// What a text in the configuration means; `None` when it is no address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Nowhere);
        }
        match text.strip_prefix(UNIX) {
            Some(path) => path.starts_with('/').then(|| Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

impl Listen {
    /// Whether more than this machine may reach it.
    pub(crate) fn is_open_to_others(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => Ok(()),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}
