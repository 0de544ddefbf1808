//! The API held against its own document: whatever it is asked, right or wrong, it answers with a status, a kind and a
//! shape that the document names, refuses what the document forbids, and never fails.
//!
//! What is asked is made from the document alone, so a new route is asked as soon as it is there. `make fuzz-api` asks
//! more of the kind, at random.

use crate::access::{NAMES, filled};
use crate::house::{House, PATIENCE, Server, running};
use crate::http::{ANONYMOUS, Answer, JSON, ask};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// What nobody should ask for, as a part of an address.
const ODD: [&str; 9] =
    ["", "0", "-1", "1.5", "18446744073709551616", "true", "%00", "%27%3B%20--%20", "%F0%9F%92%A9%E2%80%AE"];

/// The answer to this never ends, and the other is shut for a minute to who is often wrong: both have tests of their own.
const APART: [&str; 2] = ["get /api/v1/events", "post /api/v1/session"];

struct Document {
    whole: Json,
    validators: HashMap<String, jsonschema::Validator>,
}

/// A request, and whether the document has it.
struct Asked {
    path: String,
    body: String,
    allowed: bool,
}

impl Document {
    fn of(server: &Server) -> Self {
        let whole = ask(server, "GET", "/api/v1/openapi.json", ANONYMOUS, "").body;
        Self { whole, validators: HashMap::new() }
    }

    fn allows(&mut self, schema: &Json, value: &Json) -> bool {
        let components = &self.whole["components"];
        let validator = self.validators.entry(schema.to_string()).or_insert_with(|| {
            let mut whole = schema.clone();
            whole["components"] = components.clone();
            jsonschema::validator_for(&whole).unwrap_or_else(|why| panic!("{schema}: {why}"))
        });
        validator.is_valid(value)
    }

    /// A schema behind its reference.
    fn resolved(&self, schema: &Json) -> Json {
        match schema["$ref"].as_str() {
            Some(reference) => self.whole.pointer(reference.strip_prefix('#').unwrap()).unwrap().clone(),
            None => schema.clone(),
        }
    }

