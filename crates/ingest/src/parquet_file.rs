//! Parquet files: row groups shared out among threads.

mod input;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampNanosecondType};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use polder_base::ColumnNames;
use polder_diag::Diagnostic;

use self::input::ParquetBytes;
use crate::files::{FETCH_AGAIN, SourceFile, collision, is_compressed, read_error};
use crate::intake::{Origin, Sink, Stopped};
use crate::types::{storable, uuid_text};
use crate::{IngestError, Result, codes};

/// Bytes (decoded, as the file's metadata estimates) and rows that a batch has at most.
const BATCH_BYTES: i64 = 16 << 20;
const BATCH_ROWS: i64 = 8192;

/// A column of a file.
#[derive(Debug, Clone)]
pub struct ParquetColumn {
    /// Normalised, and as the file names it.
    pub name: String,
    pub original: String,
    /// What a table keeps it as.
    pub data_type: DataType,
}

/// The columns of a file.
pub fn columns(file: &SourceFile) -> Result<Vec<ParquetColumn>> {
    let metadata = metadata(file, &open(file)?)?;
    let fields = metadata.schema().fields();
    let names = ColumnNames::normalise(fields.iter().map(|f| f.name())).map_err(|e| collision(file, &e))?;
    let column = |((name, original), field): ((String, String), &Arc<Field>)| {
        let data_type = storable(field.data_type()).ok_or_else(|| no_place_for(file, &original, field.data_type()))?;
        Ok(ParquetColumn { name, original, data_type })
    };
    names.columns.into_iter().zip(fields).map(column).collect()
}

fn no_place_for(file: &SourceFile, column: &str, data_type: &DataType) -> Diagnostic {
    Diagnostic::error(
        codes::NO_PLACE,
        format!("{}: column `{column}` is {data_type}, which no table can hold", file.name),
    )
}

fn open(file: &SourceFile) -> Result<ParquetBytes> {
    if file.is_empty() {
        let message = format!("{} is empty: it is no Parquet file", file.name);
        return Err(Diagnostic::error(codes::DAMAGED, message).hint(FETCH_AGAIN).into());
    }
    ParquetBytes::open(file)
}

/// The footer. 96-bit timestamps are asked for in microseconds: in nanoseconds they would not reach beyond 2262.
fn metadata(file: &SourceFile, input: &ParquetBytes) -> Result<ArrowReaderMetadata> {
    let load = |options| ArrowReaderMetadata::load(input, options).map_err(|e| parquet_error(file, &e));
    let metadata = match load(ArrowReaderOptions::new()) {
        Ok(metadata) => metadata,
        Err(_) if is_compressed(file)? => {
            let message = format!("{} is compressed as a whole, which Parquet files are not", file.name);
            return Err(Diagnostic::error(codes::WRONG_FORMAT, message).hint("decompress it").into());
        }
        Err(error) => return Err(error),
    };
    let wide: Vec<&str> = metadata
        .parquet_schema()
        .columns()
        .iter()
        .filter(|c| c.physical_type() == PhysicalType::INT96 && c.path().parts().len() == 1)
        .map(|c| c.name())
        .collect();
    if wide.is_empty() {
        return Ok(metadata);
    }
    let fields = metadata.schema().fields().iter().map(|f| {
        let keep = f.as_ref().clone();
        match f.data_type() {
            DataType::Timestamp(_, zone) if wide.contains(&f.name().as_str()) => {
                keep.with_data_type(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
            }
            _ => keep,
        }
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    load(ArrowReaderOptions::new().with_schema(Arc::new(schema)))
}

fn parquet_error(file: &SourceFile, error: &ParquetError) -> IngestError {
    if let ParquetError::External(inner) = error
        && let Some(io) = inner.downcast_ref::<std::io::Error>()
    {
        return read_error(file, io);
    }
    let what = error.to_string();
    let what = what.trim_start_matches("Parquet error: ").trim_start_matches("EOF: ");
    Diagnostic::error(codes::DAMAGED, format!("{} is damaged or cut off: {what}", file.name)).hint(FETCH_AGAIN).into()
}

#[derive(Debug, Clone)]
pub struct ParquetPlan {
    pub files: Vec<SourceFile>,
    /// The columns of the batches, by their normalised names, and their types.
    pub columns: Vec<(String, DataType)>,
}

/// The row groups of all files, in order.
pub struct ParquetInput {
    plan: Arc<ParquetPlan>,
    next: usize,
    groups: VecDeque<Group>,
}

struct Group {
    file: SourceFile,
    metadata: ArrowReaderMetadata,
    index: usize,
    /// The number of the group's first row in the file, from 1.
    first_row: i64,
}

impl ParquetInput {
    pub fn new(plan: Arc<ParquetPlan>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { plan, next: 0, groups: VecDeque::new() }))
    }

    fn next(&mut self) -> Result<Option<Group>> {
        loop {
            if let Some(group) = self.groups.pop_front() {
                return Ok(Some(group));
            }
            let Some(file) = self.plan.files.get(self.next).cloned() else { return Ok(None) };
            self.next += 1;
            let metadata = metadata(&file, &open(&file)?)?;
            let mut first_row = 1;
            for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
                let metadata = metadata.clone();
                self.groups.push_back(Group { file: file.clone(), metadata, index, first_row });
                first_row += group.num_rows();
            }
        }
    }
}

