//! Fitting rows of another schema to a table.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use polder_table::spec::{ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type};

use crate::Result;
use crate::schema::{FieldIds, fresh_field, iceberg_type, map_entries, sql_type_name, sql_type_name_of_arrow};

/// What has to happen to a table so that it takes rows of another schema.
#[derive(Debug, Clone)]
pub struct Evolution {
    /// The schema that holds both: columns that are new are optional and at the end.
    pub schema: Schema,
    /// `false`: the table's schema as it is.
    pub changed: bool,
}

/// A change that Polder does not make by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    pub column: String,
    /// SQL types: what the table has, what arrives.
    pub from: String,
    pub to: String,
}

/// Fits `incoming` to a table's schema by column name, new ids following the schema's greatest. Use
/// [`LakeTable::evolve`](crate::LakeTable::evolve) for a table that may have lost columns: their ids must not come back.
///
/// A narrower type goes into a wider column (`integer` into `bigint`, `decimal(6, 2)` into `decimal(10, 2)`, whole
/// numbers into `double` where they are exact). Fields that are new inside a struct are added to it as columns are.
///
/// # Errors
/// The inner error names every column whose type changes.
pub fn evolve(table: &Schema, incoming: &ArrowSchema) -> Result<std::result::Result<Evolution, Vec<SchemaChange>>> {
    evolve_after(table, table.highest_field_id(), incoming)
}

/// [`evolve`] with new ids that follow `last_column_id`.
pub(crate) fn evolve_after(
    table: &Schema,
    last_column_id: i32,
    incoming: &ArrowSchema,
) -> Result<std::result::Result<Evolution, Vec<SchemaChange>>> {
    let mut merge = Merge { ids: FieldIds::after(last_column_id), added: false };
    let mut changes = Vec::new();
    let mut fields = Vec::with_capacity(table.as_struct().fields().len());
    for field in table.as_struct().fields() {
        let Ok(arrives) = incoming.field_with_name(&field.name) else {
            fields.push(Arc::clone(field));
            continue;
        };
        match merge.field(field, arrives)? {
            Some(merged) => fields.push(merged),
            None => changes.push(SchemaChange {
                column: field.name.clone(),
                from: sql_type_name(&field.field_type),
                to: sql_type_name_of_arrow(arrives.data_type()),
            }),
        }
    }
    if !changes.is_empty() {
        return Ok(Err(changes));
    }
    merge.append_new(&mut fields, incoming.fields())?;
    if !merge.added {
        return Ok(Ok(Evolution { schema: table.clone(), changed: false }));
    }
    let schema = Schema::builder()
        .with_schema_id(table.schema_id())
        .with_identifier_field_ids(table.identifier_field_ids())
        .with_fields(fields)
        .build()
        .map_err(|e| crate::LakeError::Schema(e.message().to_owned()))?;
    Ok(Ok(Evolution { schema, changed: true }))
}

/// Merges types, and notes whether that added anything.
struct Merge {
    ids: FieldIds,
    added: bool,
}

impl Merge {
    /// The table's field, with what is new inside it; `None` when the types do not go together.
    fn field(&mut self, table: &NestedFieldRef, incoming: &Field) -> Result<Option<NestedFieldRef>> {
        let merged = self.field_type(&table.field_type, incoming)?;
        Ok(merged.map(|field_type| {
            let mut field = NestedField::clone(table);
            *field.field_type = field_type;
            Arc::new(field)
        }))
    }

