//! What webhooks are told, and how it is sent.

use std::sync::OnceLock;
use std::time::Duration;

use polder_base::Timestamp;
use polder_run::{Notice, NoticeKind, PipelineRecord, SlotStatus};
use reqwest::{Client, header, redirect};
use serde::Serialize;

/// A webhook that takes longer is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after the first try in vain; it doubles with each further one.
const WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// After so many tries, which take a day, a notice is let go: what happened then is no news. Tries are counted, and not
/// time, for a clock can be ahead by years for a moment.
const MOST_TRIES: u32 = 31;

/// The body of a notice. `text` is what chat systems show; the rest is for programs.
#[derive(Debug, Serialize)]
struct Body<'a> {
    text: String,
    event: NoticeKind,
    /// The same when the notice is sent again.
    id: &'a str,
    project: &'a str,
    pipeline: &'a str,
    status: SlotStatus,
    run: Option<u64>,
    reason: Option<&'a str>,
    attempts: u32,
    due: Timestamp,
    finished: Timestamp,
    failing_since: Option<Timestamp>,
}

/// A notice as JSON.
pub(super) fn body(project: &str, pipeline: &str, notice: &Notice) -> Vec<u8> {
    let outcome = &notice.outcome;
    let body = Body {
        text: text(project, pipeline, notice),
        event: notice.kind,
        id: &notice.id,
        project,
        pipeline,
        status: outcome.status,
        run: outcome.run.map(|run| run.0),
        reason: outcome.reason.as_deref(),
        attempts: outcome.attempts,
        due: outcome.due,
        finished: outcome.finished,
        failing_since: notice.failing_since,
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// One line for people, and below it why.
fn text(project: &str, pipeline: &str, notice: &Notice) -> String {
    let outcome = &notice.outcome;
    let run = outcome.run.map(|run| format!(" (run {run})")).unwrap_or_default();
    match notice.kind {
        NoticeKind::Recovery => {
            let since = notice.failing_since.map(|since| format!(", which failed since {since}")).unwrap_or_default();
            format!("{project}: pipeline {pipeline} works again{run}{since}")
        }
        NoticeKind::Failure => {
            let what = match outcome.status {
                SlotStatus::Held => "was held",
                SlotStatus::TimedOut => "took too long",
                _ => "failed",
            };
            let tries = if outcome.attempts > 1 { format!(" after {} tries", outcome.attempts) } else { String::new() };
            let why = outcome.reason.as_ref().map(|reason| format!("\n{reason}")).unwrap_or_default();
            format!("{project}: pipeline {pipeline} {what}{run}{tries}, due {}{why}", outcome.due)
        }
    }
}

/// The record after a notice was sent, or was tried in vain; `None`: it has no such notice.
pub(super) fn sent(record: &PipelineRecord, id: &str, taken: bool, now: Timestamp) -> Option<PipelineRecord> {
    let mut after = record.clone();
    let place = after.notices.iter().position(|notice| notice.id == id)?;
    if taken {
        after.notices.remove(place);
        return Some(after);
    }
    let notice = after.notices.get_mut(place)?;
    notice.tries += 1;
    let wait = WAIT.saturating_mul(1 << (notice.tries - 1).min(20)).min(LONGEST_WAIT);
    notice.next_try = now + wait;
    if notice.tries >= MOST_TRIES {
        after.notices.remove(place);
    }
    Some(after)
}

/// Whether a notice is to be sent now. A try that is further away than any wait tells that the clock was set back.
pub(super) fn is_due(notice: &Notice, now: Timestamp) -> bool {
    notice.next_try <= now || notice.next_try.since(now) > LONGEST_WAIT
}

/// Whether a notice that cannot be sent is let go after this try.
pub(super) fn is_given_up(notice: &Notice) -> bool {
    notice.tries + 1 >= MOST_TRIES
}

/// Posts to webhooks.
#[derive(Debug, Default)]
pub(super) struct Sender {
    client: OnceLock<Client>,
}

impl Sender {
    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // A webhook that has moved must be written down anew: a POST that follows becomes a GET on the way.
        let builder = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none());
        let client = builder.user_agent(concat!("polder/", env!("CARGO_PKG_VERSION"))).build();
        let client = client.map_err(|e| e.without_url().to_string())?;
        Ok(self.client.get_or_init(|| client))
    }

    /// # Errors
    /// Why it was not taken, without the address, which is a secret.
    pub(super) async fn send(&self, address: &str, body: Vec<u8>) -> Result<(), String> {
        let request = self.client()?.post(address).header(header::CONTENT_TYPE, "application/json").body(body);
        let answer = request.send().await.map_err(|error| reason(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }
}

fn reason(error: &reqwest::Error) -> String {
    match error {
        _ if error.is_timeout() => format!("no answer within {}s", TIMEOUT.as_secs()),
        _ if error.is_connect() => "no connection".to_owned(),
        _ if error.is_builder() => "its address is none".to_owned(),
        _ => "the connection broke off".to_owned(),
    }
}
