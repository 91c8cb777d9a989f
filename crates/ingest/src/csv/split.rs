//! Records and fields of CSV (RFC 4180).
//!
//! A field that begins with a quote ends with one; two quotes inside stand for one. Quotes elsewhere are ordinary
//! characters. A record that breaks this is rejected *up to the end of its first line*, and reading goes on with the
//! next line: an unclosed quote costs one line, not the rest of the file.

use crate::chunk::Framing;

const QUOTE: u8 = b'"';
const QUOTED: u32 = 1 << 31;
const ESCAPED: u32 = 1 << 30;

/// Where a field lies in its chunk, without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    start: u32,
    end_and_flags: u32,
}

impl Field {
    /// Chunks are far shorter than `ESCAPED` bytes (see `chunk::RECORD_LIMIT_BYTES`), so that offsets fit.
    #[inline]
    fn new(start: usize, end: usize, flags: u32) -> Self {
        debug_assert!(end < ESCAPED as usize);
        Self { start: start as u32, end_and_flags: end as u32 | flags }
    }

    #[inline]
    pub fn start(self) -> usize {
        self.start as usize
    }

    #[inline]
    pub fn end(self) -> usize {
        (self.end_and_flags & !(QUOTED | ESCAPED)) as usize
    }

    /// The field stood in quotes: an empty one is an empty text, not NULL.
    #[inline]
    pub fn is_quoted(self) -> bool {
        self.end_and_flags & QUOTED != 0
    }

    /// There are doubled quotes inside.
    #[inline]
    pub fn is_escaped(self) -> bool {
        self.end_and_flags & ESCAPED != 0
    }
}

/// Halves doubled quotes.
pub fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(QUOTE, rest) {
        out.extend_from_slice(&rest[..=at]);
        rest = rest.get(at + 2..).unwrap_or(&[]);
    }
    out.extend_from_slice(rest);
    out
}

/// One record, walked through from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// The record ends before `end`; its line end is included.
    Record { end: usize },
    /// The buffer ends within quotes.
    Open,
    /// Something other than a delimiter or a line end follows a closing quote.
    Stray,
}

/// The separators of one file.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    pub delimiter: u8,
}

impl Dialect {
    /// Walks the record at `start`, calling `field` for each of its fields. At the end of the buffer a record needs no
    /// line end.
    pub fn walk(self, buffer: &[u8], start: usize, mut field: impl FnMut(Field)) -> Walk {
        let mut at = start;
        loop {
            if buffer.get(at) == Some(&QUOTE) {
                let Some((end, escaped)) = closing_quote(buffer, at + 1) else { return Walk::Open };
                field(Field::new(at + 1, end, QUOTED | if escaped { ESCAPED } else { 0 }));
                at = end + 1;
                match (buffer.get(at), buffer.get(at + 1)) {
                    (None, _) => return Walk::Record { end: at },
                    (Some(b), _) if *b == self.delimiter => at += 1,
                    (Some(b'\n'), _) => return Walk::Record { end: at + 1 },
                    (Some(b'\r'), Some(b'\n')) => return Walk::Record { end: at + 2 },
                    (Some(b'\r'), None) => return Walk::Record { end: at + 1 },
                    _ => return Walk::Stray,
                }
                continue;
            }
            match memchr::memchr2(self.delimiter, b'\n', &buffer[at..]) {
                Some(n) if buffer[at + n] == self.delimiter => {
                    field(Field::new(at, at + n, 0));
                    at += n + 1;
                }
                Some(n) => {
                    field(Field::new(at, without_cr(buffer, at, at + n), 0));
                    return Walk::Record { end: at + n + 1 };
                }
                None => {
                    field(Field::new(at, without_cr(buffer, at, buffer.len()), 0));
                    return Walk::Record { end: buffer.len() };
                }
            }
        }
    }

    /// The end of the record at `start`, when the buffer holds it.
    fn record_end(self, buffer: &[u8], start: usize) -> Option<usize> {
        match self.walk(buffer, start, |_| {}) {
            Walk::Record { end } if buffer[start..end].ends_with(b"\n") => Some(end),
            Walk::Stray => memchr::memchr(b'\n', &buffer[start..]).map(|n| start + n + 1),
            _ => None,
        }
    }
}

