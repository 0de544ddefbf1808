//! The release binary of Tandem as a user runs it: `tandem serve` with a config and a data folder of its own, and
//! the command line for everything that is asked of it.

use crate::pair::Pair;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that does not depend on the amount of data.
const PATIENCE: Duration = Duration::from_secs(60);

/// The variable that the config refers to.
const PASSWORD: &str = "TANDEM_BENCH_PASSWORD";

/// A table that is kept in step, and its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
}

/// A running engine. Killed when dropped.
pub(crate) struct Engine {
    binary: PathBuf,
    folder: TempDir,
    port: u16,
    maps: Vec<&'static str>,
    /// The servers' password: a config holds none.
    password: String,
    child: Option<Child>,
}

impl Engine {
    /// Starts an engine with a map for each table, none of them running.
    pub(crate) async fn prepared(binary: &Path, pair: &Pair, tables: &[Table]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tandem-bench-").tempdir()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let password = password(&pair.left_url())?;
        let config =
            config(port, pair, tables).replace(&format!(":{password}@"), &format!(":${{{PASSWORD}}}@"));
        std::fs::write(folder.path().join("tandem.toml"), config)?;
        let maps = tables.iter().map(|table| table.name).collect();
        let mut engine = Self { binary: binary.to_owned(), folder, port, maps, password, child: None };
        engine.serve().await?;
        Ok(engine)
    }

    /// Runs its maps with a copy of what is there, and does not wait for it.
    pub(crate) fn copy(&self) -> Result<()> {
        self.ask(&[&["map", "run"], &self.maps[..]].concat()).map(drop)
    }

    /// Starts an engine with a map for each table, running without a copy of what is there.
    pub(crate) async fn start(binary: &Path, pair: &Pair, tables: &[Table]) -> Result<Self> {
        let engine = Self::prepared(binary, pair, tables).await?;
        let mut run = vec!["map", "run", "--no-initial-sync", "--wait"];
        run.extend(&engine.maps);
        engine.ask(&run)?;
        Ok(engine)
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn serve(&mut self) -> Result<()> {
        let log = File::create(self.folder.path().join("log"))?;
        let mut serve = Command::new(&self.binary);
        serve.env(PASSWORD, &self.password).env("XDG_STATE_HOME", self.folder.path().join("state"));
        serve.args(["serve", "-c", "tandem.toml"]).current_dir(self.folder.path());
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(serve.spawn().context("the tandem binary does not start")?);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                bail!("tandem serve ended with {status}:\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "tandem serve does not listen:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends the process in order.
    pub(crate) fn end(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.pause_only(&self.maps)
    }

    /// Pauses some of its maps.
    pub(crate) fn pause_only(&self, maps: &[&str]) -> Result<()> {
        self.ask(&[&["map", "pause", "--wait"], maps].concat()).map(drop)
    }

    /// Asks for catch-up, and does not wait for it.
    pub(crate) fn resume(&self) -> Result<()> {
        self.resume_only(&self.maps)
    }

    /// As [`Self::resume`], for some of its maps.
    pub(crate) fn resume_only(&self, maps: &[&str]) -> Result<()> {
        self.ask(&[&["map", "resume"], maps].concat()).map(drop)
    }

    /// Queued records of all maps.
    pub(crate) fn queued(&self) -> Result<u64> {
        let count = |map: &&str| {
            let stats = self.ask(&["queue", "stats", map])?;
            stats["records"].as_u64().context("queue stats has no records")
        };
        self.maps.iter().map(count).sum()
    }

    /// Bytes queued, of all maps.
    pub(crate) fn queued_bytes(&self) -> Result<u64> {
        let count = |map: &&str| {
            let stats = self.ask(&["queue", "stats", map])?;
            stats["bytes"].as_u64().context("queue stats has no bytes")
        };
        self.maps.iter().map(count).sum()
    }

    /// Errors of a map that something is still to become of.
    pub(crate) fn open_errors(&self, map: &str) -> Result<u64> {
        let shown = self.ask(&["map", "show", map])?;
        shown["errors"]["open"].as_u64().context("map show has no open errors")
    }

    /// Asks the API, and says how long the whole answer took: a new connection, no process, nothing read into shape.
    pub(crate) fn api(&self, method: &str, path: &str, body: &str) -> Result<(Duration, Json)> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        let token = std::fs::read_to_string(self.folder.path().join("tandem-data/token"))?;
        let token = token.trim();
        write!(
            stream,
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.port
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let took = began.elapsed();
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        ensure!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
        Ok((took, serde_json::from_str(body)?))
    }

    /// Waits until so many records are queued.
    pub(crate) async fn until_queued(&self, records: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let queued = self.queued()?;
            if queued == records {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{queued} queued, not {records}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the process has logged.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// Runs the command line against it, and returns the data.
    fn ask(&self, args: &[&str]) -> Result<Json> {
        let server = format!("http://127.0.0.1:{}", self.port);
        let mut command = Command::new(&self.binary);
        command.env("XDG_STATE_HOME", self.folder.path().join("state"));
        let output = command.args(["--server", &server, "-o", "json"]).args(args).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tandem {}: {said}\n{}", args.join(" "), self.log());
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn password(url: &str) -> Result<String> {
    let config: tokio_postgres::Config = url.parse()?;
    Ok(String::from_utf8_lossy(config.get_password().context("the servers have a password")?).into_owned())
}

fn config(port: u16, pair: &Pair, tables: &[Table]) -> String {
    // No limit of a queue is to be met by a load of millions.
    let mut config = format!(
        "[limits]\nprofile = \"never_lose\"\n[server]\nlisten = \"127.0.0.1:{port}\"\n[apps.left]\nurl = \"{}\"\n[apps.right]\nurl = \"{}\"\n",
        pair.left_url(),
        pair.right_url()
    );
    for Table { name, key } in tables {
        config += &format!(
            "[[maps]]\nname = \"{name}\"\ndirection = \"to_right\"\ndeletes = \"queue\"\n\
             left = {{ app = \"left\", table = \"public.{name}\", key = [\"{key}\"] }}\n\
             right = {{ app = \"right\", table = \"public.{name}\", key = [\"{key}\"] }}\n"
        );
    }
    config
}
