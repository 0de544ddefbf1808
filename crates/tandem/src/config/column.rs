//! Columns: which belong together, which way they go, and what happens to their values on the way.

use super::place::Spanned;
use super::scalar::Reader;
use super::schema::{Direction as DirectionWord, names};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::Value;
use tandem_core::map::{
    Case, ColumnPair, Columns, Direction, Expression, Made, Rounding, Step, Through, Transforms, Unmapped,
    ValueMap, Zone,
};

/// The ways of a map or a column.
pub(super) const DIRECTIONS: [(&str, Direction); 3] =
    [("both", Direction::Both), ("to_right", Direction::ToRight), ("to_left", Direction::ToLeft)];
const CASES: [(&str, Case); 2] = [("upper", Case::Upper), ("lower", Case::Lower)];
const UNMAPPED: [(&str, Unmapped); 2] = [("refuse", Unmapped::Refuse), ("pass", Unmapped::Pass)];
/// The most digits behind the point that a number can be given: PostgreSQL's own limit.
const SCALE_MAX: i64 = 16_383;

/// Two columns that belong together, or one that is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub(crate) struct RawColumn {
    /// The column on the left, exactly as the database names it.
    pub(crate) left: Option<Spanned<String>>,
    /// The column on the right, exactly as the database names it.
    pub(crate) right: Option<Spanned<String>>,
    /// A part of the ways that the map goes.
    #[schemars(with = "Option<DirectionWord>")]
    direction: Option<Spanned<String>>,
    /// What happens to a value on the way to the right, in order.
    to_right: Option<Vec<Spanned<RawTransform>>>,
    /// What happens to a value on the way to the left, in order.
    to_left: Option<Vec<Spanned<RawTransform>>>,
    /// What values of the left are called on the right.
    values: Option<Spanned<BTreeMap<String, Spanned<RawLiteral>>>>,
    /// What becomes of a value that is not among them.
    #[schemars(extend("enum" = names(&UNMAPPED), "default" = "refuse"))]
    unmapped_values: Option<Spanned<String>>,
    /// What null becomes, in a column that goes one way.
    default: Option<Spanned<RawLiteral>>,
    /// What the only named column always holds.
    constant: Option<Spanned<RawLiteral>>,
    /// One side keeps moments, the other the time on the wall of this zone.
    timezone: Option<Spanned<String>>,
    /// Its values are not to be shown.
    #[serde(default)]
    sensitive: bool,
    /// The left column holds the key of a record of another map.
    pub(crate) lookup: Option<Spanned<RawLookup>>,
}

/// Another map through which a value is looked up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLookup {
    /// The map.
    pub(crate) map: Spanned<String>,
    /// The column of that map's right table whose value is taken.
    column: String,
}

/// One step of a way: exactly one of its keys, and rounding beside scale.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 2))]
struct RawTransform {
    /// Makes the value; stands first.
    constant: Option<Spanned<RawLiteral>>,
    /// Makes the value from the record's columns, in CEL; stands first.
    expression: Option<Spanned<String>>,
    /// Null becomes this.
    default: Option<Spanned<RawLiteral>>,
    /// Takes white space off both ends.
    #[schemars(extend("enum" = [true]))]
    trim: Option<Spanned<bool>>,
    /// Keeps so many characters.
    #[schemars(extend("minimum" = 1, "maximum" = u32::MAX))]
    truncate: Option<Spanned<i64>>,
    /// Upper or lower case, as Unicode has it.
    #[schemars(extend("enum" = names(&CASES)))]
    case: Option<Spanned<String>>,
    /// Replaces every occurrence.
    replace: Option<Spanned<RawReplace>>,
    /// So many digits behind the point; needs rounding.
    #[schemars(extend("minimum" = 0, "maximum" = SCALE_MAX))]
    scale: Option<Spanned<i64>>,
    /// What becomes of digits that are cut off.
    #[schemars(extend("enum" = names(&Rounding::NAMED)))]
    rounding: Option<Spanned<String>>,
    /// Between a moment and the time on the wall of this zone.
    timezone: Option<Spanned<String>>,
}

