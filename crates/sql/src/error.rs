//! What can go wrong with a statement.

use std::io::ErrorKind;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use polder_catalog::CatalogError;
use polder_diag::Diagnostic;
use polder_lake::LakeError;
use polder_store::StoreError;

use crate::codes;
use crate::message::of_planning;
use crate::statement::Text;

#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The statement is wrong, or asks for what is not there. Spans point into the statement (file `sql`).
    #[error("{0}")]
    Statement(Box<Diagnostic>),
    /// The principal may not do this.
    #[error("{0}")]
    Denied(String),
    /// A policy does not fit its table, which therefore shows nothing. Spans point into the policy's file.
    #[error("{0}")]
    Policy(Box<Diagnostic>),
    /// A limit of the session: memory, time, rows.
    #[error("{0}")]
    Limit(String),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}", crate::execution_message(.0))]
    Execution(DataFusionError),
    #[error("cancelled")]
    Cancelled,
}

impl SqlError {
    pub(crate) fn statement(diagnostic: impl Into<Box<Diagnostic>>) -> Self {
        Self::Statement(diagnostic.into())
    }

    /// An error of planning, with its place in the statement where DataFusion knows it.
    pub(crate) fn of_planning(error: DataFusionError, text: &Text) -> Self {
        match Self::from(error) {
            Self::Execution(error) => match problem(&error, text) {
                Some(diagnostic) => Self::statement(diagnostic),
                None => Self::Execution(error),
            },
            other => other,
        }
    }

    /// The same error as DataFusion carries it through a stream of rows.
    pub(crate) fn into_datafusion(self) -> DataFusionError {
        match self {
            Self::Execution(error) => error,
            other => DataFusionError::External(Box::new(other)),
        }
    }
}

impl From<DataFusionError> for SqlError {
    /// Finds an error of ours below DataFusion's layers, and tells limits and the storage from the rest.
    fn from(error: DataFusionError) -> Self {
        if let Some(error) = of_storage(&error) {
            return Self::Store(error);
        }
        match error {
            DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<LakeError>() {
                    Ok(lake) => Self::Lake(*lake),
                    Err(inner) => Self::Execution(DataFusionError::External(inner)),
                },
            },
            DataFusionError::Diagnostic(diagnostic, inner) if !is_ours(&inner) => {
                Self::Execution(DataFusionError::Diagnostic(diagnostic, inner))
            }
            DataFusionError::Diagnostic(_, inner) => Self::from(*inner),
            DataFusionError::Context(_, inner) if is_ours(&inner) => Self::from(*inner),
            DataFusionError::ResourcesExhausted(message) => Self::Limit(message),
            DataFusionError::Shared(shared) => match std::sync::Arc::try_unwrap(shared) {
                Ok(inner) => Self::from(inner),
                Err(shared) => of_shared(&shared),
            },
            other => Self::Execution(other),
        }
    }
}

/// What the disk did, or what became of a data file: no matter of the statement.
fn of_storage(error: &DataFusionError) -> Option<StoreError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(store) = error.downcast_ref::<StoreError>() {
            return Some(store.clone());
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        {
            return Some(StoreError::NoSpace { path: "temporary files".to_owned() });
        }
        cause = error.source();
    }
    match error.find_root() {
        DataFusionError::ParquetError(error) => Some(of_data_file(&error.to_string())),
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ParquetError(message) => Some(of_data_file(message)),
            _ => None,
        },
        _ => None,
    }
}

/// A data file that is gone or damaged. DataFusion tells it in words alone.
fn of_data_file(message: &str) -> StoreError {
    const FILE: &str = "Failed to fetch metadata for file ";
    let named = message.split_once(FILE).and_then(|(_, rest)| rest.split_once(": "));
    let (path, detail) = named.unwrap_or(("a data file", message));
    let path = path.to_owned();
    if detail.contains("does not exist") {
        return StoreError::NotFound { path };
    }
    let own = format!("{path} is damaged: ");
    let detail = detail.split_once(&own).map_or(detail, |(_, detail)| detail).to_owned();
    StoreError::Corrupt { path, detail }
}

