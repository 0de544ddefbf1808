//! What a map does with each column, as clients see it: for each way that a column goes, what its value comes from and
//! the steps that it takes, in the order in which they are done. So whoever shows it has nothing to put together, and
//! nothing to know of which part of a declaration comes before which.

use super::value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tandem_core::map::{self, Case, ColumnPair, Columns, Direction, Rounding, TableMap};
use tandem_core::two_way::{SideEffects, SideName};

/// What a map does with a record on its way; its filters stand with its sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mapping {
    /// The columns, in the order in which they were declared; null: those that have the same name on both sides, as they are.
    pub columns: Option<Vec<MappedColumn>>,
    /// Whether a run copies the records that are there already, unless it says otherwise.
    pub initial_sync: bool,
    /// What holds where both sides have the same record; null for a map that goes one way.
    pub two_way: Option<TwoWay>,
}

/// What holds where both sides have the same record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TwoWay {
    /// `left_wins`, `right_wins`, `latest_wins` or `park`: what becomes of a record that both sides have changed.
    pub conflict: String,
    /// `sync` or `ignore`: what becomes of what an app's triggers make of our writes.
    pub side_effects: String,
    /// `left` or `right`: whose values an initial sync takes where both sides have a record.
    pub master: String,
}

/// A column, or two that hold the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MappedColumn {
    /// On the left.
    pub left: Option<String>,
    /// On the right.
    pub right: Option<String>,
    /// Whether it is part of the integration key.
    pub key: bool,
    /// Its values are not to be shown: what is declared of them is masked for who does not see them.
    pub sensitive: bool,
    /// What happens on the way to the right; null if it does not go there.
    pub to_right: Option<ColumnWay>,
    /// What happens on the way to the left; null if it does not go there.
    pub to_left: Option<ColumnWay>,
}

/// What happens to a value on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ColumnWay {
    /// What it comes from.
    pub from: Origin,
    /// What is done to it, in order; nothing if it goes as it is.
    pub steps: Vec<MappingStep>,
    /// What it is exchanged for at the destination, behind the steps; null if it is not.
    pub lookup: Option<Lookup>,
}

/// What a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// The column of the other side.
    Column {
        /// Its name.
        name: String,
    },
    /// Nothing: it is always the same.
    Constant {
        /// The value.
        value: Json,
    },
    /// The record of the other side.
    Expression {
        /// In CEL.
        text: String,
    },
}

/// The key of another map's record, which the destination exchanges for a column of that record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lookup {
    /// The other map.
    pub map: String,
    /// The column of its right table.
    pub column: String,
}

/// Something that is done to a value. Null passes through each but `default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MappingStep {
    /// Null becomes this.
    Default {
        /// The value.
        value: Json,
    },
    /// White space goes off both ends.
    Trim,
    /// What is longer is cut off.
    Truncate {
        /// The most characters that are kept.
        characters: u32,
    },
    /// Upper or lower case.
    Case {
        /// `upper` or `lower`.
        to: String,
    },
    /// Each occurrence of a text becomes another.
    Replace {
        /// What is replaced.
        from: String,
        /// By what.
        to: String,
    },
    /// So many digits behind the point.
    Scale {
        /// How many.
        digits: u32,
        /// What becomes of those that are cut off: `half_even`, `half_up`, `down`, `up`, `floor`, `ceiling` or `exact`.
        rounding: String,
    },
    /// A moment becomes the time on the wall of a zone, and the other way round.
    Timezone {
        /// As the IANA names it.
        zone: String,
    },
    /// Values are called otherwise.
    Values {
        /// Which, and how.
        pairs: Vec<ValuePair>,
        /// Whether others pass as they are; else a record that has one is set aside.
        others_pass: bool,
    },
}

/// A value, and what it is called on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValuePair {
    /// Where it comes from.
    pub from: Json,
    /// Where it goes.
    pub to: Json,
}

impl From<&TableMap> for Mapping {
    fn from(map: &TableMap) -> Self {
        let columns = match &map.columns {
            Columns::SameNames => None,
            Columns::Pairs(pairs) => Some(pairs.iter().map(|pair| column(map, pair)).collect()),
        };
        let two_way = (map.direction == Direction::Both).then(|| TwoWay {
            conflict: map.conflict.name().to_owned(),
            side_effects: match map.side_effects {
                SideEffects::Sync => "sync",
                SideEffects::Ignore => "ignore",
            }
            .to_owned(),
            master: match map.initial_sync.master {
                SideName::Left => "left",
                SideName::Right => "right",
            }
            .to_owned(),
        });
        Self { columns, initial_sync: map.initial_sync.wanted, two_way }
    }
}

fn column(map: &TableMap, pair: &ColumnPair) -> MappedColumn {
    let is_in = |key: &[std::sync::Arc<str>], name: &Option<std::sync::Arc<str>>| {
        name.as_ref().is_some_and(|name| key.contains(name))
    };
    let way = |to_right: bool| {
        let (_, from, steps) = pair.goes(map.direction, to_right).then(|| pair.way(to_right))??;
        let lookup = pair.lookup.as_ref().filter(|_| to_right);
        Some(ColumnWay {
            from: Origin::from(&from),
            steps: steps.iter().map(MappingStep::from).collect(),
            lookup: lookup
                .map(|through| Lookup { map: through.map.to_string(), column: through.column.to_string() }),
        })
    };
    MappedColumn {
        left: pair.left.as_ref().map(ToString::to_string),
        right: pair.right.as_ref().map(ToString::to_string),
        key: is_in(&map.left.key, &pair.left) || is_in(&map.right.key, &pair.right),
        sensitive: pair.sensitive,
        to_right: way(true),
        to_left: way(false),
    }
}

impl From<&map::Origin> for Origin {
    fn from(origin: &map::Origin) -> Self {
        match origin {
            map::Origin::Column(name) => Origin::Column { name: name.to_string() },
            map::Origin::Constant(constant) => Origin::Constant { value: value::json(constant) },
            map::Origin::Expression(expression) => Origin::Expression { text: expression.to_string() },
        }
    }
}

impl From<&map::Step> for MappingStep {
    fn from(step: &map::Step) -> Self {
        match step {
            map::Step::Default(instead) => MappingStep::Default { value: value::json(instead) },
            map::Step::Trim => MappingStep::Trim,
            map::Step::Truncate(most) => MappingStep::Truncate { characters: *most },
            map::Step::Case(case) => MappingStep::Case {
                to: match case {
                    Case::Upper => "upper",
                    Case::Lower => "lower",
                }
                .to_owned(),
            },
            map::Step::Replace { from, to } => {
                MappingStep::Replace { from: from.to_string(), to: to.to_string() }
            }
            map::Step::Scale { digits, rounding } => {
                let name = Rounding::NAMED.iter().find(|(_, named)| named == rounding);
                let rounding = name.map_or("", |(name, _)| name).to_owned();
                MappingStep::Scale { digits: *digits, rounding }
            }
            map::Step::TimeZone(zone) => MappingStep::Timezone { zone: zone.name().to_owned() },
            map::Step::Values(values) => MappingStep::Values {
                pairs: (values.pairs().iter())
                    .map(|(from, to)| ValuePair { from: value::json(from), to: value::json(to) })
                    .collect(),
                others_pass: values.lets_pass(),
            },
        }
    }
}
