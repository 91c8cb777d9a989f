//! A file's bytes, decompressed where its first bytes say that they are compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use polder_base::NameError;
use polder_diag::Diagnostic;
use polder_run::Progress;

use super::find::{Place, SourceFile};
use super::remote::{RemoteReader, Unread};
use crate::{IngestError, Result, codes};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER_BYTES: usize = 64 * 1024;

/// What mends a file that broke on its way.
pub const FETCH_AGAIN: &str = "fetch the file again; nothing of it was taken in";

/// Opens a file, looking at its first bytes rather than at its name. `progress` counts the bytes of the file itself.
pub fn open(file: &SourceFile, progress: Option<&Arc<Progress>>) -> Result<Box<dyn Read + Send>> {
    let counted = Counted { inner: raw(file)?, progress: progress.cloned() };
    let mut buffered = BufReader::with_capacity(BUFFER_BYTES, counted);
    let head = buffered.fill_buf().map_err(|e| cannot_read(file, &e))?;
    if head.starts_with(&GZIP) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(buffered)));
    }
    if head.starts_with(&ZSTD) {
        let decoder = zstd::stream::read::Decoder::with_buffer(buffered).map_err(|e| cannot_read(file, &e))?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(buffered))
}

/// The bytes as they are. Blocks: for a thread that may wait.
fn raw(file: &SourceFile) -> Result<Box<dyn Read + Send>> {
    match &file.place {
        Place::Here(path) => Ok(Box::new(File::open(path).map_err(|e| cannot_read(file, &e))?)),
        Place::Remote(remote) => Ok(Box::new(RemoteReader::open(remote, 0)?)),
    }
}

/// Whether a file is compressed as a whole: such a file cannot be read from its end, as Parquet is.
pub fn is_compressed(file: &SourceFile) -> Result<bool> {
    let mut head = Vec::with_capacity(4);
    raw(file)?.take(4).read_to_end(&mut head).map_err(|e| cannot_read(file, &e))?;
    Ok(head.starts_with(&GZIP) || head.starts_with(&ZSTD))
}

/// An error of reading, told as what it is: a damaged file is the person's, a failing disk the machine's.
pub fn read_error(file: &SourceFile, error: &io::Error) -> IngestError {
    match error.kind() {
        _ if is_unread(error) => cannot_read(file, error),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            damaged(file, error).into()
        }
        // The zstd library's own errors have no kind.
        io::ErrorKind::Other if error.raw_os_error().is_none() => damaged(file, error).into(),
        _ => cannot_read(file, error),
    }
}

fn is_unread(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Unread>())
}

fn cannot_read(file: &SourceFile, error: &io::Error) -> IngestError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Unread>()) {
        Some(unread) => unread.clone().into(),
        None => IngestError::permanent(format!("cannot read {}: {error}", file.shown())),
    }
}

fn damaged(file: &SourceFile, error: &io::Error) -> Diagnostic {
    Diagnostic::error(codes::DAMAGED, format!("{} is damaged or cut off: {error}", file.name)).hint(FETCH_AGAIN)
}

/// Two columns of one file must not become one.
pub fn collision(file: &SourceFile, error: &NameError) -> Diagnostic {
    Diagnostic::error(codes::COLLISION, format!("{}: {error}", file.name)).hint("rename one of them in the file")
}

struct Counted<R> {
    inner: R,
    progress: Option<Arc<Progress>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(progress) = &self.progress {
            progress.add_bytes(n as u64);
        }
        Ok(n)
    }
}
