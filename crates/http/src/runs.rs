//! `/api/runs`: what ran, and how it went.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use polder_app::{App, Guest, LoggedEvent, RunRow};
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

/// Records of runs quote rows that broke checks, and count rows of every table: they are for those who may see all of
/// them. `system.runs`, `system.steps` and `system.checks` leave out what somebody may not see.
fn is_for(guest: &Guest, app: &App) -> Result<(), Failure> {
    if !guest.is_bound(app) {
        return Ok(());
    }
    let message = format!("policies bind `{}`, and runs tell of all tables", guest.principal);
    let mut failure = Failure::new(StatusCode::FORBIDDEN, message);
    failure.told.hint = Some("ask `system.runs`, `system.steps` and `system.checks`".to_owned());
    Err(failure)
}

/// The newest runs first.
pub(crate) async fn list(
    State(shared): State<Shared>,
    Extension(guest): Extension<Guest>,
    Query(listed): Query<Listed>,
) -> Result<Json<Vec<RunRow>>, Failure> {
    let app = shared.server.app();
    is_for(&guest, &app)?;
    Ok(Json(app.run_rows(listed.limit.unwrap_or(USUAL).min(MOST)).await?))
}

#[derive(Debug, Serialize)]
pub(crate) struct OneRun {
    #[serde(flatten)]
    run: RunRow,
    steps: Vec<StepRecord>,
}

pub(crate) async fn one(
    State(shared): State<Shared>,
    Extension(guest): Extension<Guest>,
    Path(run): Path<String>,
) -> Result<Json<OneRun>, Failure> {
    let (app, run) = (shared.server.app(), number(&run)?);
    is_for(&guest, &app)?;
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
    Extension(guest): Extension<Guest>,
    Path(run): Path<String>,
    Query(after): Query<After>,
) -> Result<Json<Vec<LoggedEvent>>, Failure> {
    let (app, run) = (shared.server.app(), number(&run)?);
    is_for(&guest, &app)?;
    app.run_row(run).await?;
    Ok(Json(app.events(run, after.after).await?))
}

fn number(text: &str) -> Result<RunId, Failure> {
    let number = text.parse().map_err(|_| Failure::new(StatusCode::BAD_REQUEST, format!("`{text}` is no run")));
    number.map(RunId)
}
