//! Single values: read, checked, and refused with their place and with what to write.

use super::fault::{ConfigError, Source};
use super::place::Spanned;
use crate::quantity::{self, DURATION_FORM, SIZE_FORM};
use serde::Deserialize;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use tandem_core::Share;

/// A text or a number, as it stands. Which of them a key wants is told by us, with an example.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Text(String),
    Whole(i64),
    Part(f64),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => write!(f, "\"{text}\""),
            Scalar::Whole(number) => write!(f, "{number}"),
            Scalar::Part(number) => write!(f, "{number}"),
        }
    }
}

/// Reads values of one file and notes what is wrong with them. What is wrong reads as `None`: nothing starts
/// with it, so it does not matter what stands in its place.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    pub(super) fn refuse(&mut self, span: Range<usize>, why: impl Into<String>, fix: impl Into<String>) {
        self.errors.push(self.source.error(span, why).with_fix(fix));
    }

    /// Bytes, more than none.
    pub(super) fn size(&mut self, key: &str, given: &Spanned<Scalar>) -> Option<u64> {
        let size = match given.get_ref() {
            Scalar::Text(text) => quantity::bytes(text),
            Scalar::Whole(_) | Scalar::Part(_) => None,
        };
        if size.is_none() {
            self.refuse(
                given.span(),
                format!("{key} = {} is no size", given.get_ref()),
                format!("write {SIZE_FORM}"),
            );
        }
        size
    }

    /// A time, more than none.
    pub(super) fn duration(&mut self, key: &str, given: &Spanned<Scalar>) -> Option<Duration> {
        let duration = match given.get_ref() {
            Scalar::Text(text) => quantity::duration(text).filter(|duration| !duration.is_zero()),
            Scalar::Whole(_) | Scalar::Part(_) => None,
        };
        if duration.is_none() {
            self.refuse(
                given.span(),
                format!("{key} = {} is no duration", given.get_ref()),
                format!("write {DURATION_FORM}"),
            );
        }
        duration
    }

    /// A part of a whole, more than none.
    pub(super) fn share(&mut self, key: &str, given: &Spanned<Scalar>) -> Option<Share> {
        let part = match given.get_ref() {
            Scalar::Part(part) => Some(*part),
            Scalar::Whole(1) => Some(1.0),
            Scalar::Whole(_) | Scalar::Text(_) => None,
        };
        let share = part.filter(|part| *part > 0.0).and_then(|part| Share::try_from(part).ok());
        if share.is_none() {
            self.refuse(
                given.span(),
                format!("{key} = {} is no part of a whole", given.get_ref()),
                "write a number above 0 and up to 1: 0.8 is 80 %",
            );
        }
        share
    }

    /// A whole number in a range.
    pub(super) fn count(
        &mut self,
        key: &str,
        given: &Spanned<Scalar>,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let count = match given.get_ref() {
            Scalar::Whole(number) => u32::try_from(*number).ok().filter(|number| range.contains(number)),
            Scalar::Part(_) | Scalar::Text(_) => None,
        };
        if count.is_none() {
            self.refuse(
                given.span(),
                format!("{key} = {} is not possible", given.get_ref()),
                format!("write a number from {} to {}", range.start(), range.end()),
            );
        }
        count
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        given: &Spanned<String>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let known = words.iter().find(|(word, _)| word == given.get_ref()).map(|(_, meaning)| *meaning);
        if known.is_none() {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.refuse(
                given.span(),
                format!("there is no {key} \"{}\"", given.get_ref()),
                format!("write one of {}", all.join(", ")),
            );
        }
        known
    }
}
