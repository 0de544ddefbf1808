//! Metrics, what is documented of them, and the alerts and the dashboard that are made of them: one of the four cannot
//! change without the others.

use crate::house::{House, PATIENCE, Server, running};
use crate::http::{ANONYMOUS, ask};
use crate::maintenance::well;
use crate::postgres::{run, world};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tandem_proof_servers::PostgresOptions;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// A name as it is asked for, with its type and its labels.
type Names = BTreeMap<String, (String, BTreeSet<String>)>;

/// What a server exposes.
pub(crate) fn scrape(server: &Server) -> String {
    let answer = ask(server, "GET", "/metrics", "", "");
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"), "{}", answer.head);
    answer.text
}

/// One figure, by its name with its labels as they are written; none where there is no such.
pub(crate) fn figure(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

/// Waits until a figure is so.
#[track_caller]
pub(crate) fn until_figure(server: &Server, name: &str, wanted: f64) {
    until_so(server, name, |seen| seen == wanted);
}

#[track_caller]
fn until_so(server: &Server, name: &str, wanted: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = scrape(server);
        let seen = figure(&text, name);
        if seen.is_some_and(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {seen:?}: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What belongs to a family beside its name.
const ENDINGS: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];

/// The families of a text with their labels; it is OpenMetrics by the letter, or this panics.
pub(crate) fn families(text: &str) -> Names {
    let body = text.strip_suffix("# EOF\n").expect("it ends with its mark");
    let mut names = Names::new();
    let (mut family, mut kind, mut seen) = (String::new(), String::new(), BTreeSet::new());
    let mut buckets: BTreeMap<String, f64> = BTreeMap::new();
    for line in body.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, of) = declared.split_once(' ').unwrap();
            assert!(
                !names.keys().any(|known| known.trim_end_matches("_total") == name),
                "{name} comes twice"
            );
            (family, kind) = (name.to_owned(), of.to_owned());
            continue;
        }
        if line.starts_with("# ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        assert!(seen.insert(series.to_owned()), "{series} is there twice");
        let (name, labels) = series.split_once('{').unwrap();
        let labels = labels.strip_suffix('}').unwrap();
        let ending =
            name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} is not of {family}"));
        let fits = match kind.as_str() {
            "counter" => ending == "_total",
            "histogram" => ["_bucket", "_sum", "_count"].contains(&ending),
            _ => ending.is_empty() && kind == "gauge",
        };
        assert!(fits, "{line} is not how a {kind} is written");
        if ending == "_bucket" {
            let (bound, of) = labels.strip_prefix("le=\"").unwrap().split_once('"').unwrap();
            let of = of.trim_start_matches(',');
            let before = buckets.insert(of.to_owned(), value).unwrap_or_default();
            assert!(before <= value, "{line} is less than the bucket before");
            if bound == "+Inf" {
                assert_eq!(figure(text, &format!("{family}_count{{{of}}}")), buckets.remove(of), "{line}");
            }
        }
        let keys =
            labels.split("\",").filter_map(|label| label.split_once('=')).map(|(key, _)| key.to_owned());
        let keys: BTreeSet<String> = keys.filter(|key| key != "le").collect();
        let name = if kind == "counter" { name.to_owned() } else { family.clone() };
        names.entry(name).or_insert_with(|| (kind.clone(), BTreeSet::new())).1.extend(keys);
    }
    assert!(buckets.is_empty(), "they have no end: {buckets:?}");
    names
}

fn documented() -> Names {
    let page = file("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `tandem_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels))
    };
    rows.map(row).collect()
}

/// Every name of ours in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tandem_")).map(str::to_owned).collect()
}

