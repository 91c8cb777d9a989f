//! `/api/runs`: what ran, and how it went.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use polder_app::{LoggedEvent, RunRow};
use polder_base::RunId;
use polder_run::StepRecord;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::routes::Shared;

/// Runs that are listed unless more are asked for, and at most.
const USUAL: usize = 50;
const MOST: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    limit: Option<usize>,
}

/// The newest runs first.
pub(crate) async fn list(
    State(shared): State<Shared>,
    Query(listed): Query<Listed>,
) -> Result<Json<Vec<RunRow>>, Failure> {
    let limit = listed.limit.unwrap_or(USUAL).min(MOST);
    Ok(Json(shared.server.app().run_rows(limit).await?))
}

#[derive(Debug, Serialize)]
pub(crate) struct OneRun {
    #[serde(flatten)]
    run: RunRow,
    steps: Vec<StepRecord>,
}

pub(crate) async fn one(State(shared): State<Shared>, Path(run): Path<String>) -> Result<Json<OneRun>, Failure> {
    let (app, run) = (shared.server.app(), number(&run)?);
    let row = app.run_row(run).await?;
    Ok(Json(OneRun { run: row, steps: app.steps(run).await? }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    /// The number of the last event that is known.
    after: Option<u64>,
}

/// What happened in a run, in order: for those who follow it, from an event on.
pub(crate) async fn events(
    State(shared): State<Shared>,
    Path(run): Path<String>,
    Query(after): Query<After>,
) -> Result<Json<Vec<LoggedEvent>>, Failure> {
    let (app, run) = (shared.server.app(), number(&run)?);
    app.run_row(run).await?;
    Ok(Json(app.events(run, after.after).await?))
}

fn number(text: &str) -> Result<RunId, Failure> {
    let number = text.parse().map_err(|_| Failure::new(StatusCode::BAD_REQUEST, format!("`{text}` is no run")));
    number.map(RunId)
}