/// A text, and what stands in its place.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawReplace {
    /// What is replaced.
    #[schemars(extend("minLength" = 1))]
    from: String,
    /// By what.
    to: String,
}

/// A value. A number with a fraction is written as text.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum RawLiteral {
    Truth(bool),
    Whole(i64),
    #[schemars(skip)]
    Part(f64),
    Text(String),
}

/// What a step turned out to be.
enum Part {
    Made(Made),
    Step(Step),
}

/// Understands the columns of a map that goes so and has these keys. What is wrong goes to the reader's errors.
pub(super) fn understand(
    given: Option<&Spanned<Vec<RawColumn>>>,
    map: Direction,
    keys: (&[Arc<str>], &[Arc<str>]),
    reader: &mut Reader<'_>,
) -> Columns {
    let Some(given) = given else { return Columns::SameNames };
    let mut pairs: Vec<ColumnPair> = Vec::new();
    for raw in given.get_ref() {
        let before = reader.errors.len();
        let pair = one(raw, map, reader);
        let is_key = pair.left.as_ref().is_some_and(|left| keys.0.contains(left))
            || pair.right.as_ref().is_some_and(|right| keys.1.contains(right));
        let place = raw.left.as_ref().or(raw.right.as_ref()).map_or(given.span(), Spanned::span);
        // What is wrong with a part of it would be told twice.
        if reader.errors.len() == before
            && let Err(bad) = pair.check(map, is_key)
        {
            reader.refuse(place, bad.why, bad.fix);
        }
        for (side, name, to_right) in [("left", &raw.left, false), ("right", &raw.right, true)] {
            let Some(name) = name else { continue };
            let same = |other: &ColumnPair| {
                let other_name = if to_right { &other.right } else { &other.left };
                other_name.as_deref() == Some(name.get_ref())
            };
            let is_written_twice =
                |other: &ColumnPair| same(other) && pair.goes(map, to_right) && other.goes(map, to_right);
            if name.get_ref().is_empty() {
                let fix = "write its name, exactly as the database has it";
                reader.refuse(name.span(), format!("a {side} column has no name"), fix);
            } else if pairs.iter().any(is_written_twice) {
                let why = format!("the {side} column '{}' stands in two pairs", name.get_ref());
                reader.refuse(name.span(), why, "leave one of them out: a column is written from one");
            }
        }
        pairs.push(pair);
    }
    Columns::Pairs(pairs)
}

fn one(raw: &RawColumn, map: Direction, reader: &mut Reader<'_>) -> ColumnPair {
    let name = |given: &Option<Spanned<String>>| given.as_ref().map(|name| name.get_ref().as_str().into());
    let mut pair = ColumnPair {
        left: name(&raw.left),
        right: name(&raw.right),
        direction: raw.direction.as_ref().and_then(|given| reader.word("direction", given, &DIRECTIONS)),
        to_right: raw.to_right.as_ref().map(|steps| transforms(steps, reader)),
        to_left: raw.to_left.as_ref().map(|steps| transforms(steps, reader)),
        values: raw.values.as_ref().map(|given| values(given, raw.unmapped_values.as_ref(), reader)),
        timezone: raw.timezone.as_ref().and_then(|given| zone(given, reader)),
        sensitive: raw.sensitive,
        lookup: raw.lookup.as_ref().map(|given| Through {
            map: given.get_ref().map.get_ref().as_str().into(),
            column: given.get_ref().column.as_str().into(),
        }),
    };
    if let (None, Some(given)) = (&raw.values, &raw.unmapped_values) {
        reader.refuse(
            given.span(),
            "unmapped_values stands beside no 'values'",
            "add 'values', or take it out",
        );
    }
    if let Some(given) = &raw.constant {
        constant(&mut pair, given, reader);
    }
    if let Some(given) = &raw.default {
        default(&mut pair, given, map, reader);
    }
    pair
}

