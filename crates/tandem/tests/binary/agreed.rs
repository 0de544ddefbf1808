//! A person at a terminal is shown what would be done, and agrees to that: if it is something else by then, nothing is done.

use crate::house::{House, Server, items, rows, running};
use crate::http::{JSON, ask};
use crate::terminal::Terminal;

const RULE: &str = "
[[rules]]
name = \"crm-down\"
when = { destination_unreachable = \"10s\" }
then = { action = \"pause\" }
";

#[test]
fn a_config_that_changes_while_somebody_reads_what_it_changes_is_not_reloaded() {
    let house = House::new();
    let server = running(&house);
    let text = std::fs::read_to_string(house.path().join("tandem.toml")).unwrap();
    house.write("tandem.toml", &format!("{text}{RULE}"));
    let mut terminal = Terminal::asks(&server, "reload");
    terminal.until("Type yes");
    house.edit("\"10s\"", "\"90s\"");
    let (code, said) = terminal.end("yes");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no longer what was shown"), "{said}");
    assert!(items(&server.ok(&["rule", "list"])).is_empty());

    let mut terminal = Terminal::asks(&server, "reload");
    terminal.until("Type yes");
    let (code, said) = terminal.end("yes");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(items(&server.ok(&["rule", "list"])).len(), 1);
    let mut terminal = Terminal::asks(&server, "reload");
    terminal.until("nothing to do");
    assert_eq!(terminal.end("").0, Some(0));
}

/// A server whose map `customers` is paused with a queue.
fn queued(house: &House) -> Server {
    let server = running(house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    insert(house, &server, "A", 1);
    server
}

fn insert(house: &House, server: &Server, no: &str, queued: u64) {
    house.app("erp").execute("INSERT INTO customers VALUES (?1, 'name')", [no]).unwrap();
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == queued);
}

#[test]
fn records_that_came_while_somebody_agreed_to_lose_others_are_not_lost() {
    for args in [
        "map resume customers --mode skip-discard",
        "map stop customers --queue discard",
        "app stop crm --queue discard",
    ] {
        let house = House::new();
        let server = queued(&house);
        let agree = |meanwhile: &dyn Fn()| {
            let name = if args.starts_with("app") { "crm" } else { "customers" };
            let mut terminal = Terminal::asks(&server, args);
            terminal.until("name to go on:");
            meanwhile();
            terminal.end(name)
        };
        let (code, said) = agree(&|| insert(&house, &server, "B", 2));
        assert_eq!(code, Some(3), "{args}: {said}");
        assert!(said.contains("2 records are queued now, not 1"), "{args}: {said}");
        assert_eq!(server.ok(&["map", "show", "customers"])["state"], "paused");
        let (code, said) = agree(&|| ());
        assert_eq!(code, Some(0), "{args}: {said}");
        assert!(said.contains("2 records"), "{args}: {said}");
    }
}

#[test]
fn errors_that_came_while_somebody_agreed_to_delete_others_are_not_deleted() {
    let house = House::new();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON customers BEGIN SELECT RAISE(ABORT, 'no'); END";
    house.app("crm").execute_batch(trigger).unwrap();
    let server = running(&house);
    let set_aside = |no: &str, errors: usize| {
        house.app("erp").execute("INSERT INTO customers VALUES (?1, 'name')", [no]).unwrap();
        server.until(&["error", "list", "customers"], |page| items(page).len() == errors);
    };
    set_aside("A", 1);
    let mut terminal = Terminal::asks(&server, "error delete customers --all");
    terminal.until("name to go on:");
    set_aside("B", 2);
    let (code, said) = terminal.end("customers");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("2 errors are meant now, not 1"), "{said}");
    // Of some of them only the number of those counts.
    let mut terminal = Terminal::asks(&server, "error delete customers --class application");
    terminal.until("This deletes 2 of 2 errors of customers");
    set_aside("C", 3);
    let (code, said) = terminal.end("customers");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("3 errors are meant now, not 2"), "{said}");
    let mut terminal = Terminal::asks(&server, "error delete customers --key A");
    terminal.until("This deletes 1 of 3 errors of customers");
    set_aside("D", 4);
    assert_eq!(terminal.end("customers").0, Some(0));
    let left = server.ok(&["error", "list", "customers"]);
    let id = items(&left)[0]["id"].as_str().unwrap().to_owned();
    let mut terminal = Terminal::asks(&server, &format!("error delete customers --id {id}"));
    terminal.until("This deletes 1 of 3 errors of customers");
    server.ok(&["error", "delete", "customers", "--id", &id, "--yes"]);
    let (code, said) = terminal.end("customers");
    assert_eq!(code, Some(3), "{said}");

    let mut terminal = Terminal::asks(&server, "error delete customers --all");
    terminal.until("name to go on:");
    let (code, said) = terminal.end("customers");
    assert_eq!(code, Some(0), "{said}");
    server.until(&["error", "list", "customers"], |page| items(page).is_empty());
}