/// Reads until the input ends or the rows are no longer wanted. Blocks: runs on a thread of its own.
pub fn read(input: &Mutex<ParquetInput>, sink: Sink) {
    let plan = Arc::clone(&input.lock().plan);
    loop {
        let group = input.lock().next();
        match group {
            Ok(Some(group)) => {
                if read_group(&plan, &group, &sink).is_err() {
                    return;
                }
            }
            Ok(None) => return sink.finish_blocking(),
            Err(error) => {
                sink.intake().fail(error);
                return;
            }
        }
    }
}

fn read_group(plan: &ParquetPlan, group: &Group, sink: &Sink) -> Result<(), Stopped> {
    let fail = |e: IngestError| sink.intake().fail(e);
    let described = group.metadata.metadata().row_group(group.index);
    let input = open(&group.file).and_then(|input| input.with_row_group(&group.file, described)).map_err(fail)?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(input, group.metadata.clone())
        .with_row_groups(vec![group.index])
        .with_batch_size(batch_rows(described))
        .build()
        .map_err(|e| fail(parquet_error(&group.file, &e)))?;
    let names = ColumnNames::normalise(group.metadata.schema().fields().iter().map(|f| f.name()))
        .map_err(|e| fail(collision(&group.file, &e).into()))?;
    let places: BTreeMap<&str, usize> = names.columns.iter().enumerate().map(|(i, (n, _))| (n.as_str(), i)).collect();
    let mut position = group.first_row;
    for batch in reader {
        let batch = batch.map_err(|e| {
            fail(parquet_error(
                &group.file,
                &ParquetError::General(e.to_string().replace("Parquet argument error: ", "")),
            ))
        })?;
        let rows = batch.num_rows();
        let columns = plan.columns.iter().map(|(name, data_type)| {
            let array = places.get(name.as_str()).map(|i| batch.column(*i));
            conform(array, data_type, &batch, name, sink).map_err(|what| fail(does_not_fit(&group.file, name, &what)))
        });
        let columns = columns.collect::<Result<Vec<_>, Stopped>>()?;
        let end = position + rows as i64;
        let origin = Origin::File { name: Arc::clone(&group.file.name), positions: (position..end).collect() };
        position = end;
        sink.send_blocking(columns, rows, origin)?;
    }
    sink.intake().progress.add_bytes(u64::try_from(described.compressed_size()).unwrap_or(0));
    Ok(())
}

fn batch_rows(group: &RowGroupMetaData) -> usize {
    let row_bytes = (group.total_byte_size() / group.num_rows().max(1)).max(1);
    usize::try_from((BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS)).unwrap_or(1)
}

/// The column as the table keeps it. Values that do not fit are an error, never NULL.
fn conform(
    array: Option<&ArrayRef>,
    data_type: &DataType,
    batch: &RecordBatch,
    name: &str,
    sink: &Sink,
) -> std::result::Result<ArrayRef, String> {
    let Some(array) = array else { return Ok(arrow::array::new_null_array(data_type, batch.num_rows())) };
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    if let Some(nanos) = array.as_primitive_opt::<TimestampNanosecondType>()
        && nanos.values().iter().any(|v| v % 1000 != 0)
    {
        sink.intake().note(format!("`{name}`: nanoseconds cut to microseconds"));
    }
    if let (DataType::FixedSizeBinary(16), DataType::Utf8) = (array.data_type(), data_type) {
        let texts = array.as_fixed_size_binary().iter().map(|id| id.and_then(|id| id.try_into().ok()).map(uuid_text));
        return Ok(Arc::new(texts.collect::<StringArray>()));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    arrow::compute::cast_with_options(array, data_type, &options).map_err(|e| e.to_string())
}

fn does_not_fit(file: &SourceFile, column: &str, what: &str) -> IngestError {
    Diagnostic::error(codes::TYPE_CHANGED, format!("{}: column `{column}` does not fit: {what}", file.name)).into()
}
