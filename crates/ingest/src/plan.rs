//! Which columns a table gets: what was found in the source, what was declared, what the table has already.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use polder_diag::Diagnostic;
use polder_lake::COMMENT;
use polder_project::{ColumnSpec, Stream};
use std::sync::Arc;

use crate::intake::{SYSTEM_COLUMNS, system_fields};
use crate::json::Shape;
use crate::text::discover::Seen;
use crate::types::{list_of, parse_sql_type, same_type, sql_type, storable, widens};
use crate::{Result, codes};

/// A column as the source has it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Normalised, and as the source names it.
    pub name: String,
    pub original: String,
    pub comment: Option<String>,
    pub evidence: Evidence,
}

/// What is known about the type of a source's column.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// The source says it.
    Exact(DataType),
    /// Values of CSV, and of JSON lines, that were looked at.
    Text(Box<Seen>),
    Json(Box<Shape>),
}

impl Evidence {
    fn data_type(&self) -> Option<DataType> {
        match self {
            Self::Exact(data_type) => Some(data_type.clone()),
            Self::Text(seen) => seen.data_type(),
            Self::Json(shape) => shape.data_type(),
        }
    }

    /// Whether a column of this type takes what the source has. For sampled values: most of them; the others are
    /// records to reject, not a change of the source's form.
    fn goes_into(&self, data_type: &DataType) -> bool {
        let (values, misfits) = match self {
            Self::Exact(found) => return merged(data_type, found, true).is_some(),
            Self::Text(seen) => seen.misfits(data_type),
            Self::Json(shape) => shape.misfits(data_type),
        };
        misfits * 2 <= values
    }

    fn example(&self, data_type: &DataType) -> Option<String> {
        match self {
            Self::Exact(_) => None,
            Self::Text(seen) => seen.first_misfit(data_type).map(ToString::to_string),
            Self::Json(shape) => shape.first_misfit(data_type),
        }
    }

    fn note(&self, column: &str) -> Option<String> {
        match self {
            Self::Exact(_) => None,
            Self::Text(seen) => seen.changed(column),
            Self::Json(shape) => shape.changed(column),
        }
    }
}

/// A column as it will be read and written.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub name: String,
    pub original: String,
    pub data_type: DataType,
    /// The type was declared: other spellings of a value are taken too.
    pub declared: bool,
    pub comment: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub columns: Vec<Planned>,
    /// What a person should know, though nothing is wrong.
    pub notes: Vec<String>,
}

/// Decides the columns. Declared types win; a table's types stay; the rest is as it was found.
///
/// # Errors
/// Unknown declared types (`I008`), declared or key columns that the source lacks (`I009`), names that Polder uses
/// itself (`I007`), changed types (`I011`). The first is the error, the others are its hints.
pub fn plan(stream: &Stream, found: &[Found], table: Option<&Schema>) -> Result<Plan> {
    let mut problems = Vec::new();
    let declared = declared_types(&stream.columns, &mut problems);
    problems.extend(found.iter().filter(|f| SYSTEM_COLUMNS.contains(&f.name.as_str())).map(|f| reserved(stream, f)));
    missing(stream, found, table, &mut problems);
    let mut plan = Plan::default();
    for column in found {
        let spec = stream.columns.get(&column.name);
        let has = table.and_then(|t| t.field_with_name(&column.name).ok()).map(Field::data_type);
        let wanted = declared.get(column.name.as_str());
        match decide(stream, column, wanted, has) {
            Ok(data_type) => plan.columns.push(planned(column, spec, data_type, wanted.is_some())),
            Err(problem) => problems.push(*problem),
        }
        if wanted.is_none() && has.is_none() {
            plan.notes.extend(column.evidence.note(&column.name));
        }
    }
    plan.notes.extend(gone(found, table));
    let exact = found.iter().all(|column| matches!(column.evidence, Evidence::Exact(_)));
    plan.notes.extend(crate::look::drift(stream, &plan.columns, exact));
    match together(problems) {
        Some(problem) => Err(problem.into()),
        None => Ok(plan),
    }
}

