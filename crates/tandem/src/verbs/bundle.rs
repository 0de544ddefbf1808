//! `tandem bundle`: what others need to help, in one file that can be read before it is sent.
//!
//! Nothing of a record is asked for: no queued record, no error in full, no conflict; errors are there as counts by
//! class and code. A config is added only if it is one that a server would take, since such a one has no secret in it but
//! by reference. What cannot be had is said in its place: a bundle is made when something is wrong.

use super::{Desk, Outcome};
use crate::args::Bundle as Asked;
use crate::config;
use crate::failure::{Exit, Failure};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tandem_server::{ActivityWay, ClientError, PAGE_MAX};

pub(crate) async fn bundle(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let client = &desk.client;
    let mut bundle = Map::new();
    let mut add = |name: &str, part: Value| drop(bundle.insert(name.to_owned(), part));
    add("made_at", json!(jiff::Timestamp::now()));
    add("version", json!(env!("CARGO_PKG_VERSION")));
    add("system", json!({ "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "kernel": kernel() }));
    add("server", json!(client.address()));
    add("served_by", part(client.server().await));
    add("config", declared(&asked.config));
    let maps = client.maps(None, Some(PAGE_MAX)).await;
    let unasked = maps.as_ref().err().map(ToString::to_string);
    add("maps", part(maps));
    add("apps", part(client.apps().await));
    add("rules", part(client.rules().await));
    add("errors", part(client.error_causes(None).await));
    add("activity", part(client.activity(None, ActivityWay::Newest, Some(PAGE_MAX)).await));
    add("metrics", part(client.metrics().await));
    if asked.check {
        add("check", part(client.check().await));
    }
    let text = serde_json::to_string_pretty(&Value::Object(bundle))
        .map_err(|why| Failure::new(Exit::Failed, format!("the bundle cannot be written: {why}")))?;
    write(&asked.file, &text)?;
    if let Some(why) = unasked {
        desk.output.say(&format!("what only the server knows is missing in it: {why}"));
    }
    desk.output.data(&json!({ "file": asked.file, "bytes": text.len() }), |_| {
        format!("{} is written: look through it before you send it", asked.file.display())
    });
    Ok(Exit::Ok)
}

/// What was answered, or why nothing was.
fn part<T: Serialize>(answer: Result<T, ClientError>) -> Value {
    match answer {
        Ok(answer) => serde_json::to_value(answer).unwrap_or_else(missing),
        Err(why) => missing(why),
    }
}

fn missing(why: impl Display) -> Value {
    json!({ "missing": why.to_string() })
}

fn kernel() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(release.trim().to_owned())
}

fn declared(path: &Path) -> Value {
    match config::load(path) {
        Ok(_) => std::fs::read_to_string(path).map_or_else(missing, Value::String),
        // The message may quote the line, and the line may have a password.
        Err(_) => missing(format!("{} is no config that a server would take: tandem check", path.display())),
    }
}

/// Writes a file that only its owner reads, over none that is there.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |why: std::io::Error| {
        let failure = Failure::new(Exit::Failed, format!("cannot write {}: {why}", path.display()));
        match why.kind() {
            std::io::ErrorKind::AlreadyExists => failure.fix("remove it, or name another file"),
            _ => failure,
        }
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
