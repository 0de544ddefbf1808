//! Pages that must say all there is to say: each finding that the code can make stands in `docs/check.md`, each condition and
//! each alert in `docs/trouble.md`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tandem_core::FaultClass;

const CHECK: &str = include_str!("../../../../docs/check.md");
const TROUBLE: &str = include_str!("../../../../docs/trouble.md");
const CONDITIONS: &str = include_str!("../../../engine/src/view.rs");
const ALERTS: &str = include_str!("../../../../packaging/prometheus/tandem.rules.yml");

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text in quotes that comes first, if nothing but white space stands before it.
fn first_text(code: &str) -> Option<&str> {
    code.trim_start().strip_prefix('"')?.split('"').next()
}

/// The codes that stand in the source where a finding is made, and those that are made of other things.
fn codes() -> BTreeSet<String> {
    let mut codes: BTreeSet<String> = FaultClass::ALL.map(|class| format!("app_{class}")).into();
    // Faults of a file that cannot be used, as findings.
    codes.extend(["file_missing", "journal_mode", "unusable"].map(str::to_owned));
    let mut files = Vec::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["core", "connectors", "engine", "server", "tandem"] {
        sources(&crates.join(name).join("src"), &mut files);
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for made in ["Finding::error(", "Finding::warning("] {
            codes.extend(text.split(made).skip(1).filter_map(first_text).map(str::to_owned));
        }
        // What the types of two columns give: a code, a sentence, a fix.
        if file.ends_with("map/fit.rs") {
            codes.extend(text.split("doubts.push((").skip(1).filter_map(first_text).map(str::to_owned));
        }
    }
    // A finding in a test of the words of a sentence is none.
    codes.retain(|code| {
        !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    codes
}

/// What stands in the first column of a page's tables.
fn told(page: &'static str) -> BTreeSet<&'static str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let firsts = rows.filter_map(|row| row.split(" |").next());
    let names = firsts.flat_map(|names| names.split(", "));
    names.map(|name| name.trim_end_matches(" ✓").trim_matches('`')).collect()
}

#[test]
fn every_condition_and_every_alert_stands_in_its_page_and_nothing_else_does() {
    let variants = CONDITIONS.split("pub enum ConditionKind {").nth(1).unwrap().split("\n}").next().unwrap();
    let names = variants.lines().map(str::trim).filter(|line| !line.starts_with("///"));
    let mut made: BTreeSet<&str> = names.map(|line| line.trim_end_matches(',')).collect();
    made.remove("");
    assert!(made.len() > 15, "{made:?}");
    made.extend(ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")));
    assert_eq!(told(TROUBLE), made);
}

#[test]
fn every_finding_stands_in_its_page_and_nothing_else_does() {
    let told: BTreeSet<String> = told(CHECK).into_iter().map(str::to_owned).collect();
    let made = codes();
    assert!(made.len() > 40, "{made:?}");
    let (untold, unmade): (Vec<_>, Vec<_>) =
        (made.difference(&told).collect(), told.difference(&made).collect());
    assert!(
        untold.is_empty() && unmade.is_empty(),
        "not in docs/check.md: {untold:?}; in no source: {unmade:?}"
    );
}
