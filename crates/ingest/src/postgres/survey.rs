//! All tables of a database, and how each is best read.

use polder_diag::Span;

use super::connect::Server;
use crate::Result;

/// A table, with what decides how it is best read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// As a source names it: `orders`, or `sales.regions` outside of `public`.
    pub name: String,
    /// Rows as the database's statistics have it; none where it has never counted.
    pub rows: Option<u64>,
    /// The columns of the primary key, in its order.
    pub key: Vec<String>,
    pub cursor: Option<Cursor>,
}

/// A column that tells what is new, by its name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub column: String,
    /// An index begins with it: what is new is found without reading all.
    pub indexed: bool,
}

/// Ordinary and partitioned tables; not the partitions, nor views, which are somebody's way to look at them.
const TABLES: &str = "
    SELECT n.nspname::text, c.relname::text, c.reltuples::float8,
           coalesce((SELECT array_agg(a.attname::text ORDER BY k.place)
                     FROM pg_index i
                     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                     WHERE i.indrelid = c.oid AND i.indisprimary), '{}'::text[]),
           coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum)
                     FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
                       AND a.atttypid IN (1114, 1184)), '{}'::text[]),
           coalesce((SELECT array_agg(DISTINCT a.attname::text)
                     FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                     WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL), '{}'::text[])
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY n.nspname <> 'public', 1, 2";

/// Names of columns that say when a row was last changed, the likeliest first.
const CHANGED: [&str; 10] = [
    "updated_at",
    "modified_at",
    "changed_at",
    "last_modified",
    "last_updated",
    "last_update",
    "updated_on",
    "modified_on",
    "updated",
    "modified",
];

type Row = (String, String, f64, Vec<String>, Vec<String>, Vec<String>);

pub async fn survey(url: &str, span: &Span) -> Result<Vec<Surveyed>> {
    let server = Server::parse(url, span)?;
    let mut connection = server.connect().await?;
    let rows: Vec<Row> = sqlx::query_as(TABLES).fetch_all(&mut connection).await.map_err(|e| server.error(&e))?;
    Ok(rows.into_iter().map(surveyed).collect())
}

fn surveyed((schema, name, rows, key, times, indexed): Row) -> Surveyed {
    // The key tells which row a change is of: without one, a changed row would be there twice.
    let wanted = |times: &Vec<String>| {
        let found = CHANGED.iter().find_map(|name| times.iter().find(|time| time.eq_ignore_ascii_case(name)));
        found.filter(|_| !key.is_empty()).cloned()
    };
    let cursor = wanted(&times).map(|column| Cursor { indexed: indexed.contains(&column), column });
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, and not negative")]
    let rows = (rows >= 0.0).then_some(rows as u64);
    let name = if schema == "public" { name } else { format!("{schema}.{name}") };
    Surveyed { name, rows, key, cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_needs_a_key_and_a_name_that_says_it() {
        let text = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let of = |key: &[&str], times: &[&str], indexed: &[&str]| {
            surveyed(("sales".to_owned(), "orders".to_owned(), 12.0, text(key), text(times), text(indexed)))
        };
        let found = of(&["id"], &["created_at", "Updated_At"], &["Updated_At"]);
        assert_eq!((found.name.as_str(), found.rows), ("sales.orders", Some(12)));
        assert_eq!(found.cursor, Some(Cursor { column: "Updated_At".to_owned(), indexed: true }));
        assert_eq!(of(&["id"], &["created_at"], &[]).cursor, None);
        assert_eq!(of(&[], &["updated_at"], &[]).cursor, None);
    }
}
