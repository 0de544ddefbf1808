//! Two servers, ten maps between them, and what both sides write down about each effect.
//!
//! Both sides have the same tables and the same triggers: each effect on a row is a row of `history`, with the
//! record's version before and after. The source's history is the truth (after recovery, whatever a client was
//! told); the destination's says what was really done there, so that a change that is applied twice is seen even
//! if the second time changes nothing. Histories are not mapped.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;
use tandem_proof_servers::{PostgresOptions, PostgresServer, Rows};
use tokio_postgres::{Config, NoTls};

/// Pairs of a parent and a child table, each a map.
pub(crate) const PAIRS: usize = 5;
/// The pair whose queues are preserved at times, and retried: its records reach the destination apart from the
/// transactions that they came in.
pub(crate) const RETRIED: [&str; 2] = ["parent_0", "child_0"];

const DATABASE: &str = "app";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Where users write.
    Source,
    /// Where the engine writes.
    Destination,
}

/// Both servers.
pub(crate) struct World {
    source: PostgresServer,
    destination: PostgresServer,
}

/// The names of all tables, which are the names of their maps.
pub(crate) fn tables() -> Vec<String> {
    (0..PAIRS).flat_map(|pair| [format!("parent_{pair}"), format!("child_{pair}")]).collect()
}

const HISTORY: &str = "
CREATE TABLE history (
    serial bigserial PRIMARY KEY, tx bigint NOT NULL DEFAULT txid_current(), at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tab text NOT NULL, old_key bigint, new_key bigint, old_v bigint, new_v bigint, n bigint);
CREATE INDEX ON history (tab);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO history (tab, new_key, new_v, n) VALUES (TG_TABLE_NAME, NEW.id, NEW.v, NEW.n);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO history (tab, old_key, old_v) VALUES (TG_TABLE_NAME, OLD.id, OLD.v);
    ELSE
        INSERT INTO history (tab, old_key, new_key, old_v, new_v, n) VALUES (TG_TABLE_NAME, OLD.id, NEW.id, OLD.v, NEW.v, NEW.n);
    END IF;
    RETURN NULL;
END $$;
";

/// `clock` gives each transaction its place in the order of commits; its row's lock makes that exact. What stands in
/// `committed` was committed, whatever the client was told.
const SOURCE: &str = "
CREATE TABLE clock (n bigint NOT NULL); INSERT INTO clock VALUES (0);
CREATE TABLE committed (n bigint PRIMARY KEY, token text NOT NULL UNIQUE);
CREATE SEQUENCE versions; CREATE SEQUENCE fresh START FRESH;
";

fn schema() -> String {
    let mut sql = HISTORY.to_owned();
    for pair in 0..PAIRS {
        let columns = "n bigint NOT NULL, v bigint NOT NULL, note text";
        sql += &format!(
            "CREATE TABLE parent_{pair} (id bigint PRIMARY KEY, {columns});
             CREATE TABLE child_{pair} (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES parent_{pair}, {columns});
             CREATE INDEX ON child_{pair} (parent);"
        );
        for table in [format!("parent_{pair}"), format!("child_{pair}")] {
            sql += &format!(
                "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION note();"
            );
        }
    }
    sql
}

impl World {
    /// Starts both servers and makes the tables.
    pub(crate) fn new() -> Self {
        let start = || {
            let server = PostgresServer::start_new(PostgresOptions::default());
            server.sql_blocking("postgres", &format!("CREATE DATABASE {DATABASE}"));
            server.sql_blocking(DATABASE, &schema());
            server
        };
        let world = Self { source: start(), destination: start() };
        world.sql(Side::Source, &SOURCE.replace("FRESH", &crate::workload::FRESH.to_string()));
        world
    }

    /// Writes the engine's config into a folder. The password is in a file beside it.
    pub(crate) fn write_config(&self, folder: &Path) -> Result<()> {
        let config: Config = self.url(Side::Source).parse().context("our own URL")?;
        fs::write(folder.join("password"), config.get_password().unwrap_or_default())?;
        let app = |name: &str, server: &PostgresServer| {
            let port = server.port();
            format!(
                "[apps.{name}]\nurl = \"postgres://postgres:${{file:password}}@127.0.0.1:{port}/{DATABASE}?sslmode=disable\"\n"
            )
        };
        let mut text = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        text += &app("erp", &self.source);
        text += &app("crm", &self.destination);
        for table in tables() {
            let parent =
                table.strip_prefix("child_").map(|pair| format!("depends_on = [\"parent_{pair}\"]\n"));
            text += &format!(
                "[[maps]]\nname = \"{table}\"\ndeletes = \"queue\"\n{}left = {{ app = \"erp\", table = \"public.{table}\", key = [\"id\"] }}\nright = {{ app = \"crm\", table = \"public.{table}\", key = [\"id\"] }}\n",
                parent.unwrap_or_default()
            );
        }
        fs::write(folder.join("tandem.toml"), text).context("write the config")
    }

    fn server(&self, side: Side) -> &PostgresServer {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Where users connect.
    pub(crate) fn url(&self, side: Side) -> String {
        self.server(side).url(DATABASE)
    }

    /// Runs statements as the superuser; the server must be up.
    pub(crate) fn sql(&self, side: Side, statements: &str) -> Rows {
        self.server(side).sql_blocking(DATABASE, statements)
    }

    /// Takes a server away without a warning.
    pub(crate) fn kill(&mut self, side: Side) {
        self.server_mut(side).kill9();
    }

    /// Brings a server back, which recovers first.
    pub(crate) fn recover(&mut self, side: Side) {
        self.server_mut(side).start();
    }

    fn server_mut(&mut self, side: Side) -> &mut PostgresServer {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }

    /// Ends every other connection of a server's database, replication included.
    pub(crate) fn cut(&self, side: Side) {
        self.sql(side, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()");
    }

    /// Locks a table of the destination for some time.
    pub(crate) fn lock(&self, table: &str, hold: Duration) -> JoinHandle<()> {
        let statements =
            format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep({}); COMMIT", hold.as_secs_f32());
        let url = self.url(Side::Destination);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let held = runtime.expect("a runtime").block_on(async {
                let config: Config = url.parse()?;
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                client.batch_execute(&statements).await
            });
            held.expect("nobody takes the destination away while a table is locked");
        })
    }

    /// How many effects the destination has seen in some tables.
    pub(crate) fn effects(&self, tables: &[String]) -> Result<u64> {
        let list = tables.iter().map(|table| format!("'{table}'")).collect::<Vec<_>>().join(", ");
        let rows =
            self.sql(Side::Destination, &format!("SELECT count(*) FROM history WHERE tab IN ({list})"));
        let count = rows.first().and_then(|row| row.first()).and_then(Option::as_deref).context("a count")?;
        Ok(count.parse()?)
    }
}
