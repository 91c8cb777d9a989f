//! The shop in PostgreSQL, through `COPY`.

use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::mpsc;

use arrow::datatypes::DataType;

use crate::files::Tally;
use crate::parallel::in_order;
use crate::summary::{Progress, Summary, TableSummary};
use crate::{Defect, DefectCounts, Defects, GenerateError, Shop, Slice, Table, encode};

/// Where to load, and what.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host/database`.
    pub url: String,
    pub tables: Vec<Table>,
    /// Drop tables of these names first, when the history is loaded.
    pub replace: bool,
    pub threads: usize,
}

impl PostgresOptions {
    pub fn new(url: impl Into<String>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { url: url.into(), tables: Table::ALL.to_vec(), replace: false, threads }
    }
}

/// Loads a slice of the shop in one transaction: the history into new tables, a day by inserting new rows and updating
/// those that changed.
///
/// # Errors
/// The server, a table that is there already (or is missing, for a day), a day that is not after the history.
pub async fn load_postgres(
    shop: &Arc<Shop>,
    slice: Slice,
    defects: &Defects,
    options: &PostgresOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Summary, GenerateError> {
    let mut summary = Summary::default();
    for (defect, why) in [
        (Defect::DuplicateKeys, "the tables have primary keys"),
        (Defect::TornLines, "rows of a database are never cut off"),
    ] {
        if defects.contains(defect) {
            summary.notes.push(format!("{defect} were left out: {why}"));
        }
    }
    let defects = defects.without(Defect::DuplicateKeys).without(Defect::TornLines);
    let mut connection = connect(&options.url).await?;
    let mut transaction = connection.begin().await.map_err(failed)?;
    make_schema(&mut transaction).await?;
    for table in &options.tables {
        let load = Load { shop, table: *table, slice, defects: &defects, threads: options.threads, progress };
        if shop.chunks(*table, slice)?.is_empty() {
            continue;
        }
        let (loaded, counts) = match slice {
            Slice::History => load.history(&mut transaction, options.replace).await?,
            Slice::Day(_) => load.day(&mut transaction).await?,
        };
        summary.tables.push(loaded);
        summary.defects.merge(&counts);
    }
    transaction.commit().await.map_err(failed)?;
    for table in &options.tables {
        execute(&mut connection, format!("ANALYZE {table}")).await?;
    }
    connection.close().await.map_err(failed)?;
    Ok(summary)
}

async fn connect(url: &str) -> Result<PgConnection, GenerateError> {
    // The URL is not repeated in messages: it may hold a password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|e| GenerateError::Options(format!("not a PostgreSQL URL (postgres://user@host/database): {e}")))?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    PgConnection::connect_with(&options)
        .await
        .map_err(|e| GenerateError::Postgres(format!("cannot connect to {place}: {}", text(&e))))
}

/// Makes the schema that the URL's `search_path` begins with, where it does not exist:
/// `…/database?options=-csearch_path%3Dshop`.
async fn make_schema(connection: &mut PgConnection) -> Result<(), GenerateError> {
    let missing = "SELECT CASE WHEN current_schema() IS NULL THEN current_setting('search_path') END";
    let path: Option<String> = sqlx::query_scalar(missing).fetch_one(&mut *connection).await.map_err(failed)?;
    let Some(path) = path else { return Ok(()) };
    let first = path.split(',').next().unwrap_or_default().trim().trim_matches('"');
    execute(connection, format!("CREATE SCHEMA \"{}\"", first.replace('"', "\"\""))).await?;
    Ok(())
}

fn failed(error: sqlx::Error) -> GenerateError {
    GenerateError::Postgres(text(&error))
}

/// What the server said, without the driver's words around it.
fn text(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |e| e.message().to_owned())
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<u64, GenerateError> {
    // Names come from `Table`, never from outside, or are quoted.
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map_err(failed)?;
    Ok(done.rows_affected())
}

async fn exists(connection: &mut PgConnection, table: Table) -> Result<bool, GenerateError> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table.as_str())
        .fetch_one(connection)
        .await
        .map_err(failed)
}

