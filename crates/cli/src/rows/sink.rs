//! Rows for programs: CSV, JSON, Parquet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::{ArrayWriter, LineDelimitedWriter, WriterBuilder};
use parquet::arrow::ArrowWriter;
use polder_app::{by_offset, json_values};

use crate::args::RowFormat;
use crate::failure::Failure;
use crate::terminal;

/// The format that a file's ending tells.
pub fn format_of(path: &Path) -> Option<RowFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(RowFormat::Csv),
        "json" => Some(RowFormat::Json),
        "jsonl" | "ndjson" => Some(RowFormat::Jsonl),
        "parquet" => Some(RowFormat::Parquet),
        "txt" => Some(RowFormat::Table),
        _ => None,
    }
}

/// Standard output, a device or pipe, or a file that appears under its name once it is complete.
enum Target {
    Standard(io::Stdout),
    Device(BufWriter<File>),
    File { file: BufWriter<File>, part: PathBuf, path: PathBuf, kept: bool },
}

impl Write for Target {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(data),
            Self::Device(device) => device.write(data),
            Self::File { file, .. } => file.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            Self::Device(device) => device.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

impl Target {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Standard(io::stdout())) };
        let failed = |e: io::Error| Failure::environment(format!("cannot write {}: {e}", path.display()));
        // A rename would put a file in the place of `/dev/null`, or of a pipe that somebody reads.
        if std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            return Ok(Self::Device(BufWriter::new(File::options().write(true).open(path).map_err(failed)?)));
        }
        let part = path.with_added_extension("part");
        let file = File::create(&part).map_err(failed)?;
        Ok(Self::File { file: BufWriter::new(file), part, path: path.to_path_buf(), kept: false })
    }

    fn keep(mut self) -> io::Result<()> {
        self.flush()?;
        if let Self::File { part, path, kept, .. } = &mut self {
            std::fs::rename(part, path)?;
            *kept = true;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { part, kept: false, .. } = self {
            // Half a file helps nobody; one that cannot be removed does no harm.
            let _ = std::fs::remove_file(part);
        }
    }
}

/// Every row has every column, so that a reader need not know which there are.
fn json() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(json_values())
}

/// Takes batches and writes them as they come.
pub struct RowSink {
    writer: Writer,
    /// `None`: standard output.
    path: Option<PathBuf>,
    rows: u64,
}

enum Writer {
    Csv(Box<arrow::csv::Writer<Target>>),
    Json(Box<ArrayWriter<Target>>),
    JsonLines(Box<LineDelimitedWriter<Target>>),
    Parquet(Box<ArrowWriter<Target>>),
}

impl RowSink {
    /// # Errors
    /// Parquet without a file, a file that cannot be made.
    pub fn open(format: RowFormat, path: Option<&Path>, schema: SchemaRef) -> Result<Self, Failure> {
        if format == RowFormat::Parquet && path.is_none() {
            return Err(Failure::usage("Parquet goes to a file: add `--output FILE`"));
        }
        let target = Target::open(path)?;
        let writer = match format {
            RowFormat::Json => Writer::Json(Box::new(json().build(target))),
            RowFormat::Jsonl => Writer::JsonLines(Box::new(json().build(target))),
            RowFormat::Parquet => {
                Writer::Parquet(Box::new(ArrowWriter::try_new(target, schema, None).map_err(Failure::from_parquet)?))
            }
            RowFormat::Csv | RowFormat::Table => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(target);
                // A result without rows still has a header.
                let header = RecordBatch::new_empty(schema);
                writer.write(&*by_offset(&header).map_err(write_failure)?).map_err(write_failure)?;
                Writer::Csv(Box::new(writer))
            }
        };
        Ok(Self { writer, path: path.map(Path::to_path_buf), rows: 0 })
    }

    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.rows += batch.num_rows() as u64;
        if let Writer::Parquet(w) = &mut self.writer {
            return w.write(batch).map_err(Failure::from_parquet);
        }
        let batch = by_offset(batch).map_err(write_failure)?;
        match &mut self.writer {
            Writer::Csv(w) => w.write(&batch).map_err(write_failure),
            Writer::Json(w) => w.write(&batch).map_err(write_failure),
            Writer::JsonLines(w) => w.write(&batch).map_err(write_failure),
            Writer::Parquet(_) => Ok(()),
        }
    }

    /// Ends the output; gives the number of rows.
    pub fn finish(self) -> Result<u64, Failure> {
        let target = match self.writer {
            Writer::Csv(w) => w.into_inner(),
            Writer::Json(mut w) => {
                w.finish().map_err(write_failure)?;
                let mut target = w.into_inner();
                target.write_all(b"\n").map_err(|e| write_failure(e.into()))?;
                target
            }
            Writer::JsonLines(mut w) => {
                w.finish().map_err(write_failure)?;
                w.into_inner()
            }
            Writer::Parquet(w) => w.into_inner().map_err(Failure::from_parquet)?,
        };
        match (target.keep(), &self.path) {
            (Ok(()), _) => Ok(self.rows),
            (Err(error), Some(path)) => Err(Failure::environment(format!("cannot write {}: {error}", path.display()))),
            (Err(error), None) => {
                terminal::finish(Err(error));
                Ok(self.rows)
            }
        }
    }
}

