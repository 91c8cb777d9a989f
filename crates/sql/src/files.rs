//! `FROM 'x.csv'`, `FROM 's3://bucket/x.csv'`: files of the person at the command line, and never through a door.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result as DfResult, plan_datafusion_err, plan_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::context::SessionState;
use datafusion::physical_plan::collect;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use globset::GlobBuilder;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use polder_store::remote_store;
use url::Url;

use crate::Result;
use crate::codes;
use crate::context::Outcome;
use crate::message;
use crate::resolve::{Place, Resolver, wrong};

/// Rows that are read to find out the types of a file.
const INFERRED_ROWS: usize = 10_000;

/// Files that are looked at at once.
const FILES_AT_ONCE: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv { delimiter: u8 },
    JsonLines,
    Parquet,
}

impl Form {
    /// From a path's extension.
    fn of(path: &str) -> Option<Self> {
        // Behind the path of an address may be parameters.
        let path = if is_web(path) { path.split(['?', '#']).next().unwrap_or_default() } else { path };
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
    match table(resolver, path, form).await {
        Ok(Some(table)) => Ok(Outcome::Table(table)),
        Ok(None) => Ok(wrong(place, codes::FILE, format!("there is no file `{path}`"), None)),
        Err(error) => {
            let why = message::of_execution(&error);
            Ok(wrong(place, codes::FILE, format!("`{path}` cannot be read: {why}"), None))
        }
    }
}

/// `None`: no file matches.
async fn table(resolver: &Resolver<'_>, path: &str, form: Form) -> DfResult<Option<Arc<dyn TableProvider>>> {
    let state = resolver.bench.state();
    let found = remote_store(path, &resolver.core.options.s3).await;
    if let Some((root, store)) = found.map_err(|e| plan_datafusion_err!("{e}"))? {
        let root = Url::parse(&root).map_err(|e| plan_datafusion_err!("{root}: {e}"))?;
        state.runtime_env().register_object_store(&root, store);
    }
    let options = ListingOptions::new(form.format()).with_file_extension("");
    let mut files = found_files(state, path, form).await?;
    // Empty ones, such as the marks that other programs leave, have no columns to tell of.
    if files.iter().any(|(_, object)| object.size > 0) {
        files.retain(|(_, object)| object.size > 0);
    }
    let Some((first, _)) = files.first() else { return Ok(None) };
    let store = state.runtime_env().object_store(first)?;
    let (urls, objects): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let schema = match form {
        Form::Csv { .. } => columns_of_all(state, &options, &store, &urls, &objects).await?,
        Form::JsonLines | Form::Parquet => options.format.infer_schema(state, &store, &objects).await?,
    };
    Ok(Some(listing(&urls, &options, schema)?))
}

/// The columns that CSV files have in common. They are read by their places, so all files must have the same ones in the
/// same order; a type is one that holds what each file has.
async fn columns_of_all(
    state: &SessionState,
    options: &ListingOptions,
    store: &Arc<dyn ObjectStore>,
    urls: &[ListingTableUrl],
    objects: &[ObjectMeta],
) -> DfResult<SchemaRef> {
    let looks: Vec<_> =
        urls.iter().zip(objects).map(|(u, o)| columns_of(state, options, store, u, o).boxed()).collect();
    let mut columns = stream::iter(looks).buffered(FILES_AT_ONCE);
    let mut common: Option<(&ObjectMeta, SchemaRef)> = None;
    while let Some((object, schema)) = columns.try_next().await? {
        let Some((first, known)) = common else {
            common = Some((object, schema));
            continue;
        };
        if !known.fields().iter().map(|f| f.name()).eq(schema.fields().iter().map(|f| f.name())) {
            let (first, other) = (&first.location, &object.location);
            return plan_err!(
                "{other} has other columns than {first}, or has them in another order: a source, declared in \
                 `sources/*.yaml`, goes by their names"
            );
        }
        let fields = known.fields().iter().zip(schema.fields());
        let fields = fields.map(|(a, b)| a.as_ref().clone().with_data_type(common_type(a.data_type(), b.data_type())));
        common = Some((first, Arc::new(Schema::new(fields.collect::<Vec<_>>()))));
    }
    Ok(common.map_or_else(|| Arc::new(Schema::empty()), |(_, schema)| schema))
}

async fn columns_of<'a>(
    state: &SessionState,
    options: &ListingOptions,
    store: &Arc<dyn ObjectStore>,
    url: &ListingTableUrl,
    object: &'a ObjectMeta,
) -> DfResult<(&'a ObjectMeta, SchemaRef)> {
    let schema = options.format.infer_schema(state, store, std::slice::from_ref(object)).await?;
    Ok((object, with_leading_zeros(state, url, options, &schema).await?))
}

