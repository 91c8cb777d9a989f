//! Errors of a model's query, in the words and at the places of the file that the person wrote.

use polder_catalog::CatalogError;
use polder_diag::Diagnostic;
use polder_lake::LakeError;
use polder_run::StepError;
use polder_sql::SqlError;
use polder_store::StoreError;
use polder_table::TableError;

use crate::codes;
use crate::compile::CompiledModel;
use crate::render::Rendering;

/// A planning or execution error of the model's SQL.
pub(crate) fn query_error(model: &CompiledModel, rendering: &Rendering, error: SqlError) -> StepError {
    match error {
        SqlError::Statement(diagnostic) => rendering.rebase(*diagnostic).into(),
        SqlError::Denied(message) | SqlError::Limit(message) => StepError::Environment { message, transient: false },
        SqlError::Policy(diagnostic) => StepError::Data(diagnostic),
        SqlError::Catalog(error) => catalog_error(&error),
        SqlError::Lake(error) => lake_error(model, error),
        SqlError::Store(error) => store_error(&error),
        SqlError::Execution(error) => data_error(model, &polder_sql::execution_message(&error)),
        SqlError::Cancelled => StepError::Cancelled,
    }
}

/// An error of reading the inputs or writing the result.
pub(crate) fn lake_error(model: &CompiledModel, error: LakeError) -> StepError {
    match error {
        LakeError::Catalog(error) => catalog_error(&error),
        LakeError::Table(TableError::Store(error)) | LakeError::Store(error) => store_error(&error),
        LakeError::Table(error) => StepError::Environment { message: error.to_string(), transient: false },
        // Limits and refusals come through DataFusion, too.
        LakeError::Query(error) => match SqlError::from(error) {
            SqlError::Execution(error) => data_error(model, &polder_sql::execution_message(&error)),
            SqlError::Limit(message) | SqlError::Denied(message) => {
                StepError::Environment { message, transient: false }
            }
            SqlError::Lake(error) => lake_error(model, error),
            SqlError::Store(error) => store_error(&error),
            other => data_error(model, &other.to_string()),
        },
        LakeError::Schema(message) => {
            let diagnostic = Diagnostic::error(codes::QUERY_FAILED, format!("{}: {message}", model.table));
            diagnostic.at(model.span.clone(), "").into()
        }
        LakeError::DuplicateKey { .. } => {
            let diagnostic = Diagnostic::error(codes::UNIQUE_KEY, format!("{}: {error}", model.table));
            let hint = "make them one in the query, such as by `row_number() over (partition by … order by …) = 1`";
            diagnostic.at(model.config_span("unique_key"), "").hint(hint).into()
        }
        LakeError::NullKey { .. } => {
            let diagnostic = Diagnostic::error(codes::UNIQUE_KEY, format!("{}: {error}", model.table));
            let hint = "leave them out in the query, or give them a value with `coalesce`";
            diagnostic.at(model.config_span("unique_key"), "").hint(hint).into()
        }
        LakeError::Unsupported { .. } => StepError::Environment { message: error.to_string(), transient: false },
        LakeError::Cancelled => StepError::Cancelled,
        LakeError::Defect(message) => StepError::Defect(message),
    }
}

/// What the data did to the query.
fn data_error(model: &CompiledModel, message: &str) -> StepError {
    let line = message.lines().next().unwrap_or_default();
    let message = format!("{} could not be computed: {line}", model.table);
    Diagnostic::error(codes::QUERY_FAILED, message).at(model.span.clone(), "").into()
}

pub(crate) fn catalog_error(error: &CatalogError) -> StepError {
    match error {
        CatalogError::Store(error) | CatalogError::Table(TableError::Store(error)) => store_error(error),
        // Another writer of this branch was faster each time; the next try starts from where it stands now.
        CatalogError::Contended { .. } => StepError::Environment { message: error.to_string(), transient: true },
        _ => StepError::Environment { message: error.to_string(), transient: false },
    }
}

fn store_error(error: &StoreError) -> StepError {
    let transient = matches!(error, StoreError::Io { transient: true, .. });
    StepError::Environment { message: error.to_string(), transient }
}
