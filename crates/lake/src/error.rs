//! What can go wrong between a table and a stream of rows.

use polder_catalog::CatalogError;
use polder_store::StoreError;
use polder_table::TableError;

#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Query(#[from] datafusion::error::DataFusionError),
    /// A type that Iceberg has no place for, a change of type that cannot be made, or a value that does not fit.
    #[error("{0}")]
    Schema(String),
    /// Two of the rows to merge have one key. `key`: `order_id = 7, line = 2`.
    #[error("{rows} of the new rows have the same key: {key}")]
    DuplicateKey { key: String, rows: u64 },
    /// Rows to merge have NULL in a column of the key, and could never be found again.
    #[error("{} in {}, which is the key", null_rows(*rows), keys.join(", "))]
    NullKey { keys: Vec<String>, rows: u64 },
    /// A part of the table's format that this version does not read: reading around it would give wrong rows.
    #[error("{table}: {detail}")]
    Unsupported { table: String, detail: String },
    #[error("cancelled")]
    Cancelled,
    /// A defect of Polder.
    #[error("defect: {0}")]
    Defect(String),
}

fn null_rows(rows: u64) -> String {
    match rows {
        1 => "1 of the new rows has NULL".to_owned(),
        rows => format!("{rows} of the new rows have NULL"),
    }
}

impl LakeError {
    /// The same may succeed later: a store that does not answer for a while, a race that was lost.
    pub fn is_transient(&self) -> bool {
        let of_store = |e: &StoreError| matches!(e, StoreError::Io { transient: true, .. });
        let of_table = |e: &TableError| matches!(e, TableError::Store(e) if of_store(e));
        match self {
            Self::Store(e) => of_store(e),
            Self::Table(e) => of_table(e),
            Self::Catalog(CatalogError::Store(e)) => of_store(e),
            Self::Catalog(CatalogError::Table(e)) => of_table(e),
            Self::Catalog(CatalogError::Contended { .. }) => true,
            Self::Query(e) => std::iter::successors(Some(e as &(dyn std::error::Error + 'static)), |e| e.source())
                .any(|e| e.downcast_ref().is_some_and(of_store) || e.downcast_ref().is_some_and(Self::is_transient)),
            _ => false,
        }
    }

    /// Files that the catalog names are gone, or do not hold what they should.
    pub fn is_damage(&self) -> bool {
        let of_store = |e: &StoreError| matches!(e, StoreError::NotFound { .. } | StoreError::Corrupt { .. });
        let of_table = |e: &TableError| match e {
            TableError::Store(e) => of_store(e),
            TableError::Corrupt { .. } => true,
            TableError::Invalid(_) => false,
        };
        match self {
            Self::Store(e) | Self::Catalog(CatalogError::Store(e)) => of_store(e),
            Self::Table(e) | Self::Catalog(CatalogError::Table(e)) => of_table(e),
            _ => false,
        }
    }
}

impl From<LakeError> for datafusion::error::DataFusionError {
    /// For what DataFusion calls: its own errors come back as they are.
    fn from(error: LakeError) -> Self {
        match error {
            LakeError::Query(error) => error,
            error => Self::External(Box::new(error)),
        }
    }
}
