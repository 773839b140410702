//! Keys whose value is one of a few words, and the one that is an address.

use super::layers::Setting;
use crate::log::{Form, Level, Target};
use crate::metrics::Listen;
use runchain_core::capture::Capture;
use serde_json::{Value, json};
use std::ffi::OsStr;
use toml::de::DeValue;

macro_rules! words {
    ($($type:ty: $expected:literal;)*) => {$(
        impl Setting for $type {
            const EXPECTED: &'static str = $expected;

            fn from_toml(value: &DeValue<'_>) -> Option<Self> {
                Self::from_word(value.as_str()?)
            }

            fn from_text(text: &OsStr) -> Option<Self> {
                Self::from_word(text.to_str()?)
            }

            fn json(&self) -> Value {
                self.as_str().into()
            }

            fn schema() -> Value {
                json!({"enum": Self::ALL.map(Self::as_str)})
            }
        }
    )*};
}

words! {
    Capture: "\"triggers\" or \"sweep\"";
    Level: "\"error\", \"warn\", \"info\" or \"debug\"";
    Form: "\"auto\", \"human\", \"json\" or \"journal\"";
    Target: "\"stderr\" or \"stdout\"";
}

impl Setting for Listen {
    const EXPECTED: &'static str =
        "an address with a port (\"127.0.0.1:9464\"), or \"unix:\" and an absolute path";

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Self::parse(value.as_str()?)
    }

    fn from_text(text: &OsStr) -> Option<Self> {
        Self::parse(text.to_str()?)
    }

    fn json(&self) -> Value {
        self.to_string().into()
    }
}
