//! What a map does with each column, in words.

use crate::output::{printable, value};
use serde_json::Value as Json;
use tandem_server::wire::{ColumnWay, MappedColumn, Mapping, MappingStep, Origin, ValuePair};

/// So many pairs of a list of values are written out; it may have thousands.
const PAIRS_SHOWN: usize = 6;

/// A line for each column.
pub(super) fn columns(mapping: &Mapping) -> Vec<String> {
    match &mapping.columns {
        None => vec!["those of the same name".to_owned()],
        Some(columns) => columns.iter().map(column).collect(),
    }
}

/// `name → display_name: trim, at most 160 characters`
fn column(column: &MappedColumn) -> String {
    let arrow = match (&column.to_right, &column.to_left) {
        (_, None) => "→",
        (None, _) => "←",
        _ => "↔",
    };
    let end = |end: &Option<String>| end.as_deref().map(printable).unwrap_or_default();
    let mut said = format!("{} {arrow} {}", end(&column.left), end(&column.right)).trim().to_owned();
    let marks = [(column.key, "key"), (column.sensitive, "sensitive")];
    for (_, mark) in marks.into_iter().filter(|(holds, _)| *holds) {
        said.push_str(&format!(" ({mark})"));
    }
    let ways = [("to the right", &column.to_right), ("to the left", &column.to_left)];
    let ways: Vec<(&str, String)> =
        ways.into_iter().filter_map(|(name, made)| Some((name, way(made.as_ref()?)))).collect();
    match ways.as_slice() {
        [(_, only)] if !only.is_empty() => said.push_str(&format!(": {only}")),
        [first, second] if !(first.1.is_empty() && second.1.is_empty()) => {
            let each = [first, second].map(|(name, done)| {
                format!("{name} {}", if done.is_empty() { "as it is" } else { done.as_str() })
            });
            said.push_str(&format!(": {}", each.join("; ")));
        }
        _ => {}
    }
    said
}

/// What happens on a way; nothing if the value goes as it is.
fn way(way: &ColumnWay) -> String {
    let mut said = Vec::new();
    match &way.from {
        Origin::Column { .. } => {}
        Origin::Constant { value } => said.push(format!("always {}", quoted(value))),
        Origin::Expression { text } => said.push(printable(text)),
    }
    said.extend(way.steps.iter().map(step));
    said.extend(
        way.lookup.as_ref().map(|through| format!("looked up: {} of {}", through.column, through.map)),
    );
    said.join(", ")
}

fn step(step: &MappingStep) -> String {
    match step {
        MappingStep::Default { value } => format!("null becomes {}", quoted(value)),
        MappingStep::Trim => "trimmed".to_owned(),
        MappingStep::Truncate { characters } => format!("at most {characters} characters"),
        MappingStep::Case { to } => format!("in {to} case"),
        MappingStep::Replace { from, to } => {
            format!("\"{}\" replaced by \"{}\"", printable(from), printable(to))
        }
        MappingStep::Scale { digits, rounding } => format!("{digits} decimal places ({rounding})"),
        MappingStep::Timezone { zone } => format!("time of {zone}"),
        MappingStep::Values { pairs, others_pass } => {
            let pair = |pair: &ValuePair| format!("{} = {}", quoted(&pair.from), quoted(&pair.to));
            let mut said: Vec<String> = pairs.iter().take(PAIRS_SHOWN).map(pair).collect();
            if pairs.len() > PAIRS_SHOWN {
                said.push(format!("and {} more", pairs.len() - PAIRS_SHOWN));
            }
            let others = if *others_pass { "others pass" } else { "others are refused" };
            format!("values [{}; {others}]", said.join(", "))
        }
    }
}

/// A value within a sentence: text between quotation marks.
fn quoted(shown: &Json) -> String {
    if shown.is_string() { format!("\"{}\"", value(shown)) } else { value(shown) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(column_as_json: Json, expected: &str) {
        let mut whole = json!({"left": "a", "right": "b", "key": false, "sensitive": false, "to_left": null});
        whole.as_object_mut().unwrap().extend(column_as_json.as_object().unwrap().clone());
        assert_eq!(column(&serde_json::from_value(whole).unwrap()), expected);
    }

    fn way_of(from: Json, steps: Json) -> Json {
        json!({"from": from, "steps": steps, "lookup": null})
    }

    #[test]
    fn a_column_is_said_in_words_and_what_goes_as_it_is_needs_none() {
        let (a, b) = (json!({"kind": "column", "name": "a"}), json!({"kind": "column", "name": "b"}));
        check(json!({"to_right": way_of(a.clone(), json!([])), "key": true}), "a → b (key)");
        let steps = json!([{"kind": "trim"}, {"kind": "truncate", "characters": 5}, {"kind": "default", "value": null}]);
        check(
            json!({"to_right": way_of(a.clone(), steps)}),
            "a → b: trimmed, at most 5 characters, null becomes null",
        );
        let made = json!({"kind": "constant", "value": "erp\u{1b}"});
        check(json!({"left": null, "to_right": way_of(made, json!([]))}), "→ b: always \"erp\\u{1b}\"");
        let list: Vec<Json> = (0..8).map(|n| json!({"from": n, "to": format!("v{n}")})).collect();
        let values = json!([{"kind": "values", "pairs": list, "others_pass": false}]);
        check(
            json!({"to_right": way_of(a.clone(), values), "to_left": way_of(b, json!([]))}),
            "a ↔ b: to the right values [0 = \"v0\", 1 = \"v1\", 2 = \"v2\", 3 = \"v3\", 4 = \"v4\", 5 = \"v5\", and 2 more; \
             others are refused]; to the left as it is",
        );
        let through = json!({"from": a, "steps": [], "lookup": {"map": "customers", "column": "id"}});
        check(json!({"to_right": through}), "a → b: looked up: id of customers");
    }
}