    fn field_type(&mut self, table: &Type, incoming: &Field) -> Result<Option<Type>> {
        match (table, incoming.data_type()) {
            (_, DataType::Null) => Ok(Some(table.clone())),
            (_, DataType::Dictionary(_, values)) => {
                self.field_type(table, &Field::new(incoming.name(), values.as_ref().clone(), true))
            }
            (Type::Struct(fields), DataType::Struct(arriving)) => self.fields(fields, arriving),
            (
                Type::List(list),
                DataType::List(element)
                | DataType::LargeList(element)
                | DataType::FixedSizeList(element, _)
                | DataType::ListView(element)
                | DataType::LargeListView(element),
            ) => {
                let element = self.field(&list.element_field, element)?;
                Ok(element.map(|element_field| Type::List(ListType { element_field })))
            }
            (Type::Map(map), DataType::Map(entries, _)) => {
                let Some((key, value)) = map_entries(entries) else { return Ok(None) };
                let added_before = self.added;
                let Some(key_field) = self.field(&map.key_field, key)? else { return Ok(None) };
                // A key that grew a field would no longer equal the keys that are there.
                if self.added && !added_before {
                    return Ok(None);
                }
                let value = self.field(&map.value_field, value)?;
                Ok(value.map(|value_field| Type::Map(MapType { key_field, value_field })))
            }
            (Type::Primitive(primitive), data_type) if !data_type.is_nested() => {
                let arrives = iceberg_type(incoming, &mut FieldIds::after(0))?;
                let fits = arrives.as_primitive_type().is_some_and(|arrives| fits_into(arrives, primitive));
                Ok(fits.then(|| table.clone()))
            }
            _ => Ok(None),
        }
    }

    fn fields(&mut self, table: &StructType, incoming: &Fields) -> Result<Option<Type>> {
        let mut fields = Vec::with_capacity(incoming.len());
        for field in table.fields() {
            match incoming.iter().find(|f| *f.name() == field.name) {
                None => fields.push(Arc::clone(field)),
                Some(arrives) => match self.field(field, arrives)? {
                    Some(merged) => fields.push(merged),
                    None => return Ok(None),
                },
            }
        }
        self.append_new(&mut fields, incoming)?;
        Ok(Some(Type::Struct(StructType::new(fields))))
    }

    /// Appends the fields that the table does not have. A column of NULLs without a type waits until one has a value.
    fn append_new(&mut self, fields: &mut Vec<NestedFieldRef>, incoming: &Fields) -> Result<()> {
        for field in incoming {
            if *field.data_type() != DataType::Null && !fields.iter().any(|f| f.name == *field.name()) {
                fields.push(fresh_field(field, &mut self.ids)?);
                self.added = true;
            }
        }
        Ok(())
    }
}

/// Digits of the greatest `integer` and `bigint`.
const INT_DIGITS: u32 = 10;
const LONG_DIGITS: u32 = 19;

/// Whether values of one type can be kept in a column of another without loss. `bigint` into `double` is checked value
/// by value when rows are written.
fn fits_into(incoming: &PrimitiveType, column: &PrimitiveType) -> bool {
    match (incoming, column) {
        (PrimitiveType::Int, PrimitiveType::Long | PrimitiveType::Double)
        | (PrimitiveType::Long | PrimitiveType::Float, PrimitiveType::Double) => true,
        (PrimitiveType::Int, PrimitiveType::Decimal { precision, scale }) => {
            precision.saturating_sub(*scale) >= INT_DIGITS
        }
        (PrimitiveType::Long, PrimitiveType::Decimal { precision, scale }) => {
            precision.saturating_sub(*scale) >= LONG_DIGITS
        }
        (
            PrimitiveType::Decimal { precision: from_precision, scale: from_scale },
            PrimitiveType::Decimal { precision, scale },
        ) => scale >= from_scale && precision.saturating_sub(*scale) >= from_precision.saturating_sub(*from_scale),
        // Arrow's own UUID type is rare: sixteen bytes may be one.
        (PrimitiveType::Fixed(16), PrimitiveType::Uuid) | (PrimitiveType::Uuid, PrimitiveType::Fixed(16)) => true,
        (PrimitiveType::Timestamp, PrimitiveType::TimestampNs)
        | (PrimitiveType::Timestamptz, PrimitiveType::TimestamptzNs) => true,
        (incoming, column) => incoming == column,
    }
}
