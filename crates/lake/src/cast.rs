//! Columns of one Arrow type as columns of another, where that loses nothing.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, cast::as_list_array, new_null_array,
};
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::arrow::error::ArrowError;

use crate::schema::{field_id, sql_type_name_of_arrow};
use crate::{LakeError, Result};

/// How the fields inside structs find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatchBy {
    /// Rows on their way into a table.
    Name,
    /// Rows of a data file, whose columns may have been renamed since.
    FieldId,
}

/// An overflow is an error, never a NULL.
const CHECKED: CastOptions<'static> =
    CastOptions { safe: false, format_options: datafusion::arrow::util::display::FormatOptions::new() };

/// A column as the table has it. Text and bytes stay as they are where the target is text or bytes, at the top level:
/// Parquet takes any of Arrow's forms of them.
///
/// # Errors
/// A type that does not fit, a value that would change, or a NULL in a required column, with the column's name.
pub(crate) fn cast_for_writing(array: &ArrayRef, target: &Field) -> Result<ArrayRef> {
    let column = if stays(array.data_type(), target.data_type()) {
        Arc::clone(array)
    } else {
        cast_column(array, target.data_type(), target.name(), MatchBy::Name)?
    };
    if !target.is_nullable() && column.null_count() > 0 {
        return Err(LakeError::Schema(format!("column `{}` is required, and a row has NULL in it", target.name())));
    }
    Ok(column)
}

fn stays(from: &DataType, to: &DataType) -> bool {
    let from = match from {
        DataType::Dictionary(_, values) => values.as_ref(),
        from => from,
    };
    from == to || (is_text(from) && is_text(to)) || (is_bytes(from) && is_bytes(to))
}

/// Casts a column, at any depth. `path` is how errors call it.
pub(crate) fn cast_column(array: &ArrayRef, to: &DataType, path: &str, by: MatchBy) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), to) {
        (DataType::Null, _) => Ok(new_null_array(to, array.len())),
        (DataType::Struct(from), DataType::Struct(fields)) => cast_struct(array.as_struct(), from, fields, path, by),
        (DataType::List(_), DataType::List(element)) => cast_list(as_list_array(array), element, path, by),
        (
            DataType::LargeList(element)
            | DataType::FixedSizeList(element, _)
            | DataType::ListView(element)
            | DataType::LargeListView(element),
            DataType::List(_),
        ) => {
            let list = arrow_cast(array, &DataType::List(Arc::clone(element)), path)?;
            cast_column(&list, to, path, by)
        }
        (DataType::Map(_, _), DataType::Map(entries, ordered)) => cast_map(array.as_map(), entries, *ordered, path, by),
        (from, to) if from.is_nested() || to.is_nested() => Err(does_not_fit(path, from, to)),
        (DataType::Dictionary(_, values), to) => {
            let plain = arrow_cast(array, values, path)?;
            cast_column(&plain, to, path, by)
        }
        _ => cast_value(array, to, path),
    }
}

fn cast_struct(array: &StructArray, from: &Fields, to: &Fields, path: &str, by: MatchBy) -> Result<ArrayRef> {
    let mut children = Vec::with_capacity(to.len());
    for field in to {
        let path = format!("{path}.{}", field.name());
        let child = match position(from, field, by) {
            Some(index) => cast_column(array.column(index), field.data_type(), &path, by)?,
            None if field.is_nullable() => new_null_array(field.data_type(), array.len()),
            None => return Err(LakeError::Schema(format!("column `{path}` is required, and the rows do not have it"))),
        };
        children.push(child);
    }
    let array = StructArray::try_new(to.clone(), children, array.nulls().cloned()).map_err(|e| failed(path, &e))?;
    Ok(Arc::new(array))
}

fn cast_list(array: &ListArray, element: &FieldRef, path: &str, by: MatchBy) -> Result<ArrayRef> {
    let values = cast_column(array.values(), element.data_type(), &format!("{path}[]"), by)?;
    let list = ListArray::try_new(Arc::clone(element), array.offsets().clone(), values, array.nulls().cloned());
    Ok(Arc::new(list.map_err(|e| failed(path, &e))?))
}

