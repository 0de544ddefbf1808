//! Columns, transforms and filters: what is understood, and what is refused with its line.

use super::*;
use tandem_core::MapName;
use tandem_core::map::{ColumnPair, OnLeave, Origin, Step};

fn with(columns: &str) -> String {
    format!("{APPS}{}", map("a", &format!("columns = [\n{columns}\n]")))
}

fn columns(columns: &str) -> Vec<ColumnPair> {
    let config = read_config(&with(columns)).unwrap_or_else(|errors| panic!("{errors}"));
    match &config.maps.first().unwrap().columns {
        Columns::Pairs(pairs) => pairs.clone(),
        Columns::SameNames => panic!("columns are named"),
    }
}

#[track_caller]
fn says(given: &str, expected: &str) {
    let seen = read_config(&with(given)).unwrap_err();
    assert!(seen.contains(expected), "\n--- seen\n{seen}\n--- expected\n{expected}");
}

#[test]
fn every_transform_is_read_in_the_order_in_which_it_stands() {
    let pairs = columns(
        r#"{ left = "name", right = "title", sensitive = true, to_right = [
              { default = "nobody" }, { trim = true }, { truncate = 160 }, { case = "upper" },
              { replace = { from = "-", to = "" } }, { scale = 2, rounding = "half_even" },
              { timezone = "Europe/Berlin" } ] },
           { left = "grp", right = "segment", values = { "10" = "retail", "20" = 7, "30" = true }, unmapped_values = "pass" },
           { right = "origin", constant = "erp" },
           { right = "full", to_right = [{ expression = "first + ' ' + row['last name']" }, { trim = true }] },
           { left = "note", right = "remark", default = 0 }"#,
    );
    let [name, grp, origin, full, note] = pairs.as_slice() else { panic!("five: {pairs:?}") };
    let steps = |pair: &ColumnPair| -> Vec<&'static str> {
        pair.way(true).unwrap().2.iter().map(Step::name).collect()
    };
    assert_eq!(steps(name), ["default", "trim", "truncate", "case", "replace", "scale", "timezone"]);
    assert!(name.sensitive && !grp.sensitive);
    assert_eq!(steps(grp), ["values"]);
    assert!(matches!(origin.way(true).unwrap().1, Origin::Constant(value) if value == "erp".into()));
    let Origin::Expression(expression) = full.way(true).unwrap().1 else { panic!("{full:?}") };
    assert_eq!(expression.columns().map(|name| &**name).collect::<Vec<_>>(), ["first", "last name"]);
    assert_eq!(steps(full), ["trim"]);
    assert_eq!(steps(note), ["default"]);
}

#[test]
fn filters_stand_at_the_side_that_they_are_about() {
    let text = map("a", "on_leave = \"delete\"")
        .replace("app = \"erp\"", "filter = \"status != 'x'\", app = \"erp\"");
    let config = read_config(&format!("{APPS}{text}")).unwrap();
    let found = config.maps.first().unwrap();
    assert_eq!(found.on_leave, OnLeave::Delete);
    assert_eq!(found.left.filter.as_ref().unwrap().text(), "status != 'x'");
    assert_eq!(found.right.filter, None);
}