/// `constant` beside the only column: what it always holds.
fn constant(pair: &mut ColumnPair, given: &Spanned<RawLiteral>, reader: &mut Reader<'_>) {
    let Some(value) = literal(given, reader) else { return };
    let made = Transforms { made: Some(Made::Constant(value)), steps: Vec::new() };
    let way = match (&pair.left, &pair.right) {
        (None, Some(_)) => &mut pair.to_right,
        (Some(_), None) => &mut pair.to_left,
        _ => {
            let fix = "name only the column that always holds it: { right = \"origin\", constant = \"erp\" }";
            return reader.refuse(given.span(), "a constant comes from no column, and both are named", fix);
        }
    };
    if way.replace(made).is_some() {
        reader.refuse(given.span(), "a constant needs no steps", "leave out the steps or the constant");
    }
}

/// `default` beside the names: what null becomes, on the only way that the column goes.
fn default(pair: &mut ColumnPair, given: &Spanned<RawLiteral>, map: Direction, reader: &mut Reader<'_>) {
    let Some(value) = literal(given, reader) else { return };
    let way = match (pair.goes(map, true), pair.goes(map, false)) {
        (true, true) => {
            let fix = "say for which way: to_right = [{ default = … }], to_left = []";
            return reader.refuse(given.span(), "the column goes both ways, and a default has one", fix);
        }
        (true, false) => &mut pair.to_right,
        (false, _) => &mut pair.to_left,
    };
    way.get_or_insert_default().steps.insert(0, Step::Default(value));
}

fn transforms(given: &[Spanned<RawTransform>], reader: &mut Reader<'_>) -> Transforms {
    let mut transforms = Transforms::default();
    for (place, raw) in given.iter().enumerate() {
        match transform(raw, reader) {
            None => {}
            Some(Part::Step(step)) => transforms.steps.push(step),
            Some(Part::Made(made)) if place == 0 => transforms.made = Some(made),
            Some(Part::Made(_)) => reader.refuse(
                raw.span(),
                "a constant and an expression take nothing from the steps before them",
                "let it stand first; an expression names the columns that it reads",
            ),
        }
    }
    transforms
}

fn transform(given: &Spanned<RawTransform>, reader: &mut Reader<'_>) -> Option<Part> {
    let raw = given.get_ref();
    let named = [
        raw.constant.is_some(),
        raw.expression.is_some(),
        raw.default.is_some(),
        raw.trim.is_some(),
        raw.truncate.is_some(),
        raw.case.is_some(),
        raw.replace.is_some(),
        raw.scale.is_some(),
        raw.timezone.is_some(),
    ];
    if named.into_iter().filter(|is_named| *is_named).count() != 1
        || (raw.rounding.is_some() && raw.scale.is_none())
    {
        reader.refuse(
            given.span(),
            "a step does one thing",
            "write each as its own: [{ trim = true }, { truncate = 160 }]; rounding stands beside scale",
        );
        return None;
    }
    if let Some(given) = &raw.constant {
        return literal(given, reader).map(|value| Part::Made(Made::Constant(value)));
    }
    if let Some(given) = &raw.expression {
        return expression(given, reader).map(|expression| Part::Made(Made::Expression(expression)));
    }
    let step = if let Some(given) = &raw.default {
        literal(given, reader).map(Step::Default)
    } else if let Some(given) = &raw.trim {
        if !given.get_ref() {
            reader.refuse(given.span(), "trim = false does nothing", "take it out");
        }
        Some(Step::Trim)
    } else if let Some(given) = &raw.truncate {
        whole("truncate", given, 1..=i64::from(u32::MAX), reader).map(Step::Truncate)
    } else if let Some(given) = &raw.case {
        reader.word("case", given, &CASES).map(Step::Case)
    } else if let Some(given) = &raw.replace {
        let RawReplace { from, to } = given.get_ref();
        if from.is_empty() {
            reader.refuse(
                given.span(),
                "what is to be replaced is empty",
                "write { from = \"-\", to = \"\" }",
            );
        }
        Some(Step::Replace { from: from.as_str().into(), to: to.as_str().into() })
    } else if let Some(given) = &raw.scale {
        scale(given, raw.rounding.as_ref(), reader)
    } else {
        raw.timezone.as_ref().and_then(|given| zone(given, reader)).map(Step::TimeZone)
    };
    step.map(Part::Step)
}

