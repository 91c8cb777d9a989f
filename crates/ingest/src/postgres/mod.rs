//! Tables of PostgreSQL: in full, or what a cursor column says is new.
//!
//! All that one step reads comes from one snapshot (`REPEATABLE READ, READ ONLY`), so that the greatest cursor value and
//! the rows up to it belong together.

mod catalog;
mod connect;
mod copy;
mod cursor;
mod decode;
mod full;
mod incremental;
mod lag;
pub(crate) mod survey;
mod types;

use std::sync::Arc;

use polder_base::ColumnNames;
use polder_diag::Diagnostic;
use polder_project::{ReadMode, Stream};
use polder_run::StepReport;
use sqlx::{Connection, PgConnection};

pub(crate) use self::catalog::PgTable;
use self::catalog::find_table;
use self::connect::Server;
use self::types::{Reading, natural};
use crate::landing::Landing;
use crate::plan::{Evidence, Found, Plan, plan};
use crate::{Result, codes};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A table to be read, with its connection.
struct Reader {
    server: Server,
    connection: PgConnection,
    table: PgTable,
    readings: Arc<[Reading]>,
    plan: Plan,
}

pub async fn run(mut landing: Landing<'_>, url: &str) -> Result<StepReport> {
    let server = Server::parse(url, &landing.stream.span)?;
    let mut connection = server.connect().await?;
    server.execute(&mut connection, BEGIN).await?;
    let table = find_table(&server, &mut connection, landing.stream).await?;
    let (readings, plan) = readings(&landing, &table)?;
    landing.unique = is_unique(&table, &readings, &landing.stream.key);
    let reader = Reader { server, connection, table, readings: readings.into(), plan };
    match &landing.stream.read {
        ReadMode::Incremental { cursor, lag } => incremental::run(&landing, reader, cursor, *lag).await,
        ReadMode::Full | ReadMode::Files(_) => full::run(&landing, reader).await,
    }
}

/// Whether the database keeps the key unique.
fn is_unique(table: &PgTable, readings: &[Reading], key: &[String]) -> bool {
    let in_key = |column: &String| readings.iter().any(|r| r.original == *column && key.contains(&r.name));
    table.unique.iter().any(|columns| columns.iter().all(in_key))
}

/// The table of a stream, as the database's catalog has it.
pub(crate) async fn look(url: &str, stream: &Stream) -> Result<PgTable> {
    let server = Server::parse(url, &stream.span)?;
    let mut connection = server.connect().await?;
    find_table(&server, &mut connection, stream).await
}

/// The columns of a table, by the names that they will have.
pub(crate) fn found(stream: &Stream, table: &PgTable) -> Result<Vec<Found>> {
    let names = ColumnNames::normalise(table.columns.iter().map(|c| &c.name)).map_err(|e| {
        Diagnostic::error(codes::COLLISION, format!("{}: {e}", table.quoted()))
            .at(stream.span.clone(), "")
            .hint("rename one of them in the database")
    })?;
    Ok(names
        .columns
        .into_iter()
        .zip(&table.columns)
        .map(|((name, original), column)| Found {
            name,
            original,
            comment: column.comment.clone(),
            evidence: Evidence::Exact(natural(column).1),
        })
        .collect())
}

fn readings(landing: &Landing<'_>, table: &PgTable) -> Result<(Vec<Reading>, Plan)> {
    let found = found(landing.stream, table)?;
    let plan = plan(landing.stream, &found, landing.table_schema().as_deref())?;
    let reading = |(column, planned): (&catalog::PgColumn, &crate::plan::Planned)| {
        Reading::new(column, &planned.name, &planned.data_type)
    };
    Ok((table.columns.iter().zip(&plan.columns).map(reading).collect(), plan))
}

impl Reader {
    /// Says goodbye, so that the server logs no broken connection. What was read is safe whatever it answers.
    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing the connection");
        }
    }

    /// The SELECT list.
    fn select_list(&self) -> String {
        self.readings.iter().map(|r| r.expression.as_str()).collect::<Vec<_>>().join(", ")
    }
}
