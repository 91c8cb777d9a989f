//! The bytes of a Parquet file, which is read from its end: of one here, of parts that were fetched, or of a copy.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};
use tempfile::{NamedTempFile, TempPath};

use crate::files::{Place, Remote, RemoteReader, SourceFile, range, read_error};
use crate::{IngestError, Result};

/// Fetched from the end of a remote file at once: most footers fit.
const TAIL_BYTES: u64 = 64 * 1024;

/// What the Parquet reader reads from. Each request for a part of a remote file takes a while, so what belongs together
/// is fetched at once: the footer, then each row group as a whole.
pub enum ParquetBytes {
    Here(File),
    Remote(Fetched),
}

/// Parts of a remote file.
pub struct Fetched {
    remote: Arc<dyn Remote>,
    size_bytes: u64,
    /// Where a part begins, and the part.
    parts: Vec<(u64, Bytes)>,
}

impl ParquetBytes {
    pub fn open(file: &SourceFile) -> Result<Self> {
        match &file.place {
            Place::Here(path) => Ok(Self::Here(File::open(path).map_err(|e| read_error(file, &e))?)),
            Place::Remote(remote) => match remote.copy() {
                Some(slot) => {
                    let path = copy(file, remote, slot)?;
                    Ok(Self::Here(File::open(path).map_err(|e| read_error(file, &e))?))
                }
                None => {
                    let (remote, size_bytes) = (Arc::clone(remote), file.size_bytes);
                    let mut fetched = Fetched { remote, size_bytes, parts: Vec::new() };
                    fetched.fetch(size_bytes.saturating_sub(TAIL_BYTES), size_bytes)?;
                    Ok(Self::Remote(fetched))
                }
            },
        }
    }

    /// With all bytes of a row group at hand. Its compressed size is what that takes of memory.
    pub fn with_row_group(mut self, file: &SourceFile, group: &RowGroupMetaData) -> Result<Self> {
        if let Self::Remote(fetched) = &mut self {
            let ranges = group.columns().iter().map(|column| column.byte_range());
            let (start, end) = ranges.fold((u64::MAX, 0), |(start, end), (from, length)| {
                (start.min(from), end.max(from.saturating_add(length)))
            });
            if end > file.size_bytes {
                return Err(read_error(file, &io::ErrorKind::UnexpectedEof.into()));
            }
            if start < end {
                fetched.fetch(start, end)?;
            }
        }
        Ok(self)
    }
}

/// The copy of a file that can only be had as a whole: made the first time, gone with the run.
fn copy<'s>(file: &SourceFile, remote: &Arc<dyn Remote>, slot: &'s OnceLock<TempPath>) -> Result<&'s Path> {
    if let Some(path) = slot.get() {
        return Ok(path);
    }
    let failed = |e: io::Error| IngestError::permanent(format!("cannot keep a copy of {}: {e}", file.name));
    let mut target = NamedTempFile::new().map_err(failed)?;
    io::copy(&mut RemoteReader::open(remote, 0)?, &mut target).map_err(|e| read_error(file, &e))?;
    Ok(slot.get_or_init(|| target.into_temp_path()))
}

impl Fetched {
    fn fetch(&mut self, start: u64, end: u64) -> Result<(), IngestError> {
        self.parts.push((start, range(&self.remote, start, end)?));
        Ok(())
    }

    /// A part that is at hand, or is fetched now.
    fn get(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let end = start.saturating_add(length as u64);
        let at_hand = self.parts.iter().find_map(|(from, part)| {
            let skip = usize::try_from(start.checked_sub(*from)?).ok()?;
            (skip.checked_add(length)? <= part.len()).then(|| part.slice(skip..skip + length))
        });
        match at_hand {
            Some(part) => Ok(part),
            None if end > self.size_bytes => Err(io::ErrorKind::UnexpectedEof.into()),
            None => range(&self.remote, start, end).map_err(io::Error::other),
        }
    }
}

impl Length for ParquetBytes {
    fn len(&self) -> u64 {
        match self {
            Self::Here(file) => Length::len(file),
            Self::Remote(fetched) => fetched.size_bytes,
        }
    }
}

impl ChunkReader for ParquetBytes {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        match self {
            Self::Here(file) => Ok(Box::new(file.get_read(start)?)),
            // The rest of the part that it lies in: nobody reads on beyond a row group.
            Self::Remote(fetched) => {
                let around =
                    fetched.parts.iter().find(|(from, part)| (*from..*from + part.len() as u64).contains(&start));
                let end = around.map_or(fetched.size_bytes, |(from, part)| from + part.len() as u64);
                let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
                Ok(Box::new(fetched.get(start, length).map_err(external)?.reader()))
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        match self {
            Self::Here(file) => file.get_bytes(start, length),
            Self::Remote(fetched) => fetched.get(start, length).map_err(external),
        }
    }
}

fn external(error: io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