/// What holds the values of two columns of CSV files.
fn common_type(a: &DataType, b: &DataType) -> DataType {
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (a, b) if a.is_numeric() && b.is_numeric() => DataType::Float64,
        _ => DataType::Utf8,
    }
}

/// Signs of a pattern. Of an address on the web they are none: `?` begins its parameters.
fn wildcard(path: &str) -> Option<usize> {
    path.find(['*', '?', '[', '{']).filter(|_| !is_web(path) && !Path::new(path).is_file())
}

fn is_web(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// The files that a path or pattern names, in the order of their names. `*` and `?` match no slash, `**` does. Names that
/// begin with a dot are matched only when they are written out.
async fn found_files(state: &SessionState, path: &str, form: Form) -> DfResult<Vec<(ListingTableUrl, ObjectMeta)>> {
    match wildcard(path) {
        Some(wildcard) => matching(state, path, wildcard).await,
        None if is_web(path) && path.contains('?') => {
            plan_err!("what stands behind `?` is not sent: declare it in `sources/*.yaml`")
        }
        None if is_web(path) => on_the_web(state, path).await,
        None => written(state, path, form).await,
    }
}

/// A file, or all of a folder that is called like one.
async fn written(state: &SessionState, path: &str, form: Form) -> DfResult<Vec<(ListingTableUrl, ObjectMeta)>> {
    let url = match Path::new(path).is_file() {
        true => local(Path::new(path))?,
        false => ListingTableUrl::parse(path)?,
    };
    let ending = if url.is_collection() { form.format().get_ext() } else { String::new() };
    let store = state.runtime_env().object_store(&url)?;
    match url.list_all_files(state, store.as_ref(), &ending).await?.try_collect::<Vec<_>>().await {
        Ok(found) => found.into_iter().map(|object| Ok((url_of(&url, &object)?, object))).collect(),
        Err(error) if error.to_string().contains("not found") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A web server has no folders to look through.
async fn on_the_web(state: &SessionState, path: &str) -> DfResult<Vec<(ListingTableUrl, ObjectMeta)>> {
    let url = ListingTableUrl::parse(path)?;
    match state.runtime_env().object_store(&url)?.head(url.prefix()).await {
        Ok(object) => Ok(vec![(url, object)]),
        Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

async fn matching(state: &SessionState, path: &str, wildcard: usize) -> DfResult<Vec<(ListingTableUrl, ObjectMeta)>> {
    let (folder, below) = path.split_at(path[..wildcard].rfind('/').map_or(0, |slash| slash + 1));
    let folder = ListingTableUrl::parse(if folder.is_empty() { "./" } else { folder })?;
    let glob = GlobBuilder::new(below).literal_separator(true).build();
    let glob = glob.map_err(|e| plan_datafusion_err!("it is no pattern: {}", e.kind()))?.compile_matcher();
    let names_hidden = below.split('/').any(|part| part.starts_with('.'));
    let above = folder.prefix().as_ref().to_owned();
    let matches = |object: &ObjectMeta| {
        let name = object.location.as_ref().strip_prefix(&above).unwrap_or_default().trim_start_matches('/');
        let is_hidden = name.split('/').any(|part| part.starts_with('.'));
        (names_hidden || !is_hidden) && glob.is_match(name)
    };
    let store = state.runtime_env().object_store(&folder)?;
    let mut objects: Vec<ObjectMeta> = store.list(Some(folder.prefix())).try_collect().await?;
    objects.retain(matches);
    objects.sort_by(|a, b| a.location.cmp(&b.location));
    objects.into_iter().map(|object| Ok((url_of(&folder, &object)?, object))).collect()
}

/// The address of an object of the store that `of` is in.
fn url_of(of: &ListingTableUrl, object: &ObjectMeta) -> DfResult<ListingTableUrl> {
    let mut url = of.get_url().clone();
    // Whatever signs are in its name.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(object.location.as_ref().split('/'));
    }
    ListingTableUrl::try_new(url, None)
}

/// A file of this machine whose name is no pattern, whatever signs are in it.
fn local(path: &Path) -> DfResult<ListingTableUrl> {
    // An address knows no `..`.
    let absolute = path.canonicalize()?;
    let url = Url::from_file_path(&absolute).map_err(|()| plan_datafusion_err!("{} is no path", absolute.display()))?;
    ListingTableUrl::try_new(url, None)
}

fn listing(urls: &[ListingTableUrl], options: &ListingOptions, schema: SchemaRef) -> DfResult<Arc<dyn TableProvider>> {
    let config = ListingTableConfig::new_with_multi_paths(urls.to_vec());
    Ok(Arc::new(ListingTable::try_new(config.with_listing_options(options.clone()).with_schema(schema))?))
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
    let scan = listing(std::slice::from_ref(url), options, text)?
        .scan(state, Some(&numbers), &[], Some(INFERRED_ROWS))
        .await?;
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
