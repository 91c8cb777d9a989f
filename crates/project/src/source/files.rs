//! Sources that are files.

use globset::Glob;
use polder_base::TableName;
use polder_diag::{Diagnostic, Span};

use super::{BRONZE, FileSet, SourceYaml, conflict, first_line, landing};
use crate::codes;
use crate::common::{Columns, Names, column_specs, words};
use crate::resource::{FileFormat, FileMode, FileStream, ReadMode, S3Settings, Stream};
use crate::storage;
use crate::yaml::{At, Decode, Node, Problems, Value, raw};

raw! {
    /// How files are read.
    FileOptions {
        /// A path or pattern (`*`, `**`, `?`, `[ab]`, `{a,b}`), relative to the project, or absolute; in a bucket, as
        /// `s3://bucket/orders/*.csv`; or the address of one file, `https://…`.
        path: At<String>,
        /// The format, when the ending (`.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json`, `.parquet`, each also with `.gz`
        /// or `.zst`) does not tell it.
        format: Option<At<Format>>,
        /// `append` adds files not seen before, `replace` makes the table what the files say now. Default: `append`
        /// for a pattern, `replace` for one file.
        mode: Option<Mode>,
        /// Columns that identify a row; a row with a known key replaces the earlier one.
        key: Option<Names>,
        /// Types that win over what reading finds.
        columns: Option<Columns>,
        /// Records that may be rejected before the run stops. Default: 0.
        max_rejected: Option<u64>,
        /// CSV: the character between fields. Default: `,`, and a tab for `.tsv`.
        delimiter: Option<At<String>>,
        /// CSV: whether the first line names the columns. Default: true.
        header: Option<At<bool>>,
        /// CSV: texts that mean NULL, besides the empty field.
        nulls: Option<At<Names>>,
    }
}

words! {
    /// What a file holds.
    Format { csv, tsv, jsonl, ndjson, json, parquet }

    /// What new files do to the table.
    Mode { append, replace }
}

/// A path, or options.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum FileSpec {
    Path(At<String>),
    Options(Box<FileOptions>),
}

impl Decode for FileSpec {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::Text(_) => At::decode(node, problems).map(Self::Path),
            Value::Map(_) => Box::decode(node, problems).map(Self::Options),
            _ => problems.wrong(node, "a path or pattern, or a mapping with `path`"),
        }
    }
}

/// The streams of `files`. `s3`: the project's, for sources that say nothing else.
pub(super) fn streams(source: &str, mut raw: SourceYaml, s3: &S3Settings, problems: &mut Problems<'_>) -> Vec<Stream> {
    let given = raw.file_keys();
    let own = raw.s3.take().map(|s3| storage::resolve(s3, problems));
    let mut streams = of_paths(source, raw, given, problems);
    for stream in &mut streams {
        if let ReadMode::Files(files) = &mut stream.read
            && files.pattern.starts_with("s3://")
        {
            files.s3 = own.as_ref().unwrap_or(s3).clone();
        }
    }
    streams
}

fn of_paths(source: &str, raw: SourceYaml, given: Vec<&'static str>, problems: &mut Problems<'_>) -> Vec<Stream> {
    match raw.files {
        Some(FileSet::One(path)) => {
            let span = path.span.clone();
            let options = FileOptions {
                path,
                format: raw.format,
                mode: raw.mode,
                key: raw.key,
                columns: raw.columns,
                max_rejected: raw.max_rejected,
                delimiter: raw.delimiter,
                header: raw.header,
                nulls: raw.nulls,
                at: raw.at,
            };
            let table = TableName::new(BRONZE, source);
            stream(source.to_owned(), table, options, span, problems).into_iter().collect()
        }
        Some(FileSet::Named(entries)) => {
            for key in given {
                let message = format!("`{key}` beside several `files` belongs to none of them");
                let diagnostic = conflict(&message, first_line(&raw.at));
                problems.push(
                    diagnostic.hint(format!("write it into the file's own mapping: `orders: {{ path: …, {key}: … }}`")),
                );
            }
            let named = entries.0.into_iter().filter_map(|(name, spec)| {
                let table = landing(source, &name, problems)?;
                stream(name.value, table, spec.into_options(), name.span, problems)
            });
            named.collect()
        }
        None => Vec::new(),
    }
}

impl FileSpec {
    fn into_options(self) -> FileOptions {
        match self {
            Self::Options(options) => *options,
            Self::Path(path) => FileOptions {
                at: path.span.clone(),
                path,
                format: None,
                mode: None,
                key: None,
                columns: None,
                max_rejected: None,
                delimiter: None,
                header: None,
                nulls: None,
            },
        }
    }
}

fn stream(
    name: String,
    table: TableName,
    options: FileOptions,
    span: Span,
    problems: &mut Problems<'_>,
) -> Option<Stream> {
    check_pattern(&options.path, problems);
    let format = format_of(&options, problems)?;
    let csv = matches!(format, Format::csv | Format::tsv);
    if !csv {
        csv_only(&options, problems);
    }
    let default_delimiter = if format == Format::tsv { b'\t' } else { b',' };
    let is_pattern = !is_web(&options.path.value) && options.path.value.contains(['*', '?', '[', '{']);
    let default_mode = if is_pattern { Mode::append } else { Mode::replace };
    let read = ReadMode::Files(FileStream {
        format: match format {
            Format::csv | Format::tsv => FileFormat::Csv,
            Format::jsonl | Format::ndjson | Format::json => FileFormat::JsonLines,
            Format::parquet => FileFormat::Parquet,
        },
        mode: match options.mode.unwrap_or(default_mode) {
            Mode::append => FileMode::Append,
            Mode::replace => FileMode::Replace,
        },
        delimiter: options.delimiter.and_then(|d| delimiter(&d, problems)).unwrap_or(default_delimiter),
        header: options.header.is_none_or(|h| h.value),
        nulls: options.nulls.map(|n| n.value.values()).unwrap_or_default(),
        pattern: options.path.value,
        s3: S3Settings::default(),
    });
    let columns = column_specs(options.columns, problems);
    let key = options.key.unwrap_or_default().normalised();
    Some(Stream {
        name,
        table,
        read,
        columns,
        key,
        max_rejected: options.max_rejected.unwrap_or(0),
        locked: None,
        span,
    })
}