/// Columns of the table that the source has no more: they are NULL from now on, which loses nothing, but should be
/// known.
fn gone(found: &[Found], table: Option<&Schema>) -> Option<String> {
    let comes = |name: &str| SYSTEM_COLUMNS.contains(&name) || found.iter().any(|f| f.name == name);
    let fields = table.into_iter().flat_map(|t| t.fields().iter());
    let names: Vec<String> = fields.map(|f| f.name()).filter(|n| !comes(n)).map(|n| format!("`{n}`")).collect();
    (!names.is_empty()).then(|| format!("without {}, which the table has", names.join(", ")))
}

/// The columns where the source has none to show, because all of its files are empty: those of the table, and declared
/// ones.
pub fn without_files(stream: &Stream, table: Option<&Schema>) -> Result<Vec<Planned>> {
    let mut problems = Vec::new();
    let types = declared_types(&stream.columns, &mut problems);
    if let Some(problem) = together(problems) {
        return Err(problem.into());
    }
    let fields = || table.into_iter().flat_map(|t| t.fields().iter());
    let column = |name: &String, has: Option<&Field>| {
        let comment = stream.columns.get(name).and_then(|spec| spec.comment.clone());
        let found = types.get(name.as_str()).cloned().or_else(|| storable(has?.data_type()));
        Planned {
            name: name.clone(),
            original: name.clone(),
            data_type: found.unwrap_or(DataType::Utf8),
            declared: types.contains_key(name.as_str()),
            comment: comment.or_else(|| has?.metadata().get(COMMENT).cloned()),
        }
    };
    let present = fields().filter(|f| !SYSTEM_COLUMNS.contains(&f.name().as_str())).map(|f| column(f.name(), Some(f)));
    let missing = stream.columns.keys().filter(|name| fields().all(|f| f.name() != *name));
    Ok(present.chain(missing.map(|name| column(name, None))).collect())
}

fn declared_types<'a>(
    columns: &'a BTreeMap<String, ColumnSpec>,
    problems: &mut Vec<Diagnostic>,
) -> HashMap<&'a str, DataType> {
    let mut types = HashMap::new();
    for (name, spec) in columns {
        let Some(written) = &spec.data_type else { continue };
        match parse_sql_type(written) {
            Some(data_type) => drop(types.insert(name.as_str(), data_type)),
            None => problems.push(unknown_type(name, written, spec)),
        }
    }
    types
}

fn unknown_type(column: &str, written: &str, spec: &ColumnSpec) -> Diagnostic {
    let problem = Diagnostic::error(codes::UNKNOWN_TYPE, format!("column `{column}`: there is no type `{written}`"))
        .at(spec.span.clone(), "unknown type");
    match polder_base::nearest(written, polder_project::SQL_TYPES) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("such as `bigint`, `decimal(12,2)`, `date`, `timestamp`, `text`"),
    }
}

fn reserved(stream: &Stream, column: &Found) -> Diagnostic {
    let message =
        format!("{}: the source has a column `{}`, a name that Polder uses itself", stream.name, column.original);
    Diagnostic::error(codes::RESERVED, message).at(stream.span.clone(), "").hint("rename the column in the source")
}

/// Columns that are declared, or named as key, but are neither in the source nor in the table.
fn missing(stream: &Stream, found: &[Found], table: Option<&Schema>, problems: &mut Vec<Diagnostic>) {
    let known =
        |name: &str| found.iter().any(|f| f.name == name) || table.is_some_and(|t| t.field_with_name(name).is_ok());
    let names = || found.iter().map(|f| f.name.as_str());
    let mut tell = |what: &str, name: &str, span: &polder_diag::Span| {
        if known(name) {
            return;
        }
        let problem = Diagnostic::error(codes::UNKNOWN_COLUMN, format!("{what} `{name}` is not in {}", stream.name))
            .at(span.clone(), "");
        problems.push(match polder_base::nearest(name, names()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!("its columns are: {}", names().collect::<Vec<_>>().join(", "))),
        });
    };
    for (name, spec) in &stream.columns {
        tell("the declared column", name, &spec.span);
    }
    for name in &stream.key {
        tell("the key column", name, &stream.span);
    }
}

