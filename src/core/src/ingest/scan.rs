//! The keys and values of a JSON object as pieces of its text: the fast way for ordinary lines.
//!
//! Invariant: what it accepts, serde_json accepts, and cuts into the same pieces (a test compares
//! them on damaged lines). It gives up at the first thing that isn't ordinary, a mistake or only an
//! escape in a key, and serde_json reads the line from its beginning: there are the reasons for a
//! rejected line. It knows no values: numbers and strings stay as they were written.

/// Objects and arrays deeper than this are none of an ordinary line. Brackets are kept as bits.
const MAX_DEPTH: u32 = 127;

/// A value as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    pub(super) text: &'a str,
    /// A string without escapes: what is between the quotes is what it says.
    pub(super) is_plain: bool,
}

impl<'a> Raw<'a> {
    /// A value that somebody else has cut out.
    pub(super) fn of(text: &'a str) -> Self {
        Self {
            text,
            is_plain: text.starts_with('"') && memchr::memchr(b'\\', text.as_bytes()).is_none(),
        }
    }
}

/// Gives each key and value of an object to `each`; `None` where it gave up, perhaps after some of them.
pub(super) fn object<'a>(text: &'a str, mut each: impl FnMut(&'a str, Raw<'a>)) -> Option<()> {
    let mut scan = Scan { text, at: 0 };
    scan.expect(b'{')?;
    scan.skip_space();
    if scan.peek() != Some(b'}') {
        loop {
            let key = scan.value().filter(|key| key.is_plain)?.text;
            scan.colon()?;
            let value = scan.value()?;
            each(key.get(1..key.len() - 1)?, value);
            scan.skip_space();
            if scan.peek() != Some(b',') {
                break;
            }
            scan.at += 1;
            scan.skip_space();
        }
    }
    scan.expect(b'}')?;
    (scan.at == text.len()).then_some(())
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn colon(&mut self) -> Option<()> {
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        Some(())
    }

    fn value(&mut self) -> Option<Raw<'a>> {
        let start = self.at;
        let is_plain = match self.peek()? {
            b'{' | b'[' => {
                self.nested()?;
                false
            }
            _ => self.scalar()?,
        };
        Some(Raw {
            text: self.text.get(start..self.at)?,
            is_plain,
        })
    }

    /// A string, number or word; answers whether it is a string without escapes.
    fn scalar(&mut self) -> Option<bool> {
        match self.peek()? {
            b'"' => return self.string(),
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        Some(false)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// One digit at least.
    fn digits(&mut self) -> Option<()> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }

    /// Answers whether it has no escapes.
    fn string(&mut self) -> Option<bool> {
        self.at += 1;
        let mut is_plain = true;
        loop {
            self.skip_ordinary();
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(is_plain);
                }
                b'\\' => {
                    is_plain = false;
                    self.escape()?;
                }
                // A control character.
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let length = match bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => {
                let digits = bytes.get(self.at + 2..self.at + 6)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(6)?
            }
            _ => return None,
        };
        self.at += length;
        Some(())
    }

    /// To the next quote, backslash or control character, eight bytes at a time: the lowest byte of a word
    /// that borrows in a subtraction is the first that is less than what is subtracted.
    fn skip_ordinary(&mut self) {
        const ONES: u64 = u64::MAX / 255;
        const HIGH: u64 = ONES << 7;
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let (words, tail) = rest.as_chunks::<8>();
        for word in words {
            let word = u64::from_le_bytes(*word);
            let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
            let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
            let special = (below(word, b' ') | is(b'"') | is(b'\\')) & HIGH;
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
        self.at += tail.iter().position(is_special).unwrap_or(tail.len());
    }

    /// An object or array with all that is in it.
    fn nested(&mut self) -> Option<()> {
        // A bit for each that is open: an object, or an array.
        let (mut objects, mut depth) = (0u128, 0u32);
        loop {
            let opened = self.peek()?;
            if matches!(opened, b'{' | b'[') {
                self.at += 1;
                depth += 1;
                if depth > MAX_DEPTH {
                    return None;
                }
                objects = objects << 1 | u128::from(opened == b'{');
                self.skip_space();
                // Right after the opening one, a closing one ends an empty value.
                if !matches!(self.peek()?, b'}' | b']') {
                    if opened == b'{' {
                        self.key()?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
            }
            loop {
                self.skip_space();
                let byte = self.peek()?;
                self.at += 1;
                let in_object = objects & 1 == 1;
                match byte {
                    b',' => {
                        self.skip_space();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return None,
                }
                (objects, depth) = (objects >> 1, depth - 1);
                if depth == 0 {
                    return Some(());
                }
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        (self.peek() == Some(b'"')).then_some(())?;
        self.string()?;
        self.colon()
    }
}

#[cfg(test)]
mod tests {
    use super::{Raw, object};
    use serde_json::value::RawValue;

    fn fast(text: &str) -> Option<Vec<(String, Raw<'_>)>> {
        let mut pairs = Vec::new();
        object(text, |key, value| pairs.push((key.to_owned(), value)))?;
        Some(pairs)
    }

    /// Keeps repeated keys, as nobody's map does.
    struct Pairs<'a>(Vec<(String, &'a RawValue)>);

    impl<'de: 'a, 'a> serde::Deserialize<'de> for Pairs<'a> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Pairs<'de>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Pairs<'de>, M::Error> {
                    let mut pairs = Vec::new();
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    fn slow(text: &str) -> Option<Vec<(String, Raw<'_>)>> {
        let Pairs(pairs) = serde_json::from_str(text).ok()?;
        let pairs = pairs.into_iter();
        Some(pairs.map(|(key, value)| (key, Raw::of(value.get()))).collect())
    }

    const ORDINARY: [&str; 8] = [
        "{}",
        "{ \"a\" : 1 ,\t\"a\":-0.5e+10}",
        r#"{"event_id": "EVT-1", "details": {"a": [1, {}, [], [[]], "x"], "b": {"c": null}}, "step": null}"#,
        r#"{"text":"a \"quoted\" \\ word \/ \u00e9 \ud800","long":"0123456789abcdef0123456789"}"#,
        "{\"é\":\"üöä ßßßßßßßß 日本語\",\"t\":true,\"f\":false}",
        r#"{"n":[0,-0,1,10,123456789012345678901234567890,1.0,1e5,1E-5,0.1e1]}"#,
        r#"{"":"","a":{"":[{"b":[{}]}]}}"#,
        r#"{"C:\\logs":1}"#,
    ];

    #[test]
    fn ordinary_lines_are_read_the_fast_way() {
        for text in &ORDINARY[..7] {
            assert_eq!(fast(text), slow(text), "{text}");
            assert!(fast(text).is_some(), "{text}");
        }
        assert_eq!(fast(ORDINARY[7]), None, "an escape in a key");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(fast(&nested(127)).is_some());
        assert_eq!(fast(&nested(128)), None);
    }

    #[test]
    fn what_it_accepts_serde_json_cuts_into_the_same_pieces() {
        const BYTES: &[u8] = b"{}[]\",:\\ \t\n\x0c\x00-+.eE019aunftr/\x7f\xc3\xa9";
        let mut accepted = 0;
        for seed in 0..60_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = ORDINARY[rng.usize(..ORDINARY.len())].as_bytes().to_vec();
            for _ in 0..rng.usize(0..4) {
                let at = rng.usize(..bytes.len());
                let byte = BYTES[rng.usize(..BYTES.len())];
                match rng.u8(..3) {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let Ok(text) = std::str::from_utf8(&bytes) else {
                continue;
            };
            if let Some(pairs) = fast(text) {
                accepted += 1;
                assert_eq!(Some(pairs), slow(text), "seed {seed}: {text}");
            }
        }
        assert!(accepted > 10_000, "{accepted}");
    }
}
