//! The engine as a process: started, asked through its command line, taken away.
//!
//! It is this very program under another first argument, which is the whole of `tandem` with fail points compiled
//! in. It ends with the process that started it, however that ends.

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tandem_engine::Mistake;

/// The first argument that makes this program `tandem`.
pub(crate) const AS_TANDEM: &str = "as-tandem";

/// How long an engine may take until its API answers, with both databases up or not.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long one may take to be gone that has met its fail point and does not answer any more.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// What the engine's log said, by message.
pub(crate) type Messages = Arc<Mutex<Said>>;

/// What the engine has said in all its lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// How often each message came.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The maps of which a record has waited for another.
    pub(crate) waited: BTreeSet<String>,
}

/// How the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Death {
    /// At the fail point of this name.
    FailPoint(String),
    /// We killed it.
    Killed,
}

/// What the command line answered.
pub(crate) struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}: {}", self.code, self.err.trim())
    }
}

impl Answer {
    pub(crate) fn is_ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// Where engines are started, one after another.
pub(crate) struct Home {
    folder: PathBuf,
    program: PathBuf,
    messages: Messages,
    mistake: Option<Mistake>,
}

/// One life of the engine.
pub(crate) struct Engine {
    child: Arc<Mutex<Child>>,
    pid: u32,
    url: String,
    folder: PathBuf,
    program: PathBuf,
    reader: Option<JoinHandle<Option<String>>>,
}

impl Home {
    /// A folder with a config; the engines may be told to make a mistake, for the harness to find.
    pub(crate) fn new(folder: PathBuf, mistake: Option<Mistake>) -> Result<Self> {
        Ok(Self { folder, program: std::env::current_exe()?, messages: Messages::default(), mistake })
    }

    /// How often the engines have said what.
    pub(crate) fn messages(&self) -> Said {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts an engine and waits until its API answers. `None`: it was armed, and ended before that.
    pub(crate) fn start(&self, fail_point: Option<&str>) -> Result<(Engine, bool)> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program);
        command.args([AS_TANDEM, "serve", "-c", "tandem.toml", "--log-format", "json"]);
        command.current_dir(&self.folder).env("TANDEM_SMALL_JOURNAL", "1").env_remove("TANDEM_SERVER");
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        if let Some(point) = fail_point {
            command.env("TANDEM_FAILPOINT", point);
        }
        if let Some(mistake) = self.mistake {
            command.env("TANDEM_MISTAKE", mistake.name());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start the engine")?;
        let pid = child.id();
        let stderr = child.stderr.take().context("its stderr is piped")?;
        let log = File::options().append(true).create(true).open(self.folder.join("engine.log"))?;
        let (tell, told) = mpsc::channel();
        let messages = self.messages.clone();
        let reader = std::thread::spawn(move || read(BufReader::new(stderr).lines(), log, &tell, &messages));
        let mut engine = Engine {
            child: Arc::new(Mutex::new(child)),
            pid,
            url: String::new(),
            folder: self.folder.clone(),
            program: self.program.clone(),
            reader: Some(reader),
        };
        match told.recv_timeout(START_WITHIN) {
            Ok(address) => engine.url = format!("http://{address}"),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("the engine did not listen within {START_WITHIN:?}")
            }
            Err(mpsc::RecvTimeoutError::Disconnected) if fail_point.is_some() => return Ok((engine, false)),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("the engine ended at its start; see engine.log")
            }
        }
        let answers = engine.ask(&["map", "list", "-o", "json"])?.is_ok();
        if !answers && !engine.ends_within(GONE_WITHIN) {
            bail!("the engine listens, and its API does not answer");
        }
        Ok((engine, answers))
    }
}

/// Reads a life's log to its end; returns the fail point that ended it, if one did.
fn read(
    lines: impl Iterator<Item = std::io::Result<String>>,
    mut log: File,
    tell: &mpsc::Sender<String>,
    messages: &Messages,
) -> Option<String> {
    let mut ended_by = None;
    for line in lines.map_while(std::io::Result::ok) {
        // A log that cannot be kept costs the explanation of a failure, not the finding of it.
        let _ = writeln!(log, "{line}");
        if let Some(point) = line.strip_prefix("fail point ") {
            ended_by = Some(point.to_owned());
        }
        let event: Json = serde_json::from_str(&line).unwrap_or_default();
        let Some(message) = event.get("message").and_then(Json::as_str) else { continue };
        if message == "listening"
            && let Some(address) = event.get("address").and_then(Json::as_str)
        {
            // Whoever started it may have given up.
            let _ = tell.send(address.to_owned());
        }
        let text = message.split_once(": ").map_or(message, |(text, _)| text).to_owned();
        let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
        if text == "record waits for another map"
            && let Some(map) = event.get("map").and_then(Json::as_str)
        {
            messages.waited.insert(map.to_owned());
        }
        *messages.counts.entry(text).or_default() += 1;
    }
    ended_by
}

impl Engine {
    /// Asks it through the command line.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Answer> {
        let mut command = Command::new(&self.program);
        command.arg(AS_TANDEM).args(args).args(["--server", &self.url]).current_dir(&self.folder);
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        let output = command.stdin(Stdio::null()).output().context("run the command line")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
    }

    /// All maps, as the API shows them; `None` if nobody answers.
    pub(crate) fn maps(&self) -> Result<Option<Vec<Json>>> {
        let answer = self.ask(&["map", "list", "-o", "json", "--limit", "100"])?;
        if !answer.is_ok() {
            return Ok(None);
        }
        let page: Json = serde_json::from_str(&answer.out).context("map list answers in JSON")?;
        Ok(page.get("items").and_then(Json::as_array).cloned())
    }

    pub(crate) fn is_alive(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(child.try_wait(), Ok(None))
    }

    /// Kills it when the time has come, whatever it does then.
    pub(crate) fn doom(&self, after: Duration) {
        let child = self.child.clone();
        std::thread::spawn(move || {
            std::thread::sleep(after);
            // It may have ended by itself; its number is then not given to anybody else before we have waited.
            let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
        });
    }

    /// Waits until it has ended, for so long.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Takes it away if it is still there, and says how it ended.
    pub(crate) fn bury(mut self) -> Result<Death> {
        let status = {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = child.kill();
            child.wait().context("wait for the engine")?
        };
        let said = self.reader.take().and_then(|reader| reader.join().ok()).flatten();
        match (status.signal(), said) {
            // SIGABRT is how a fail point ends it, SIGKILL how we do.
            (Some(6), Some(point)) => Ok(Death::FailPoint(point)),
            (Some(9), _) => Ok(Death::Killed),
            _ => bail!("the engine (process {}) ended by itself: {status}; see engine.log", self.pid),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
