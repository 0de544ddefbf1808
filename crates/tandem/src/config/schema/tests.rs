//! What the schema takes and refuses. Every example that people are shown must pass it, and so must every config that
//! a test of the reader finds good.

use super::*;
use std::path::Path;

/// What the schema does not take of a config; none of one that is good.
pub(in crate::config) fn problems(schema: &Value, text: &str) -> Vec<String> {
    let table: toml::Table = toml::from_str(text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let config = serde_json::to_value(table).unwrap();
    let validator = jsonschema::validator_for(schema).unwrap();
    validator.iter_errors(&config).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The parts of a page that stand between ```toml and ```.
fn shown(page: &str) -> Vec<String> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

fn pages() -> Vec<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .chain([root.join("README.md")])
        .collect()
}

#[test]
fn every_config_that_people_are_shown_fits() {
    let schema = of_config();
    let mut seen = 0;
    for page in pages() {
        for config in shown(&std::fs::read_to_string(&page).unwrap()) {
            assert_eq!(problems(&schema, &config), [""; 0], "{}\n{config}", page.display());
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} configs were found");
}

#[test]
fn what_can_be_known_to_be_wrong_is_refused() {
    let schema = of_config();
    let map = |more: &str| {
        format!(
            "[[maps]]\nname = \"m\"\nleft = {{ app = \"a\", table = \"t\", key = [\"k\"] }}\nright = {{ app = \"b\", table = \"t\", key = [\"k\"] }}\n{more}"
        )
    };
    assert_eq!(problems(&schema, &map("")), [""; 0]);
    for bad in [
        "[server]\nport = 1",
        "[server]\nkeep_applied = \"1h\"",
        "[apps.erp]\n",
        "[apps.\"e r p\"]\nurl = \"sqlite:a.db\"",
        "[[maps]]\nname = \"m\"",
        &map("direction = \"sideways\""),
        &map("deletes = \"ignore\""),
        &map("conflict = \"mine\""),
        &map("columns = [{}]"),
        &map("columns = [{ left = \"a\", right = \"b\", to_right = [{}] }]"),
        &map("columns = [{ left = \"a\", right = \"b\", to_right = [{ case = \"title\" }] }]"),
        &map("columns = [{ right = \"b\", constant = 1.5 }]"),
        &map("limits = { max_queue_bytes = 100 }"),
        &map("limits = { max_queue_bytes = \"many\" }"),
        &map("limits = { profile = \"weekend\" }"),
        "[limits]\nsoft_limit = 8",
        "[limits]\nmax_pause_age = \"-1d\"",
        "[[rules]]\nname = \"r\"\nwhen = {}\nthen = { action = \"pause\" }",
        "[[rules]]\nname = \"r\"\nwhen = { lag = \"5m\" }\nthen = { action = \"retreat\" }",
        "[[rules]]\nname = \"r\"\nwhen = { count = 0, within = \"5m\" }\nthen = { action = \"pause\" }",
        "[notify.ops]\n",
        "[notify.ops]\nwebhook = { url = \"https://h/x\" }",
    ] {
        assert_ne!(problems(&schema, bad), [""; 0], "it is taken:\n{bad}");
    }
}

#[test]
fn a_file_of_maps_holds_one_or_several() {
    let schema = of_map_file();
    let one = "name = \"m\"\nleft = { app = \"a\", table = \"t\", key = [\"k\"] }\nright = { app = \"b\", table = \"t\", key = [\"k\"] }\n";
    assert_eq!(problems(&schema, one), [""; 0]);
    assert_eq!(problems(&schema, &format!("[[maps]]\n{one}")), [""; 0]);
    assert_ne!(problems(&schema, &format!("{one}deletes = \"ignore\"")), [""; 0]);
    assert_ne!(problems(&schema, "[apps.erp]\nurl = \"sqlite:a.db\""), [""; 0]);
}

/// Whoever looks at a key in an editor is told what it is for.
#[test]
fn every_key_says_what_it_means() {
    fn look(place: &str, schema: &Value, silent: &mut Vec<String>) {
        if let Some(keys) = schema.get("properties").and_then(Value::as_object) {
            for (key, meaning) in keys {
                if meaning.get("description").is_none() {
                    silent.push(format!("{place}.{key}"));
                }
                look(&format!("{place}.{key}"), meaning, silent);
            }
        }
        for (name, meaning) in schema.get("definitions").and_then(Value::as_object).into_iter().flatten() {
            look(name, meaning, silent);
        }
    }
    let mut silent = Vec::new();
    look("", &of_config(), &mut silent);
    assert_eq!(silent, [""; 0]);
    let text = of_config().to_string();
    assert!(!text.contains("\"null\"") && !text.contains(":null"), "TOML has no null:\n{text}");
}
