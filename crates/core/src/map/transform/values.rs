//! Lists of values: what a value on one side is called on the other.
//!
//! Values are compared by their text, so that `10` of a number column and `"10"` of a text column are one. A value
//! that the list does not have is refused unless the map says that it passes: a code that nobody has thought of must
//! not reach the other app as if it were one of its own.

use super::StepError;
use crate::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A list of pairs, read from the first of each to the second.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValueMap {
    pairs: Vec<(Value, Value)>,
    unmapped: Unmapped,
}

/// What becomes of a value that a list does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmapped {
    /// Its record is set aside.
    #[default]
    Refuse,
    /// It stays as it is.
    Pass,
}

impl ValueMap {
    /// A list of pairs. Of two with the same first value, the first is used.
    pub fn new(pairs: Vec<(Value, Value)>, unmapped: Unmapped) -> Self {
        Self { pairs, unmapped }
    }

    /// The list read the other way round.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let pairs = self.pairs.iter().map(|(from, to)| (to.clone(), from.clone())).collect();
        Self { pairs, unmapped: self.unmapped }
    }

    /// Whether each value of the second column leads back to one value of the first. A list that lets others pass
    /// does not: they may be taken for what it has made of another.
    pub fn is_invertible(&self) -> bool {
        self.unmapped == Unmapped::Refuse && self.twice().is_none()
    }

    /// A second value that stands in two pairs, as text.
    pub fn twice(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        self.pairs.iter().map(|(_, to)| to.to_string()).find(|to| !seen.insert(to.clone()))
    }

    /// The pairs.
    pub fn pairs(&self) -> &[(Value, Value)] {
        &self.pairs
    }

    /// Whether a value that the list does not have stays as it is, and is not refused.
    pub fn lets_pass(&self) -> bool {
        self.unmapped == Unmapped::Pass
    }

    /// The list with its second values made anew.
    #[must_use]
    pub(crate) fn with_second(&self, make: impl Fn(&Value) -> Value) -> Self {
        let pairs = self.pairs.iter().map(|(from, to)| (from.clone(), make(to))).collect();
        Self { pairs, unmapped: self.unmapped }
    }

    pub(super) fn apply(&self, value: Value) -> Result<Value, StepError> {
        let text = value.to_string();
        let found = self.pairs.iter().find(|(from, _)| from.to_string() == text);
        match (found, self.unmapped) {
            (Some((_, to)), _) => Ok(to.clone()),
            (None, Unmapped::Pass) => Ok(value),
            (None, Unmapped::Refuse) => Err(StepError::Unmapped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(unmapped: Unmapped) -> ValueMap {
        ValueMap::new(vec![("10".into(), "retail".into()), ("20".into(), "wholesale".into())], unmapped)
    }

    #[test]
    fn values_go_both_ways_and_are_compared_by_their_text() {
        let map = groups(Unmapped::Refuse);
        assert_eq!(map.apply(Value::Int(10)), Ok("retail".into()));
        assert_eq!(map.apply("20".into()), Ok("wholesale".into()));
        assert_eq!(map.inverse().apply("retail".into()), Ok("10".into()));
        assert!(map.is_invertible());
    }

    #[test]
    fn a_value_that_is_in_no_list_is_refused_unless_it_may_pass() {
        assert_eq!(groups(Unmapped::Refuse).apply("30".into()), Err(StepError::Unmapped));
        assert_eq!(groups(Unmapped::Refuse).apply("".into()), Err(StepError::Unmapped));
        assert_eq!(groups(Unmapped::Pass).apply("30".into()), Ok("30".into()));
    }

    #[test]
    fn a_list_that_leads_back_to_two_values_cannot_be_inverted() {
        let twice = ValueMap::new(vec![("1".into(), "x".into()), ("2".into(), "x".into())], Unmapped::Refuse);
        assert_eq!(twice.twice().as_deref(), Some("x"));
        assert!(!twice.is_invertible() && !groups(Unmapped::Pass).is_invertible());
    }
}
