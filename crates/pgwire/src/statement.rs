//! Prepared statements and portals.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use pgwire::api::Type;
use pgwire::messages::data::{FieldDescription, RowDescription};
use polder_app::ScalarValue;

use crate::command::Command;
use crate::frontend::{Bind, Formats};
use crate::problem::{Problem, sqlstate};
use crate::results::Results;
use crate::types::{is_text_alone, parameter_type, pg_type};
use crate::values;

/// A statement that a client has prepared.
#[derive(Debug)]
pub(crate) struct Statement {
    /// `None`: there is nothing but white space in it.
    pub(crate) command: Option<Command>,
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Parameter>,
    /// What it gives; `None`: no rows.
    pub(crate) schema: Option<SchemaRef>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) data_type: DataType,
    /// As the client is told.
    pub(crate) oid: u32,
    /// The client sends text, whatever is made of it.
    as_text: bool,
}

/// Types of parameters as a client says them, for the planner.
///
/// # Errors
/// A type that no value is taken of.
pub(crate) fn said(oids: &[u32]) -> Result<Vec<Option<DataType>>, Problem> {
    let of = |oid: &u32| {
        parameter_type(*oid).map_err(|oid| {
            let name = Type::from_oid(oid).map_or_else(|| format!("with the number {oid}"), |t| format!("`{t}`"));
            let message = format!("parameters of the type {name} are not taken");
            Problem::new(sqlstate::FEATURE_NOT_SUPPORTED, message).hint("send text, and cast it in the statement")
        })
    };
    oids.iter().map(of).collect()
}

impl Parameter {
    /// `said`: the client's type, 0 for none.
    pub(crate) fn new(data_type: DataType, said: u32) -> Self {
        let as_text = matches!(parameter_type(said), Ok(None)) && said != 0 && said != Type::UNKNOWN.oid();
        let oid = if said == 0 || said == Type::UNKNOWN.oid() { pg_type(&data_type).of.oid() } else { said };
        Self { data_type, oid, as_text }
    }
}

/// A statement with its values, ready to run or running.
#[derive(Debug)]
pub(crate) struct Portal {
    pub(crate) statement: Arc<Statement>,
    pub(crate) values: Vec<ScalarValue>,
    pub(crate) formats: Formats,
    pub(crate) state: PortalState,
}

#[derive(Debug)]
pub(crate) enum PortalState {
    Ready,
    Running(Box<Results>),
    Done,
}

impl Portal {
    /// # Errors
    /// Values that are no values of their types, or too many or too few of them.
    pub(crate) fn new(bind: Bind, statement: Arc<Statement>) -> Result<Self, Problem> {
        let (given, wanted) = (bind.values.len(), statement.parameters.len());
        if given != wanted {
            let message = format!("the statement has {wanted} parameters, and {given} values were given");
            return Err(Problem::new(sqlstate::PROTOCOL_VIOLATION, message));
        }
        let columns = statement.schema.as_ref().map_or(0, |schema| schema.fields().len());
        if !bind.formats.fit(given) || !bind.results.fit(columns) {
            let message = "there are not as many formats as values or columns";
            return Err(Problem::new(sqlstate::PROTOCOL_VIOLATION, message));
        }
        let value = |(at, (bytes, parameter)): (usize, (&Option<bytes::Bytes>, &Parameter))| {
            let binary = bind.formats.is_binary(at);
            if binary && is_text_alone(parameter.oid) {
                let message = format!("the value of ${}: values of this type are taken as text alone", at + 1);
                return Err(Problem::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
            }
            values::value(bytes.as_deref(), &parameter.data_type, binary, parameter.as_text)
                .map_err(|why| Problem::new(sqlstate::INVALID_TEXT, format!("the value of ${}: {why}", at + 1)))
        };
        let values = bind.values.iter().zip(&statement.parameters).enumerate().map(value).collect::<Result<_, _>>()?;
        Ok(Self { statement, values, formats: bind.results, state: PortalState::Ready })
    }
}

/// The columns of rows, as clients are told of them.
pub(crate) fn description(schema: &SchemaRef, formats: &Formats) -> RowDescription {
    let field = |(at, field): (usize, &Arc<Field>)| {
        let told = pg_type(field.data_type());
        let binary = i16::from(formats.is_binary(at));
        FieldDescription::new(field.name().clone(), 0, 0, told.of.oid(), told.size, told.modifier, binary)
    };
    RowDescription::new(schema.fields().iter().enumerate().map(field).collect())
}

/// Whether rows of one schema can be read by who was told of another: names and types are as they were told.
pub(crate) fn are_alike(told: &SchemaRef, given: &SchemaRef) -> bool {
    let alike = |(told, given): (&Arc<Field>, &Arc<Field>)| {
        told.name() == given.name() && pg_type(told.data_type()).of == pg_type(given.data_type()).of
    };
    told.fields().len() == given.fields().len() && told.fields().iter().zip(given.fields()).all(alike)
}

/// The row that answers `SHOW name`.
pub(crate) fn one_text(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]))
}