fn scale(given: &Spanned<i64>, rounding: Option<&Spanned<String>>, reader: &mut Reader<'_>) -> Option<Step> {
    let digits = whole("scale", given, 0..=SCALE_MAX, reader);
    let Some(rounding) = rounding else {
        let names: Vec<&str> = Rounding::NAMED.iter().map(|(name, _)| *name).collect();
        let fix = format!("add rounding = \"half_even\"; there are {}", names.join(", "));
        reader.refuse(given.span(), "it is not said what becomes of digits that are cut off", fix);
        return None;
    };
    let rounding = reader.word("rounding", rounding, &Rounding::NAMED)?;
    Some(Step::Scale { digits: digits?, rounding })
}

fn whole(
    key: &str,
    given: &Spanned<i64>,
    range: std::ops::RangeInclusive<i64>,
    reader: &mut Reader<'_>,
) -> Option<u32> {
    let number = range.contains(given.get_ref()).then(|| u32::try_from(*given.get_ref()).ok()).flatten();
    if number.is_none() {
        let fix = format!("write a number from {} to {}", range.start(), range.end());
        reader.refuse(given.span(), format!("{key} = {} is not possible", given.get_ref()), fix);
    }
    number
}

fn values(
    given: &Spanned<BTreeMap<String, Spanned<RawLiteral>>>,
    unmapped: Option<&Spanned<String>>,
    reader: &mut Reader<'_>,
) -> ValueMap {
    if given.get_ref().is_empty() {
        reader.refuse(given.span(), "the list of values is empty", "write values = { \"10\" = \"retail\" }");
    }
    let pairs = given.get_ref().iter();
    let pairs = pairs
        .filter_map(|(left, right)| Some((Value::from(left.as_str()), literal(right, reader)?)))
        .collect();
    let unmapped = unmapped.and_then(|given| reader.word("unmapped_values", given, &UNMAPPED));
    ValueMap::new(pairs, unmapped.unwrap_or_default())
}

fn literal(given: &Spanned<RawLiteral>, reader: &mut Reader<'_>) -> Option<Value> {
    Some(match given.get_ref() {
        RawLiteral::Truth(truth) => Value::Bool(*truth),
        RawLiteral::Whole(number) => Value::Int(*number),
        RawLiteral::Text(text) => Value::from(text.as_str()),
        RawLiteral::Part(number) => {
            let fix = format!("write it as text: \"{number}\"");
            reader.refuse(given.span(), "a number with a fraction would be a float here, and not exact", fix);
            return None;
        }
    })
}

fn zone(given: &Spanned<String>, reader: &mut Reader<'_>) -> Option<Zone> {
    let found = Zone::find(given.get_ref());
    if let Err(unknown) = &found {
        reader.refuse(given.span(), unknown.to_string(), "write it as the IANA names it: \"Europe/Berlin\"");
    }
    found.ok()
}

/// An expression; what is wrong with it is shown at its place inside of the text.
pub(super) fn expression(given: &Spanned<String>, reader: &mut Reader<'_>) -> Option<Expression> {
    match Expression::parse(given.get_ref()) {
        Ok(expression) => Some(expression),
        Err(bad) => {
            let place = reader.source.within(given.span(), given.get_ref(), bad.at);
            let fix = bad.fix.unwrap_or_else(|| {
                "write it as CEL has it, such as \"status != 'draft' && total > 0\"".to_owned()
            });
            reader.refuse(place, bad.why, fix);
            None
        }
    }
}