/// Only what the comparison has named that somebody looked at, and nothing if there was another one since.
#[test]
fn only_those_records_are_repaired_that_somebody_saw_to_differ() {
    let house = House::new();
    house
        .app("erp")
        .execute_batch("INSERT INTO customers VALUES ('A', 'ann'), ('B', 'bob'), ('C', 'cyd')")
        .unwrap();
    let server = running(&house);
    let crm = house.app("crm");
    crm.execute_batch("INSERT INTO customers VALUES ('A', 'ann'), ('B', 'bob'), ('X', 'extra')").unwrap();
    let names = || rows(&crm, "customers").join(" ");
    server.tandem(&["map", "verify", "customers", "--repair", "left"]).ended(2, "add --yes");
    let mut terminal = Terminal::asks(&server, "map verify customers --repair left");
    terminal.until("was not verified");
    assert_eq!(terminal.end("").0, Some(5));

    let compare = || server.tandem(&["map", "verify", "customers", "-o", "json"]).ended(7, "").json();
    assert_eq!(compare()["differing"], 2);
    let mut terminal = Terminal::asks(&server, "map verify customers --repair left");
    terminal.until("found 2 records that differ");
    // One more differs meanwhile, and one of the two is put in order.
    crm.execute_batch(
        "UPDATE customers SET name = 'other' WHERE no = 'A'; DELETE FROM customers WHERE no = 'X'",
    )
    .unwrap();
    let (code, said) = terminal.end("customers");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(), r#"[Text("A"), Text("other")] [Text("B"), Text("bob")] [Text("C"), Text("cyd")]"#);
    let log = server.ok(&["activity", "--map", "customers"]).to_string();
    assert!(log.contains("in the 2 records that were found to differ"), "{log}");

    // Without rows nothing stands in their place: a dash would be a record that is not there.
    let said = server.tandem(&["map", "verify", "customers"]).ended(7, "").out;
    assert!(said.contains("KEY  DIFFERENCE\nA    changed"), "{said}");
    let said = server.tandem(&["map", "verify", "customers", "--rows"]).ended(7, "").out;
    assert!(said.contains("LEFT") && said.contains("name=other"), "{said}");

    // What was repaired is no comparison of all; nor is one that somebody else has made since.
    let seen = compare();
    let began = seen["started_at"].as_str().unwrap();
    let repair = |began: &str| {
        server.tandem(&[
            "map",
            "verify",
            "customers",
            "--repair",
            "left",
            "--seen",
            began,
            "--yes",
            "-o",
            "json",
        ])
    };
    let mut terminal = Terminal::asks(&server, "map verify customers --repair left");
    terminal.until("found 1 records that differ");
    let again = compare();
    let (code, said) = terminal.end("customers");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("it was compared again since"), "{said}");
    repair(began).ended(3, "it was compared again since");
    assert!(names().contains("other"));
    // One that does not name all that it has found says too little.
    let few =
        server.tandem(&["map", "verify", "customers", "--limit", "0", "-o", "json"]).ended(7, "").json();
    repair(few["started_at"].as_str().unwrap()).ended(3, "1 records differ and 0 of them are known by name");
    repair(again["started_at"].as_str().unwrap()).ended(3, "compared again");
    let last = compare();
    let done = repair(last["started_at"].as_str().unwrap()).ended(0, "").json();
    assert_eq!(
        (&done["repaired"], &done["differing"], &done["equal"]),
        (&1.into(), &1.into(), &0.into()),
        "{done}"
    );
    assert_eq!(names(), r#"[Text("A"), Text("ann")] [Text("B"), Text("bob")] [Text("C"), Text("cyd")]"#);
    server.tandem(&["map", "verify", "customers", "--seen", began]).ended(2, "--repair");
    let said =
        ask(&server, "POST", "/api/v1/maps/customers/verify", JSON, &format!(r#"{{"seen":"{began}"}}"#));
    assert_eq!((said.status, said.body["detail"].as_str()), (400, Some("'seen' belongs to a repair")));
}

/// A name may stand for another token by now than for the one that was seen.
#[test]
fn a_token_that_has_taken_the_place_of_another_is_not_revoked_for_it() {
    let house = House::new();
    let server = house.serve();
    let made = || {
        server.ok(&["token", "create", "robot", "--role", "viewer"])["created_at"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = made();
    server.tandem(&["token", "revoke", "robot"]).ended(0, "");
    let second = made();
    server.tandem(&["token", "revoke", "robot", "--created-at", &first]).ended(3, "another token");
    assert!(server.ok(&["token", "list"]).to_string().contains("robot"));
    server.tandem(&["token", "revoke", "robot", "--created-at", &second]).ended(0, "");
    assert!(!server.ok(&["token", "list"]).to_string().contains("robot"));
}