#[inline]
fn without_cr(buffer: &[u8], start: usize, end: usize) -> usize {
    if end > start && buffer[end - 1] == b'\r' { end - 1 } else { end }
}

fn closing_quote(buffer: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        at += memchr::memchr(QUOTE, buffer.get(at..)?)?;
        if buffer.get(at + 1) != Some(&QUOTE) {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

impl Framing for Dialect {
    fn whole(&self, buffer: &[u8], last: bool) -> usize {
        if last {
            return buffer.len();
        }
        if memchr::memchr(QUOTE, buffer).is_none() {
            return memchr::memrchr(b'\n', buffer).map_or(0, |at| at + 1);
        }
        let mut record = 0;
        while let Some(n) = memchr::memchr2(QUOTE, b'\n', &buffer[record..]) {
            if buffer[record + n] == b'\n' {
                record += n + 1;
                continue;
            }
            match self.record_end(buffer, record) {
                Some(end) => record = end,
                None => break,
            }
        }
        record
    }
}

/// A record that cannot be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its bytes in the chunk, without the line end.
    pub start: usize,
    pub end: usize,
    pub line: u64,
    pub reason: String,
}

/// The records of a chunk: `width` fields for each row.
#[derive(Debug, Default)]
pub struct Records {
    pub width: usize,
    pub fields: Vec<Field>,
    /// Where each row starts in the chunk, and on which line of the file.
    pub starts: Vec<u32>,
    pub lines: Vec<u64>,
    pub broken: Vec<Broken>,
}

impl Records {
    /// Cuts a chunk into records of `width` fields. `line` is the line of its first byte.
    pub fn split(dialect: Dialect, buffer: &[u8], line: u64, width: usize) -> Self {
        let mut records = Self { width, ..Self::default() };
        let rows = buffer.len() / (width * 6).max(1);
        records.fields.reserve(rows * width);
        if memchr::memchr(QUOTE, buffer).is_none() {
            records.split_plain(dialect, buffer, line);
        } else {
            records.split_quoted(dialect, buffer, line);
        }
        records
    }

    pub fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Without quotes each line is a record.
    fn split_plain(&mut self, dialect: Dialect, buffer: &[u8], mut line: u64) {
        let (mut record, mut field) = (0, 0);
        let mut mark = 0;
        for at in memchr::memchr2_iter(dialect.delimiter, b'\n', buffer) {
            if buffer[at] == b'\n' {
                self.end_of_line(buffer, (record, field, at), mark, line);
                (record, line) = (at + 1, line + 1);
                mark = self.fields.len();
            } else {
                self.fields.push(Field::new(field, at, 0));
            }
            field = at + 1;
        }
        if record < buffer.len() {
            self.end_of_line(buffer, (record, field, buffer.len()), mark, line);
        }
    }

    #[inline]
    fn end_of_line(&mut self, buffer: &[u8], (record, field, at): (usize, usize, usize), mark: usize, line: u64) {
        let end = without_cr(buffer, field, at);
        if end == record {
            return; // A blank line.
        }
        self.fields.push(Field::new(field, end, 0));
        self.end_of_record(record..without_cr(buffer, record, at), mark, line);
    }

    #[inline]
    fn end_of_record(&mut self, bytes: std::ops::Range<usize>, mark: usize, line: u64) {
        if self.fields.len() - mark == self.width {
            self.starts.push(bytes.start as u32);
            self.lines.push(line);
        } else {
            self.ragged(bytes, mark, line);
        }
    }

    #[cold]
    fn ragged(&mut self, bytes: std::ops::Range<usize>, mark: usize, line: u64) {
        let found = self.fields.len() - mark;
        let fields = if found == 1 { "field" } else { "fields" };
        let reason = format!("{found} {fields}, {} expected", self.width);
        self.fields.truncate(mark);
        self.broken.push(Broken { start: bytes.start, end: bytes.end, line, reason });
    }

    fn split_quoted(&mut self, dialect: Dialect, buffer: &[u8], mut line: u64) {
        let mut start = 0;
        while start < buffer.len() {
            match &buffer[start..] {
                [b'\n', ..] => {
                    (start, line) = (start + 1, line + 1);
                    continue;
                }
                [b'\r', b'\n', ..] => {
                    (start, line) = (start + 2, line + 1);
                    continue;
                }
                // A blank line as well, at the end of the file.
                [b'\r'] => return,
                _ => {}
            }
            let mark = self.fields.len();
            let mut quoted = false;
            let walk = dialect.walk(buffer, start, |f| {
                quoted |= f.is_quoted();
                self.fields.push(f);
            });
            let end = match walk {
                Walk::Record { end } => {
                    self.end_of_record(start..without_line_end(buffer, start, end), mark, line);
                    line += if quoted { crate::chunk::lines(&buffer[start..end]) } else { 1 };
                    end
                }
                // Which of the two it is depends on where the chunk ends; what is rejected does not.
                Walk::Open | Walk::Stray => self.badly_quoted(buffer, start, mark, &mut line),
            };
            start = end;
        }
    }

    fn badly_quoted(&mut self, buffer: &[u8], start: usize, mark: usize, line: &mut u64) -> usize {
        self.fields.truncate(mark);
        let end = memchr::memchr(b'\n', &buffer[start..]).map_or(buffer.len(), |n| start + n + 1);
        let last = without_line_end(buffer, start, end);
        let reason = "the quotes around a field do not match".to_owned();
        self.broken.push(Broken { start, end: last, line: *line, reason });
        *line += 1;
        end
    }

    /// The bytes of a row, without its line end.
    pub fn raw(&self, dialect: Dialect, buffer: &[u8], row: usize) -> std::ops::Range<usize> {
        let start = self.starts[row] as usize;
        match dialect.walk(buffer, start, |_| {}) {
            Walk::Record { end } => start..without_line_end(buffer, start, end),
            Walk::Open | Walk::Stray => start..buffer.len(),
        }
    }
}

fn without_line_end(buffer: &[u8], start: usize, end: usize) -> usize {
    let end = if end > start && buffer[end - 1] == b'\n' { end - 1 } else { end };
    without_cr(buffer, start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMA: Dialect = Dialect { delimiter: b',' };

    fn rows(text: &str, width: usize) -> (Vec<Vec<String>>, Vec<u64>, Vec<Broken>) {
        let records = Records::split(COMMA, text.as_bytes(), 1, width);
        let field = |f: &Field| {
            let bytes = &text.as_bytes()[f.start()..f.end()];
            let bytes = if f.is_escaped() { unescape(bytes) } else { bytes.to_vec() };
            String::from_utf8(bytes).unwrap()
        };
        let rows = records.fields.chunks(width).map(|r| r.iter().map(field).collect()).collect();
        (rows, records.lines, records.broken)
    }

    #[test]
    fn plain_and_quoted_records_are_the_same() {
        let plain = rows("a,b\r\n\r\n1,\n,2", 2);
        assert_eq!(plain.0, [["a", "b"], ["1", ""], ["", "2"]]);
        assert_eq!(plain.1, [1, 3, 4]);
        let quoted = rows("\"a\",b\r\n\r\n1,\n,\"2\"", 2);
        assert_eq!((quoted.0, quoted.1), (plain.0, plain.1));
    }

    #[test]
    fn quotes_hide_line_ends_and_delimiters() {
        let (rows, lines, broken) = rows("1,\"x\ny, \"\"z\"\"\"\n2,5\" pipe\n", 2);
        assert_eq!(rows, [["1", "x\ny, \"z\""], ["2", "5\" pipe"]]);
        assert_eq!((lines, broken), (vec![1, 3], vec![]));
    }

    #[test]
    fn ragged_records_are_set_aside() {
        let (rows, _, broken) = rows("1,2\n3\n4,5,6\n7,8\n", 2);
        assert_eq!(rows, [["1", "2"], ["7", "8"]]);
        let told: Vec<_> = broken.iter().map(|b| (b.line, b.reason.as_str())).collect();
        assert_eq!(told, [(2, "1 field, 2 expected"), (3, "3 fields, 2 expected")]);
    }

    #[test]
    fn a_lone_return_at_the_end_is_a_blank_line() {
        for text in ["1,2\n\r", "1,\"2\"\n\r"] {
            let (rows, _, broken) = rows(text, 2);
            assert_eq!((rows.len(), broken), (1, vec![]), "{text:?}");
        }
    }

    #[test]
    fn a_torn_quote_costs_one_line() {
        let (rows, lines, broken) = rows("1,\"abc\n2,\"x\"\n3,y\n4,\"open\n5,z\n", 2);
        assert_eq!(rows, [["2", "x"], ["3", "y"], ["5", "z"]]);
        assert_eq!(lines, [2, 3, 5]);
        assert_eq!(broken.iter().map(|b| b.line).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn chunks_end_between_records() {
        let text = b"1,\"a\nb\"\n2,c\n3,\"d\n";
        assert_eq!(COMMA.whole(text, false), 12);
        assert_eq!(COMMA.whole(text, true), text.len());
        assert_eq!(COMMA.whole(b"1,2\n3,", false), 4);
        // A closing quote at the end of the buffer may be the first of two.
        assert_eq!(COMMA.whole(b"1,2\n3,\"x\"", false), 4);
        assert_eq!(COMMA.whole(b"1,2\n3,\"x\"\r", false), 4);
    }

    type Row = (u64, Vec<(String, bool)>);

    fn described(bytes: &[u8], records: &Records) -> (Vec<Row>, Vec<(u64, String)>) {
        let text = |start: usize, end: usize| String::from_utf8(bytes[start..end].to_vec()).unwrap();
        let field = |f: &Field| (text(f.start(), f.end()), f.is_quoted());
        let rows = records.fields.chunks(records.width).zip(&records.lines);
        (
            rows.map(|(fields, line)| (*line, fields.iter().map(field).collect())).collect(),
            records.broken.iter().map(|b| (b.line, text(b.start, b.end) + &b.reason)).collect(),
        )
    }

    proptest::proptest! {
        /// Wherever chunks end, the records are those of the whole.
        #[test]
        fn chunks_change_nothing(text in "[ab,\"\n\r]{0,80}", chunk in 1usize..20) {
            let whole = described(text.as_bytes(), &Records::split(COMMA, text.as_bytes(), 1, 2));
            let input = Box::new(std::io::Cursor::new(text.clone().into_bytes()));
            let mut chunker = crate::chunk::Chunker::new(COMMA, input).unwrap().with_sizes(chunk, 1 << 20);
            let (mut rows, mut broken) = (Vec::new(), Vec::new());
            while let Some(chunk) = chunker.next_chunk().unwrap() {
                let part = described(&chunk.bytes, &Records::split(COMMA, &chunk.bytes, chunk.line, 2));
                rows.extend(part.0);
                broken.extend(part.1);
            }
            proptest::prop_assert_eq!((rows, broken), whole);
        }

        /// What is taken is what the csv crate takes, where both find it well formed.
        #[test]
        fn agrees_with_the_csv_crate(rows in proptest::collection::vec(proptest::collection::vec("[ab,\"\n\r ]{0,5}", 2..=2), 1..10)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            rows.iter().for_each(|row| writer.write_record(row).unwrap());
            let bytes = writer.into_inner().unwrap();
            let records = Records::split(COMMA, &bytes, 1, 2);
            let field = |f: &Field| {
                let raw = &bytes[f.start()..f.end()];
                String::from_utf8(if f.is_escaped() { unescape(raw) } else { raw.to_vec() }).unwrap()
            };
            let got: Vec<Vec<String>> = records.fields.chunks(2).map(|r| r.iter().map(field).collect()).collect();
            proptest::prop_assert_eq!(got, rows);
        }
    }
}
