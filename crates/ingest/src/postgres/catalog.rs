//! What PostgreSQL's catalog says about a table.

use polder_diag::Diagnostic;
use polder_project::Stream;
use sqlx::{PgConnection, Row};

use super::connect::Server;
use crate::{Result, codes};

/// A table, view or foreign table.
#[derive(Debug, Clone)]
pub struct PgTable {
    pub schema: String,
    pub name: String,
    pub columns: Vec<PgColumn>,
    /// Columns of each unique index over all rows.
    pub unique: Vec<Vec<String>>,
    /// Columns of the primary key, in the order of the table.
    pub key: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct PgColumn {
    pub name: String,
    /// The type's number, and its modifier; for a domain, those of the type it is made of.
    pub type_id: u32,
    pub modifier: i32,
    /// Of an array's elements; 0 for others.
    pub element_id: u32,
    /// As PostgreSQL writes it: `numeric(12,2)`.
    pub type_name: String,
    pub not_null: bool,
    pub comment: Option<String>,
}

impl PgTable {
    /// `"public"."orders"`.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

/// A name as an identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal. `standard_conforming_strings` is on wherever nobody has turned it off since 2010; a backslash
/// is written so that it does not matter.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

const FIND: &str = "
    SELECT c.oid::int8, n.nspname::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND CASE WHEN $2::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = $2 END";

const ALL: &str = "
    SELECT n.nspname::text, c.relname::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    ORDER BY 1, 2";

const UNIQUE: &str = "
    SELECT (SELECT array_agg(a.attname::text) FROM pg_attribute a
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])),
           i.indisprimary
    FROM pg_index i
    WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL";

const COLUMNS: &str = "
    SELECT a.attname::text,
           CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END::int8,
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
           CASE WHEN t.typtype = 'd' THEN coalesce(b.typelem, 0) WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END::int8,
           format_type(a.atttypid, a.atttypmod),
           a.attnotnull,
           col_description(a.attrelid, a.attnum)
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type b ON b.oid = t.typbasetype AND b.typcategory = 'A'
    WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

/// Finds a stream's table: `orders` on the search path, or `sales.orders`.
///
/// # Errors
/// `I022` when there is none, with the nearest name.
pub async fn find_table(server: &Server, connection: &mut PgConnection, stream: &Stream) -> Result<PgTable> {
    let (schema, name) = match stream.name.rsplit_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, stream.name.as_str()),
    };
    let wrong = |e: sqlx::Error| server.error(&e);
    let found: Option<(i64, String)> =
        sqlx::query_as(FIND).bind(name).bind(schema).fetch_optional(&mut *connection).await.map_err(wrong)?;
    let Some((oid, schema)) = found else {
        let known: Vec<(String, String)> = sqlx::query_as(ALL).fetch_all(connection).await.map_err(wrong)?;
        return Err(unknown_table(server, stream, name, &known).into());
    };
    let unique: Vec<(Vec<String>, bool)> =
        sqlx::query_as(UNIQUE).bind(oid).fetch_all(&mut *connection).await.map_err(wrong)?;
    let columns = columns(server, connection, oid).await?;
    let key = unique.iter().find(|(_, primary)| *primary).map(|(columns, _)| columns.clone()).unwrap_or_default();
    let unique = unique.into_iter().map(|(columns, _)| columns).collect();
    Ok(PgTable { schema, name: name.to_owned(), columns, unique, key })
}

fn unknown_table(server: &Server, stream: &Stream, name: &str, known: &[(String, String)]) -> Diagnostic {
    let problem =
        Diagnostic::error(codes::UNKNOWN_TABLE, format!("there is no table `{}` in {}", stream.name, server.name()))
            .at(stream.span.clone(), "");
    let elsewhere = known.iter().find(|(_, relation)| relation == name);
    let near = || {
        let near = polder_base::nearest(name, known.iter().map(|(_, relation)| relation.as_str()))?;
        known.iter().find(|(_, relation)| relation == near)
    };
    match elsewhere.or_else(near) {
        Some((schema, relation)) if schema == "public" => problem.hint(format!("did you mean `{relation}`?")),
        Some((schema, relation)) => problem.hint(format!("did you mean `{schema}.{relation}`?")),
        None if known.is_empty() => problem.hint("this user sees no table at all there"),
        None => {
            let some: Vec<String> = known.iter().take(5).map(|(s, r)| format!("{s}.{r}")).collect();
            problem.hint(format!("there are: {}", some.join(", ")))
        }
    }
}

async fn columns(server: &Server, connection: &mut PgConnection, oid: i64) -> Result<Vec<PgColumn>> {
    let rows = sqlx::query(COLUMNS).bind(oid).fetch_all(connection).await.map_err(|e| server.error(&e))?;
    rows.iter().map(|row| column(row).map_err(|e| server.error(&e))).collect()
}

fn column(row: &sqlx::postgres::PgRow) -> std::result::Result<PgColumn, sqlx::Error> {
    let number = |id: i64| u32::try_from(id).unwrap_or(0);
    Ok(PgColumn {
        name: row.try_get(0)?,
        type_id: number(row.try_get(1)?),
        modifier: row.try_get(2)?,
        element_id: number(row.try_get(3)?),
        type_name: row.try_get(4)?,
        not_null: row.try_get(5)?,
        comment: row.try_get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_are_quoted() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
