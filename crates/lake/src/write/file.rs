//! One Parquet file on its way to storage.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, LogicalType, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor, Type as ParquetType, TypePtr};
use polder_store::{Storage, StoreError, Upload};
use polder_table::spec::{PrimitiveType, Schema, Struct, Type};
use tokio::runtime::Handle;

use crate::schema::{field_id, to_arrow};
use crate::{LakeError, Result};

/// Most rows of a row group: the unit in which scans divide files among threads.
const ROW_GROUP_ROWS: usize = 1024 * 1024;
/// Most bytes of a row group, encoded: all of it is in memory until it is whole.
const ROW_GROUP_BYTES: usize = 64 * 1024 * 1024;
/// Bounds in footers are cut to this; what was cut says so.
const STATISTICS_BYTES: usize = 64;
/// Finished row groups are handed to storage in pieces of about this size.
const UPLOAD_BYTES: usize = 4 * 1024 * 1024;

/// What all files of a write have in common.
#[derive(Debug)]
pub(crate) struct FileFormat {
    pub(crate) schema: Arc<Schema>,
    pub(crate) arrow: SchemaRef,
    parquet: SchemaDescriptor,
    properties: WriterProperties,
    /// Position and field id of the floating-point columns.
    floats: Vec<(usize, i32)>,
}

impl FileFormat {
    pub(crate) fn new(schema: &Arc<Schema>) -> Result<Self> {
        let arrow = to_arrow(schema)?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("polder version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(compression()?)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_statistics_truncate_length(Some(STATISTICS_BYTES))
            .set_column_index_truncate_length(Some(STATISTICS_BYTES))
            .build();
        let floats = (arrow.fields().iter().enumerate())
            .filter(|(_, f)| matches!(f.data_type(), DataType::Float32 | DataType::Float64))
            .filter_map(|(i, f)| Some((i, field_id(f)?)))
            .collect();
        let parquet = parquet_schema(&arrow, schema)?;
        Ok(Self { schema: Arc::clone(schema), arrow, parquet, properties, floats })
    }

    /// What files have whose columns at these places are written without a dictionary.
    pub(crate) fn properties(&self, without_dictionary: &HashSet<usize>) -> WriterProperties {
        let mut properties = self.properties.clone().into_builder();
        for (place, field) in self.arrow.fields().iter().enumerate() {
            if without_dictionary.contains(&place) {
                let path = ColumnPath::new(vec![field.name().clone()]);
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
        properties.build()
    }

    fn writer(&self, properties: WriterProperties) -> Result<ArrowWriter<Vec<u8>>> {
        // The Arrow schema is not embedded: readers take types from Parquet's own, as they do for everybody's files.
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_parquet_schema(self.parquet.clone())
            .with_skip_arrow_metadata(true);
        ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&self.arrow), options).map_err(parquet_error)
    }
}

fn compression() -> Result<Compression> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(1).map_err(parquet_error)?))
}

/// The Parquet schema, with the annotation of UUIDs that Arrow's own conversion leaves out.
fn parquet_schema(arrow: &SchemaRef, schema: &Schema) -> Result<SchemaDescriptor> {
    let converted = ArrowSchemaConverter::new().schema_root("table").convert(arrow).map_err(parquet_error)?;
    let has_uuid =
        schema.field_id_to_fields().values().any(|f| matches!(*f.field_type, Type::Primitive(PrimitiveType::Uuid)));
    if !has_uuid {
        return Ok(converted);
    }
    let root = annotate_uuids(&converted.root_schema_ptr(), schema).map_err(parquet_error)?;
    Ok(SchemaDescriptor::new(root))
}

fn annotate_uuids(node: &TypePtr, schema: &Schema) -> std::result::Result<TypePtr, ParquetError> {
    let info = node.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match node.as_ref() {
        ParquetType::PrimitiveType { physical_type, type_length, .. } => {
            let field = id.and_then(|id| schema.field_by_id(id));
            if !field.is_some_and(|f| matches!(*f.field_type, Type::Primitive(PrimitiveType::Uuid))) {
                return Ok(Arc::clone(node));
            }
            let uuid = ParquetType::primitive_type_builder(info.name(), *physical_type)
                .with_repetition(info.repetition())
                .with_id(id)
                .with_length(*type_length)
                .with_logical_type(Some(LogicalType::Uuid))
                .build()?;
            Ok(Arc::new(uuid))
        }
        ParquetType::GroupType { fields, .. } => {
            let fields =
                fields.iter().map(|f| annotate_uuids(f, schema)).collect::<std::result::Result<Vec<_>, _>>()?;
            let mut group = ParquetType::group_type_builder(info.name())
                .with_fields(fields)
                .with_id(id)
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned());
            if info.has_repetition() {
                group = group.with_repetition(info.repetition());
            }
            Ok(Arc::new(group.build()?))
        }
    }
}

