//! `polder show`, and `\d TABLE` of the prompt.

use polder_app::TableDetails;
use polder_base::{TableName, Timestamp};

use super::context::{Context, now};
use super::history::damaged_text;
use super::print_json;
use crate::args::{Format, Show};
use crate::failure::{Exit, Failure};
use crate::human;
use crate::rows::texts;
use crate::terminal::{self, BOLD, DIM, Paint};

pub fn show(cx: Context<'_>, arguments: &Show) -> Result<Exit, Failure> {
    let name = table_name(&arguments.table)?;
    cx.with_app(&cx.options(), async |app| {
        let details = app.show(&name, arguments.at.as_deref()).await?;
        match arguments.format {
            Format::Json => print_json(&details)?,
            Format::Text => terminal::print(&text(&details, cx.terminal.paint(), now(&app))),
        }
        Ok(if details.damaged.is_none() { Exit::Ok } else { Exit::Environment })
    })
}

pub fn table_name(text: &str) -> Result<TableName, Failure> {
    text.parse().map_err(|e: polder_base::NameError| Failure::usage(e.to_string()))
}

/// All that is known about a table, for a person.
pub fn text(table: &TableDetails, paint: Paint, now: Timestamp) -> String {
    let mut out = format!("{} {} at {}\n", paint.style(BOLD, &table.name.to_string()), table.kind, table.at);
    if let Some(damaged) = &table.damaged {
        out += &damaged_text(damaged, paint);
    }
    if let Some(comment) = &table.comment {
        out += &format!("{comment}\n");
    }
    let size = [
        table.rows.map(|n| human::counted(n, "row")),
        table.bytes.map(human::bytes),
        table.files.map(|n| human::counted(n, "file")),
        (!table.partitions.is_empty()).then(|| format!("partitioned by {}", table.partitions.join(", "))),
    ];
    let size: Vec<String> = size.into_iter().flatten().collect();
    if !size.is_empty() {
        out += &format!("{}\n", size.join(", "));
    }
    out.push('\n');
    let columns: Vec<Vec<String>> = table
        .columns
        .iter()
        .map(|c| {
            let null = if c.nullable { "" } else { "not null" };
            vec![c.name.clone(), c.data_type.clone(), null.to_owned(), c.comment.clone().unwrap_or_default()]
        })
        .collect();
    if !columns.is_empty() {
        out += &texts(paint, &["column", "type", "", "comment"], &columns, &[]);
    }
    if let Some(sql) = &table.sql {
        out += &format!("\n{}\n{}\n", paint.style(DIM, "definition"), sql.trim());
    }
    out += &history(table, paint, now);
    let places = [
        ("declared in", table.declared_in.clone()),
        ("checked in", (!table.checked_in.is_empty()).then(|| table.checked_in.join(", "))),
        ("location", table.location.clone()),
        ("metadata", Some(table.metadata_file.clone())),
        ("uuid", Some(table.uuid.clone())),
    ];
    out.push('\n');
    for (what, value) in places {
        if let Some(value) = value {
            out += &format!("{} {value}\n", paint.style(DIM, &format!("{what:<11}")));
        }
    }
    out
}

fn history(table: &TableDetails, paint: Paint, now: Timestamp) -> String {
    if table.snapshots.is_empty() {
        return String::new();
    }
    let change = |n: Option<u64>, sign: &str| n.filter(|n| *n > 0).map(|n| format!("{sign}{}", human::count(n)));
    let rows: Vec<Vec<String>> = table
        .snapshots
        .iter()
        .map(|s| {
            vec![
                s.id.to_string(),
                human::moment(s.at, now),
                s.operation.clone(),
                s.run.map(|run| format!("run {run}")).unwrap_or_default(),
                change(s.added_rows, "+").unwrap_or_default(),
                change(s.removed_rows, "-").unwrap_or_default(),
            ]
        })
        .collect();
    format!("\n{}", texts(paint, &["snapshot", "made", "operation", "by", "added", "removed"], &rows, &[0, 4, 5]))
}
