//! `pipelines/*.yaml`: what runs by itself, and when.

pub(crate) mod schedule;

use std::ops::Range;
use std::sync::Arc;

use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::common::{Names, words};
use crate::resource::{Missed, Notify, Overlap, Pipeline, PipelinePlaces, Retries};
use crate::settings::PublishWord;
use crate::units::parse_duration_seconds;
use crate::yaml::{At, Decode, Entries, Node, Problems, Value, raw};
use schedule::Schedule;

raw! {
    /// A file below `pipelines/`: what runs by itself, and when. The file's name is the pipeline's.
    PipelineYaml {
        /// What to run: a selection as on the command line, or a list of them. Default: everything.
        run: Option<Names>,
        /// What to leave out, in the same words.
        exclude: Option<Names>,
        /// When, as cron's five fields: minute, hour, day of the month, month, day of the week. This or `every` is needed.
        cron: Option<At<String>>,
        /// The time between runs, such as `15m`, 10 seconds at least. Times are counted from 1970-01-01T00:00:00Z: `15m` is
        /// at :00, :15, :30 and :45.
        every: Option<At<String>>,
        /// The time zone of `cron`, such as `Europe/Amsterdam`. Default: `UTC`.
        time_zone: Option<At<String>>,
        /// The branch that it publishes to. Default: `main`.
        r#ref: Option<At<String>>,
        /// `all` (the default): a failed check holds the whole run. `healthy`: it holds its table and what is made from it.
        publish: Option<PublishWord>,
        /// What became due while nothing served: `run` (the default) once for all of it, or `skip`.
        missed: Option<MissedWord>,
        /// What becomes due while the last run goes on: `skip` (the default), or `queue`: once more when that has ended.
        overlap: Option<OverlapWord>,
        /// Further tries after the environment (network, disk, a database) made the run fail. Default: none.
        retries: Option<RetriesYaml>,
        /// What an execution of the run may take, such as `2h`. It is cancelled then.
        timeout: Option<At<String>>,
        /// `true`: not by itself, only by hand with `polder run --pipeline`.
        paused: Option<At<bool>>,
        /// Who is told of failure and recovery.
        notify: Option<Vec<NotifyYaml>>,
        /// `true`: each run builds incremental models anew, and reads sources from their beginning.
        full_refresh: Option<At<bool>>,
        /// Values for `var('name')`; they win over those of `polder.yaml`.
        vars: Option<Entries<serde_json::Value>>,
    }

    /// When a failed run is taken up again.
    RetriesYaml {
        /// Further tries, 100 at most.
        times: At<u64>,
        /// The wait before the first of them; it doubles with each, and chance takes off up to half. Default: `1m`.
        wait: Option<At<String>>,
        /// The longest wait. Default: `30m`.
        longest: Option<At<String>>,
    }

    /// Who is told how the pipeline fares.
    NotifyYaml {
        /// An address that gets a JSON body by POST; Slack and Mattermost show its `text`. It is a secret: take it from the
        /// environment.
        webhook: At<String>,
        /// `failure` (failed, held, timed out) and `recovery` (the first success after it). Default: both.
        on: Option<Occasions>,
    }
}

words! {
    /// What becomes of missed times.
    MissedWord { run, skip }
    /// What becomes of times at which the last run goes on.
    OverlapWord { skip, queue }
    /// What is told.
    Occasion { failure, recovery }
}

/// One occasion, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct Occasions(Vec<Occasion>);

/// Only its schema is used.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum OccasionsSchema {
    One(Occasion),
    Several(Vec<Occasion>),
}

impl schemars::JsonSchema for Occasions {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Occasions".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        OccasionsSchema::json_schema(generator)
    }
}

impl Decode for Occasions {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match node.value {
            Value::List(ref items) if items.is_empty() => problems.wrong(node, "`failure`, `recovery` or both"),
            Value::List(_) => Vec::decode(node, problems).map(Self),
            _ => Occasion::decode(node, problems).map(|one| Self(vec![one])),
        }
    }
}

