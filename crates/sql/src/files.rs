//! `FROM 'x.csv'`: files of the person at the command line, and never through a door.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result as DfResult;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::collect;

use crate::Result;
use crate::codes;
use crate::context::Outcome;
use crate::resolve::{Place, Resolver, wrong};

/// Rows that are read to find out the types of a file.
const INFERRED_ROWS: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv { delimiter: u8 },
    JsonLines,
    Parquet,
}

impl Form {
    /// From a path's extension.
    fn of(path: &str) -> Option<Self> {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension).to_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv { delimiter: b',' }),
            "tsv" | "tab" => Some(Self::Csv { delimiter: b'\t' }),
            "json" | "jsonl" | "ndjson" => Some(Self::JsonLines),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }

    fn format(self) -> Arc<dyn FileFormat> {
        match self {
            Self::Csv { delimiter } => Arc::new(
                CsvFormat::default()
                    .with_delimiter(delimiter)
                    .with_has_header(true)
                    .with_newlines_in_values(true)
                    .with_schema_infer_max_rec(INFERRED_ROWS),
            ),
            Self::JsonLines => Arc::new(JsonFormat::default().with_schema_infer_max_rec(INFERRED_ROWS)),
            Self::Parquet => Arc::new(ParquetFormat::default()),
        }
    }
}

/// A file, or all files that a pattern matches, as one table.
pub(crate) async fn outcome(resolver: &Resolver<'_>, path: &str, place: Place<'_>) -> Result<Outcome> {
    if !resolver.core.options.allow_files {
        let hint =
            "declare it in `sources/*.yaml`, or read it on the machine where it lies: `polder sql` without `--as`";
        return Ok(wrong(place, codes::FILE, "this session reads no files", Some(hint.to_owned())));
    }
    let Some(form) = Form::of(path) else {
        let hint = match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("gz" | "zst" | "bz2" | "xz") => "compressed files are read by sources: declare it in `sources/*.yaml`",
            _ => "the name ends in .csv, .tsv, .json, .jsonl, .ndjson or .parquet",
        };
        return Ok(wrong(
            place,
            codes::FILE,
            format!("`{path}` is no kind of file that can be queried"),
            Some(hint.to_owned()),
        ));
    };
    match table(resolver.bench.state(), path, form).await {
        Ok(Some(table)) => Ok(Outcome::Table(table)),
        Ok(None) => Ok(wrong(place, codes::FILE, format!("there is no file `{path}`"), None)),
        Err(error) => {
            let why = error.strip_backtrace();
            Ok(wrong(place, codes::FILE, format!("`{path}` cannot be read: {why}"), None))
        }
    }
}

/// `None`: no file matches.
async fn table(state: &SessionState, path: &str, form: Form) -> DfResult<Option<Arc<dyn TableProvider>>> {
    let url = ListingTableUrl::parse(path)?;
    let format = form.format();
    let extension = if url.get_glob().is_some() || url.is_collection() { format.get_ext() } else { String::new() };
    let options = ListingOptions::new(format).with_file_extension(extension);
    let store = state.runtime_env().object_store(url.object_store())?;
    let mut files = url.list_all_files(state, store.as_ref(), &options.file_extension).await?;
    match futures::TryStreamExt::try_next(&mut files).await {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(None),
        Err(error) if error.to_string().contains("not found") => return Ok(None),
        Err(error) => return Err(error),
    }
    drop(files);
    let mut schema = options.infer_schema(state, &url).await?;
    if matches!(form, Form::Csv { .. }) {
        schema = with_leading_zeros(state, &url, &options, &schema).await?;
    }
    Ok(Some(listing(&url, &options, schema)?))
}

fn listing(url: &ListingTableUrl, options: &ListingOptions, schema: SchemaRef) -> DfResult<Arc<dyn TableProvider>> {
    let config = ListingTableConfig::new(url.clone()).with_listing_options(options.clone()).with_schema(schema);
    Ok(Arc::new(ListingTable::try_new(config)?))
}

/// Numbers with leading zeros are codes, and stay text.
async fn with_leading_zeros(
    state: &SessionState,
    url: &ListingTableUrl,
    options: &ListingOptions,
    schema: &SchemaRef,
) -> DfResult<SchemaRef> {
    let as_text = |field: &Field| field.clone().with_data_type(DataType::Utf8);
    let text = Arc::new(Schema::new(schema.fields().iter().map(|f| as_text(f)).collect::<Vec<_>>()));
    let numbers: Vec<usize> =
        (0..schema.fields().len()).filter(|i| schema.field(*i).data_type().is_numeric()).collect();
    if numbers.is_empty() {
        return Ok(Arc::clone(schema));
    }
    let scan = listing(url, options, text)?.scan(state, Some(&numbers), &[], Some(INFERRED_ROWS)).await?;
    let mut codes = BTreeSet::new();
    for batch in collect(scan, state.task_ctx()).await? {
        for (column, original) in batch.columns().iter().zip(&numbers) {
            if column.as_string::<i32>().iter().flatten().any(is_code) {
                codes.insert(*original);
            }
        }
    }
    let fields = schema.fields().iter().enumerate().map(|(i, field)| match codes.contains(&i) {
        true => as_text(field),
        false => field.as_ref().clone(),
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn is_code(text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['-', '+']).as_bytes();
    digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit()
}
