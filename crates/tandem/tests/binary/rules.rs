//! Rules at work, through the whole binary: a destination that is really stopped, a webhook that really listens.

use crate::house::{House, PATIENCE, Server};
use crate::postgres::{run, until, world};
use crate::twins::asked;
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

/// How long it takes until a rule believes that a map is well again, and some more.
const SETTLED: Duration = Duration::from_secs(150);

/// What is written while the destination goes away: so many transactions, each of so many customers and orders.
const OUTAGE_PARTS: u32 = 100;
const OUTAGE_PART: u32 = 1_000;

/// A web server that takes everything and remembers it.
pub(crate) struct Webhook {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Json>>>,
}

impl Webhook {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Json>>> = Arc::default();
        let hears = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                for line in reader.by_ref().lines().map_while(Result::ok) {
                    if line.is_empty() {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                hears.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                let mut stream = stream;
                stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            }
        });
        Self { url, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    /// Waits until it was told so much, and no more.
    #[track_caller]
    pub(crate) fn until_heard(&self, times: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = self.heard();
            if heard.len() >= times {
                assert_eq!(heard.len(), times, "{heard:?}");
                return heard;
            }
            assert!(Instant::now() < deadline, "{heard:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// As [`Server::until`], for as long as a rule may take to believe that all is well.
#[track_caller]
fn until_settled(server: &Server, args: &[&str], wanted: impl Fn(&Json) -> bool) -> Json {
    let deadline = Instant::now() + SETTLED;
    loop {
        let seen = server.ok(args);
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{args:?} still says {seen}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Two PostgreSQL servers: the destination is one of its own, so that it can be stopped by itself. A rule pauses when it
/// is away for two seconds.
pub(crate) fn two_servers(rule: &str) -> (House, PostgresServer, PostgresServer) {
    let (house, erp) = world(PostgresOptions::default());
    let crm = PostgresServer::start_new(PostgresOptions::default());
    crm.sql_blocking("postgres", "CREATE ROLE tandem LOGIN PASSWORD 'from the vault: @/?'");
    crm.sql_blocking("postgres", "CREATE DATABASE crm OWNER tandem");
    crm.sql_blocking(
        "crm",
        "SET ROLE tandem;
         CREATE TABLE accounts (ext_no text PRIMARY KEY, display_name text NOT NULL, town text);
         CREATE TABLE orders (order_no bigint PRIMARY KEY, account_no text REFERENCES accounts, total numeric(12,2));",
    );
    house.edit(&format!("127.0.0.1:{}/crm", erp.port()), &format!("127.0.0.1:{}/crm", crm.port()));
    house.edit("[server]\n", "[server]\nRULES");
    // The tables of an array stand behind everything else.
    house.edit("RULES", "");
    let path = house.path().join("tandem.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    house.write("tandem.toml", &format!("{text}\n{rule}"));
    (house, erp, crm)
}

fn crm_down(webhook: Option<&Webhook>, then: &str) -> String {
    let (notify, target) = match webhook {
        Some(webhook) => (
            ", notify = [\"ops\"]",
            format!(
                "[notify.ops]\nwebhook = {{ url = \"{}\", secret = \"${{file:hook-secret}}\" }}\n",
                webhook.url
            ),
        ),
        None => ("", String::new()),
    };
    format!(
        "{target}[[rules]]\nname = \"crm-down\"\nmaps = [\"customers\"]\nwhen = {{ destination_unreachable = \"2s\" }}\nthen = {{ action = \"pause\"{then}{notify} }}\n"
    )
}

fn holds(map: &Json) -> Vec<String> {
    let holds = map["holds"].as_array().unwrap().iter();
    holds
        .map(|hold| {
            format!("{} {}", hold["kind"].as_str().unwrap(), hold["name"].as_str().unwrap_or_default())
                .trim()
                .to_owned()
        })
        .collect()
}

fn insert(erp: &PostgresServer, from: u32, count: u32) {
    let to = from + count - 1;
    erp.sql_blocking(
        "erp",
        &format!(
            "BEGIN; INSERT INTO customers SELECT 'K' || no, 'n', NULL FROM generate_series({from}, {to}) AS no;
             INSERT INTO orders SELECT no, 'K' || no, 1 FROM generate_series({from}, {to}) AS no; COMMIT"
        ),
    );
}

/// The main use: the destination goes away under load, the rule pauses, people are told once, and when it is back
/// everything goes on by itself. `TANDEM_OUTAGE_SECONDS=180` keeps it away for three minutes.
#[test]
fn a_rule_pauses_when_the_destination_is_gone_and_resumes_when_it_is_well() {
    let webhook = Webhook::start();
    let rule =
        crm_down(Some(&webhook), ", resume = \"when_healthy\", resumes_per_hour = 1") + "cooldown = \"1s\"\n";
    let (house, erp, mut crm) = two_servers(&rule);
    house.write("hook-secret", "0123456789abcdef0123456789abcdef");
    let tandem = run(&house);
    insert(&erp, 1, 10);
    until(&crm, "crm", "SELECT count(*) FROM orders", &["10"]);

    // 200,000 changes, and the destination goes away when some of them have arrived.
    let (stopped, shown) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            (0..OUTAGE_PARTS).for_each(|part| insert(&erp, 11 + part * OUTAGE_PART, OUTAGE_PART));
        });
        until(&crm, "crm", "SELECT count(*) > 10 FROM orders", &["t"]);
        crm.stop();
        let stopped = Instant::now();
        let shown = tandem.until(&["map", "show", "customers"], |map| map["state"] == "paused");
        assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());
        traffic.join().unwrap();
        (stopped, shown)
    });
    assert_eq!(holds(&shown), ["rule crm-down"]);
    let child = tandem.until(&["map", "show", "orders"], |map| map["state"] == "paused");
    assert_eq!(holds(&child), ["parent customers"], "what depends on it is paused with it");
    let heard = webhook.until_heard(1);
    assert!(heard[0].contains("crm-down") && heard[0].contains("customers"), "{heard:?}");
    assert!(!heard[0].contains("K11"), "no value of a record is told: {heard:?}");
    let log = tandem.ok(&["activity", "--map", "customers"]);
    let paused = log["items"].as_array().unwrap().iter().find(|entry| entry["event"] == "map.rule_paused");
    let paused = paused.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(paused["actor"], "rule crm-down");
    assert!(paused["reason"].as_str().unwrap().contains("the destination has not been reached"), "{paused}");
    insert(&erp, 200_001, 10);

    // A restart forgets neither the hold nor the cool-down.
    tandem.kill();
    let tandem = house.serve();
    std::thread::sleep(
        Duration::from_secs(asked("TANDEM_OUTAGE_SECONDS", 3)).saturating_sub(stopped.elapsed()),
    );
    crm.start();
    until_settled(&tandem, &["map", "show", "customers"], |map| map["state"] == "running");
    tandem.until(&["map", "show", "orders"], |map| map["state"] == "running");
    for (of, also) in [("customers", "accounts"), ("orders", "orders")] {
        let all =
            |table| format!("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t)) FROM {table} AS t");
        let rows = erp.sql_blocking("erp", &all(of));
        assert_eq!(rows[0][0].as_deref(), Some("100020"));
        let rows: Vec<&str> = rows[0].iter().map(|cell| cell.as_deref().unwrap()).collect();
        until(&crm, "crm", &all(also), &[&rows.join("|")]);
    }
    let told = webhook.until_heard(2);
    assert!(told[1].contains("resumes"), "{told:?}");
    for map in ["customers", "orders"] {
        let errors = tandem.ok(&["error", "list", map, "--status", "all"]);
        assert_eq!(
            errors["items"].as_array().unwrap().len(),
            0,
            "an outage is no error of a record: {errors}"
        );
    }
    let rules = tandem.ok(&["rule", "list"]);
    assert_eq!(rules["items"][0]["maps"][0]["resumed_within_hour"], 1, "{rules}");
    assert_eq!(rules["items"][0]["maps"][0]["holds"], false, "{rules}");

    // It may do so once an hour: the next time it leaves the map to a person.
    crm.stop();
    insert(&erp, 300_001, 10);
    let shown = tandem.until(&["map", "show", "customers"], |map| map["state"] == "paused");
    assert_eq!(holds(&shown), ["rule crm-down"]);
    crm.start();
    let back = |log: &Json| {
        let entries = log["items"].as_array().unwrap().iter();
        entries.filter(|entry| entry["event"] == "map.destination_back").count() == 2
    };
    tandem.until(&["activity", "--map", "customers", "--limit", "200"], back);
    let rules = tandem.ok(&["rule", "list"]);
    let on_map = &rules["items"][0]["maps"][0];
    assert_eq!((&on_map["holds"], &on_map["resumes_left"]), (&true.into(), &0.into()), "{rules}");
    webhook.until_heard(3);
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    until(&crm, "crm", "SELECT count(*), count(DISTINCT order_no) FROM orders", &["100030|100030"]);

    // What happened is what the test says would have happened.
    let tested = tandem.ok(&["rule", "test", "crm-down", "--since", "1h"]);
    let firings = tested["items"].as_array().unwrap();
    assert!(firings.iter().any(|firing| firing["map"] == "customers"), "{tested}");
    assert!(!tested["unknown"].as_array().unwrap().is_empty(), "{tested}");
}

/// Switched off it does nothing, switched on it acts on what is true now; what a person did with it outlasts a restart.
#[test]
fn a_rule_is_switched_at_once_and_stays_so_over_a_restart() {
    let (house, erp, mut crm) = two_servers(&crm_down(None, ""));
    let tandem = run(&house);
    let switched = tandem.ok(&["rule", "disable", "crm-down", "--reason", "upgrade"]);
    assert_eq!(switched["enabled"], false);
    tandem.tandem(&["rule", "disable", "nothing"]).ended(5, "there is no rule nothing");
    tandem.tandem(&["rule", "test", "nothing"]).ended(5, "there is no rule nothing");
    let log = tandem.ok(&["activity"]);
    assert_eq!(
        (&log["items"][0]["event"], &log["items"][0]["reason"]),
        (&"rule.disabled".into(), &"upgrade".into())
    );
    tandem.kill();
    let tandem = house.serve();
    assert_eq!(tandem.ok(&["rule", "list"])["items"][0]["enabled"], false);

    crm.stop();
    insert(&erp, 1, 1);
    // Longer than the rule waits, by the engine's own condition.
    let down = |map: &Json| {
        let conditions = map["conditions"].as_array().unwrap();
        conditions.iter().any(|found| {
            found["type"] == "DestinationConnected"
                && found["well"] == false
                && found["since"]
                    .as_str()
                    .unwrap()
                    .parse::<jiff::Timestamp>()
                    .unwrap()
                    .duration_until(jiff::Timestamp::now())
                    .as_secs()
                    >= 5
        })
    };
    let shown = tandem.until(&["map", "show", "customers"], down);
    assert_eq!(shown["state"], "running", "a rule that is disabled does nothing: {shown}");
    tandem.ok(&["rule", "enable", "crm-down"]);
    let shown = tandem.until(&["map", "show", "customers"], |map| map["state"] == "paused");
    assert_eq!(holds(&shown), ["rule crm-down"]);
    crm.start();
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    until(&crm, "crm", "SELECT count(*) FROM accounts", &["1"]);
}

/// A rule takes off what it put on, and nothing else: neither what a person did nor what a limit did.
#[test]
fn a_rule_resumes_neither_what_a_person_nor_what_a_limit_has_paused() {
    let (house, erp, mut crm) =
        two_servers(&crm_down(None, ", resume = \"when_healthy\"").replace("[\"customers\"]", "[\"*\"]"));
    house.edit(
        "name = \"orders\"\ndepends_on = [\"customers\"]\n",
        "name = \"orders\"\nlimits = { max_queue_bytes = \"4kB\" }\n",
    );
    let tandem = run(&house);
    tandem.ok(&["map", "pause", "customers", "--wait"]);
    crm.stop();
    erp.sql_blocking("erp", "INSERT INTO orders SELECT no, NULL, 1 FROM generate_series(1, 300) AS no");
    erp.sql_blocking("erp", "INSERT INTO orders SELECT no, NULL, 1 FROM generate_series(1001, 1300) AS no");
    let both = |first: &'static str| {
        move |map: &Json| holds(map) == [first, "rule crm-down"] || holds(map) == ["rule crm-down", first]
    };
    tandem.until(&["map", "show", "customers"], both("user"));
    tandem.until(&["map", "show", "orders"], both("limit"));
    crm.start();
    // The rule lets go of what a person holds, and that is all.
    let shown = until_settled(&tandem, &["map", "show", "customers"], |map| holds(map) == ["user"]);
    assert_eq!(shown["state"], "paused");
    // Of what a limit holds it does not even let go.
    let shown = tandem.ok(&["map", "show", "orders"]);
    assert_eq!((&shown["state"], holds(&shown).len()), (&"paused".into(), 2), "{shown}");
    tandem.ok(&["map", "resume", "customers", "orders", "--wait"]);
    until(&crm, "crm", "SELECT count(*) FROM orders", &["600"]);
}
