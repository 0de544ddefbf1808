//! A folder with two SQLite apps and a config, the binary, and a server that is ended with the test.

use rusqlite::Connection;
use serde_json::Value as Json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tandem_proof_servers::certificates;
use tempfile::TempDir;

/// How long anything in here may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the binary did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Its data, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("no JSON ({why}): {self:?}"))
    }

    /// Itself, if it ended with this code and said this.
    #[track_caller]
    pub(crate) fn ended(self, code: i32, said: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(said), "it does not say '{said}': {self:?}");
        self
    }
}

/// Runs the binary.
pub(crate) fn tandem(folder: &Path, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(args)
        .current_dir(folder)
        .env_remove("TANDEM_SERVER")
        .env_remove("TANDEM_CA")
        .env_remove("TANDEM_TOKEN")
        .env_remove("TANDEM_TOKEN_FILE")
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder with two apps and a config.
pub(crate) struct House {
    folder: TempDir,
}

const TABLES: &str = "
CREATE TABLE customers (no TEXT PRIMARY KEY, name TEXT);
CREATE TABLE orders (no INTEGER PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers (no), cents INTEGER);
";

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[apps.erp]
url = "sqlite:erp.db"
[apps.crm]
url = "sqlite:crm.db"
[[maps]]
name = "customers"
deletes = "queue"
left = { app = "erp", table = "customers", key = ["no"] }
right = { app = "crm", table = "customers", key = ["no"] }
[[maps]]
name = "orders"
depends_on = ["customers"]
deletes = "queue"
left = { app = "erp", table = "orders", key = ["no"] }
right = { app = "crm", table = "orders", key = ["no"] }
"#;

/// What the config of a server with a certificate says.
pub(crate) const TLS: &str = "tls = { certificate = \"file:server.pem\", key = \"file:server.key\" }";

impl House {
    pub(crate) fn new() -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap() };
        for app in ["erp", "crm"] {
            let database = house.app(app);
            database.pragma_update(None, "journal_mode", "wal").unwrap();
            database.execute_batch(TABLES).unwrap();
        }
        house.write("tandem.toml", CONFIG);
        house
    }

    /// One whose server has a certificate for `localhost` from the authority `ca.pem`.
    pub(crate) fn with_tls() -> Self {
        let house = Self::new();
        certificates(house.path());
        house.edit("listen = \"127.0.0.1:0\"", &format!("listen = \"127.0.0.1:0\"\n{TLS}"));
        house
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    /// Changes the config.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path: PathBuf = self.folder.path().join("tandem.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in the config");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// An app, as its own program opens it.
    pub(crate) fn app(&self, app: &str) -> Connection {
        let database = Connection::open(self.folder.path().join(format!("{app}.db"))).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        database.pragma_update(None, "foreign_keys", true).unwrap();
        database
    }

    pub(crate) fn tandem(&self, args: &[&str]) -> Ran {
        tandem(self.path(), args)
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn serve(&self) -> Server {
        self.try_serve().unwrap_or_else(|(code, said)| panic!("serve ended with {code:?}: {said}"))
    }

    /// Starts a server; an error is how it ended.
    pub(crate) fn try_serve(&self) -> Result<Server, (Option<i32>, String)> {
        self.try_serve_with("info")
    }

    /// As [`Self::serve`], but no file that it writes may become larger than so many bytes.
    pub(crate) fn serve_with_files_up_to(&self, bytes: u64) -> Server {
        let mut limited = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 1024);
        limited.args(["-c", &script, "limited", env!("CARGO_BIN_EXE_tandem")]);
        self.start(limited, "info").unwrap_or_else(|(code, said)| panic!("serve ended with {code:?}: {said}"))
    }

    /// As [`Self::try_serve`], with so much in its log.
    pub(crate) fn try_serve_with(&self, log: &str) -> Result<Server, (Option<i32>, String)> {
        self.start(Command::new(env!("CARGO_BIN_EXE_tandem")), log)
    }

    fn start(&self, mut binary: Command, log: &str) -> Result<Server, (Option<i32>, String)> {
        let mut child = binary
            .args(["serve", "-c", "tandem.toml", "--log-format", "json"])
            .current_dir(self.path())
            .env("TANDEM_LOG", log)
            .env("XDG_STATE_HOME", self.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        // Reads to the end, so that the server is never blocked by a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        let mut said = String::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let event: Json = serde_json::from_str(&line).unwrap_or_default();
                    if event["message"] == "listening" {
                        let address = event["address"].as_str().unwrap();
                        let port = address.rsplit_once(':').unwrap().1;
                        let (url, how) = match event["tls"] == true {
                            true => (format!("https://localhost:{port}"), OVER_TLS.as_slice()),
                            false => (format!("http://{address}"), [].as_slice()),
                        };
                        let folder = self.path().to_path_buf();
                        return Ok(Server { child, url, how, folder, started: said, told });
                    }
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(_) => {
                    let ended = child.try_wait().unwrap();
                    if ended.is_none() {
                        child.kill().unwrap();
                    }
                    let code = child.wait().unwrap().code();
                    return Err((code, said));
                }
            }
        }
    }
}