fn decide(
    stream: &Stream,
    column: &Found,
    declared: Option<&DataType>,
    table: Option<&DataType>,
) -> std::result::Result<DataType, Box<Diagnostic>> {
    let Some(has) = table.and_then(storable) else {
        // New: declared, or found; without any value it is text, which takes whatever comes.
        return Ok(declared.cloned().or_else(|| column.evidence.data_type()).unwrap_or(DataType::Utf8));
    };
    if let Some(wanted) = declared {
        let fits = same_type(wanted, &has) || widens(wanted, &has);
        let change = || changed(stream, column, &has, wanted).hint("the type was declared after the table was made");
        return if fits { Ok(wanted.clone()) } else { Err(Box::new(change())) };
    }
    if column.evidence.goes_into(&has) {
        let found = column.evidence.data_type();
        return Ok(found.and_then(|found| merged(&has, &found, false)).unwrap_or(has));
    }
    let found = column.evidence.data_type().unwrap_or(DataType::Utf8);
    let problem = changed(stream, column, &has, &found);
    let problem = match column.evidence {
        Evidence::Exact(_) => problem,
        // Found by reading a sample: the person knows better what comes.
        Evidence::Text(_) | Evidence::Json(_) => problem.hint(declared_as(&column.name, &found)),
    };
    Err(Box::new(match column.evidence.example(&has) {
        Some(example) => problem.hint(example),
        None => problem,
    }))
}

/// The table's type, with what is new inside its structs. `strict`: nothing if a value could not go into it.
fn merged(has: &DataType, found: &DataType, strict: bool) -> Option<DataType> {
    match (has, found) {
        (DataType::Struct(has), DataType::Struct(found)) => {
            let known = has.iter().map(|field| {
                let merged = match found.iter().find(|f| f.name() == field.name()) {
                    Some(other) => merged(field.data_type(), other.data_type(), strict)?,
                    None => field.data_type().clone(),
                };
                Some(Field::new(field.name(), merged, true))
            });
            let new =
                found.iter().filter(|f| has.iter().all(|h| h.name() != f.name())).map(|f| Some(f.as_ref().clone()));
            Some(DataType::Struct(known.chain(new).collect::<Option<Vec<_>>>()?.into()))
        }
        (DataType::List(has), DataType::List(found)) => {
            Some(list_of(merged(has.data_type(), found.data_type(), strict)?))
        }
        _ if strict && !same_type(found, has) && !widens(found, has) => None,
        _ => Some(has.clone()),
    }
}

fn declared_as(column: &str, data_type: &DataType) -> String {
    let data_type = sql_type(data_type);
    format!("what is declared wins: `columns: {{ {column}: {data_type} }}`, with `--full-refresh` once")
}

fn changed(stream: &Stream, column: &Found, from: &DataType, to: &DataType) -> Diagnostic {
    type_change(stream, &column.name, &sql_type(from), &sql_type(to))
}

/// `I011`: a change of type that Polder does not make by itself.
pub fn type_change(stream: &Stream, column: &str, from: &str, to: &str) -> Diagnostic {
    let message = format!("{}: column `{column}` is {from} in the table and {to} in the source", stream.table);
    Diagnostic::error(codes::TYPE_CHANGED, message)
        .at(stream.span.clone(), "")
        .hint("mend the source, or read everything anew with `--full-refresh`")
}

fn planned(column: &Found, spec: Option<&ColumnSpec>, data_type: DataType, declared: bool) -> Planned {
    let given = spec.and_then(|s| s.comment.clone()).or_else(|| column.comment.clone());
    let renamed = column.original != column.name;
    let comment = match given {
        Some(comment) if renamed => Some(format!("{comment} (in the source: {})", column.original)),
        None if renamed => Some(column.original.clone()),
        given => given,
    };
    Planned { name: column.name.clone(), original: column.original.clone(), data_type, declared, comment }
}

/// One diagnostic of several: a step fails with one.
pub fn together(problems: Vec<Diagnostic>) -> Option<Diagnostic> {
    let mut problems = problems.into_iter();
    let first = problems.next()?;
    Some(problems.fold(first, |first, other| first.hint(format!("also: {}", other.message))))
}

/// The schema of the rows: the planned columns, then Polder's own.
pub fn row_schema(columns: &[Planned], from_files: bool) -> SchemaRef {
    let field = |column: &Planned| {
        let field = Field::new(&column.name, column.data_type.clone(), true);
        match &column.comment {
            Some(comment) => field.with_metadata(HashMap::from([(COMMENT.to_owned(), comment.clone())])),
            None => field,
        }
    };
    let fields: Vec<Field> = columns.iter().map(field).chain(system_fields(from_files)).collect();
    Arc::new(Schema::new(fields))
}
