//! `POST /api/sql`: a statement in, rows as JSON out, as they come.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::json::{ArrayWriter, WriterBuilder};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, Stream, StreamExt};
use polder_app::{
    Guest, Measured, Outcome, QueryResult, ScalarValue, SqlOptions, SqlSession, by_offset, json_values, type_name,
    value_of_text,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::door::NAME;
use crate::failure::Failure;
use crate::routes::{Shared, told};

/// What is asked, as JSON. A body that is none is the statement itself, and the rest stands in the address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    /// Values of `$1`, `$2`, …, as they are written: numbers keep their digits.
    #[serde(default)]
    params: Vec<Box<RawValue>>,
    #[serde(rename = "ref")]
    at: Option<String>,
    max_rows: Option<u64>,
    timeout_ms: Option<u64>,
}

/// What stands in the address. In a body of JSON it wins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// The ref; `main` unless given.
    #[serde(rename = "ref")]
    at: Option<String>,
    /// A statement that gives more rows is an error.
    max_rows: Option<u64>,
    /// A statement that takes longer is an error.
    timeout_ms: Option<u64>,
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    r#type: String,
}

pub(crate) async fn sql(
    State(shared): State<Shared>,
    Extension(guest): Extension<Guest>,
    Query(how): Query<How>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let begun = Instant::now();
    let asked = asked(&headers, &body, how)?;
    let measured = shared.server.metrics().statement(NAME);
    match begin(&shared, guest, &asked).await {
        Ok((session, result)) => {
            let rows = Rows { session, result, sql: asked.sql, measured: Some(measured), begun, given: 0, shared };
            let json = [(header::CONTENT_TYPE, "application/json")];
            Ok((json, Body::from_stream(rows.stream())).into_response())
        }
        Err(failure) => {
            measured.end(failure.outcome());
            Err(failure)
        }
    }
}

fn asked(headers: &HeaderMap, body: &Bytes, how: How) -> Result<Asked, Failure> {
    let wrong = |message: String| Failure::new(StatusCode::BAD_REQUEST, message);
    let text = std::str::from_utf8(body).map_err(|_| wrong("the body is not UTF-8".to_owned()))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        let How { at, max_rows, timeout_ms } = how;
        return Ok(Asked { sql: text.to_owned(), params: Vec::new(), at, max_rows, timeout_ms });
    }
    let asked: Asked = serde_json::from_str(text)
        .map_err(|error| wrong(format!("the body is not {{\"sql\": …, \"params\": […], \"ref\": …}}: {error}")))?;
    Ok(Asked {
        at: asked.at.or(how.at),
        max_rows: asked.max_rows.or(how.max_rows),
        timeout_ms: asked.timeout_ms.or(how.timeout_ms),
        ..asked
    })
}

async fn begin(shared: &Shared, guest: Guest, asked: &Asked) -> Result<(SqlSession, QueryResult), Failure> {
    let app = shared.server.app();
    let options = SqlOptions {
        at: Some(asked.at.clone().unwrap_or_else(|| "main".to_owned())),
        principal: Some(guest.principal),
        roles: guest.roles,
        timeout: asked.timeout_ms.map(Duration::from_millis),
        max_rows: asked.max_rows,
        ..SqlOptions::default()
    };
    let session = app.session(&options).await?;
    let failed = |error| Failure::of(&error, &asked.sql);
    let values = match asked.params.as_slice() {
        [] => Vec::new(),
        given => {
            let prepared = session.prepare(&asked.sql, &[]).await.map_err(failed)?;
            if given.len() > prepared.parameters.len() {
                return Err(Failure::new(
                    StatusCode::BAD_REQUEST,
                    format!(
                        "the statement has {} parameters, and {} values were given",
                        prepared.parameters.len(),
                        given.len()
                    ),
                ));
            }
            let types = prepared.parameters.iter().map(Some).chain(std::iter::repeat(None));
            let value = |(at, (value, of)): (usize, (&RawValue, Option<&DataType>))| {
                parameter(value, of).map_err(|why| wrong_parameter(at, &why))
            };
            given.iter().map(Box::as_ref).zip(types).enumerate().map(value).collect::<Result<_, _>>()?
        }
    };
    let result = session.query_with(&asked.sql, &values).await.map_err(failed)?;
    Ok((session, result))
}

fn wrong_parameter(at: usize, why: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, format!("the value of ${}: {why}", at + 1))
}