/// Everything happens once that a figure tells of.
#[test]
fn metrics_are_those_that_are_documented_and_say_what_happened() {
    let (house, postgres) = world(PostgresOptions::default());
    house.edit(
        "name = \"orders\"\ndepends_on = [\"customers\"]\ndeletes = \"queue\"",
        "name = \"orders\"\ndepends_on = [\"customers\"]\nlimits = { max_queue_bytes = \"1MB\", soft_limit = 0.5 }",
    );
    let rule = "[[rules]]\nname = \"enough\"\nmaps = [\"customers\"]\nwhen = { count = 3, within = \"1h\" }\nthen = { action = \"pause\" }";
    house.edit("[[maps]]\nname = \"customers\"", &format!("{rule}\n[[maps]]\nname = \"customers\""));
    postgres.sql_blocking("crm", "ALTER TABLE accounts ADD CONSTRAINT short CHECK (display_name <> 'bad')");
    let server = run(&house);

    // An error that is tried again in vain and then not, and one more, at which the rule fires.
    postgres.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'bad', NULL)");
    until_figure(&server, r#"tandem_errors_open{map="customers"}"#, 1.0);
    server.tandem(&["error", "retry", "customers", "--all", "--wait"]);
    until_figure(&server, r#"tandem_retries_total{map="customers",result="refused"}"#, 1.0);
    postgres.sql_blocking("crm", "ALTER TABLE accounts DROP CONSTRAINT short");
    server.until(&["map", "show", "customers"], |map| map["retries"].as_array().unwrap().is_empty());
    server.ok(&["error", "retry", "customers", "--all", "--wait"]);
    until_figure(&server, r#"tandem_retries_total{map="customers",result="completed"}"#, 1.0);
    postgres.sql_blocking(
        "crm",
        "ALTER TABLE accounts ADD CONSTRAINT short CHECK (display_name <> 'bad') NOT VALID",
    );
    postgres.sql_blocking("erp", "INSERT INTO customers VALUES ('K2', 'bad', NULL)");
    until_figure(&server, r#"tandem_rule_fired_total{rule="enough",action="pause"}"#, 1.0);
    let class =
        r#"tandem_apply_errors_total{map="customers",source="erp",destination="crm",class="application"}"#;
    until_figure(&server, class, 3.0);

    // The rule holds orders along with customers: its guard stands, and somebody gets past it.
    postgres.sql_blocking("erp", "INSERT INTO orders VALUES (1, NULL, 1), (2, NULL, 1)");
    until_figure(&server, r#"tandem_guard_armed{map="orders"}"#, 1.0);
    postgres.sql_blocking("erp", "SET tandem.apply = 'on'; DELETE FROM orders WHERE order_no = 1");
    until_figure(&server, r#"tandem_guard_bypassed_total{map="orders"}"#, 1.0);
    let queued = r#"tandem_queue_records{map="orders",source="erp",destination="crm"}"#;
    until_figure(&server, queued, 3.0);
    server.ok(&["map", "resume", "customers", "--wait"]);
    server.ok(&["map", "pause", "orders", "--wait"]);
    postgres.sql_blocking("erp", "INSERT INTO orders VALUES (3, NULL, 1), (4, NULL, 1)");
    until_figure(&server, queued, 2.0);
    server.ok(&["map", "resume", "orders", "--mode", "skip-discard", "--yes", "--wait"]);
    until_figure(&server, r#"tandem_changes_discarded_total{map="orders"}"#, 2.0);

    // The names in these paths are nobody's, and there are more of them than figures.
    for name in ["customers", "orders", "nobody", "nobody-else"] {
        ask(&server, "GET", &format!("/api/v1/maps/{name}"), "", "");
        ask(&server, "GET", &format!("/nothing/{name}"), "", "");
    }
    server.ok(&["map", "pause", "orders", "--wait"]);
    well(&server, "orders", "GuardArmed");
    // A server keeps at least the log from the slot's last checkpoint on. It is asked every ten seconds.
    until_so(&server, r#"tandem_source_retained_bytes{app="erp"}"#, |bytes| bytes > 0.0);
    let text = scrape(&server);
    let mut expected = documented();
    // Only a server with a certificate has it.
    assert!(expected.remove("tandem_server_certificate_expiry_timestamp_seconds").is_some());
    assert_eq!(families(&text), expected, "{text}");
    let at = |name: &str| figure(&text, name).unwrap_or_else(|| panic!("{name} is not in {text}"));
    assert_eq!(at(r#"tandem_http_requests_total{route="/api/v1/maps/{map}",code="404"}"#), 2.0);
    assert_eq!(at(r#"tandem_http_requests_total{route="other",code="404"}"#), 4.0);
    let named = text.lines().filter(|line| line.starts_with("tandem_http") && line.contains("nobody"));
    assert_eq!(named.count(), 0, "{text}");
    let limit = |kind| at(&format!(r#"tandem_queue_limit_bytes{{map="orders",kind="{kind}"}}"#));
    assert_eq!((limit("soft"), limit("hard")), (500_000.0, 1_000_000.0));
    // The limit of time is a day, and it has just begun.
    let left = at(r#"tandem_limit_forecast_seconds{map="orders",limit="age"}"#);
    assert!((86_000.0..=86_400.0).contains(&left), "{left}");
    let deadline = at(r#"tandem_pause_deadline_timestamp_seconds{map="orders"}"#);
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1_000.0;
    assert!((deadline - now - left).abs() < 60.0, "{deadline} {now} {left}");
    assert_eq!(figure(&text, r#"tandem_pause_deadline_timestamp_seconds{map="customers"}"#), None);
    let stream = r#"{source="erp",destination="crm"}"#;
    for name in ["tandem_apply_duration_seconds", "tandem_queue_fsync_duration_seconds"] {
        let (count, sum) = (at(&format!("{name}_count{stream}")), at(&format!("{name}_sum{stream}")));
        assert!(count >= 3.0 && sum > 0.0, "{name}: {count} {sum}");
    }
    assert_eq!(at(&format!("tandem_queue_fsync_failures_total{stream}")), 0.0);
    // It is no source.
    assert_eq!(figure(&text, r#"tandem_source_retained_bytes{app="crm"}"#), None);
}

#[test]
fn each_side_of_a_map_that_goes_both_ways_has_figures_of_its_own_and_none_is_there_twice() {
    let house = House::new();
    house.edit("name = \"customers\"\ndeletes = \"queue\"", "name = \"customers\"\ndirection = \"both\"");
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    well(&server, "customers", "GuardArmed");
    let text = scrape(&server);
    families(&text);
    assert_eq!(figure(&text, r#"tandem_guard_armed{map="customers"}"#), Some(1.0));
    for flow in [r#"source="erp",destination="crm""#, r#"source="crm",destination="erp""#] {
        let records = format!("tandem_queue_records{{map=\"customers\",{flow}}}");
        assert_eq!(figure(&text, &records), Some(0.0), "{text}");
    }
}

/// The other routes stay as they are, and pages of others are kept out.
#[test]
fn figures_need_a_token_unless_they_are_open() {
    let house = House::new();
    let server = house.serve();
    let asked = |server: &Server, path: &str, headers: &str| {
        let answer = ask(server, "GET", path, &format!("{ANONYMOUS}{headers}"), "");
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    let (missing, open) = ((401, "token_missing".to_owned()), (200, String::new()));
    assert_eq!(asked(&server, "/metrics", ""), missing);
    house.edit("[server]", "[server]\nmetrics = \"open\"");
    server.tandem(&["reload", "--yes"]).ended(3, "[server] metrics");
    assert_eq!(server.terminate().0, Some(0));

    let server = house.serve();
    assert_eq!(asked(&server, "/metrics", ""), open);
    assert_eq!(asked(&server, "/api/v1/maps", ""), missing);
    assert_eq!(asked(&server, "/metrics", "Host: evil.example\r\n").0, 403);
    assert_eq!(asked(&server, "/metrics", "Origin: http://evil.example\r\n").0, 403);
    families(&ask(&server, "GET", "/metrics", ANONYMOUS, "").text);
    let document = ask(&server, "GET", "/api/v1/openapi.json", "", "").body;
    let needs = |path: &str| document["paths"][path]["get"]["security"].clone();
    assert_eq!(needs("/metrics"), needs("/livez"), "{}", document["paths"]["/metrics"]);
    assert_ne!(needs("/metrics"), needs("/api/v1/maps"));
}

#[test]
fn alerts_and_dashboard_ask_for_what_there_is() {
    let there = documented();
    let kinds = file("crates/engine/src/view.rs");
    for path in ["packaging/prometheus/tandem.rules.yml", "packaging/grafana/tandem.json"] {
        let text = file(path);
        let asked = named(&text);
        assert!(asked.len() >= 8, "{path}: {asked:?}");
        let base =
            |name: &str| ENDINGS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned();
        let is_there = |name: &&String| there.contains_key(*name) || there.contains_key(&base(name));
        let unknown: Vec<&String> = asked.iter().filter(|name| !is_there(name)).collect();
        assert!(unknown.is_empty(), "{path} asks for {unknown:?}");
        // A condition that is misspelled would never be heard of.
        for kind in text.split("type=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(kinds.contains(&format!("    {kind},")), "{path}: there is no condition {kind}");
        }
    }
    let dashboard: serde_json::Value = serde_json::from_str(&file("packaging/grafana/tandem.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
}