/// The longest time that a file may speak of: enough for everybody, and far from where sums of times overflow.
const LONGEST_SECONDS: u64 = 366 * 86_400;
const LEAST_EVERY_SECONDS: u64 = 10;
const MOST_RETRIES: u64 = 100;

/// Makes the pipeline of its raw form. `None` where nobody could tell when it runs.
pub(crate) fn resolve(name: &str, raw: PipelineYaml, problems: &mut Problems<'_>) -> Option<Pipeline> {
    let (select, select_places) = parts(raw.run);
    let (exclude, exclude_places) = parts(raw.exclude);
    let timeout_seconds = raw.timeout.as_ref().and_then(|t| duration("timeout", t, problems));
    let retries = raw.retries.map(|r| retries(&r, problems)).unwrap_or_default();
    let notify = raw.notify.unwrap_or_default().into_iter().filter_map(|n| notice(n, problems)).collect();
    if let Some(target) = raw.r#ref.as_ref().filter(|r| r.value.trim().is_empty()) {
        problems.push(wrong("`ref` is the name of a branch", &target.span));
    }
    let schedule = schedule_of(raw.cron, raw.every, raw.time_zone, &raw.at, problems)?;
    Some(Pipeline {
        name: name.to_owned(),
        select,
        exclude,
        schedule,
        target: raw.r#ref.map(|r| r.value),
        publish: raw.publish.map(PublishWord::publish),
        missed: match raw.missed {
            Some(MissedWord::skip) => Missed::Skip,
            Some(MissedWord::run) | None => Missed::Run,
        },
        overlap: match raw.overlap {
            Some(OverlapWord::queue) => Overlap::Queue,
            Some(OverlapWord::skip) | None => Overlap::Skip,
        },
        retries,
        timeout_seconds,
        paused: raw.paused.is_some_and(|p| p.value),
        notify,
        full_refresh: raw.full_refresh.is_some_and(|f| f.value),
        vars: raw.vars.unwrap_or_default().0.into_iter().map(|(name, value)| (name.value, value)).collect(),
        span: raw.at,
        places: PipelinePlaces { select: select_places, exclude: exclude_places },
    })
}

/// Selections, and where they stand.
fn parts(names: Option<Names>) -> (Vec<String>, Vec<Span>) {
    names.unwrap_or_default().0.into_iter().map(|name| (name.value, name.span)).unzip()
}

fn schedule_of(
    cron: Option<At<String>>,
    every: Option<At<String>>,
    zone: Option<At<String>>,
    at: &Span,
    problems: &mut Problems<'_>,
) -> Option<Schedule> {
    match (cron, every) {
        (Some(cron), None) => {
            let zone = zone.map(|zone| time_zone(&zone, problems));
            let schedule = Schedule::cron(&cron.value, zone.unwrap_or(Some(chrono_tz::UTC)).unwrap_or(chrono_tz::UTC));
            match schedule {
                Ok(schedule) => Some(schedule),
                Err(why) => {
                    let diagnostic = wrong(&format!("`{}` is no cron schedule: {why}", cron.value), &cron.span);
                    problems.push(diagnostic.hint(CRON_HINT));
                    None
                }
            }
        }
        (None, Some(every)) => {
            if let Some(zone) = zone {
                problems.push(
                    conflict("`every` counts in all time zones alike", &zone.span).hint("`time_zone` is for `cron`"),
                );
            }
            let seconds = duration("every", &every, problems)?;
            if seconds < LEAST_EVERY_SECONDS {
                problems.push(wrong("`every` is 10 seconds at least", &every.span));
                return None;
            }
            Some(Schedule::Every { seconds })
        }
        (Some(_), Some(every)) => {
            problems
                .push(conflict("`cron` and `every` both say when it runs", &every.span).hint("take one of them out"));
            None
        }
        (None, None) => {
            let diagnostic = conflict("nothing says when this pipeline runs", &Span::file(&at.file));
            problems.push(
                diagnostic.hint("give `cron: 0 6 * * *` or `every: 15m`; with `paused: true` it runs by hand only"),
            );
            None
        }
    }
}

const CRON_HINT: &str =
    "minute, hour, day of the month, month, day of the week: `0 6 * * 1-5` is 06:00 from Monday to Friday";

