//! Reading rows by `COPY`.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use futures::StreamExt;
use sqlx::PgConnection;

use super::connect::Server;
use super::decode::{ColumnBuilder, Refusal, shown, take_field};
use super::types::Reading;
use crate::intake::{Origin, Rejected, Sink, Stopped};
use crate::types::sql_type;
use crate::{IngestError, Result};

const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 16 << 20;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// A tuple as it came: each field's place in `bytes`, `None` for NULL.
#[derive(Debug)]
pub struct Tuple<'a> {
    pub bytes: &'a [u8],
    pub fields: &'a [Option<Range<usize>>],
}

impl<'a> Tuple<'a> {
    pub fn field(&self, at: usize) -> Option<&'a [u8]> {
        self.fields.get(at)?.clone().map(|range| &self.bytes[range])
    }

    /// The bytes of the first `count` fields, lengths included.
    pub fn head(&self, count: usize) -> &'a [u8] {
        let rest = &self.fields[count.min(self.fields.len())..];
        let tail: usize = rest.iter().map(|f| 4 + f.as_ref().map_or(0, Range::len)).sum();
        &self.bytes[..self.bytes.len() - tail]
    }

    pub fn is_true(&self, at: usize) -> bool {
        self.field(at) == Some(&[1])
    }
}

/// Cuts the stream into tuples, however it was cut before.
#[derive(Debug, Default)]
struct Framing {
    pending: Vec<u8>,
    started: bool,
    ended: bool,
    fields: Vec<Option<Range<usize>>>,
}

