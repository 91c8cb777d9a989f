//! What can go wrong between a source and a bronze table.

use polder_diag::Diagnostic;
use polder_lake::LakeError;
use polder_run::StepError;

/// Why rows could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The person's files, declarations or data are wrong.
    #[error("{0}")]
    Data(Box<Diagnostic>),
    /// Disk, network or database. `transient`: the same again may work.
    #[error("{message}")]
    Environment { message: String, transient: bool },
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Records have keys that the sample did not show: the plan must be made again from all records.
    #[error("records have keys that were not known before")]
    UnknownKeys,
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Defect(String),
}

impl IngestError {
    /// Something of the machine that another attempt will not mend: a file that may not be read, a full disk.
    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self::Environment { message: message.into(), transient: false }
    }

    pub(crate) fn transient(message: impl Into<String>) -> Self {
        Self::Environment { message: message.into(), transient: true }
    }
}

impl From<Diagnostic> for IngestError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Data(Box::new(diagnostic))
    }
}

impl From<arrow::error::ArrowError> for IngestError {
    fn from(error: arrow::error::ArrowError) -> Self {
        // Arrays are built by this crate alone, so that one that does not fit together is our mistake.
        Self::Defect(format!("cannot put rows together: {error}"))
    }
}

impl From<IngestError> for StepError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Data(diagnostic) => Self::Data(diagnostic),
            IngestError::Environment { message, transient } => Self::Environment { message, transient },
            IngestError::Lake(LakeError::Cancelled) | IngestError::Cancelled => Self::Cancelled,
            IngestError::Lake(error) => {
                Self::Environment { transient: is_transient(&error), message: error.to_string() }
            }
            IngestError::UnknownKeys => Self::Defect(error.to_string()),
            IngestError::Defect(message) => Self::Defect(message),
        }
    }
}

/// A lost race for the branch may be won the next time; a schema that does not fit stays as it is.
fn is_transient(error: &LakeError) -> bool {
    use polder_catalog::CatalogError;
    matches!(error, LakeError::Catalog(CatalogError::Contended { .. }))
}