/// How the command line asks a server that has a certificate, whose name finds no token.
const OVER_TLS: [&str; 4] = ["--ca", "ca.pem", "--token-file", "tandem-data/token"];

/// A server; killed with the test if it was not ended.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    how: &'static [&'static str],
    folder: PathBuf,
    started: String,
    told: mpsc::Receiver<String>,
}

impl Server {
    /// Asks it through the command line.
    pub(crate) fn tandem(&self, args: &[&str]) -> Ran {
        let mut all = args.to_vec();
        all.extend(["--server", &self.url]);
        // A token that a test names is the one that counts.
        let is_named = args.contains(&"--token-file");
        all.extend(self.how.iter().take(if is_named { 2 } else { 4 }));
        tandem(&self.folder, &all)
    }

    /// Where it listens: a host with a port.
    pub(crate) fn authority(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder in which the command line finds how to ask it.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The file with the token of its own user.
    pub(crate) fn token_file(&self) -> PathBuf {
        let Some(address) = self.url.strip_prefix("http://") else {
            return self.folder.join("tandem-data/token");
        };
        std::fs::read_to_string(self.state().join("tandem/servers").join(address)).unwrap().into()
    }

    /// Asks it and expects an answer.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Json {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        self.tandem(&all).ended(0, "").json()
    }

    /// Waits until asking gives what is wanted.
    #[track_caller]
    pub(crate) fn until(&self, args: &[&str], wanted: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.ok(args);
            if wanted(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{args:?} still says {seen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Ends it in order, and says with which code and in what time.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Duration, String) {
        self.is_balanced();
        let start = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        (code, start.elapsed(), self.told.iter().collect::<Vec<_>>().join("\n"))
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged before it listened.
    pub(crate) fn started(&self) -> &str {
        &self.started
    }

    /// What it has logged since it was asked last.
    pub(crate) fn logged(&self) -> String {
        self.told.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Takes it away without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server {
    /// Its books balance: each change that came in is queued, or something became of it, once.
    fn is_balanced(&self) {
        let maps = self.tandem(&["map", "list", "-o", "json"]);
        // Some servers do not live as long as their test.
        if maps.code != Some(0) {
            return;
        }
        for map in items(&maps.json()) {
            for flow in map["flows"].as_array().unwrap() {
                let ledger = &flow["ledger"];
                assert!(ledger.is_null() || ledger["difference"] == 0, "{}: {ledger}", map["name"]);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() && matches!(self.child.try_wait(), Ok(None)) {
            self.is_balanced();
        }
        // It may have ended already; there is nothing more to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until both apps have the same rows in a table, and returns how many.
#[track_caller]
pub(crate) fn until_equal(house: &House, table: &str) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (left, right) = (rows(&house.app("erp"), table), rows(&house.app("crm"), table));
        if left == right {
            return left.len();
        }
        assert!(Instant::now() < deadline, "{table} differs: {left:?} {right:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A server whose maps run.
pub(crate) fn running(house: &House) -> Server {
    let server = house.serve();
    server.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    server
}

/// What is on a page.
pub(crate) fn items(page: &Json) -> &Vec<Json> {
    page["items"].as_array().unwrap()
}

/// The rows of a table, in order.
pub(crate) fn rows(database: &Connection, table: &str) -> Vec<String> {
    let mut statement = database.prepare(&format!("SELECT * FROM {table} ORDER BY no")).unwrap();
    let width = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let cells: Vec<rusqlite::types::Value> = (0..width).map(|column| row.get(column).unwrap()).collect();
        Ok(format!("{cells:?}"))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}
