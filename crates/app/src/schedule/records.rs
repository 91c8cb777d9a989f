//! The records of pipelines in the state store. Each change expects what it was made from, so that of two servers on one
//! store one is refused and looks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use polder_base::Timestamp;
use polder_run::{PipelineRecord, RunRecord};
use polder_store::{Batch, Outcome, Space, State, StoreError};

use crate::run::journal::encode;
use crate::{AppError, codes};

/// Tries of a change that others make at the same time.
const ATTEMPTS: u32 = 50;
/// Records read at once.
const PAGE: usize = 500;

/// The records of all pipelines, by name.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) whole: BTreeMap<String, PipelineRecord>,
    /// Those that cannot be read: the others have nothing to do with that.
    pub(crate) damaged: BTreeMap<String, Damaged>,
}

/// A record that cannot be read.
#[derive(Debug)]
pub(crate) struct Damaged {
    raw: Bytes,
    pub(crate) detail: String,
}

impl Damaged {
    /// What it means for its pipeline, and what mends it.
    pub(crate) fn told(&self) -> String {
        format!(
            "its record in the state cannot be read ({}): it is not run. Take its file out of pipelines/ and put it back \
             while `polder up` goes on, or give it another name, and it counts anew",
            self.detail
        )
    }
}

/// All records.
pub(crate) async fn read_all(state: &Arc<dyn State>) -> Result<Records, AppError> {
    let mut records = Records::default();
    let mut after: Option<String> = None;
    loop {
        let page = state.scan(Space::Pipelines, "", after.as_deref(), PAGE).await?;
        let full = page.len() == PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (key, raw) in page {
            match serde_json::from_slice(&raw) {
                Ok(record) => _ = records.whole.insert(key, record),
                Err(error) => _ = records.damaged.insert(key, Damaged { raw, detail: error.to_string() }),
            }
        }
        if !full {
            return Ok(records);
        }
    }
}

/// The record of a pipeline.
pub(crate) async fn read(state: &Arc<dyn State>, pipeline: &str) -> Result<Option<PipelineRecord>, AppError> {
    state.get(Space::Pipelines, pipeline).await?.map(|raw| decode(pipeline, &raw)).transpose()
}

/// Keeps a record in the place of the one that it was made from. `false`: that one is not there any more.
pub(super) async fn replace(
    state: &Arc<dyn State>,
    before: Option<&PipelineRecord>,
    after: &PipelineRecord,
) -> Result<bool, AppError> {
    let key = &after.pipeline;
    let found = state.get(Space::Pipelines, key).await?;
    let kept = found.as_deref().map(|raw| decode(key, raw)).transpose()?;
    if kept.as_ref() != before {
        return Ok(false);
    }
    let batch = Batch::new().expect(Space::Pipelines, key, found).put(Space::Pipelines, key, encode(after)?);
    Ok(state.apply(batch).await? == Outcome::Applied)
}

/// Changes the record of a pipeline; where `change` gives none, and where there is no record, nothing happens.
pub(super) async fn update(
    state: &Arc<dyn State>,
    pipeline: &str,
    mut change: impl FnMut(&PipelineRecord) -> Option<PipelineRecord>,
) -> Result<(), AppError> {
    for _ in 0..ATTEMPTS {
        let Some(raw) = state.get(Space::Pipelines, pipeline).await? else { return Ok(()) };
        let Some(changed) = change(&decode(pipeline, &raw)?) else { return Ok(()) };
        let batch = Batch::new().expect(Space::Pipelines, pipeline, Some(raw));
        let batch = batch.put(Space::Pipelines, pipeline, encode(&changed)?);
        if state.apply(batch).await? == Outcome::Applied {
            return Ok(());
        }
    }
    Err(AppError::Environment(format!("the record of pipeline {pipeline} was changed by others {ATTEMPTS} times")))
}

