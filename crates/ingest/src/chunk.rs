//! A stream of bytes cut into chunks of whole records, so that threads can parse them independently.

use std::io::{self, Read};

/// How bytes become records.
pub trait Framing {
    /// How many bytes of `buffer` are whole records; it begins with a record. With `last`, nothing comes after it: what
    /// is left over counts as well.
    fn whole(&self, buffer: &[u8], last: bool) -> usize;

    /// The end of the first record of a buffer whose first record does not end within the limit, when the record can be
    /// cut at a line's end all the same.
    fn give_up(&self, buffer: &[u8]) -> Option<usize> {
        memchr::memchr(b'\n', buffer).map(|at| at + 1)
    }
}

/// One record a line.
#[derive(Debug, Clone, Copy)]
pub struct Lines;

impl Framing for Lines {
    fn whole(&self, buffer: &[u8], last: bool) -> usize {
        if last { buffer.len() } else { memchr::memrchr(b'\n', buffer).map_or(0, |at| at + 1) }
    }
}

/// Whole records, and where they begin.
#[derive(Debug)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// The line of the first record, from 1.
    pub line: u64,
    /// The line is longer than [`RECORD_LIMIT_BYTES`]: `bytes` is its beginning, and the rest was passed over.
    pub oversized: bool,
}

/// Chunks are about this long, or as long as one record.
pub const CHUNK_BYTES: usize = 1 << 20;

const PEEK_BYTES: usize = 64 << 10;

/// A record longer than this is rejected, so that a file of one endless line cannot fill the memory.
pub const RECORD_LIMIT_BYTES: usize = 64 << 20;

/// What is kept of a line that is longer than the limit.
const OVERSIZED_KEPT_BYTES: usize = 1 << 20;

pub struct Chunker<F> {
    framing: F,
    input: Box<dyn Read + Send>,
    /// Bytes read that belong to the next chunk.
    carry: Vec<u8>,
    line: u64,
    ended: bool,
    chunk_bytes: usize,
    limit_bytes: usize,
}

const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

impl<F: Framing> Chunker<F> {
    /// A byte order mark of UTF-8 is passed over.
    pub fn new(framing: F, input: Box<dyn Read + Send>) -> io::Result<Self> {
        let (chunk_bytes, limit_bytes) = (CHUNK_BYTES, RECORD_LIMIT_BYTES);
        let mut chunker = Self { framing, input, carry: Vec::new(), line: 1, ended: false, chunk_bytes, limit_bytes };
        chunker.fill(BOM.len())?;
        if chunker.carry.starts_with(&BOM) {
            chunker.carry.drain(..BOM.len());
        }
        Ok(chunker)
    }

    /// Smaller sizes, so that tests reach the borders with little data.
    #[cfg(test)]
    pub fn with_sizes(mut self, chunk_bytes: usize, limit_bytes: usize) -> Self {
        (self.chunk_bytes, self.limit_bytes) = (chunk_bytes, limit_bytes);
        self
    }

    /// The first bytes that were not given out yet, some ten thousands of them.
    pub fn peek(&mut self) -> io::Result<&[u8]> {
        self.fill(PEEK_BYTES)?;
        Ok(&self.carry)
    }

    /// As [`Self::peek`], a chunk's length: for a header that is longer.
    pub fn peek_chunk(&mut self) -> io::Result<&[u8]> {
        self.fill(self.chunk_bytes)?;
        Ok(&self.carry)
    }

    /// Takes bytes off the front: those of a header that the caller has read with [`Self::peek`].
    pub fn skip(&mut self, length: usize) {
        self.line += lines(&self.carry[..length]);
        self.carry.drain(..length);
    }

    /// Reads until `carry` has `length` bytes, or the input ends.
    fn fill(&mut self, length: usize) -> io::Result<()> {
        let missing = length.saturating_sub(self.carry.len());
        if missing > 0 && !self.ended {
            self.carry.reserve(missing);
            let read = self.input.by_ref().take(missing as u64).read_to_end(&mut self.carry)?;
            self.ended = read < missing;
        }
        Ok(())
    }

    /// The next records; `None` at the end.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let mut want = self.chunk_bytes;
        loop {
            self.fill(want)?;
            if self.carry.is_empty() {
                return Ok(None);
            }
            let whole = self.framing.whole(&self.carry, self.ended);
            if whole > 0 {
                return Ok(Some(self.take(whole)));
            }
            if self.carry.len() >= self.limit_bytes {
                return match self.framing.give_up(&self.carry) {
                    Some(end) => Ok(Some(self.take(end))),
                    None => self.take_oversized().map(Some),
                };
            }
            want = (self.carry.len() * 2).min(self.limit_bytes);
        }
    }

    fn take(&mut self, length: usize) -> Chunk {
        let mut rest = Vec::with_capacity(self.chunk_bytes.max(self.carry.len() - length));
        rest.extend_from_slice(&self.carry[length..]);
        let mut bytes = std::mem::replace(&mut self.carry, rest);
        bytes.truncate(length);
        let line = self.line;
        self.line += lines(&bytes);
        Chunk { bytes, line, oversized: false }
    }

    /// Keeps the beginning of an endless line and reads on to its end.
    fn take_oversized(&mut self) -> io::Result<Chunk> {
        let mut bytes = std::mem::take(&mut self.carry);
        bytes.truncate(OVERSIZED_KEPT_BYTES.min(self.limit_bytes));
        loop {
            self.fill(self.chunk_bytes)?;
            match memchr::memchr(b'\n', &self.carry) {
                Some(at) => {
                    self.carry.drain(..=at);
                    break;
                }
                None => self.carry.clear(),
            }
            if self.ended {
                break;
            }
        }
        let line = self.line;
        self.line += 1;
        Ok(Chunk { bytes, line, oversized: true })
    }
}

pub fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str, chunk: usize, limit: usize) -> Vec<(String, u64, bool)> {
        let input = Box::new(io::Cursor::new(text.as_bytes().to_vec()));
        let mut chunker = Chunker::new(Lines, input).unwrap().with_sizes(chunk, limit);
        let mut out = Vec::new();
        while let Some(c) = chunker.next_chunk().unwrap() {
            out.push((String::from_utf8(c.bytes).unwrap(), c.line, c.oversized));
        }
        out
    }

    #[test]
    fn chunks_end_at_line_ends() {
        let got = chunks("a\nbb\nccc\nd", 4, 100);
        assert_eq!(got.iter().map(|(t, ..)| t.as_str()).collect::<String>(), "a\nbb\nccc\nd");
        assert!(got[..got.len() - 1].iter().all(|(t, ..)| t.ends_with('\n')));
        assert_eq!(got.last().unwrap().1, 4);
    }

    #[test]
    fn a_long_line_grows_its_chunk_and_an_endless_one_is_passed_over() {
        let got = chunks("a\nbbbbbbbbbb\nc\n", 4, 64);
        assert!(got.iter().any(|(t, line, _)| t.contains("bbbbbbbbbb\n") && *line == 2), "{got:?}");
        let text = format!("a\n{}\nc\n", "b".repeat(100));
        let got = chunks(&text, 4, 16);
        assert_eq!(got, [("a\n".to_owned(), 1, false), ("b".repeat(16), 2, true), ("c\n".to_owned(), 3, false)]);
    }

    #[test]
    fn a_byte_order_mark_is_no_data() {
        assert_eq!(chunks("\u{feff}a\n", 4, 16), [("a\n".to_owned(), 1, false)]);
        assert_eq!(chunks("", 4, 16), []);
    }
}
