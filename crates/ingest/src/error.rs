//! What can go wrong between a source and a bronze table.

use polder_diag::Diagnostic;
use polder_lake::LakeError;
use polder_project::Stream;
use polder_run::StepError;

use crate::codes;

/// Why rows could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The person's files, declarations or data are wrong.
    #[error("{0}")]
    Data(Box<Diagnostic>),
    /// The database refuses to be entered or read.
    #[error("{0}")]
    Refused(Box<Diagnostic>),
    /// Disk, network or database. `transient`: the same again may work.
    #[error("{message}")]
    Environment { message: String, transient: bool },
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// More records were rejected than allowed; how many is known when the readers have stopped.
    #[error("too many records were rejected")]
    TooManyRejected,
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

    pub(crate) fn refused(diagnostic: Diagnostic) -> Self {
        Self::Refused(Box::new(diagnostic))
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

impl IngestError {
    /// The error of the step that reads a stream.
    pub(crate) fn into_step_error(self, stream: &Stream) -> StepError {
        match self {
            Self::Data(diagnostic) => StepError::Data(diagnostic),
            Self::Refused(diagnostic) => StepError::Outside(diagnostic),
            Self::Environment { message, transient } => StepError::Environment { message, transient },
            Self::Lake(LakeError::Cancelled) | Self::Cancelled => StepError::Cancelled,
            Self::Lake(error @ (LakeError::Schema(_) | LakeError::DuplicateKey { .. } | LakeError::NullKey { .. })) => {
                let message = format!("{}: {error}", stream.table);
                Diagnostic::error(codes::UNFIT, message).at(stream.span.clone(), "").into()
            }
            Self::Lake(error) => StepError::Environment { transient: error.is_transient(), message: error.to_string() },
            Self::UnknownKeys | Self::TooManyRejected => StepError::Defect(self.to_string()),
            Self::Defect(message) => StepError::Defect(message),
        }
    }
}
