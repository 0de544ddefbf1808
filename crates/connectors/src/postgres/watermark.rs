//! The watermark: `tandem.watermark`, one row for each stream and lane, in the app that is written to; and beside
//! it `tandem.start`, one row for each stream and data folder with its latest start, so that an older start is
//! refused before there is any lane.
//!
//! The first statement of every destination transaction compares the row and sets it, and *raises* if it is not
//! exactly one: so all that was sent behind it fails with it, and a transaction of an engine that has been
//! replaced, or one that is sent twice, changes nothing.

use super::error::fault;
use super::marker;
use super::owner::{drop_if_empty, ensure_schema, table_exists};
use super::pipeline::Pipeline;
use std::sync::Arc;
use tandem_core::connect::{Advance, Begin, Owner, Watermark};
use tandem_core::{Epoch, Fault, FaultClass, JournalId, LaneId, Seq};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

/// The row is inserted only if we are the latest start of our data folder. The lock makes a later start wait
/// until this transaction has ended, so that it sees the row and raises it.
const FIRST: &str = "INSERT INTO tandem.watermark (stream, lane, journal, epoch, seq, position)
    SELECT $1, $2, $3, $4, $5, ''::bytea FROM (
        SELECT FROM tandem.start WHERE stream = $1 AND journal = $3 AND epoch = $4 FOR SHARE) AS us
    ON CONFLICT (stream, lane) DO NOTHING";

/// Compares and sets. Anything but one row is a division by zero: an error, and the end of the transaction.
const MOVE: &str = "WITH moved AS (
        UPDATE tandem.watermark SET seq = $6, position = $7, updated_at = now()
        WHERE stream = $1 AND lane = $2 AND journal = $3 AND epoch = $4 AND seq = $5 RETURNING 1)
    SELECT 1 / count(*)";

/// Compares and locks, for a transaction that comes in several parts.
const HOLD: &str = "WITH held AS (
        UPDATE tandem.watermark SET updated_at = now()
        WHERE stream = $1 AND lane = $2 AND journal = $3 AND epoch = $4 AND seq = $5 RETURNING 1)
    SELECT 1 / count(*)";

/// Sets what [`HOLD`] has locked.
const ADVANCE: &str = "WITH moved AS (
        UPDATE tandem.watermark SET seq = $5, position = $6, updated_at = now()
        WHERE stream = $1 AND lane = $2 AND journal = $3 AND epoch = $4 RETURNING 1)
    SELECT 1 / count(*)";

/// Division by zero: what the statements above raise.
pub(super) const REFUSED: &str = "22012";

/// The statements about one stream's rows.
#[derive(Debug)]
pub(super) struct Marks {
    stream: String,
    owner: Owner,
    first: Statement,
    moves: Statement,
    hold: Statement,
    advance: Statement,
    /// What the mark of a transaction of ours begins with. `None`: this app's log is not read.
    mark: Option<String>,
    /// What marks say besides.
    pub(super) note: Arc<str>,
}

impl Marks {
    /// Makes the table if need be, and prepares.
    pub(super) async fn open(client: &Client, stream: &str, owner: Owner) -> Result<Self, Fault> {
        ensure(client).await?;
        let prepare = async |sql: &str, types: &[Type]| {
            client.prepare_typed(sql, types).await.map_err(|error| fault("prepare the watermark", &error))
        };
        // The mark goes with the move: one statement less.
        let row = client.query_one("SELECT current_setting('wal_level') = 'logical'", &[]).await;
        let logical: bool = row.map_err(|error| fault("prepare the watermark", &error))?.get(0);
        let moving = |sql: &str, rows: &str, next: usize| {
            if logical {
                format!("{sql}, pg_logical_emit_message(true, '{}', ${next}) FROM {rows}", marker::PREFIX)
            } else {
                format!("{sql} FROM {rows}")
            }
        };
        let marked = |mut types: Vec<Type>| {
            types.extend(logical.then_some(Type::TEXT));
            types
        };
        use Type as T;
        let row = [T::TEXT, T::INT8, T::TEXT, T::INT8];
        let with = |more: &[Type]| [&row, more].concat();
        Ok(Self {
            stream: stream.to_owned(),
            owner,
            first: prepare(FIRST, &with(&[T::INT8])).await?,
            moves: prepare(&moving(MOVE, "moved", 8), &marked(with(&[T::INT8, T::INT8, T::BYTEA]))).await?,
            hold: prepare(&moving(HOLD, "held", 6), &marked(with(&[T::INT8]))).await?,
            advance: prepare(&moving(ADVANCE, "moved", 7), &marked(with(&[T::INT8, T::BYTEA]))).await?,
            mark: logical.then(|| marker::mark_start(owner.journal, stream)),
            note: "".into(),
        })
    }