/// The address of one file: what would be a wildcard elsewhere is none in it.
fn is_web(path: &str) -> bool {
    path.starts_with("https://") || path.starts_with("http://")
}

fn check_pattern(path: &At<String>, problems: &mut Problems<'_>) {
    let problem = if path.value.trim().is_empty() {
        Some("a path is needed".to_owned())
    } else if is_web(&path.value) {
        None
    } else {
        Glob::new(&path.value).err().map(|e| format!("`{}` is no pattern: {}", path.value, e.kind()))
    };
    if let Some(message) = problem {
        problems.push(Diagnostic::error(codes::VALUE, message).at(path.span.clone(), ""));
    }
}

fn format_of(options: &FileOptions, problems: &mut Problems<'_>) -> Option<Format> {
    if let Some(format) = &options.format {
        return Some(format.value);
    }
    let path = options.path.value.to_lowercase();
    // Behind the path of an address may be parameters.
    let paths = match is_web(&path) {
        true => vec![path.split(['?', '#']).next().unwrap_or_default().to_owned()],
        false => alternatives(&path),
    };
    let formats: Vec<Option<Format>> = paths.iter().map(|path| format_by_ending(path)).collect();
    // What is read in the same way.
    let kind = |format: Format| if matches!(format, Format::ndjson | Format::json) { Format::jsonl } else { format };
    if let [Some(first), others @ ..] = formats.as_slice()
        && others.iter().any(|other| other.is_some_and(|other| kind(other) != kind(*first)))
    {
        let message = format!("`{}` names files of several formats", options.path.value);
        let diagnostic = Diagnostic::error(codes::VALUE, message).at(options.path.span.clone(), "");
        problems.push(diagnostic.hint("a stream has one: write a stream for each of them"));
        return None;
    }
    let format = if formats.iter().all(Option::is_some) { formats.first().copied().flatten() } else { None };
    if format.is_none() && !options.path.value.trim().is_empty() {
        let message = format!("the format of `{}` cannot be told from its ending", options.path.value);
        let diagnostic = Diagnostic::error(codes::MISSING_KEY, message)
            .at(options.path.span.clone(), "")
            .hint(format!("add `format:`, one of {}", crate::yaml::list(Format::WORDS)));
        problems.push(diagnostic);
    }
    format
}

fn format_by_ending(path: &str) -> Option<Format> {
    let path = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".zst")).unwrap_or(path);
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Format::of(ending)
}

/// Patterns that one with `{a,b}` stands for, as far as they are looked at.
const MOST_ALTERNATIVES: usize = 64;

/// The patterns without `{a,b}` that a pattern stands for; itself, where it has none.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut open = vec![pattern.to_owned()];
    let mut plain = Vec::new();
    while let Some(pattern) = open.pop() {
        match braces(&pattern).filter(|_| open.len() + plain.len() < MOST_ALTERNATIVES) {
            Some((before, within, after)) => {
                open.extend(within.into_iter().rev().map(|choice| format!("{before}{choice}{after}")));
            }
            None => plain.push(pattern),
        }
    }
    plain
}

/// What stands before the first braces of a pattern, what may stand in their place, and what stands behind them.
fn braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let start = pattern.find('{')?;
    let (mut depth, mut from, mut choices) = (0_usize, start + 1, Vec::new());
    for (at, c) in pattern.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                choices.push(&pattern[from..at]);
                from = at + 1;
            }
            '}' if depth == 1 => {
                choices.push(&pattern[from..at]);
                return Some((&pattern[..start], choices, &pattern[at + 1..]));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn csv_only(options: &FileOptions, problems: &mut Problems<'_>) {
    let given = [
        ("delimiter", options.delimiter.as_ref().map(|d| &d.span)),
        ("header", options.header.as_ref().map(|h| &h.span)),
        ("nulls", options.nulls.as_ref().map(|n| &n.span)),
    ];
    for (key, span) in given {
        if let Some(span) = span {
            problems.push(conflict(&format!("`{key}` is for CSV files only"), span.clone()));
        }
    }
}

fn delimiter(text: &At<String>, problems: &mut Problems<'_>) -> Option<u8> {
    match text.value.as_bytes() {
        b"tab" | b"\\t" => Some(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
        _ => {
            let message = format!("`{}` cannot divide fields: one ASCII character, or `tab`", text.value);
            problems.push(Diagnostic::error(codes::VALUE, message).at(text.span.clone(), ""));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::alternatives;

    #[test]
    fn braces_stand_for_alternatives() {
        for (pattern, want) in [
            ("a/*.csv", &["a/*.csv"][..]),
            ("*.{csv,csv.gz}", &["*.csv", "*.csv.gz"]),
            ("{a,b}/{x.csv,y.tsv}", &["a/x.csv", "a/y.tsv", "b/x.csv", "b/y.tsv"]),
            ("*.{csv{,.gz},tsv}", &["*.csv", "*.csv.gz", "*.tsv"]),
            ("a{.csv", &["a{.csv"]),
        ] {
            assert_eq!(alternatives(pattern), want, "{pattern}");
        }
    }
}
