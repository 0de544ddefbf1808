//! Metrics, what is documented of them, and the alerts and the dashboard that are made of them: one of the four cannot
//! change without the others.

use crate::house::{House, running};
use crate::http::ask;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// A name as it is asked for, with its type and its labels.
type Names = BTreeMap<String, (String, BTreeSet<String>)>;

fn exposed() -> Names {
    let house = House::new();
    let server = running(&house);
    let text = ask(&server, "GET", "/metrics", "", "").text;
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut names = Names::new();
    for line in text.lines().filter(|line| line.starts_with("tandem_")) {
        let (name, labels) = line.split_once('{').unwrap();
        let labels = labels.split('}').next().unwrap();
        let labels =
            labels.split("\",").filter_map(|label| label.split_once('=')).map(|(key, _)| key.to_owned());
        let kind = kinds.get(name.trim_end_matches("_total")).or(kinds.get(name)).unwrap();
        names.insert(name.to_owned(), ((*kind).to_owned(), labels.collect()));
    }
    // What is described is there: none is without a line.
    assert_eq!(names.len(), kinds.len(), "{text}");
    names
}

fn documented() -> Names {
    let page = file("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `tandem_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned()).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels))
    };
    rows.map(row).collect()
}

/// Every name of ours in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tandem_")).map(str::to_owned).collect()
}

#[test]
fn metrics_are_those_that_are_documented() {
    assert_eq!(exposed(), documented());
}

#[test]
fn alerts_and_dashboard_ask_for_what_there_is() {
    let there = documented();
    let kinds = file("crates/engine/src/view.rs");
    for path in ["packaging/prometheus/tandem.rules.yml", "packaging/grafana/tandem.json"] {
        let text = file(path);
        let asked = named(&text);
        assert!(asked.len() >= 8, "{path}: {asked:?}");
        let unknown: Vec<&String> = asked.iter().filter(|name| !there.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "{path} asks for {unknown:?}");
        // A condition that is misspelled would never be heard of.
        for kind in text.split("type=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(kinds.contains(&format!("    {kind},")), "{path}: there is no condition {kind}");
        }
    }
    let dashboard: serde_json::Value = serde_json::from_str(&file("packaging/grafana/tandem.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
}
