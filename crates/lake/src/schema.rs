//! Arrow schemas and Iceberg schemas.
//!
//! Arrow fields of files carry `PARQUET:field_id` and, where the column has one, `comment` in their metadata. What scans
//! give has no field ids: DataFusion compares the metadata inside of nested types, and what it makes of a list (a
//! literal, a maximum, the other side of a union) has none. Strings and bytes at the top level are views (`Utf8View`,
//! `BinaryView`): DataFusion compares and groups those fastest, and the Parquet reader makes them without a copy. Inside
//! lists, maps and structs they are plain.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use polder_table::spec::{ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type};

use crate::{LakeError, Result};

/// Key of a column's comment in the metadata of an Arrow field; Iceberg calls it `doc`.
pub const COMMENT: &str = "comment";

/// The time zone of all timestamps that have one: what the Parquet reader gives for values adjusted to UTC.
pub(crate) const UTC: &str = "UTC";

const EXTENSION_NAME: &str = "ARROW:extension:name";
const UUID_EXTENSION: &str = "arrow.uuid";
const UUID_BYTES: i32 = 16;

/// The greatest precision of a decimal, in Iceberg as in Arrow's 128 bits.
pub(crate) const MAX_PRECISION: u32 = 38;

/// The Arrow schema of the files of an Iceberg schema: with field ids.
pub fn to_arrow(schema: &Schema) -> Result<SchemaRef> {
    let fields = schema.as_struct().fields().iter().map(|f| arrow_field(f, Depth::Top)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// The Arrow schema that scans of an Iceberg schema give: as [`to_arrow`], without field ids.
pub(crate) fn scan_schema(schema: &Schema) -> Result<SchemaRef> {
    let identified = to_arrow(schema)?;
    Ok(Arc::new(ArrowSchema::new(identified.fields().iter().map(without_ids).collect::<Fields>())))
}

/// A field without field ids, at any depth.
fn without_ids(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(element) => DataType::List(without_ids(element)),
        DataType::Map(entries, sorted) => DataType::Map(without_ids(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(without_ids).collect()),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    metadata.remove(PARQUET_FIELD_ID_META_KEY);
    Arc::new(field.as_ref().clone().with_data_type(data_type).with_metadata(metadata))
}

/// An Iceberg schema with fresh field ids, in order, from 1: first the columns, then what is inside them.
///
/// All columns are optional: that a plan cannot give NULL says nothing about the rows that the table takes tomorrow.
/// Types that Iceberg lacks are widened (small integers to `integer`, `uint32` to `bigint`), or checked value by value
/// when rows are written (`uint64` as `bigint`, nanoseconds as microseconds).
///
/// # Errors
/// A type that Iceberg has no place for, with the column's name.
pub fn from_arrow(schema: &ArrowSchema) -> Result<Schema> {
    let mut ids = FieldIds::after(0);
    let fields = fresh_fields(schema.fields(), &mut ids)?;
    build_schema(fields)
}

/// A type as a person writes it in SQL: `decimal(10, 2)`, `timestamptz`, `text[]`.
pub fn sql_type_name(field_type: &Type) -> String {
    match field_type {
        Type::Primitive(primitive) => primitive_sql_name(primitive),
        Type::List(list) => format!("{}[]", sql_type_name(&list.element_field.field_type)),
        Type::Map(map) => {
            format!("map({}, {})", sql_type_name(&map.key_field.field_type), sql_type_name(&map.value_field.field_type))
        }
        Type::Struct(fields) => {
            let fields: Vec<_> =
                fields.fields().iter().map(|f| format!("{} {}", f.name, sql_type_name(&f.field_type))).collect();
            format!("struct({})", fields.join(", "))
        }
    }
}

/// As [`sql_type_name`], for an Arrow type: the name of the Iceberg type that it becomes, or Arrow's own name where it
/// has none.
pub fn sql_type_name_of_arrow(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "null".to_owned(),
        _ => iceberg_type(&Field::new("", data_type.clone(), true), &mut FieldIds::after(0))
            .map_or_else(|_| data_type.to_string(), |t| sql_type_name(&t)),
    }
}

/// The field id in an Arrow field's metadata.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

pub(crate) fn build_schema(fields: Vec<NestedFieldRef>) -> Result<Schema> {
    Schema::builder().with_fields(fields).build().map_err(|e| LakeError::Schema(e.message().to_owned()))
}

/// Hands out field ids.
#[derive(Debug)]
pub(crate) struct FieldIds {
    last: i32,
}

impl FieldIds {
    pub(crate) fn after(last: i32) -> Self {
        Self { last }
    }

    fn next(&mut self) -> i32 {
        self.last += 1;
        self.last
    }
}

/// The fields of a struct or schema as optional Iceberg fields with new ids.
pub(crate) fn fresh_fields(fields: &Fields, ids: &mut FieldIds) -> Result<Vec<NestedFieldRef>> {
    let numbered: Vec<_> = fields.iter().map(|f| (ids.next(), f)).collect();
    numbered.into_iter().map(|(id, field)| fresh_field_with_id(field, id, ids)).collect()
}

/// One field as an optional Iceberg field with new ids.
pub(crate) fn fresh_field(field: &Field, ids: &mut FieldIds) -> Result<NestedFieldRef> {
    let id = ids.next();
    fresh_field_with_id(field, id, ids)
}

fn fresh_field_with_id(field: &Field, id: i32, ids: &mut FieldIds) -> Result<NestedFieldRef> {
    let mut iceberg = NestedField::optional(id, field.name(), iceberg_type(field, ids)?);
    iceberg.doc = field.metadata().get(COMMENT).filter(|c| !c.is_empty()).cloned();
    Ok(Arc::new(iceberg))
}

/// The Iceberg type of an Arrow field, ids inside it taken from `ids`.
pub(crate) fn iceberg_type(field: &Field, ids: &mut FieldIds) -> Result<Type> {
    let primitive = match field.data_type() {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => PrimitiveType::Int,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => PrimitiveType::Long,
        DataType::Float16 | DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal(field, *precision, *scale)?,
        DataType::Date32 | DataType::Date64 => PrimitiveType::Date,
        DataType::Time32(_) | DataType::Time64(_) => PrimitiveType::Time,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(UUID_BYTES) if is_uuid(field) => PrimitiveType::Uuid,
        DataType::FixedSizeBinary(size) => PrimitiveType::Fixed(u64::try_from(*size).map_err(|_| unsupported(field))?),
        DataType::Dictionary(_, values) => {
            return iceberg_type(&Field::new(field.name(), values.as_ref().clone(), true), ids);
        }
        DataType::RunEndEncoded(_, values) => {
            return iceberg_type(&Field::new(field.name(), values.data_type().clone(), true), ids);
        }
        DataType::Null => {
            return Err(LakeError::Schema(format!(
                "column `{}` is NULL and has no type: cast it, such as `cast(null as text)`",
                field.name()
            )));
        }
        _ => return nested_type(field, ids),
    };
    Ok(Type::Primitive(primitive))
}

fn nested_type(field: &Field, ids: &mut FieldIds) -> Result<Type> {
    match field.data_type() {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => {
            let id = ids.next();
            let element = NestedField::list_element(id, iceberg_type(element, ids)?, false);
            Ok(Type::List(ListType::new(Arc::new(element))))
        }
        DataType::Struct(fields) if !fields.is_empty() => Ok(Type::Struct(StructType::new(fresh_fields(fields, ids)?))),
        DataType::Map(entries, _) => {
            let (key, value) = map_entries(entries).ok_or_else(|| unsupported(field))?;
            let (key_id, value_id) = (ids.next(), ids.next());
            let key = NestedField::map_key_element(key_id, iceberg_type(key, ids)?);
            let value = NestedField::map_value_element(value_id, iceberg_type(value, ids)?, false);
            Ok(Type::Map(MapType::new(Arc::new(key), Arc::new(value))))
        }
        _ => Err(unsupported(field)),
    }
}

/// Key and value of a map's entries.
pub(crate) fn map_entries(entries: &Field) -> Option<(&FieldRef, &FieldRef)> {
    match entries.data_type() {
        DataType::Struct(fields) => Some((fields.first()?, fields.get(1)?)),
        _ => None,
    }
}

fn decimal(field: &Field, precision: u8, scale: i8) -> Result<PrimitiveType> {
    // 12e3 as decimal(2, -3) is 12000 as decimal(5, 0).
    let (precision, scale) = match u32::try_from(scale) {
        Ok(scale) => (u32::from(precision), scale),
        Err(_) => (u32::from(precision) + u32::from(scale.unsigned_abs()), 0),
    };
    if precision > MAX_PRECISION {
        return Err(LakeError::Schema(format!(
            "column `{}` is decimal({precision}, {scale}): a table holds decimals of up to {MAX_PRECISION} digits",
            field.name()
        )));
    }
    Ok(PrimitiveType::Decimal { precision, scale })
}

fn unsupported(field: &Field) -> LakeError {
    if let DataType::Interval(_) | DataType::Duration(_) = field.data_type() {
        let told = "a length of time, which no table can hold: make it a number, such as by `extract(epoch from …)`";
        return LakeError::Schema(format!("column `{}` is {told}", field.name()));
    }
    LakeError::Schema(format!("column `{}` is {}, a type that no table can hold", field.name(), field.data_type()))
}

fn is_uuid(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == UUID_EXTENSION)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Top,
    Nested,
}

fn arrow_field(field: &NestedField, depth: Depth) -> Result<Field> {
    let mut metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
    if let Some(doc) = &field.doc {
        metadata.insert(COMMENT.to_owned(), doc.clone());
    }
    if matches!(*field.field_type, Type::Primitive(PrimitiveType::Uuid)) {
        metadata.insert(EXTENSION_NAME.to_owned(), UUID_EXTENSION.to_owned());
    }
    let data_type = arrow_type(&field.field_type, depth)?;
    Ok(Field::new(&field.name, data_type, !field.required).with_metadata(metadata))
}

fn arrow_type(field_type: &Type, depth: Depth) -> Result<DataType> {
    Ok(match field_type {
        Type::Primitive(primitive) => primitive_to_arrow(primitive, depth)?,
        Type::Struct(fields) => {
            DataType::Struct(fields.fields().iter().map(|f| arrow_field(f, Depth::Nested)).collect::<Result<Fields>>()?)
        }
        Type::List(list) => DataType::List(Arc::new(arrow_field(&list.element_field, Depth::Nested)?)),
        Type::Map(map) => {
            let entries = Fields::from(vec![
                arrow_field(&map.key_field, Depth::Nested)?,
                arrow_field(&map.value_field, Depth::Nested)?,
            ]);
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries), false)), false)
        }
    })
}