#[test]
fn an_expression_is_refused_at_its_place_inside_of_the_text() {
    refused(
        &with("  { right = \"n\", to_right = [{ expression = \"a + nope(b)\" }] }"),
        "tandem.toml:9:50: there is no function 'nope'
  9 |   { right = \"n\", to_right = [{ expression = \"a + nope(b)\" }] }
    |                                                  ^
  fix: the functions are bool, bytes, contains, double, dyn, endsWith, int, size, startsWith, string, uint, \
         decimal_add, decimal_sub, decimal_mul, decimal_cmp, decimal_round, lower, upper, trim, replace, substring",
    );
    let text = map("a", "").replace("app = \"erp\"", "filter = \"status ! 'x'\", app = \"erp\"");
    refused(
        &format!("{APPS}{text}"),
        "tandem.toml:9:27: this is no CEL expression: mismatched input '!'
  9 | left = { filter = \"status ! 'x'\", app = \"erp\", table = \"a\", key = [\"no\"] }
    |                           ^
  fix: write it as CEL has it, such as \"status != 'draft' && total > 0\"",
    );
}

#[test]
fn a_column_that_makes_no_sense_is_refused_with_what_to_write() {
    refused(
        &with("  { left = \"name\" }"),
        "tandem.toml:9:12: the column is named on the left only, and nothing says what it is to hold
  9 |   { left = \"name\" }
    |            ^^^^^^
  fix: give it a constant or an expression on the map's way there, or name the other column, too",
    );
    says(
        "{ left = \"a\", right = \"b\" }, { left = \"c\", right = \"b\" }",
        "the right column 'b' stands in two pairs",
    );
    says("{ left = \"a\", right = \"b\", direction = \"to_left\" }", "the column never goes anywhere");
    says(
        "{ left = \"a\", right = \"b\", constant = \"x\" }",
        "a constant comes from no column, and both are named",
    );
    says(
        "{ left = \"a\", right = \"b\", to_right = [{ trim = true, truncate = 3 }] }",
        "a step does one thing",
    );
    says("{ left = \"a\", right = \"b\", to_right = [{}] }", "a step does one thing");
    says("{ left = \"a\", right = \"b\", to_right = [{ truncate = 0 }] }", "truncate = 0 is not possible");
    says(
        "{ left = \"a\", right = \"b\", to_right = [{ scale = 2 }] }",
        "what becomes of digits that are cut off",
    );
    says(
        "{ left = \"a\", right = \"b\", to_right = [{ scale = 2, rounding = \"x\" }] }",
        "there is no rounding \"x\"",
    );
    says("{ left = \"a\", right = \"b\", to_right = [{ default = 1.5 }] }", "write it as text: \"1.5\"");
    says("{ left = \"a\", right = \"b\", timezone = \"Mars/Base\" }", "there is no time zone 'Mars/Base'");
    says(
        "{ left = \"a\", right = \"b\", unmapped_values = \"pass\" }",
        "unmapped_values stands beside no 'values'",
    );
    says("{ left = \"a\", right = \"b\", values = {} }", "the list of values is empty");
    says(
        "{ left = \"no\", right = \"no\", to_right = [{ truncate = 3 }] }",
        "truncate could make one key of two",
    );
    says(
        "{ left = \"a\", right = \"b\", to_right = [{ trim = true }, { expression = \"c\" }] }",
        "take nothing from the steps before them",
    );
    says("{ left = \"a\", right = \"b\", to_right = [{ trimm = true }] }", "unknown key 'trimm'");
}

#[test]
fn a_column_that_goes_both_ways_is_refused_with_its_line_if_it_does_not_lead_back() {
    let both = |columns: &str| {
        let text = map("a", &format!("direction = \"both\"\ncolumns = [\n{columns}\n]"));
        read_config(&format!("{APPS}{text}")).unwrap_err()
    };
    let seen = both("  { left = \"name\", right = \"title\", to_right = [{ trim = true }] }");
    assert!(
        seen.contains(
            "tandem.toml:10:12: the column goes both ways, and 'trim' in to_right cannot be undone"
        ),
        "{seen}"
    );
    assert!(seen.contains("to_left = []"), "{seen}");
    let seen = both("{ left = \"g\", right = \"s\", values = { \"1\" = \"x\", \"2\" = \"x\" } }");
    assert!(seen.contains("'values' has \"x\" twice on the right"), "{seen}");
    let back = "columns = [{ left = \"g\", right = \"s\", values = { \"1\" = \"x\", \"2\" = \"y\" } }]";
    let text = map("a", &format!("direction = \"both\"\n{back}"));
    assert!(read_config(&format!("{APPS}{text}")).is_ok());
    let seen = both("{ left = \"g\", right = \"s\", default = \"x\" }");
    assert!(seen.contains("the column goes both ways, and a default has one"), "{seen}");
}

/// Map `a` with a column that is looked up through `b`, which has these lines of its own.
fn looked_up(lookup: &str, of_a: &str, of_b: &str) -> Result<Vec<MapName>, String> {
    let columns = format!("{of_a}\ncolumns = [{{ left = \"c\", right = \"c_id\", {lookup} }}]");
    let text = format!("{APPS}{}{}", map("a", &columns), map("b", of_b));
    let config = read_config(&text)?;
    Ok(config.maps.first().unwrap().depends_on.clone())
}

#[test]
fn a_map_depends_on_those_through_which_it_looks_up() {
    let through_b = "lookup = { map = \"b\", column = \"id\" }";
    assert_eq!(looked_up(through_b, "", ""), Ok(vec!["b".into()]));
    assert_eq!(looked_up(through_b, "depends_on = [\"b\"]", ""), Ok(vec!["b".into()]));
    assert_eq!(looked_up(through_b, "", "direction = \"both\""), Ok(vec!["b".into()]));
    let itself = "lookup = { map = \"a\", column = \"id\" }";
    assert_eq!(looked_up(itself, "", ""), Ok(vec![]), "a record may refer to another one of its map");
    let one_way = format!("direction = \"to_right\", {through_b}");
    assert_eq!(looked_up(&one_way, "direction = \"both\"", ""), Ok(vec!["b".into()]));
}

#[test]
fn a_column_that_cannot_be_looked_up_is_refused_with_its_line() {
    let through_b = "lookup = { map = \"b\", column = \"id\" }";
    let seen = looked_up(through_b, "direction = \"both\"", "").unwrap_err();
    assert!(seen.contains("tandem.toml:9:21:"), "{seen}");
    assert!(seen.contains("a value is looked up on the way to the right only"), "{seen}");
    assert!(seen.contains("fix: give the column direction = \"to_right\""), "{seen}");
    let refused = [
        (through_b, "direction = \"to_left\"", "", "on the way to the right only"),
        (through_b, "", "direction = \"to_left\"", "map 'b' brings nothing to the right"),
        ("lookup = { map = \"z\", column = \"id\" }", "", "", "there is no map 'z'"),
        ("lookup = { map = \"b\", column = \"\" }", "", "", "which column of the other map's right table"),
        ("lookup = { map = \"b\" }", "", "", "missing key 'column'"),
    ];
    for (lookup, of_a, of_b, expected) in refused {
        let seen = looked_up(lookup, of_a, of_b).unwrap_err();
        assert!(seen.contains(expected), "{seen}");
    }
    let key = "columns = [{ left = \"no\", right = \"no\", lookup = { map = \"b\", column = \"id\" } }]";
    let seen = read_config(&format!("{APPS}{}{}", map("a", key), map("b", ""))).unwrap_err();
    assert!(seen.contains("a column of the integration key cannot be looked up through 'b'"), "{seen}");
    let column = format!("columns = [{{ left = \"c\", right = \"d\", {through_b} }}]");
    let composite = map("b", "").replace("key = [\"no\"]", "key = [\"no\", \"year\"]");
    let seen = read_config(&format!("{APPS}{}{composite}", map("a", &column))).unwrap_err();
    assert!(seen.contains("the integration key of 'b' has 2 columns"), "{seen}");
    let turned =
        map("b", "").replace("\"erp\"", "\"x\"").replace("\"crm\"", "\"erp\"").replace("\"x\"", "\"crm\"");
    let seen = read_config(&format!("{APPS}{}{turned}", map("a", &column))).unwrap_err();
    assert!(seen.contains("that one has 'crm' on the left and 'erp' on the right"), "{seen}");
}

#[test]
fn every_example_of_the_documentation_is_a_config() {
    let pages = [include_str!("../../../../../docs/mapping.md")];
    let mut examples = 0;
    for page in pages {
        for block in page.split("```toml\n").skip(1) {
            let example = block.split("```").next().unwrap();
            read_config(&format!("{APPS}{example}")).unwrap_or_else(|errors| panic!("{errors}"));
            examples += 1;
        }
    }
    assert_eq!(examples, 4);
}