fn cast_map(array: &MapArray, entries: &FieldRef, ordered: bool, path: &str, by: MatchBy) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(does_not_fit(path, array.data_type(), entries.data_type()));
    };
    let columns = fields
        .iter()
        .zip([array.keys(), array.values()])
        .map(|(field, column)| cast_column(column, field.data_type(), &format!("{path}.{}", field.name()), by))
        .collect::<Result<Vec<_>>>()?;
    let columns = StructArray::try_new(fields.clone(), columns, None).map_err(|e| failed(path, &e))?;
    let map = MapArray::try_new(Arc::clone(entries), array.offsets().clone(), columns, array.nulls().cloned(), ordered);
    Ok(Arc::new(map.map_err(|e| failed(path, &e))?))
}

/// Where a struct of a file or stream has the field that the table means.
pub(crate) fn position(fields: &Fields, wanted: &Field, by: MatchBy) -> Option<usize> {
    match by {
        MatchBy::Name => fields.iter().position(|f| f.name() == wanted.name()),
        // Files that others wrote may lack ids: then their names decide.
        MatchBy::FieldId => match field_id(wanted) {
            Some(id) if fields.iter().any(|f| field_id(f).is_some()) => {
                fields.iter().position(|f| field_id(f) == Some(id))
            }
            _ => fields.iter().position(|f| f.name() == wanted.name()),
        },
    }
}

fn cast_value(array: &ArrayRef, to: &DataType, path: &str) -> Result<ArrayRef> {
    let from = array.data_type();
    match conversion(from, to) {
        Conversion::Free => arrow_cast(array, to, path),
        Conversion::RoundTrip => {
            let there = arrow_cast(array, to, path)?;
            let back = arrow_cast(&there, from, path)?;
            if not_distinct(array, &back).map_err(|e| failed(path, &e))?.true_count() == array.len() {
                return Ok(there);
            }
            Err(LakeError::Schema(format!(
                "column `{path}` is {}, and has no place for a value of type {}",
                sql_type_name_of_arrow(to),
                sql_type_name_of_arrow(from)
            )))
        }
        Conversion::None => Err(does_not_fit(path, from, to)),
    }
}

enum Conversion {
    /// Every value that the checked cast lets through is the same value.
    Free,
    /// The cast may round: cast back and compare.
    RoundTrip,
    None,
}

fn conversion(from: &DataType, to: &DataType) -> Conversion {
    use DataType::{Date32, Date64, FixedSizeBinary, Float32, Float64, Time32, Time64, Timestamp};
    match (from, to) {
        (from, to) if is_text(from) && is_text(to) || is_bytes(from) && is_bytes(to) => Conversion::Free,
        (from, to) if is_integer(from) && (is_integer(to) || is_decimal(to)) => Conversion::Free,
        (DataType::Float16, Float32 | Float64) | (Float32, Float64) | (Date32, Date64) => Conversion::Free,
        (from, to) if is_number(from) && is_number(to) => Conversion::RoundTrip,
        (Date64, Date32) => Conversion::RoundTrip,
        // Polder's timestamps are microseconds: what is finer is cut off, as everywhere in the platform.
        (Timestamp(_, None), Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, None))
        | (Timestamp(_, Some(_)), Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, Some(_)))
        | (Time32(_) | Time64(_), Time64(_)) => Conversion::Free,
        (FixedSizeBinary(a), FixedSizeBinary(b)) if a == b => Conversion::Free,
        (FixedSizeBinary(_), to) if is_bytes(to) => Conversion::Free,
        _ => Conversion::None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_integer(data_type: &DataType) -> bool {
    data_type.is_integer()
}

fn is_decimal(data_type: &DataType) -> bool {
    data_type.is_decimal()
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn arrow_cast(array: &ArrayRef, to: &DataType, path: &str) -> Result<ArrayRef> {
    cast_with_options(array, to, &CHECKED).map_err(|e| failed(path, &e))
}

fn failed(path: &str, error: &ArrowError) -> LakeError {
    LakeError::Schema(format!("column `{path}`: {error}"))
}

fn does_not_fit(path: &str, from: &DataType, to: &DataType) -> LakeError {
    LakeError::Schema(format!(
        "column `{path}` is {}, and the rows have {}",
        sql_type_name_of_arrow(to),
        sql_type_name_of_arrow(from)
    ))
}