/// What several streams share cannot be taken apart; limits and refusals keep their kind.
fn of_shared(error: &std::sync::Arc<DataFusionError>) -> SqlError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(message) => SqlError::Limit(message.clone()),
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(SqlError::Limit(message)) => SqlError::Limit(message.clone()),
            Some(SqlError::Denied(message)) => SqlError::Denied(message.clone()),
            Some(SqlError::Policy(diagnostic)) => SqlError::Policy(diagnostic.clone()),
            Some(SqlError::Statement(diagnostic)) => SqlError::Statement(diagnostic.clone()),
            _ => SqlError::Execution(DataFusionError::Shared(std::sync::Arc::clone(error))),
        },
        _ => SqlError::Execution(DataFusionError::Shared(std::sync::Arc::clone(error))),
    }
}

fn is_ours(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::External(inner) => inner.is::<SqlError>() || inner.is::<LakeError>(),
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => is_ours(inner),
        DataFusionError::ResourcesExhausted(_) => true,
        _ => false,
    }
}

/// What a person can mend: unknown columns, wrong types, unknown functions. `None`: not a matter of the statement.
fn problem(error: &DataFusionError, text: &Text) -> Option<Diagnostic> {
    let place = span(error).map(|span| {
        let start = text.offset(span.start.line, span.start.column);
        start..text.offset(span.end.line, span.end.column).max(start)
    });
    let mut diagnostic = match root(error) {
        DataFusionError::SchemaError(schema, _) => of_schema(schema),
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
            if let Some(name) = called_twice(message) {
                return Some(two_columns(name));
            }
            let (message, hint) = of_planning(message);
            let diagnostic = Diagnostic::error(codes::PLAN, message);
            hint.into_iter().fold(diagnostic, Diagnostic::hint)
        }
        DataFusionError::SQL(parser, _) => Diagnostic::error(codes::SYNTAX, parser.to_string()),
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            let (message, hint) = of_planning(&root(error).strip_backtrace());
            let diagnostic = Diagnostic::error(codes::PLAN, message);
            hint.into_iter().fold(diagnostic, Diagnostic::hint)
        }
        _ => return None,
    };
    if let Some(place) = place.filter(|place| place.end <= text.sql.len()) {
        diagnostic = diagnostic.at(text.span(place), "");
    }
    Some(diagnostic)
}

fn of_schema(error: &SchemaError) -> Diagnostic {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let diagnostic = Diagnostic::error(codes::COLUMN, format!("no column is called `{}`", field.flat_name()));
            match nearest_column(field, valid_fields) {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            }
        }
        SchemaError::AmbiguousReference { field } => {
            Diagnostic::error(codes::COLUMN, format!("more than one table has a column `{}`", field.name()))
                .hint("write the table's name or alias before it")
        }
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            Diagnostic::error(codes::COLUMN, format!("`{qualifier}` has two columns `{name}`"))
                .hint("give one of them an alias")
        }
        SchemaError::DuplicateUnqualifiedField { name } => two_columns(name),
    }
}

fn two_columns(name: &str) -> Diagnostic {
    Diagnostic::error(codes::COLUMN, format!("two columns are called `{name}`")).hint("give one of them an alias")
}

/// The name in DataFusion's `… the expression "x AS a" at position 0 and "y AS a" at position 1 have the same name …`.
fn called_twice(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("Projections require unique expression names")?;
    let (_, second) = rest.split_once(" and \"")?;
    let (expression, _) = second.split_once("\" at position")?;
    let name = expression.rsplit_once(" AS ").map_or(expression, |(_, alias)| alias);
    Some(name.rsplit_once('.').map_or(name, |(_, column)| column))
}

fn nearest_column(field: &Column, valid: &[Column]) -> Option<String> {
    let names: Vec<&str> = valid.iter().map(Column::name).collect();
    if let Some(name) = polder_base::nearest(field.name(), names.iter().copied()) {
        return Some(
            match valid.iter().find(|column| column.name() == name).and_then(|column| column.relation.as_ref()) {
                Some(relation) => format!("did you mean `{name}` of {}?", relation.to_string().replace('"', "")),
                None => format!("did you mean `{name}`?"),
            },
        );
    }
    let shown: Vec<&str> = names.into_iter().take(12).collect();
    (!shown.is_empty()).then(|| {
        let more = if valid.len() > shown.len() { ", …" } else { "" };
        format!("there are {}{more}", shown.join(", "))
    })
}

fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => root(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, root),
        other => other,
    }
}

fn span(error: &DataFusionError) -> Option<datafusion::common::Span> {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => diagnostic.span.or_else(|| span(inner)),
        DataFusionError::Context(_, inner) => span(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(span),
        _ => None,
    }
}