    /// Sends the comparison, and with `advance` the move.
    pub(super) async fn begin(&self, pipeline: &mut Pipeline<'_>, begin: Begin, advance: Option<&Advance>) {
        if begin.first {
            pipeline.parameters(self.first.clone(), self.row(begin.lane, vec![number(begin.from)])).await;
        }
        match advance {
            Some(advance) => {
                let mut more: Parameters = vec![number(begin.from)];
                more.extend(self.settled(advance));
                pipeline.parameters(self.moves.clone(), self.row(begin.lane, more)).await;
            }
            None => {
                let mut more: Parameters = vec![number(begin.from)];
                more.extend(self.marked(begin.from));
                pipeline.parameters(self.hold.clone(), self.row(begin.lane, more)).await
            }
        }
    }

    /// Sends the move of a row that an earlier part has locked.
    pub(super) async fn advance(&self, pipeline: &mut Pipeline<'_>, lane: LaneId, advance: &Advance) {
        let more = self.settled(advance);
        pipeline.parameters(self.advance.clone(), self.row(lane, more)).await;
    }

    /// Where the row goes, and the mark if there is one.
    fn settled(&self, advance: &Advance) -> Parameters {
        let mut parameters: Parameters = vec![number(advance.to), Box::new(advance.position.0.to_vec())];
        parameters.extend(self.marked(advance.to));
        parameters
    }

    fn marked(&self, seq: Seq) -> Option<Box<dyn ToSql + Send + Sync>> {
        let start = self.mark.as_ref()?;
        Some(Box::new(marker::mark(start, seq, &self.note)))
    }

    fn row(&self, lane: LaneId, more: Parameters) -> Parameters {
        let mut row: Parameters = vec![
            Box::new(self.stream.clone()),
            Box::new(signed(lane.0)),
            Box::new(self.owner.journal.to_string()),
            Box::new(signed(self.owner.epoch.0)),
        ];
        row.extend(more);
        row
    }

    /// Raises our rows to our epoch, unless a later start has been here.
    pub(super) async fn raise(&self, client: &Client) -> Result<(), Fault> {
        const OPERATION: &str = "fence older starts";
        ensure(client).await?;
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        let (journal, epoch) = (self.owner.journal.to_string(), signed(self.owner.epoch.0));
        // First the start, and the rows in a statement of their own: it sees those of a transaction that the
        // first one has waited for.
        let sql = "INSERT INTO tandem.start AS s (stream, journal, epoch) VALUES ($1, $2, $3)
            ON CONFLICT (stream, journal) DO UPDATE SET epoch = greatest(s.epoch, excluded.epoch)
            RETURNING epoch";
        let row = client.query_one(sql, &[&self.stream, &journal, &epoch]).await.map_err(failed)?;
        let latest: i64 = row.get(0);
        if latest > epoch {
            let message = format!("a later start of this data folder ({latest}) writes here");
            return Err(Fault::new(FaultClass::Fenced, OPERATION, message)
                .fix("end this process: a newer one is at work"));
        }
        let sql = "UPDATE tandem.watermark SET epoch = $3, updated_at = now()
            WHERE stream = $1 AND journal = $2 AND epoch < $3";
        client.execute(sql, &[&self.stream, &journal, &epoch]).await.map_err(failed)?;
        Ok(())
    }