impl Framing {
    /// Calls `visit` for each tuple that is whole.
    fn push(&mut self, bytes: &[u8], mut visit: impl FnMut(&Tuple<'_>)) -> std::result::Result<(), Refusal> {
        if self.pending.is_empty() {
            let used = self.walk(bytes, &mut visit)?;
            self.pending.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let used = self.walk(&pending, &mut visit)?;
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    /// How many bytes were used up.
    fn walk(&mut self, bytes: &[u8], visit: &mut impl FnMut(&Tuple<'_>)) -> std::result::Result<usize, Refusal> {
        let mut rest = bytes;
        if !self.started {
            match header(rest)? {
                Some(tail) => (rest, self.started) = (tail, true),
                None => return Ok(0),
            }
        }
        while let Some((count, body)) = rest.split_first_chunk::<2>() {
            let Ok(count) = usize::try_from(i16::from_be_bytes(*count)) else {
                self.ended = true;
                return Ok(bytes.len());
            };
            let Some(length) = self.fields_of(body, count) else { break };
            visit(&Tuple { bytes: &body[..length], fields: &self.fields });
            rest = &body[length..];
        }
        Ok(bytes.len() - rest.len())
    }

    /// Finds the fields of a tuple; `None` while it is not whole.
    fn fields_of(&mut self, body: &[u8], count: usize) -> Option<usize> {
        self.fields.clear();
        let mut rest = body;
        for _ in 0..count {
            let field = take_field(&mut rest).ok()?;
            let end = body.len() - rest.len();
            self.fields.push(field.map(|f| end - f.len()..end));
        }
        Some(body.len() - rest.len())
    }
}

fn header(bytes: &[u8]) -> std::result::Result<Option<&[u8]>, Refusal> {
    let Some((signature, rest)) = bytes.split_first_chunk::<11>() else { return Ok(None) };
    if signature != SIGNATURE {
        return Err(Refusal::Form);
    }
    let Some((fixed, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
    let extension = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]) as usize;
    Ok(rest.get(extension..))
}

/// The rows of a COPY, made into batches.
pub struct Rows {
    readings: Arc<[Reading]>,
    builders: Vec<ColumnBuilder>,
    keep: Vec<bool>,
    rejects: Vec<Rejected>,
    bytes: usize,
}

impl Rows {
    fn new(readings: Arc<[Reading]>) -> Self {
        let builders = readings.iter().map(|r| ColumnBuilder::new(&r.wire, &r.data_type)).collect();
        Self { readings, builders, keep: Vec::with_capacity(BATCH_ROWS), rejects: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, tuple: &Tuple<'_>) {
        self.bytes += tuple.bytes.len();
        let mut refused = Vec::new();
        for (at, builder) in self.builders.iter_mut().enumerate() {
            let taken = match tuple.field(at) {
                Some(bytes) => builder.append(bytes),
                None => {
                    builder.append_null();
                    Ok(())
                }
            };
            if let Err(refusal) = taken {
                refused.push((at, refusal));
            }
        }
        self.keep.push(refused.is_empty());
        if !refused.is_empty() {
            self.reject(tuple, &refused);
        }
    }

    #[cold]
    fn reject(&mut self, tuple: &Tuple<'_>, refused: &[(usize, Refusal)]) {
        let rows = self.keep.len();
        self.builders.iter_mut().for_each(|b| b.fill(rows));
        let reason = |(at, refusal): &(usize, Refusal)| {
            let reading = &self.readings[*at];
            let what = match refusal {
                Refusal::Value(what) => what.clone(),
                Refusal::Form => "PostgreSQL sent it in an unknown form".to_owned(),
            };
            format!("`{}` is {}, but {what}", reading.name, sql_type(&reading.data_type))
        };
        let reasons: Vec<String> = refused.iter().map(reason).collect();
        self.rejects.push(Rejected {
            file: None,
            position: None,
            raw: raw(&self.readings, tuple),
            reason: reasons.join("; "),
        });
    }

    fn is_full(&self) -> bool {
        self.keep.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    async fn send(self, sink: &Sink) -> Result<(), Stopped> {
        let fail = |e: arrow::error::ArrowError| sink.intake().fail(e.into());
        let columns = self.builders.into_iter().map(ColumnBuilder::finish).collect::<std::result::Result<Vec<_>, _>>();
        let mut columns: Vec<ArrayRef> = columns.map_err(fail)?;
        let rows = self.keep.iter().filter(|keep| **keep).count();
        if !self.rejects.is_empty() {
            let mask = BooleanArray::from(self.keep);
            for column in &mut columns {
                *column = arrow::compute::filter(column, &mask).map_err(fail)?;
            }
            sink.reject(self.rejects).await?;
        }
        sink.send(columns, rows, Origin::Database).await
    }
}

/// The row as JSON, near enough: for a person to find it again.
fn raw(readings: &[Reading], tuple: &Tuple<'_>) -> String {
    let value = |(at, reading): (usize, &Reading)| {
        let value = match tuple.field(at) {
            Some(bytes) => serde_json::Value::String(shown(&reading.wire, bytes)),
            None => serde_json::Value::Null,
        };
        (reading.original.clone(), value)
    };
    serde_json::Value::Object(readings.iter().enumerate().map(value).collect()).to_string()
}

/// Runs a COPY and sends its rows on. `admit` sees each tuple first and says whether it is wanted.
pub async fn copy_rows(
    server: &Server,
    connection: &mut PgConnection,
    statement: &str,
    readings: &Arc<[Reading]>,
    sink: &Sink,
    mut admit: impl FnMut(&Tuple<'_>) -> bool,
) -> Result<(), Stopped> {
    let fail = |e: IngestError| sink.intake().fail(e);
    let mut rows = Rows::new(Arc::clone(readings));
    let mut framing = Framing::default();
    let opened = connection.copy_out_raw(statement).await;
    let mut stream = opened.map_err(|e| fail(server.error(&e)))?;
    loop {
        let next = tokio::select! {
            () = sink.intake().stop.cancelled() => return Err(Stopped),
            next = stream.next() => next,
        };
        let Some(bytes) = next else { break };
        let bytes = bytes.map_err(|e| fail(server.error(&e)))?;
        sink.intake().progress.add_bytes(bytes.len() as u64);
        let cut = framing.push(&bytes, |tuple| {
            if admit(tuple) {
                rows.add(tuple);
            }
        });
        cut.map_err(|_| fail(unreadable(server)))?;
        if rows.is_full() {
            std::mem::replace(&mut rows, Rows::new(Arc::clone(readings))).send(sink).await?;
        }
    }
    if !framing.ended {
        return Err(fail(IngestError::transient(format!("{}: the rows ended too early", server.name()))));
    }
    rows.send(sink).await
}

/// Runs a COPY and looks at each tuple.
pub async fn copy_each(
    server: &Server,
    connection: &mut PgConnection,
    statement: &str,
    mut visit: impl FnMut(&Tuple<'_>),
) -> Result<()> {
    let mut framing = Framing::default();
    let mut stream = connection.copy_out_raw(statement).await.map_err(|e| server.error(&e))?;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|e| server.error(&e))?;
        framing.push(&bytes, &mut visit).map_err(|_| unreadable(server))?;
    }
    if framing.ended {
        Ok(())
    } else {
        Err(IngestError::transient(format!("{}: the rows ended too early", server.name())))
    }
}

fn unreadable(server: &Server) -> IngestError {
    IngestError::Defect(format!("{}: the binary form of COPY was not understood", server.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_found_however_the_stream_is_cut() {
        let mut stream = SIGNATURE.to_vec();
        stream.extend([0; 8]);
        for row in 0..3u8 {
            stream.extend([0, 3, 0, 0, 0, 1, row, 255, 255, 255, 255, 0, 0, 0, 1, 1]);
        }
        stream.extend([255, 255]);
        for cut in 1..stream.len() {
            let mut framing = Framing::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                framing
                    .push(piece, |t| {
                        seen.push((
                            t.field(0).map(<[u8]>::to_vec),
                            t.field(1).is_none(),
                            t.is_true(2),
                            t.head(2).len(),
                        ));
                    })
                    .unwrap();
            }
            let want: Vec<_> = (0..3u8).map(|row| (Some(vec![row]), true, true, 9)).collect();
            assert_eq!((seen, framing.ended), (want, true), "cut every {cut} bytes");
        }
    }
}
