//! JSON by its structure: keys in order, numbers exact, text without escapes.

use crate::decimal::Decimal;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// How deep values may stand inside of each other; what is deeper is compared by its text.
const DEPTH_MAX: usize = 200;

/// A form that is equal for two texts exactly if they say the same. `None`: this is no JSON, or too deep.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut reader = Reader { chars: text.chars().peekable(), depth: 0 };
    let value = reader.value()?;
    reader.blank();
    reader.chars.next().is_none().then_some(value)
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    depth: usize,
}

impl Reader<'_> {
    fn blank(&mut self) {
        while self.chars.next_if(|c| matches!(c, ' ' | '\t' | '\n' | '\r')).is_some() {}
    }

    /// Takes a sign if it comes next, blanks before it left out.
    fn takes(&mut self, sign: char) -> bool {
        self.blank();
        self.chars.next_if_eq(&sign).is_some()
    }

    fn value(&mut self) -> Option<String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.blank();
        let value = match self.chars.peek()? {
            '{' => self.object()?,
            '[' => self.array()?,
            '"' => shown(&self.string()?),
            _ => self.word()?,
        };
        self.depth -= 1;
        Some(value)
    }

    fn object(&mut self) -> Option<String> {
        self.chars.next()?;
        let mut members = BTreeMap::new();
        if !self.takes('}') {
            loop {
                self.blank();
                let name = self.string()?;
                if !self.takes(':') {
                    return None;
                }
                members.insert(name, self.value()?);
                if self.takes('}') {
                    break;
                }
                if !self.takes(',') {
                    return None;
                }
            }
        }
        let members = members.iter().map(|(name, value)| format!("{}:{value}", shown(name)));
        Some(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    }

    fn array(&mut self) -> Option<String> {
        self.chars.next()?;
        let mut elements = Vec::new();
        if !self.takes(']') {
            loop {
                elements.push(self.value()?);
                if self.takes(']') {
                    break;
                }
                if !self.takes(',') {
                    return None;
                }
            }
        }
        Some(format!("[{}]", elements.join(",")))
    }

    fn string(&mut self) -> Option<String> {
        self.chars.next_if_eq(&'"')?;
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '"' => return Some(text),
                '\\' => text.push(match self.chars.next()? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => self.escaped()?,
                    same @ ('"' | '\\' | '/') => same,
                    _ => return None,
                }),
                plain => text.push(plain),
            }
        }
    }

    /// Four digits behind `\u`; two such if the first is half a character.
    fn escaped(&mut self) -> Option<char> {
        let first = self.four()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.chars.next_if_eq(&'\\')?;
        self.chars.next_if_eq(&'u')?;
        let second = self.four()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
    }

    fn four(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |sum, _| Some(sum * 16 + self.chars.next()?.to_digit(16)?))
    }

    fn word(&mut self) -> Option<String> {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        {
            word.push(c);
        }
        match word.as_str() {
            "true" | "false" | "null" => Some(word),
            number => Decimal::parse(number).map(|decimal| decimal.shortest().to_string()),
        }
    }
}

/// A text in quotes, in one way only.
fn shown(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_the_same_has_the_same_form() {
        for (text, form) in [
            (" { } ", "{}"),
            ("[ ]", "[]"),
            (r#"{"b":[1,{"x":null}],"a":"\/\"\\"}"#, r#"{"a":"/\"\\","b":[1,{"x":null}]}"#),
            (r#""\ud834\udd1e""#, "\"𝄞\""),
            ("-0.0", "0"),
            ("1.50E1", "15"),
            ("true", "true"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(form), "{text}");
        }
        for bad in ["", "{", "[1,]", "{\"a\"}", "nul", "1 2", "\"\\ud834\"", "\"a", "[1 2]"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
        assert_eq!(canonical(&"[".repeat(100_000)), None);
    }
}
