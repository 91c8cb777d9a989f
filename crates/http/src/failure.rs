//! Errors as JSON: `{"error": {"code", "message", "hint", "position"}}`.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use polder_app::{AppError, Outcome};
use serde::Serialize;

/// What a client is told went wrong.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    /// Polder's code, such as `S002`: `docs/errors.md` lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Where in the statement, in characters from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) told: Told,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a Told,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, told: Told { code: None, message: message.into(), hint: None, position: None } }
    }

    /// An error of a use case. `sql`: the statement, where there is one.
    pub(crate) fn of(error: &AppError, sql: &str) -> Self {
        let status = match error {
            AppError::Project(_) | AppError::Statement(_) | AppError::Refused(_) => StatusCode::BAD_REQUEST,
            AppError::Environment(_) | AppError::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            AppError::Defect(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let Some(polder_app::Told { code, message, hint, position }) = error.told(sql) else {
            return Self::new(status, error.to_string());
        };
        let status = match code {
            "R002" | "R004" | "R007" => StatusCode::NOT_FOUND,
            _ => status,
        };
        Self { status, told: Told { code: Some(code.to_owned()), message, hint, position } }
    }

    /// A defect that was caught: the server goes on.
    pub(crate) fn defect() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of Polder: the server goes on, and has told more")
    }

    pub(crate) fn outcome(&self) -> Outcome {
        if self.status.is_server_error() { Outcome::Failed } else { Outcome::Refused }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::of(&error, "")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Body { error: &self.told })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer realm=\"polder\", Basic realm=\"polder\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