fn write_failure(error: arrow::error::ArrowError) -> Failure {
    match error {
        arrow::error::ArrowError::IoError(_, error) => {
            if error.kind() == io::ErrorKind::BrokenPipe {
                terminal::finish(Err(error));
                return Failure::environment("nobody reads the output");
            }
            Failure::environment(format!("cannot write the rows: {error}"))
        }
        // The CSV writer hides the broken pipe in a text.
        arrow::error::ArrowError::CsvError(text) if text.contains("Broken pipe") => {
            terminal::finish(Err(io::ErrorKind::BrokenPipe.into()));
            Failure::environment("nobody reads the output")
        }
        other => Failure::environment(format!("cannot write the rows: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray};

    use super::*;

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("name", Arc::new(StringArray::from(vec![Some("a,b"), None]))),
            ("amount", Arc::new(Decimal128Array::from(vec![150, -5]).with_precision_and_scale(12, 2).unwrap())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    fn write(format: RowFormat, batches: &[RecordBatch]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut sink = RowSink::open(format, Some(&path), batch().schema()).unwrap();
        for batch in batches {
            sink.push(batch).unwrap();
        }
        assert!(!path.exists());
        sink.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    fn text(format: RowFormat, batches: &[RecordBatch]) -> String {
        String::from_utf8(write(format, batches)).unwrap()
    }

    #[test]
    fn csv_has_a_header_even_without_rows() {
        assert_eq!(text(RowFormat::Csv, &[batch()]), "id,name,amount\n1,\"a,b\",1.50\n,,-0.05\n");
        assert_eq!(text(RowFormat::Csv, &[]), "id,name,amount\n");
    }

    #[test]
    fn json_is_json() {
        let value: serde_json::Value = serde_json::from_str(&text(RowFormat::Json, &[batch()])).unwrap();
        assert_eq!(value[0]["name"], "a,b");
        assert_eq!(value[1].get("name"), Some(&serde_json::Value::Null), "NULL is told");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text(RowFormat::Json, &[])).unwrap(),
            serde_json::json!([])
        );
        let lines = text(RowFormat::Jsonl, &[batch(), batch()]);
        assert_eq!(lines.lines().count(), 4);
        assert!(lines.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()));
    }

    #[test]
    fn parquet_needs_a_file() {
        assert!(RowSink::open(RowFormat::Parquet, None, batch().schema()).is_err());
        let bytes = write(RowFormat::Parquet, &[batch()]);
        assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
    }

    /// A device is written to and stays what it is; that it is full is told.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_not_replaced() {
        for (device, fits) in [("/dev/null", true), ("/dev/full", false)] {
            let ended = RowSink::open(RowFormat::Csv, Some(Path::new(device)), batch().schema())
                .and_then(|mut sink| sink.push(&batch()).and_then(|()| sink.finish()));
            assert_eq!(ended.is_ok(), fits, "{device}");
            assert!(!std::fs::metadata(device).unwrap().is_file());
        }
    }

    #[test]
    fn endings_tell_the_format() {
        assert_eq!(format_of(Path::new("a/b.PARQUET")), Some(RowFormat::Parquet));
        assert_eq!(format_of(Path::new("a.xlsx")), None);
    }
}
