//! Columns as they are declared: a left and a right one that hold the same thing, and what happens between them.
//!
//! A column that goes both ways must lead back to where it came from, or each write would be answered by another one.
//! So what cannot be undone is refused for it, unless somebody has said for both ways what happens. That somebody did
//! is why `to_right` and `to_left` may be empty and yet be there.

use super::declare::Direction;
use super::expression::Expression;
use super::transform::{Origin, Step, ValueMap, Zone};
use crate::{MapName, Value};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A left and a right column that hold the same thing; or one of them, which is written and comes from none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ColumnPair {
    /// The column on the left.
    pub left: Option<Arc<str>>,
    /// The column on the right.
    pub right: Option<Arc<str>>,
    /// Which way it goes; the map's ways if nothing is said.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// What is done to a value on its way to the right.
    #[serde(default)]
    pub to_right: Option<Transforms>,
    /// What is done to a value on its way to the left.
    #[serde(default)]
    pub to_left: Option<Transforms>,
    /// What values of the left are called on the right.
    #[serde(default)]
    pub values: Option<ValueMap>,
    /// The zone of the side that keeps the time on its wall, if the other one keeps moments.
    #[serde(default)]
    pub timezone: Option<Zone>,
    /// Its values are not to be shown.
    #[serde(default)]
    pub sensitive: bool,
    /// The left column holds the key of a record of another map, and the right one what the right app knows of it.
    #[serde(default)]
    pub lookup: Option<Through>,
}

/// Another map through which a value is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Through {
    /// The map. Its integration key has one column, which the left column holds as the left app knows it.
    pub map: MapName,
    /// The column of its right table that the right column gets.
    pub column: Arc<str>,
}

/// What is done to a value on its way in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transforms {
    /// What it is made of, if not of the column on the other side.
    pub made: Option<Made>,
    /// What happens to it then, in order.
    pub steps: Vec<Step>,
}

/// What a value is made of that comes from no single column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// Always the same.
    Constant(Value),
    /// The row of the other side.
    Expression(Expression),
}

/// Why a column makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadColumn {
    /// What is wrong.
    pub why: String,
    /// What to write.
    pub fix: String,
}

impl ColumnPair {
    /// Two columns that hold the same thing, as it is.
    pub fn new(left: impl Into<Arc<str>>, right: impl Into<Arc<str>>) -> Self {
        Self { left: Some(left.into()), right: Some(right.into()), ..Self::default() }
    }

    /// Whether it goes that way, in a map that goes so.
    pub fn goes(&self, map: Direction, to_right: bool) -> bool {
        map.goes(to_right)
            && self.direction.is_none_or(|own| own.goes(to_right))
            && self.reads(to_right).is_some()
    }

    /// The column that is written on that way, what its value comes from, and what happens to it.
    pub fn way(&self, to_right: bool) -> Option<(Arc<str>, Origin, Vec<Step>)> {
        let to = if to_right { &self.right } else { &self.left };
        let own = self.transforms(to_right);
        let mut steps = Vec::new();
        // The list of values lies nearest to the right side, so on the way back it comes first.
        let values = self
            .values
            .as_ref()
            .map(|values| Step::Values(if to_right { values.clone() } else { values.inverse() }));
        let zone = self.timezone.clone().map(Step::TimeZone);
        let (first, last) = if to_right { (None, values) } else { (values, None) };
        steps.extend(first);
        steps.extend(own.into_iter().flat_map(|own| own.steps.iter().cloned()));
        steps.extend(zone);
        steps.extend(last);
        Some((to.clone()?, self.reads(to_right)?, steps))
    }

    fn transforms(&self, to_right: bool) -> Option<&Transforms> {
        if to_right { self.to_right.as_ref() } else { self.to_left.as_ref() }
    }

    /// What its value comes from on that way. `None`: nothing, so it does not go there.
    fn reads(&self, to_right: bool) -> Option<Origin> {
        let (from, to) = if to_right { (&self.left, &self.right) } else { (&self.right, &self.left) };
        to.as_ref()?;
        match self.transforms(to_right).and_then(|own| own.made.as_ref()) {
            Some(Made::Constant(value)) => Some(Origin::Constant(value.clone())),
            Some(Made::Expression(expression)) => Some(Origin::Expression(expression.clone())),
            None => from.clone().map(Origin::Column),
        }
    }