/// What a cron schedule that begins with `*` is to YAML: a reference to something named elsewhere.
pub(crate) fn unquoted_cron(file: &Arc<str>, text: &str, place: Range<usize>) -> Option<Diagnostic> {
    let start = text.get(..place.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.lines().next()?;
    let written = line.strip_prefix("cron:")?.trim();
    if !written.starts_with('*') {
        return None;
    }
    let span = Span::new(
        file,
        start + line.len() - line.strip_prefix("cron:")?.trim_start().len()..start + line.trim_end().len(),
    );
    let diagnostic = Diagnostic::error(codes::SYNTAX, "text that begins with `*` wants quotes").at(span, "");
    Some(diagnostic.hint(format!("cron: '{written}'")))
}

fn time_zone(zone: &At<String>, problems: &mut Problems<'_>) -> Option<chrono_tz::Tz> {
    if let Ok(found) = zone.value.parse() {
        return Some(found);
    }
    let diagnostic = wrong(&format!("there is no time zone `{}`", zone.value), &zone.span);
    let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let lower = zone.value.to_lowercase();
    let same = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).find(|name| name.to_lowercase() == lower);
    problems.push(match same.or_else(|| polder_base::nearest(&zone.value, known)) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint("it is a name of the IANA database, such as `Europe/Amsterdam`"),
    });
    None
}

fn retries(raw: &RetriesYaml, problems: &mut Problems<'_>) -> Retries {
    let none = Retries::default();
    let times = match u32::try_from(raw.times.value) {
        Ok(times) if raw.times.value <= MOST_RETRIES => times,
        _ => {
            problems.push(wrong("`retries.times` is 100 at most", &raw.times.span));
            0
        }
    };
    let wait = raw.wait.as_ref().and_then(|wait| duration("retries.wait", wait, problems)).unwrap_or(none.wait_seconds);
    let longest = raw.longest.as_ref().and_then(|longest| duration("retries.longest", longest, problems));
    if let (Some(seconds), Some(longest)) = (longest.filter(|longest| *longest < wait), &raw.longest) {
        problems.push(conflict(&format!("the longest wait, {seconds}s, is shorter than the first"), &longest.span));
    }
    Retries { times, wait_seconds: wait, longest_seconds: longest.unwrap_or(none.longest_seconds.max(wait)) }
}

fn notice(raw: NotifyYaml, problems: &mut Problems<'_>) -> Option<Notify> {
    let occasions = raw.on.map_or_else(|| vec![Occasion::failure, Occasion::recovery], |on| on.0);
    let address = raw.webhook.value.trim();
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    // What a variable would have given is told where it is not set. The address itself is a secret.
    let is_address =
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace));
    if !is_address && !address.contains("${") {
        problems.push(wrong("a webhook is an address that begins with `https://` or `http://`", &raw.webhook.span));
        return None;
    }
    Some(Notify {
        webhook: address.to_owned(),
        failure: occasions.contains(&Occasion::failure),
        recovery: occasions.contains(&Occasion::recovery),
    })
}

/// Seconds of a duration, one at least.
fn duration(key: &str, text: &At<String>, problems: &mut Problems<'_>) -> Option<u64> {
    match parse_duration_seconds(&text.value) {
        Some(seconds) if (1..=LONGEST_SECONDS).contains(&seconds) => Some(seconds),
        Some(0) => {
            problems.push(wrong(&format!("`{key}` is longer than no time at all"), &text.span));
            None
        }
        Some(_) => {
            problems.push(wrong(&format!("`{key}` is a year at most"), &text.span));
            None
        }
        None => {
            let message = format!("`{}` is no duration: write `90s`, `15m` or `2h`", text.value);
            problems.push(wrong(&message, &text.span));
            None
        }
    }
}

fn wrong(message: &str, span: &Span) -> Diagnostic {
    Diagnostic::error(codes::VALUE, message).at(span.clone(), "")
}

fn conflict(message: &str, span: &Span) -> Diagnostic {
    Diagnostic::error(codes::CONFLICT, message).at(span.clone(), "")
}
