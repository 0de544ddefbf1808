//! Keys that a later version will know. They are read so that they can be refused by name.

use serde::{Deserialize, Deserializer};
use std::ops::Range;
use toml::Spanned;

/// The keys that are of a later version wherever they stand. `direction` is not among them: a map has one.
pub(crate) const LATER: &[&str] =
    &["defaults", "keep_applied", "disk_floor", "group", "whole_transaction_rows"];

/// Where a key of a later version stands, if it does.
#[derive(Default)]
pub(crate) struct Later(Option<Range<usize>>);

impl Later {
    /// The place of what was written.
    pub(crate) fn span(&self) -> Option<Range<usize>> {
        self.0.clone()
    }
}

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Spanned::<toml::Value>::deserialize(from).map(|value| Later(Some(value.span())))
    }
}