/// One table on its way into the database.
struct Load<'a> {
    shop: &'a Arc<Shop>,
    table: Table,
    slice: Slice,
    defects: &'a Defects,
    threads: usize,
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl Load<'_> {
    async fn history(
        &self,
        connection: &mut PgConnection,
        replace: bool,
    ) -> Result<(TableSummary, DefectCounts), GenerateError> {
        let table = self.table;
        if replace {
            execute(connection, format!("DROP TABLE IF EXISTS {table}")).await?;
        } else if exists(connection, table).await? {
            let message = format!("table `{table}` is there already; with `--replace` it is dropped first");
            return Err(GenerateError::Postgres(message));
        }
        execute(connection, create_table(table)).await?;
        let loaded = self.copy(connection, table.as_str()).await?;
        // Keys and indexes are built once over all rows, which is faster than row by row.
        execute(connection, format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", table.key())).await?;
        if table == Table::Orders {
            execute(connection, format!("CREATE INDEX ON {table} (updated_at)")).await?;
        }
        Ok(loaded)
    }

    async fn day(&self, connection: &mut PgConnection) -> Result<(TableSummary, DefectCounts), GenerateError> {
        let table = self.table;
        if !exists(connection, table).await? {
            let message = format!("there is no table `{table}` to add a day to: load the history first");
            return Err(GenerateError::Postgres(message));
        }
        let staging = format!("{table}_of_the_day");
        execute(connection, format!("CREATE TEMP TABLE {staging} (LIKE {table}) ON COMMIT DROP")).await?;
        let loaded = self.copy(connection, &staging).await?;
        let schema = table.schema();
        let updates: Vec<String> = schema.fields().iter().map(|f| format!("{0} = excluded.{0}", f.name())).collect();
        let upsert = format!(
            "INSERT INTO {table} SELECT * FROM {staging} ON CONFLICT ({}) DO UPDATE SET {}",
            table.key(),
            updates.join(", ")
        );
        execute(connection, upsert).await?;
        Ok(loaded)
    }

    /// Rows are made and encoded by threads of their own; this task only sends.
    async fn copy(
        &self,
        connection: &mut PgConnection,
        into: &str,
    ) -> Result<(TableSummary, DefectCounts), GenerateError> {
        let (send, mut receive) = mpsc::channel::<Piece>(2);
        let (shop, defects) = (Arc::clone(self.shop), self.defects.clone());
        let (threads, chunks) = (self.threads, self.shop.chunks(self.table, self.slice)?);
        let maker = tokio::task::spawn_blocking(move || {
            in_order(
                threads,
                chunks,
                |chunk| {
                    let rows = shop.rows(&chunk, &defects)?;
                    let mut text = Vec::with_capacity(rows.batch.num_rows() * 96);
                    encode::csv(&rows.batch, &mut text, |_, _| None)?;
                    Ok(Piece { text, rows: rows.batch.num_rows() as u64, defects: rows.defects })
                },
                // The receiver is gone when the server failed: its error is the one to report.
                |piece| send.blocking_send(piece).map_err(|_| GenerateError::Postgres("interrupted".to_owned())),
            )
        });
        let statement = format!("COPY {into} FROM STDIN WITH (FORMAT csv)");
        let mut copy = connection.copy_in_raw(&statement).await.map_err(failed)?;
        let mut tally = Tally::new(self.table, self.progress);
        while let Some(piece) = receive.recv().await {
            copy.send(piece.text.as_slice()).await.map_err(failed)?;
            tally.add(piece.rows, piece.text.len() as u64, &piece.defects);
        }
        copy.finish().await.map_err(failed)?;
        maker.await.map_err(|e| GenerateError::Postgres(format!("interrupted: {e}")))??;
        let target = self.table.as_str().to_owned();
        let summary = TableSummary { table: self.table, rows: tally.rows, bytes: tally.bytes(), target };
        Ok((summary, tally.defects))
    }
}

/// Encoded rows on their way to the server.
struct Piece {
    text: Vec<u8>,
    rows: u64,
    defects: DefectCounts,
}

fn create_table(table: Table) -> String {
    let schema = table.schema();
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|f| {
            let not_null = if f.is_nullable() { "" } else { " NOT NULL" };
            format!("{} {}{not_null}", f.name(), sql_type(f.data_type()))
        })
        .collect();
    format!("CREATE TABLE {table} ({})", columns.join(", "))
}

fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Int64 => "bigint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamptz".to_owned(),
        DataType::Decimal128(precision, scale) => format!("numeric({precision}, {scale})"),
        _ => "text".to_owned(),
    }
}
