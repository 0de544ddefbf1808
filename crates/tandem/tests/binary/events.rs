//! What changes, as a page that stays open is told of it.

use crate::access::token;
use crate::house::{House, PATIENCE, Server, running};
use crate::http::{Answer, ask};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// An event as it came.
#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Json,
}

/// A client that listens.
struct Listener {
    lines: BufReader<TcpStream>,
}

impl Listener {
    fn new(server: &Server, token: &str, headers: &str) -> Self {
        let address = server.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        let mut listener = Self { lines: BufReader::new(stream) };
        let head: Vec<String> =
            std::iter::from_fn(|| listener.line()).take_while(|line| !line.is_empty()).collect();
        assert_eq!(head[0], "HTTP/1.1 200 OK", "{head:?}");
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        listener
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; nothing if there comes none any more.
    fn next(&mut self) -> Option<Event> {
        let (mut id, mut name, mut data) = (String::new(), String::new(), None);
        loop {
            // Lengths of chunks are between, which are no field of ours.
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", text)) => text.clone_into(&mut id),
                Some(("event", text)) => text.clone_into(&mut name),
                Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
                _ if line.is_empty() && data.is_some() => {
                    return Some(Event { id, name, data: data.unwrap() });
                }
                _ => {}
            }
        }
    }

    fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        std::iter::from_fn(|| self.next()).find(wanted).expect("the events ended")
    }
}

fn local(server: &Server) -> String {
    std::fs::read_to_string(server.token_file()).unwrap().trim().to_owned()
}

fn is_map(event: &Event, map: &str, state: &str) -> bool {
    event.name == "map" && event.data["name"] == map && event.data["state"] == state
}

#[test]
fn whoever_listens_is_told_of_each_change_and_goes_on_where_they_were() {
    let house = House::new();
    let server = running(&house);
    let local = local(&server);
    let mut listener = Listener::new(&server, &local, "");
    let first = listener.next().unwrap();
    assert_eq!((&*first.name, &first.data), ("reset", &serde_json::json!({})));
    server.ok(&["map", "pause", "orders", "--wait"]);
    let paused = listener.until(|event| is_map(event, "orders", "paused"));
    let shown = ask(&server, "GET", "/api/v1/maps/orders", "", "").body;
    let names = |map: &Json| map.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&paused.data), names(&shown), "the whole map");
    let told = |event: &Event| event.name == "activity" && event.data["map"] == "orders";
    let actor = listener.until(told).data["actor"].clone();
    assert!(actor.as_str().unwrap().starts_with("local (for cli:"), "{actor}");
    drop(listener);

    server.ok(&["map", "resume", "orders", "--wait"]);
    server.ok(&["map", "pause", "orders", "--wait"]);
    let again = format!("Last-Event-ID: {}\r\n", paused.id);
    let mut listener = Listener::new(&server, &local, &again);
    let next = listener.next().unwrap();
    let number = |id: &str| id.split_once('-').unwrap().1.parse::<u64>().unwrap();
    assert_eq!((number(&next.id), next.name == "reset"), (number(&paused.id) + 1, false), "{next:?}");
    listener.until(|event| is_map(event, "orders", "paused"));
    drop(listener);
    for lost in ["0-1", "x", &format!("{}9", paused.id)] {
        let mut listener = Listener::new(&server, &local, &format!("Last-Event-ID: {lost}\r\n"));
        assert_eq!(listener.next().unwrap().name, "reset", "{lost}");
    }

    // One that listens does not hold up the end.
    let mut listener = Listener::new(&server, &local, "");
    let (code, took, logged) = server.terminate();
    assert_eq!(code, Some(0), "{logged}");
    assert!(took.as_secs() < 9, "{took:?}");
    while listener.next().is_some() {}
    let server = house.serve();
    let token = std::fs::read_to_string(server.token_file()).unwrap();
    let mut listener = Listener::new(&server, token.trim(), &again);
    assert_eq!(listener.next().unwrap().name, "reset", "another life of the server");
}

#[test]
fn a_listener_is_told_only_of_its_maps_and_of_no_value() {
    let house = House::new();
    let server = running(&house);
    let bound = token(&server, &["bound", "--role", "operator", "--map", "orders"]);
    let viewer = token(&server, &["viewer", "--role", "viewer"]);
    let mut listeners = [bound, viewer].map(|token| Listener::new(&server, &token, ""));
    house.app("erp").execute("INSERT INTO customers VALUES ('Zx9q1', 'Zx9q2')", []).unwrap();
    server.ok(&["map", "pause", "customers", "--wait"]);
    house.app("erp").execute("UPDATE customers SET name = 'Zx9q3'", []).unwrap();
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 1);
    token(&server, &["unseen", "--role", "viewer"]);
    server.ok(&["map", "resume", "customers", "--wait"]);
    server.tandem(&["map", "wait", "orders", "--for", "running"]).ended(0, "");
    server.ok(&["map", "pause", "orders", "--wait", "--reason", "the end"]);
    let end = |event: &Event| event.name == "activity" && event.data["reason"] == "the end";
    let [of_bound, of_viewer] = listeners.each_mut().map(|listener| {
        let mut all = Vec::new();
        while all.last().is_none_or(|event| !end(event)) {
            all.push(listener.next().unwrap());
        }
        all
    });
    for event in &of_bound {
        let about = if event.name == "map" { &event.data["name"] } else { &event.data["map"] };
        assert!(event.name == "reset" || about == "orders", "{event:?}");
    }
    let has = |name: &str, text: &str| {
        of_viewer.iter().any(|event| event.name == name && event.data.to_string().contains(text))
    };
    assert!(has("map", "customers") && has("activity", "token.created"), "{of_viewer:?}");
    assert!(!format!("{of_bound:?}{of_viewer:?}").contains("Zx9q"));
}

#[test]
fn listening_ends_with_the_token_and_there_is_a_bound_on_listeners() {
    let house = House::new();
    let server = house.serve();
    let secret = token(&server, &["page", "--role", "viewer"]);
    let mut listeners: Vec<Listener> = (0..16).map(|_| Listener::new(&server, &secret, "")).collect();
    let ask_more = || -> Answer {
        ask(&server, "GET", "/api/v1/events", &format!("Authorization: Bearer {secret}\r\n"), "")
    };
    let refused = ask_more();
    assert_eq!((refused.status, &refused.body["code"]), (429, &"too_many_listeners".into()));
    assert_eq!(refused.header("retry-after"), "10");
    server.tandem(&["token", "revoke", "page"]).ended(0, "");
    for listener in &mut listeners {
        while listener.next().is_some() {}
    }
    assert_eq!(ask_more().status, 401);
}
