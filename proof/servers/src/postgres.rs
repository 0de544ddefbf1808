//! PostgreSQL: `initdb` into a temporary folder, then a postmaster of our own on a free port.
//!
//! The postmaster is a child of a thread that never ends, with a parent-death signal: however the test process
//! goes away, the server stops. PostgreSQL refuses to run as root, so root starts it as the system's `postgres`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// The rows of a query, as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name and the password of the superuser.
const USER: &str = "postgres";
const PASSWORD: &str = PostgresServer::PASSWORD;

/// Folders are named after the process that uses them.
const FOLDER_PREFIX: &str = "tandem-pg-";

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `wal_level = logical`, without which nothing can be captured.
    pub logical: bool,
    /// `max_wal_senders` and `max_replication_slots`.
    pub max_wal_senders: u32,
    /// `fsync`: off makes tests faster and a crash of the machine (not of the server) lose data.
    pub fsync: bool,
    /// Further settings, as for `-c`.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { logical: true, max_wal_senders: 20, fsync: true, settings: Vec::new() }
    }
}

/// A private PostgreSQL server. Stopped when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    options: PostgresOptions,
    child: Option<Child>,
}

impl PostgresServer {
    /// The superuser's password, for a config that names the role `postgres`.
    pub const PASSWORD: &str = "tandem-proof";

    /// A new server with an empty cluster, ready for connections.
    ///
    /// # Panics
    ///
    /// If PostgreSQL is not installed or does not start: a test cannot go on.
    pub fn start_new(options: PostgresOptions) -> Self {
        let programs = programs();
        sweep();
        let prefix = format!("{FOLDER_PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary folder");
        if let Some((uid, gid)) = system_user() {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("root may change owners");
        }
        let mut server = Self { programs, port: free_port(), options, child: None, folder };
        server.create_cluster();
        server.start();
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's data folder.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The URL of a database as the superuser, password included.
    pub fn url(&self, database: &str) -> String {
        self.url_of(USER, PASSWORD, database)
    }

    /// The URL of a database as some user.
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Copies a file (a certificate, a key) into the data folder, readable by the server alone.
    pub fn install(&self, file: &Path, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        let installed = self.data_folder().join(name);
        fs::copy(file, &installed).expect("the data folder is ours");
        fs::set_permissions(&installed, fs::Permissions::from_mode(0o600)).expect("the copy is ours");
        if let Some((uid, gid)) = system_user() {
            std::os::unix::fs::chown(&installed, Some(uid), Some(gid)).expect("root may change owners");
        }
    }

    /// Starts the server if it does not run, and waits until it serves.
    pub fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.child = Some(self.spawn());
            match self.wait_until_ready(deadline) {
                Ok(()) => return,
                // After a kill the backends of the old postmaster need a moment to go; until then the new one
                // refuses the shared memory.
                Err(status) if Instant::now() < deadline => {
                    self.child = None;
                    std::thread::sleep(Duration::from_millis(100));
                    let _ = status;
                }
                Err(status) => panic!("PostgreSQL does not start ({status}):\n{}", self.log()),
            }
        }
    }

    /// Stops the server: running transactions are rolled back, data is kept.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "INT");
            wait(&mut child);
        }
    }

    /// Kills the server without any warning. Its data folder is as after a crash.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the postmaster is our child");
            wait(&mut child);
        }
    }

    /// Stops and starts.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Sets a server setting and restarts.
    pub fn restart_with(&mut self, name: &str, value: &str) {
        self.options.settings.push((name.to_owned(), value.to_owned()));
        self.restart();
    }

    /// A new connection to a database as the superuser.
    pub async fn connect(&self, database: &str) -> Client {
        let config: Config = self.url(database).parse().expect("our own URL");
        let (client, connection) = config.connect(NoTls).await.expect("the server serves");
        tokio::spawn(connection);
        client
    }

    /// Makes an empty database and returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\"")).await;
        self.url(name)
    }

    /// Runs statements in a database and returns the rows of the queries among them.
    ///
    /// # Panics
    ///
    /// If one fails.
    pub async fn sql(&self, database: &str, statements: &str) -> Rows {
        let client = self.connect(database).await;
        let messages = client.simple_query(statements).await;
        let messages = messages.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
        let mut rows = Rows::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
            }
        }
        rows
    }

    /// As [`Self::sql`], for callers outside of a runtime.
    pub fn sql_blocking(&self, database: &str, statements: &str) -> Rows {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(self.sql(database, statements))
    }

    /// What the server has logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn create_cluster(&self) {
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD).expect("the temporary folder is ours");
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(self.data_folder()).args([
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "-N",
        ]);
        initdb.args(["--locale", "C.UTF-8", "--pwfile"]).arg(&password);
        let output = initdb.output().expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn spawn(&self) -> Child {
        let log = fs::File::create(self.folder.path().join("log")).expect("the temporary folder is ours");
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(self.data_folder()).args(["-p", &self.port.to_string()]);
        let on_off = |on: bool| if on { "on" } else { "off" };
        let fixed = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", String::new()),
            ("wal_level", if self.options.logical { "logical" } else { "replica" }.to_owned()),
            ("max_wal_senders", self.options.max_wal_senders.to_string()),
            ("max_replication_slots", self.options.max_wal_senders.to_string()),
            ("max_connections", "100".to_owned()),
            ("shared_buffers", "64MB".to_owned()),
            ("max_wal_size", "512MB".to_owned()),
            ("fsync", on_off(self.options.fsync).to_owned()),
        ];
        for (name, value) in fixed
            .iter()
            .map(|(n, v)| (*n, v))
            .chain(self.options.settings.iter().map(|(n, v)| (n.as_str(), v)))
        {
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        postgres.stdout(Stdio::null()).stderr(log).stdin(Stdio::null());
        // The parent-death signal belongs to the *thread* that started the child, so that thread must not end.
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = sender.send(postgres.spawn());
            loop {
                std::thread::park();
            }
        });
        receiver.recv().expect("the thread sends once").expect("postgres runs")
    }

    /// A program of PostgreSQL, as a user that it accepts, which ends with us.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if let Some((uid, gid)) = system_user() {
            command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
        }
        command.arg(self.programs.join(name)).current_dir(self.folder.path());
        command
    }

    fn wait_until_ready(&mut self, deadline: Instant) -> Result<(), ExitStatus> {
        let config: Config = self.url("postgres").parse().expect("our own URL");
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        while Instant::now() < deadline {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(status);
            }
            // On a thread of its own, since the caller may be inside a runtime.
            let config = config.clone();
            let tried = std::thread::spawn(move || {
                runtime().block_on(async { config.connect(NoTls).await.map(drop) }).is_ok()
            });
            if tried.join().unwrap_or(false) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("PostgreSQL does not serve:\n{}", self.log())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "QUIT");
            wait(&mut child);
        }
    }
}