    /// What stands against the column in a map that goes so. `is_key`: it is part of the integration key.
    pub fn check(&self, map: Direction, is_key: bool) -> Result<(), BadColumn> {
        let refuse = |why: String, fix: &str| Err(BadColumn { why, fix: fix.to_owned() });
        if self.left.is_none() && self.right.is_none() {
            return refuse(
                "the column is named on neither side".to_owned(),
                "name both: { left = \"name\", right = \"display_name\" }",
            );
        }
        let ways: Vec<bool> = [true, false].into_iter().filter(|way| self.goes(map, *way)).collect();
        if ways.is_empty() && (self.left.is_none() || self.right.is_none()) {
            let side = if self.left.is_none() { "right" } else { "left" };
            return refuse(
                format!("the column is named on the {side} only, and nothing says what it is to hold"),
                "give it a constant or an expression on the map's way there, or name the other column, too",
            );
        }
        if ways.is_empty() {
            return refuse(
                "the column never goes anywhere: its direction is not one of the map's".to_owned(),
                "take its direction out, or let the map go that way",
            );
        }
        if is_key && ways.len() < [true, false].into_iter().filter(|way| map.goes(*way)).count() {
            return refuse(
                "a column of the integration key must go every way that the map goes".to_owned(),
                "take its direction out",
            );
        }
        if let Some(through) = &self.lookup {
            self.check_lookup(through, map, is_key, &ways)?;
        }
        for way in &ways {
            self.check_way(*way, is_key)?;
        }
        if ways.len() == 2 { self.check_return() } else { Ok(()) }
    }

    /// The left app knows its own keys only, so there is nothing in it by which the way back could be found.
    fn check_lookup(
        &self,
        through: &Through,
        map: Direction,
        is_key: bool,
        ways: &[bool],
    ) -> Result<(), BadColumn> {
        let refuse = |why: String, fix: &str| Err(BadColumn { why, fix: fix.to_owned() });
        if is_key {
            return refuse(
                format!("a column of the integration key cannot be looked up through '{}'", through.map),
                "let the key be of columns that both sides hold",
            );
        }
        if through.column.is_empty() {
            return refuse(
                "it is not said which column of the other map's right table is wanted".to_owned(),
                "write it: lookup = { map = \"customers\", column = \"id\" }",
            );
        }
        if ways.contains(&false) {
            let fix = match map {
                Direction::Both => "give the column direction = \"to_right\"",
                Direction::ToRight | Direction::ToLeft => {
                    "leave the column out, or swap the sides of the map"
                }
            };
            return refuse(
                format!(
                    "a value is looked up on the way to the right only: the left app does not hold '{}'",
                    through.column
                ),
                fix,
            );
        }
        Ok(())
    }

    fn check_way(&self, to_right: bool, is_key: bool) -> Result<(), BadColumn> {
        let Some((to, origin, steps)) = self.way(to_right) else { return Ok(()) };
        if let (false, Some(twice)) = (to_right, self.values.as_ref().and_then(ValueMap::twice)) {
            return Err(BadColumn {
                why: format!(
                    "'values' has \"{twice}\" twice on the right, so it is not known what it means on the left"
                ),
                fix: "name each value of the right once, or give the column direction = \"to_right\""
                    .to_owned(),
            });
        }
        if !is_key {
            return Ok(());
        }
        let merging = steps
            .iter()
            .find(|step| matches!(step, Step::Default(_) | Step::Truncate(_) | Step::Scale { .. }));
        let what = match (origin, merging) {
            (Origin::Constant(_), _) => "a constant",
            (Origin::Expression(_), _) => "an expression",
            (Origin::Column(_), Some(step)) => step.name(),
            (Origin::Column(_), None) => return Ok(()),
        };
        Err(BadColumn {
            why: format!("'{to}' is part of the integration key, and {what} could make one key of two"),
            fix: "the key goes as it is, or through values, trim, case, replace or timezone".to_owned(),
        })
    }