/// A JSON value as what the statement asks for. Numbers keep the digits that were written.
fn parameter(value: &RawValue, of: Option<&DataType>) -> Result<ScalarValue, String> {
    let of = of.unwrap_or(&DataType::Utf8);
    let written = value.get();
    let text = match written.as_bytes().first() {
        Some(b'n') => return ScalarValue::try_from(of).map_err(|e| e.to_string()),
        Some(b'"') => serde_json::from_str(written).map_err(|e| e.to_string())?,
        Some(b'[') => return list(written, of),
        Some(b'{') => return Err("objects are not taken".to_owned()),
        _ => written.to_owned(),
    };
    value_of_text(&text, of)
}

/// A JSON list, for `= any($1)`.
fn list(written: &str, of: &DataType) -> Result<ScalarValue, String> {
    let DataType::List(item) = of else { return Err(format!("a list is no {}", type_name(of))) };
    let items: Vec<&RawValue> = serde_json::from_str(written).map_err(|e| e.to_string())?;
    let items = items.iter().map(|item_text| parameter(item_text, Some(item.data_type())));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    // Decimals have the digits that were written: those of the longest are given to all.
    let scale = items.iter().filter_map(|value| match value {
        ScalarValue::Decimal128(Some(_), _, scale) => Some(*scale),
        _ => None,
    });
    let of = scale.max().map_or_else(|| item.data_type().clone(), |scale| DataType::Decimal128(38, scale));
    let items = items.iter().map(|value| value.cast_to(&of).map_err(|e| e.to_string()));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&items, &of)))
}

/// A statement whose rows are on their way.
struct Rows {
    session: SqlSession,
    result: QueryResult,
    sql: String,
    measured: Option<Measured>,
    begun: Instant,
    given: u64,
    shared: Shared,
}

impl Rows {
    /// `{"ref": …, "columns": […], "rows": [ … ], "row_count": n, "elapsed_ms": n}`. An error that comes while rows flow
    /// ends them: then `error` stands in the place of `row_count`.
    fn stream(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
        let head = self.head();
        let rest = futures::stream::unfold(Some(self), |rows| async move {
            let mut rows = rows?;
            let next = tokio::select! {
                next = AssertUnwindSafe(rows.result.stream.next()).catch_unwind() => next,
                () = rows.shared.stop.cancelled() => {
                    let stopped = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the server is being stopped");
                    return Some((rows.tail(Some(&stopped)), None));
                }
            };
            let next = match next {
                Ok(next) => next,
                Err(panic) => {
                    tracing::error!(reason = told(panic.as_ref()), "a statement met a defect");
                    return Some((rows.tail(Some(&Failure::defect())), None));
                }
            };
            match next {
                Some(Ok(batch)) => match rows.batch(&batch) {
                    Ok(chunk) => Some((chunk, Some(rows))),
                    Err(failure) => Some((rows.tail(Some(&failure)), None)),
                },
                Some(Err(error)) => {
                    let failure = Failure::of(&rows.session.stream_error(error, &rows.sql), &rows.sql);
                    Some((rows.tail(Some(&failure)), None))
                }
                None => Some((rows.tail(None), None)),
            }
        });
        futures::stream::once(async { head }).chain(rest).map(|text| Ok(Bytes::from(text)))
    }

    fn head(&self) -> String {
        let fields = self.result.schema.fields();
        let columns: Vec<Column<'_>> =
            fields.iter().map(|f| Column { name: f.name(), r#type: type_name(f.data_type()) }).collect();
        let (at, commit) = (&self.session.inner().options().at, &self.session.inner().at().0);
        format!("{{\"ref\":{},\"commit\":{},\"columns\":{},\"rows\":[", json(at), json(commit), json(&columns))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<String, Failure> {
        if batch.num_rows() == 0 {
            return Ok(String::new());
        }
        let written = || {
            let builder = WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(json_values());
            let mut writer: ArrayWriter<Vec<u8>> = builder.build(Vec::new());
            writer.write(&*by_offset(batch)?)?;
            writer.finish()?;
            Ok::<_, arrow::error::ArrowError>(writer.into_inner())
        };
        let bytes = written().map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
        let text = String::from_utf8_lossy(&bytes);
        // The brackets of this batch's list are left out: all batches are one.
        let rows = text.trim().trim_start_matches('[').trim_end_matches(']');
        let comma = if self.given == 0 { "" } else { "," };
        self.given += batch.num_rows() as u64;
        Ok(format!("{comma}{rows}"))
    }

    fn tail(mut self, failure: Option<&Failure>) -> String {
        if let Some(measured) = self.measured.take() {
            measured.rows(self.given);
            measured.end(failure.map_or(Outcome::Ok, Failure::outcome));
        }
        let told = match failure {
            Some(failure) => format!("\"error\":{}", json(&failure.told)),
            None => format!("\"row_count\":{}", self.given),
        };
        format!("],{told},\"elapsed_ms\":{}}}\n", self.begun.elapsed().as_millis())
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