/// Removes the folders of processes that are gone: a server in a `static` is never dropped.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX));
        let process = rest.and_then(|rest| rest.split_once('-')).map(|(process, _)| process);
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Its server may still be stopping; what is left then goes the next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(
        sent.is_ok_and(|status| status.success()),
        "the postmaster is our child and has not been waited for"
    );
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return status,
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return ExitStatus::from_raw(0),
        }
    }
    let _ = child.kill();
    child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0))
}

/// The newest installed PostgreSQL, 15 at least.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(version, programs)| *version >= 15 && programs.join("initdb").exists())
        .max();
    match newest {
        Some((_, programs)) => programs,
        None => panic!("PostgreSQL 15 or newer is not installed: apt-get install postgresql"),
    }
}

/// The system's `postgres` user, if we are root.
fn system_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0);
    if !root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line.expect("no user postgres: apt-get install postgresql").split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    listener.local_addr().expect("it is bound").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_keeps_its_data_through_stop_and_kill() {
        let mut server = PostgresServer::start_new(PostgresOptions::default());
        server.create_database("app").await;
        server.sql("app", "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await;
        server.restart();
        server.sql("app", "INSERT INTO t VALUES (2)").await;
        server.kill9();
        server.start();
        let rows = server.sql("app", "SELECT id FROM t ORDER BY id").await;
        assert_eq!(rows, [[Some("1".to_owned())], [Some("2".to_owned())]]);
    }
}