/// Forgets a pipeline, unless its record changed.
pub(super) async fn remove(state: &Arc<dyn State>, record: &PipelineRecord) -> Result<(), AppError> {
    let key = &record.pipeline;
    let Some(raw) = state.get(Space::Pipelines, key).await? else { return Ok(()) };
    if decode(key, &raw)? == *record {
        state.apply(Batch::new().expect(Space::Pipelines, key, Some(raw)).delete(Space::Pipelines, key)).await?;
    }
    Ok(())
}

/// Forgets a pipeline whose record cannot be read, unless it changed.
pub(super) async fn remove_damaged(state: &Arc<dyn State>, pipeline: &str, damaged: &Damaged) -> Result<(), AppError> {
    let batch = Batch::new().expect(Space::Pipelines, pipeline, Some(damaged.raw.clone()));
    state.apply(batch.delete(Space::Pipelines, pipeline)).await?;
    Ok(())
}

/// Records in one transaction that a run has begun and that it is the one of its slot: a crash leaves both or neither, and
/// of two servers only one begins it.
///
/// # Errors
/// The slot has a run by now, or is none that is to be run.
pub(crate) async fn begin(
    state: &Arc<dyn State>,
    run: &RunRecord,
    pipeline: &str,
    due: Timestamp,
) -> Result<(), AppError> {
    for _ in 0..ATTEMPTS {
        let taken = || AppError::refused(codes::SLOT_TAKEN, format!("pipeline {pipeline} was begun by another server"));
        let Some(raw) = state.get(Space::Pipelines, pipeline).await? else { return Err(taken()) };
        let mut record = decode(pipeline, &raw)?;
        let active = record.active.as_mut().filter(|active| active.due == due && active.run.is_none());
        let Some(active) = active else { return Err(taken()) };
        active.run = Some(run.id);
        active.begun = active.attempt;
        active.next_try = None;
        active.reason = None;
        let batch = Batch::new()
            .expect(Space::Pipelines, pipeline, Some(raw))
            .put(Space::Pipelines, pipeline, encode(&record)?)
            .put(Space::Runs, RunRecord::key(run.id), encode(run)?);
        if state.apply(batch).await? == Outcome::Applied {
            return Ok(());
        }
    }
    Err(AppError::Environment(format!("the record of pipeline {pipeline} was changed by others {ATTEMPTS} times")))
}

/// Keeps the record of a run that is taken up again. Where it is the one of a slot, that it was cancelled before counts no
/// more, in the same transaction: what ends it from now on is told anew. `by_hand`: a person takes it up, and not the
/// scheduler, which may be told to stop in this moment.
pub(crate) async fn take_up(state: &Arc<dyn State>, run: &RunRecord, by_hand: bool) -> Result<(), AppError> {
    let key = RunRecord::key(run.id);
    for _ in 0..ATTEMPTS {
        let mut batch = Batch::new().put(Space::Runs, key.clone(), encode(run)?);
        if let Some(pipeline) = run.pipeline.as_ref().filter(|_| run.due.is_some())
            && let Some(raw) = state.get(Space::Pipelines, pipeline).await?
            // One that cannot be read knows of no slot.
            && let Ok(mut record) = decode(pipeline, &raw)
            && let Some(active) = record.active.as_mut().filter(|active| active.run == Some(run.id))
        {
            active.left = false;
            if by_hand {
                (active.interrupted, active.timed_out) = (false, false);
            }
            let value = encode(&record)?;
            batch = batch.expect(Space::Pipelines, pipeline, Some(raw)).put(Space::Pipelines, pipeline, value);
        }
        if state.apply(batch).await? == Outcome::Applied {
            return Ok(());
        }
    }
    let pipeline = run.pipeline.as_deref().unwrap_or_default();
    Err(AppError::Environment(format!("the record of pipeline {pipeline} was changed by others {ATTEMPTS} times")))
}

fn decode(pipeline: &str, raw: &[u8]) -> Result<PipelineRecord, AppError> {
    let corrupt = |e: serde_json::Error| StoreError::Corrupt {
        path: format!("record {:?}/{pipeline}", Space::Pipelines),
        detail: e.to_string(),
    };
    Ok(serde_json::from_slice(raw).map_err(corrupt)?)
}