    /// The least that a schema asks for.
    fn example(&self, schema: &Json) -> Json {
        let schema = self.resolved(schema);
        let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]);
        match kind.as_str() {
            _ if schema["enum"].is_array() => schema["enum"][0].clone(),
            Some("string") => "a".into(),
            Some("integer") => schema["minimum"].as_u64().unwrap_or(0).max(1).into(),
            Some("boolean") => false.into(),
            Some("array") => json!([]),
            _ => {
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
                required.map(|name| (name.to_owned(), self.example(&schema["properties"][name]))).collect()
            }
        }
    }

    /// Bodies, right and wrong.
    fn bodies(&mut self, schema: &Json) -> Vec<(String, bool)> {
        let example = self.example(schema);
        let mut values: Vec<Json> = [json!(null), json!([]), json!(0), json!(""), json!({})].into();
        values.push(with(&example, "surprise", 1.into()));
        let properties = self.resolved(schema)["properties"].as_object().cloned().unwrap_or_default();
        for name in properties.keys() {
            let long = "x".repeat(1_001);
            let odd = json!([null, true, -1, 0, 1.5, u64::MAX, "", long, "\u{0}\u{202e}💩", [], [null], {}]);
            values.extend(odd.as_array().unwrap().iter().map(|odd| with(&example, name, odd.clone())));
        }
        values.push(example);
        let asked = values.into_iter().map(|value| (value.to_string(), self.allows(schema, &value)));
        let mut bodies: Vec<_> = asked.collect();
        // One with nothing in it asks for nothing, where nothing has to be said.
        bodies.extend(["{", "{\"a\":1}{", "\u{feff}{}"].map(|text| (text.to_owned(), false)));
        bodies
    }

    /// What is asked of one route.
    fn requests(&mut self, path: &str, operation: &Json) -> Vec<Asked> {
        let plain = filled(path, &NAMES);
        let schema = operation["requestBody"]["content"]["application/json"]["schema"].clone();
        let bodies = if schema.is_null() { vec![(String::new(), true)] } else { self.bodies(&schema) };
        let body = bodies.last().filter(|_| schema.is_null()).map(|(body, _)| body.clone());
        let body = body.unwrap_or_else(|| self.example(&schema).to_string());
        let parameters = operation["parameters"].as_array().unwrap();
        let query: Vec<&Json> = parameters.iter().filter(|known| known["in"] == "query").collect();
        let value = |name: &str| match name {
            "for" => "running",
            "timeout" => "0",
            _ => "",
        };
        let asks = |changed: Option<(&str, &str)>| {
            let said = query.iter().filter_map(|known| {
                let name = known["name"].as_str().unwrap();
                let value = changed.filter(|(other, _)| *other == name).map_or(value(name), |(_, odd)| odd);
                (!value.is_empty() || changed.is_some_and(|(other, _)| other == name))
                    .then(|| format!("{name}={value}"))
            });
            said.collect::<Vec<_>>().join("&")
        };
        let address = |path: &str, query: String| {
            if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
        };
        let mut requests: Vec<Asked> = bodies
            .iter()
            .map(|(body, allowed)| Asked {
                path: address(&plain, asks(None)),
                body: body.clone(),
                allowed: *allowed,
            })
            .collect();
        for known in &query {
            let (name, schema) = (known["name"].as_str().unwrap(), &known["schema"]);
            for odd in ODD {
                let read = odd.parse::<u64>().map_or(Json::from(odd), Json::from);
                let is_text = schema["type"].to_string().contains("string");
                let allowed = is_text || self.allows(schema, &read);
                let path = address(&plain, asks(Some((name, odd))));
                requests.push(Asked { path, body: body.clone(), allowed });
            }
        }
        let surprise = format!("{plain}?surprise=1");
        requests.push(Asked { path: surprise, body: body.clone(), allowed: true });
        for (name, value) in NAMES.iter().filter(|(name, _)| path.contains(*name)) {
            let others = NAMES.iter().filter(|(other, _)| other != name);
            let rest = filled(path, others);
            let odd = ODD.iter().filter(|odd| !odd.is_empty()).map(|odd| (*odd).to_owned());
            for odd in odd.chain([format!("{value}%2F..%2F{value}"), "x".repeat(300)]) {
                let path = address(&rest.replace(name, &odd), asks(None));
                requests.push(Asked { path, body: body.clone(), allowed: true });
            }
        }
        requests
    }

    /// What the document has against an answer.
    fn against(&mut self, operation: &Json, asked: &Asked, answer: &Answer) -> Option<String> {
        let status = answer.status.to_string();
        let class = format!("{}XX", &status[..1]);
        let responses = &operation["responses"];
        let named = responses.get(&status).or_else(|| responses.get(&class));
        let Some(named) = named else { return Some("this status is not named".to_owned()) };
        // Not in time, and not ready: both are answers.
        if answer.status >= 500 && answer.status != 504 && responses.get(&status).is_none() {
            return Some("a failure of our own".to_owned());
        }
        if !asked.allowed && answer.status < 400 {
            return Some("what the document forbids was taken".to_owned());
        }
        let empty = Map::new();
        let content = named["content"].as_object().unwrap_or(&empty).clone();
        match content.iter().find(|(kind, _)| answer.kind.starts_with(kind.as_str())) {
            None if content.is_empty() && answer.text.is_empty() => None,
            None => Some(format!("the kind {:?} is not named", answer.kind)),
            Some((_, of)) if of["schema"].is_null() || !answer.kind.contains("json") => None,
            Some((_, of)) if self.allows(&of["schema"], &answer.body) => None,
            Some(_) => Some("the body has another shape".to_owned()),
        }
    }
}

fn with(example: &Json, name: &str, value: Json) -> Json {
    let mut changed = example.clone();
    changed[name] = value;
    changed
}

/// Asks, and again as long as it is too often.
fn answered(server: &Server, method: &str, asked: &Asked) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let headers = if asked.body.is_empty() { "" } else { JSON };
        let answer = ask(server, &method.to_uppercase(), &asked.path, headers, &asked.body);
        if answer.status != 429 || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn whatever_is_asked_is_answered_as_the_document_says() {
    let house = House::new();
    let server = running(&house);
    let mut document = Document::of(&server);
    let (mut asked, mut taken, mut found) = (0, BTreeSet::new(), Vec::new());
    let paths = document.whole["paths"].as_object().unwrap().clone();
    for (path, item) in &paths {
        for (method, operation) in item.as_object().unwrap() {
            let route = format!("{method} {path}");
            if APART.contains(&&*route) {
                continue;
            }
            for request in document.requests(path, operation) {
                let answer = answered(&server, method, &request);
                asked += 1;
                if answer.status < 300 {
                    taken.insert(route.clone());
                }
                if let Some(why) = document.against(operation, &request, &answer) {
                    found.push(format!(
                        "{why}: {method} {} {} -> {} {}",
                        request.path, request.body, answer.status, answer.text
                    ));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} of {asked}:\n{}", found.len(), found.join("\n"));
    assert!(asked > 1_000, "only {asked} requests");
    assert!(taken.len() > 20, "hardly anything was taken: {taken:?}");
    server.ok(&["map", "list"]);
}
