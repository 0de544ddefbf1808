//! The table of what was asked for is worth something only while every test in it exists.

use std::path::Path;

#[test]
fn every_test_that_the_table_of_seeds_names_exists() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let table = std::fs::read_to_string(workspace.join("docs/seeds.md")).unwrap();
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains(".rs` `")) {
        let mut file = None;
        for quoted in row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            if quoted.ends_with(".rs") {
                let path = quoted
                    .replace("binary/", "crates/tandem/tests/binary/")
                    .replace("simulation/", "crates/engine/tests/simulation/");
                let text = std::fs::read_to_string(workspace.join(&path));
                file = Some(text.unwrap_or_else(|why| panic!("{path}: {why}")));
            } else {
                let text = file.as_ref().unwrap_or_else(|| panic!("no file before {quoted}"));
                assert!(text.contains(&format!("fn {quoted}(")), "there is no test {quoted}: {row}");
                named += 1;
            }
        }
    }
    assert!(named > 20, "the table is read: {named}");
}