    /// That a column which goes both ways leads back, or that it is said for both ways what happens.
    fn check_return(&self) -> Result<(), BadColumn> {
        if self.values.as_ref().is_some_and(|values| !values.is_invertible()) {
            return Err(BadColumn {
                why: "the column goes both ways, and its list of values lets others pass: one of those may be taken \
                      for what the list has made of another"
                    .to_owned(),
                fix: "take unmapped_values out, or give the column a direction".to_owned(),
            });
        }
        if self.to_right.is_some() && self.to_left.is_some() {
            return Ok(());
        }
        for (key, other, own) in
            [("to_right", "to_left", &self.to_right), ("to_left", "to_right", &self.to_left)]
        {
            let Some(own) = own else { continue };
            let what = match &own.made {
                Some(Made::Constant(_)) => Some("constant"),
                Some(Made::Expression(_)) => Some("expression"),
                None => own.steps.iter().find(|step| !step.is_invertible()).map(Step::name),
            };
            if let Some(what) = what {
                return Err(BadColumn {
                    why: format!("the column goes both ways, and '{what}' in {key} cannot be undone"),
                    fix: format!(
                        "say what happens on the way back, be it nothing: {other} = []; or give the column a direction"
                    ),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::transform::Unmapped;
    use super::*;

    fn steps(steps: Vec<Step>) -> Option<Transforms> {
        Some(Transforms { made: None, steps })
    }

    fn constant() -> Option<Transforms> {
        Some(Transforms { made: Some(Made::Constant("x".into())), steps: Vec::new() })
    }

    fn values(pairs: &[(&str, &str)], unmapped: Unmapped) -> Option<ValueMap> {
        Some(ValueMap::new(pairs.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect(), unmapped))
    }

    #[track_caller]
    fn check(column: ColumnPair, map: Direction, expected: &str) {
        let seen = column.check(map, false).err().map(|bad| bad.why).unwrap_or_default();
        assert!(seen.contains(expected) && seen.is_empty() == expected.is_empty(), "{seen:?}");
    }

    #[test]
    fn a_column_that_goes_both_ways_must_lead_back() {
        let pair = || ColumnPair::new("a", "b");
        let trim = || steps(vec![Step::Trim]);
        check(pair(), Direction::Both, "");
        check(
            ColumnPair { to_right: trim(), ..pair() },
            Direction::Both,
            "'trim' in to_right cannot be undone",
        );
        check(
            ColumnPair { to_left: trim(), ..pair() },
            Direction::Both,
            "'trim' in to_left cannot be undone",
        );
        check(ColumnPair { to_right: trim(), to_left: steps(vec![]), ..pair() }, Direction::Both, "");
        check(ColumnPair { to_right: trim(), ..pair() }, Direction::ToRight, "");
        let one_way = Some(Direction::ToRight);
        check(ColumnPair { to_right: trim(), direction: one_way, ..pair() }, Direction::Both, "");
        check(ColumnPair { to_right: constant(), ..pair() }, Direction::Both, "'constant' in to_right");
        check(ColumnPair { timezone: Zone::find("UTC").ok(), ..pair() }, Direction::Both, "");
    }

    #[test]
    fn a_list_of_values_must_be_readable_on_every_way_that_it_goes() {
        let column =
            |pairs, unmapped| ColumnPair { values: values(pairs, unmapped), ..ColumnPair::new("a", "b") };
        let twice: &[_] = &[("1", "x"), ("2", "x")];
        check(column(twice, Unmapped::Refuse), Direction::ToRight, "");
        check(column(twice, Unmapped::Refuse), Direction::ToLeft, "has \"x\" twice");
        check(column(twice, Unmapped::Refuse), Direction::Both, "has \"x\" twice");
        check(column(&[("1", "x")], Unmapped::Pass), Direction::Both, "lets others pass");
        check(column(&[("1", "x")], Unmapped::Pass), Direction::ToLeft, "");
        check(column(&[("1", "x"), ("2", "y")], Unmapped::Refuse), Direction::Both, "");
    }

    #[test]
    fn a_column_on_one_side_needs_something_to_hold() {
        let right = || ColumnPair { right: Some("origin".into()), ..ColumnPair::default() };
        check(right(), Direction::ToRight, "named on the right only");
        check(ColumnPair { to_right: constant(), ..right() }, Direction::ToRight, "");
        check(ColumnPair { to_right: constant(), ..right() }, Direction::Both, "");
        check(ColumnPair { to_right: constant(), ..right() }, Direction::ToLeft, "named on the right only");
        check(ColumnPair::default(), Direction::Both, "neither side");
        let against = ColumnPair { direction: Some(Direction::ToLeft), ..ColumnPair::new("a", "b") };
        check(against, Direction::ToRight, "never goes anywhere");
    }

    #[test]
    fn a_key_is_not_merged_with_another() {
        let key =
            |to_right| ColumnPair { to_right, ..ColumnPair::new("a", "b") }.check(Direction::ToRight, true);
        assert!(key(steps(vec![Step::Trim])).is_ok());
        assert!(key(steps(vec![Step::Truncate(3)])).is_err());
        assert!(key(constant()).is_err());
        let half = ColumnPair { direction: Some(Direction::ToRight), ..ColumnPair::new("a", "b") };
        assert!(half.check(Direction::Both, true).is_err());
    }

    #[test]
    fn on_the_way_back_everything_happens_in_the_other_order() {
        let column = ColumnPair {
            values: values(&[("1", "x")], Unmapped::Refuse),
            to_right: steps(vec![Step::Trim]),
            to_left: steps(vec![Step::Truncate(1)]),
            ..ColumnPair::new("a", "b")
        };
        let names = |to_right| -> Vec<&'static str> {
            column.way(to_right).unwrap().2.iter().map(Step::name).collect()
        };
        assert_eq!((names(true), names(false)), (vec!["trim", "values"], vec!["values", "truncate"]));
    }
}
