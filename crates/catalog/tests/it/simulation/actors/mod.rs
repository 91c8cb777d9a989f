//! Who acts in a simulated world. Each actor is a program that may be ended anywhere and started again: what it knows
//! is in the stores.

pub mod people;
pub mod run;
pub mod stream;

use polder_catalog::{CatalogError, Change, CommitId};
use polder_store::StoreError;
use polder_table::TableError;

use super::world::{Cx, SOURCES, Sabotage};
use crate::support::{append_change, cursor, cursor_change, numbered};

pub type Outcome<T = ()> = Result<T, CatalogError>;

pub fn source_table(source: usize) -> String {
    format!("bronze.s{source}")
}

/// The tables that actors share.
pub fn tables() -> Vec<String> {
    let mut tables: Vec<String> = (0..SOURCES).map(source_table).collect();
    tables.extend(
        [run::MARKS[0], run::MARKS[1], run::COUNTER, run::SERIES, stream::EVENTS, people::NOTES].map(str::to_owned),
    );
    tables
}

pub fn source_cursor(source: usize) -> String {
    format!("shop.s{source}")
}

/// The rows of a source, by number from 1.
pub fn source_rows(source: usize, first: u64, last: u64) -> Vec<String> {
    numbered(&format!("s{source}:"), first, last)
}

pub fn any_source(cx: &Cx) -> usize {
    cx.world.below(SOURCES as u64) as usize
}

/// Reads the next rows of a source: the rows and the cursor behind them, to be committed together. `None`: no news.
pub async fn ingest(cx: &Cx, at: &CommitId, source: usize, file: &str) -> Outcome<Option<Vec<Change>>> {
    let (name, of) = (source_cursor(source), source_table(source));
    let base = cursor(&cx.catalog, at, &name).await?;
    let read: u64 = base.as_deref().map_or(0, |value| value.parse().unwrap());
    let last = cx.world.available(source).min(read + 1 + cx.world.below(4));
    if last <= read {
        return Ok(None);
    }
    let rows = append_change(&cx.catalog, at, &of, file, &source_rows(source, read + 1, last)).await?;
    let mut base = base;
    if cx.world.is_sabotaged_by(Sabotage::CursorTakenForRead) {
        let head = cx.catalog.resolve("main").await?;
        base = cursor(&cx.catalog, &head, &name).await?;
    }
    Ok(Some(vec![rows, cursor_change(&name, &of, base.as_deref(), &last.to_string())]))
}

/// What an error of an actor's work means for its world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The environment failed; the outcome may be unknown.
    Environment,
    /// Others were first.
    Others,
    /// Something that was looked at is gone: retention, or a file nobody referred to for too long.
    Gone,
}

/// # Panics
/// An error that must not happen.
pub fn trouble(cx: &Cx, doing: &str, error: &CatalogError) -> Trouble {
    let trouble = match error {
        CatalogError::Store(StoreError::Io { transient: true, .. })
        | CatalogError::Table(TableError::Store(StoreError::Io { transient: true, .. })) => Trouble::Environment,
        CatalogError::Conflict { .. }
        | CatalogError::Contended { .. }
        | CatalogError::Claimed { .. }
        | CatalogError::LeaseLost { .. }
        | CatalogError::LeaseHeld { .. }
        | CatalogError::RecordChanged { .. }
        | CatalogError::RefExists { .. }
        | CatalogError::UnknownTable { .. } => Trouble::Others,
        // Whether anything is gone that must be there, the check after each step says.
        CatalogError::UnknownCommit { .. }
        | CatalogError::UnknownRef { .. }
        | CatalogError::Store(StoreError::NotFound { .. } | StoreError::Corrupt { .. })
        | CatalogError::Table(TableError::Store(StoreError::NotFound { .. })) => Trouble::Gone,
        CatalogError::Invalid(text)
            if ["not there any more", "still kept", "no longer kept", "no history before", "goes back further"]
                .iter()
                .any(|known| text.contains(known)) =>
        {
            Trouble::Gone
        }
        other => panic!("p{} {doing}: {other}", cx.process),
    };
    cx.world.trace(|| format!("p{} {doing} gave up ({trouble:?}): {error}", cx.process));
    cx.world.count(match trouble {
        Trouble::Environment => "errors of the environment",
        Trouble::Others => "others were first",
        Trouble::Gone => "found gone",
    });
    trouble
}