    /// Raises our rows, and returns all rows of the stream.
    pub(super) async fn fence(&self, client: &Client) -> Result<Vec<Watermark>, Fault> {
        const OPERATION: &str = "read the watermarks";
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        self.raise(client).await?;
        let sql = "SELECT lane, journal, epoch, seq FROM tandem.watermark WHERE stream = $1 ORDER BY lane";
        let rows = client.query(sql, &[&self.stream]).await.map_err(failed)?;
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        let read = |row: &tokio_postgres::Row| {
            Some(Watermark {
                lane: LaneId(unsigned(row.get(0))),
                journal: JournalId(u128::from_str_radix(row.get(1), 16).ok()?),
                epoch: Epoch(unsigned(row.get(2))),
                seq: Seq(unsigned(row.get(3))),
            })
        };
        let rows: Option<Vec<_>> = rows.iter().map(read).collect();
        rows.ok_or_else(|| {
            Fault::new(FaultClass::Internal, OPERATION, "tandem.watermark holds what is no row of ours")
        })
    }

    /// Removes rows, and the table with its last one.
    pub(super) async fn retire(&self, client: &Client, lanes: &[LaneId]) -> Result<(), Fault> {
        const OPERATION: &str = "retire lanes";
        if !table_exists(client, "tandem.watermark").await? {
            return Ok(());
        }
        let lanes: Vec<i64> = lanes.iter().map(|lane| signed(lane.0)).collect();
        let sql = "DELETE FROM tandem.watermark WHERE stream = $1 AND journal = $2 AND lane = ANY ($3)";
        let journal = self.owner.journal.to_string();
        let removed = client.execute(sql, &[&self.stream, &journal, &lanes]).await;
        removed.map_err(|error| fault(OPERATION, &error))?;
        // A start without lanes fences nothing that its next first lane would not fence again.
        let sql = "DELETE FROM tandem.start s WHERE s.stream = $1 AND NOT EXISTS (
            SELECT FROM tandem.watermark w WHERE w.stream = s.stream AND w.journal = s.journal)";
        client.execute(sql, &[&self.stream]).await.map_err(|error| fault(OPERATION, &error))?;
        drop_if_empty(client, "watermark").await?;
        drop_if_empty(client, "start").await
    }
}

type Parameters = Vec<Box<dyn ToSql + Send + Sync>>;

fn number(seq: Seq) -> Box<dyn ToSql + Send + Sync> {
    Box::new(signed(seq.0))
}

/// Numbers of ours start at zero and never come near the limit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes the tables if they are not there.
pub(super) async fn ensure(client: &Client) -> Result<(), Fault> {
    const TABLES: [(&str, &str); 2] = [
        (
            "tandem.start",
            "CREATE TABLE IF NOT EXISTS tandem.start (
                stream text NOT NULL, journal text NOT NULL, epoch bigint NOT NULL,
                PRIMARY KEY (stream, journal))",
        ),
        (
            "tandem.watermark",
            "CREATE TABLE IF NOT EXISTS tandem.watermark (
                stream text NOT NULL, lane bigint NOT NULL, journal text NOT NULL, epoch bigint NOT NULL,
                seq bigint NOT NULL, position bytea NOT NULL, updated_at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (stream, lane)) WITH (fillfactor = 50)",
        ),
    ];
    for (name, sql) in TABLES {
        if table_exists(client, name).await? {
            continue;
        }
        ensure_schema(client).await?;
        match client.batch_execute(sql).await {
            // Two sessions made it at once.
            Err(error) if error.code().is_some_and(|code| matches!(code.code(), "23505" | "42P07")) => {}
            other => other.map_err(|error| fault("make the watermark's tables", &error))?,
        }
    }
    Ok(())
}