/// Where a file goes. Nothing is opened there before there is a whole row group.
#[derive(Debug)]
struct Destination {
    storage: Arc<dyn Storage>,
    path: String,
    upload: Option<Box<dyn Upload>>,
    runtime: Handle,
}

impl Destination {
    fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.runtime.block_on(self.storage.upload(&self.path))?),
        };
        Ok(self.runtime.block_on(upload.write(Bytes::from(bytes)))?)
    }

    fn finish(mut self, rest: Vec<u8>) -> Result<u64> {
        self.write(rest)?;
        let upload = self.upload.take().ok_or_else(|| StoreError::NotFound { path: self.path.clone() })?;
        Ok(self.runtime.block_on(upload.finish())?.size_bytes)
    }
}

/// A file that takes rows. Dropped before it is finished, it never existed.
pub(crate) struct OpenFile {
    format: Arc<FileFormat>,
    writer: ArrowWriter<Vec<u8>>,
    destination: Destination,
    pub(crate) partition: Struct,
    nans: BTreeMap<i32, u64>,
    /// When it was last written to, by the writer's count of rounds.
    pub(crate) used: u64,
}

/// A file that is durable.
pub(crate) struct ClosedFile {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) footer: parquet::file::metadata::ParquetMetaData,
    pub(crate) nans: BTreeMap<i32, u64>,
    pub(crate) partition: Struct,
}

impl OpenFile {
    /// Begins a file. Its methods block, and must run on a thread that may.
    pub(crate) fn begin(
        format: &Arc<FileFormat>,
        properties: WriterProperties,
        storage: &Arc<dyn Storage>,
        path: String,
        partition: Struct,
        runtime: &Handle,
    ) -> Result<Self> {
        let destination = Destination { storage: Arc::clone(storage), path, upload: None, runtime: runtime.clone() };
        let nans = format.floats.iter().map(|(_, id)| (*id, 0)).collect();
        Ok(Self {
            format: Arc::clone(format),
            writer: format.writer(properties)?,
            destination,
            partition,
            nans,
            used: 0,
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for (index, id) in &self.format.floats {
            *self.nans.entry(*id).or_default() += count_nans(batch.column(*index));
        }
        let groups = self.writer.flushed_row_groups().len();
        self.writer.write(batch).map_err(parquet_error)?;
        if self.writer.flushed_row_groups().len() > groups {
            self.hand_over(UPLOAD_BYTES)?;
        }
        Ok(())
    }

    /// Ends the present row group, and hands it to storage: what frees the memory.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(parquet_error)?;
        self.hand_over(0)
    }

    pub(crate) fn finish(mut self) -> Result<ClosedFile> {
        let footer = self.writer.finish().map_err(parquet_error)?;
        let rest = std::mem::take(self.writer.inner_mut());
        let path = self.destination.path.clone();
        let size_bytes = self.destination.finish(rest)?;
        Ok(ClosedFile { path, size_bytes, footer, nans: self.nans, partition: self.partition })
    }

    /// Size of the file, were it finished now.
    pub(crate) fn size_bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Storage has begun the file.
    pub(crate) fn is_uploading(&self) -> bool {
        self.destination.upload.is_some()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().capacity()
    }

    fn hand_over(&mut self, least: usize) -> Result<()> {
        self.writer.sync().map_err(|e| parquet_error(ParquetError::from(e)))?;
        if self.writer.inner().len() > least {
            let bytes = std::mem::take(self.writer.inner_mut());
            self.destination.write(bytes)?;
        }
        Ok(())
    }
}

fn count_nans(array: &dyn Array) -> u64 {
    let count = match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().filter(|v| v.is_nan()).count(),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().filter(|v| v.is_nan()).count(),
        _ => 0,
    };
    count as u64
}

pub(crate) fn parquet_error(error: ParquetError) -> LakeError {
    LakeError::Query(error.into())
}