/// The Arrow type of a primitive column at the top of a schema.
pub(crate) fn primitive_to_arrow_top(primitive: &PrimitiveType) -> Result<DataType> {
    primitive_to_arrow(primitive, Depth::Top)
}

fn primitive_to_arrow(primitive: &PrimitiveType, depth: Depth) -> Result<DataType> {
    Ok(match primitive {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            let out_of_range = || LakeError::Schema(format!("decimal({precision}, {scale}) is out of range"));
            DataType::Decimal128(
                u8::try_from(*precision).map_err(|_| out_of_range())?,
                i8::try_from(*scale).map_err(|_| out_of_range())?,
            )
        }
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
        PrimitiveType::String if depth == Depth::Top => DataType::Utf8View,
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(UUID_BYTES),
        PrimitiveType::Fixed(size) => DataType::FixedSizeBinary(
            i32::try_from(*size).map_err(|_| LakeError::Schema(format!("binary({size}) is too long")))?,
        ),
        PrimitiveType::Binary if depth == Depth::Top => DataType::BinaryView,
        PrimitiveType::Binary => DataType::Binary,
    })
}

fn primitive_sql_name(primitive: &PrimitiveType) -> String {
    match primitive {
        PrimitiveType::Boolean => "boolean".to_owned(),
        PrimitiveType::Int => "integer".to_owned(),
        PrimitiveType::Long => "bigint".to_owned(),
        PrimitiveType::Float => "real".to_owned(),
        PrimitiveType::Double => "double".to_owned(),
        PrimitiveType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
        PrimitiveType::Date => "date".to_owned(),
        PrimitiveType::Time => "time".to_owned(),
        PrimitiveType::Timestamp => "timestamp".to_owned(),
        PrimitiveType::Timestamptz => "timestamptz".to_owned(),
        PrimitiveType::TimestampNs => "timestamp(9)".to_owned(),
        PrimitiveType::TimestamptzNs => "timestamptz(9)".to_owned(),
        PrimitiveType::String => "text".to_owned(),
        PrimitiveType::Uuid => "uuid".to_owned(),
        PrimitiveType::Fixed(size) => format!("binary({size})"),
        PrimitiveType::Binary => "binary".to_owned(),
    }
}
