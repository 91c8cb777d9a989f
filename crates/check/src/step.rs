//! The checks of one table as a step of a run.

use std::collections::BTreeSet;
use std::sync::Arc;

use polder_catalog::CatalogError;
use polder_diag::Diagnostic;
use polder_lake::Workspace;
use polder_project::CheckSeverity;
use polder_run::{
    CheckFailure, CheckPassed, Fingerprint, Output, Step, StepContext, StepError, StepKey, StepKind, StepReport,
};
use polder_sql::{Engine, Session, SessionOptions, SqlError};
use polder_store::StoreError;

use crate::codes;
use crate::compile::CheckSet;
use crate::query::{Reader, Row};
use crate::rule::{Rule, Test, duration};
use crate::sample;

/// Tests all rules of one table on a run's branch.
#[derive(Debug)]
pub struct CheckStep {
    key: StepKey,
    set: Arc<CheckSet>,
    workspace: Workspace,
    engine: Arc<Engine>,
    default_namespace: String,
}

/// How one rule came out.
#[derive(Debug, Clone, Default)]
struct Outcome {
    holds: bool,
    failed_rows: Option<u64>,
    total_rows: Option<u64>,
    detail: Option<String>,
}

impl CheckStep {
    pub fn new(
        set: Arc<CheckSet>,
        workspace: Workspace,
        engine: Arc<Engine>,
        default_namespace: impl Into<String>,
    ) -> Self {
        let key = StepKey::new(StepKind::Check, &set.name);
        Self { key, set, workspace, engine, default_namespace: default_namespace.into() }
    }

    async fn session(&self) -> Result<Session, StepError> {
        let options = SessionOptions {
            default_namespace: Some(self.default_namespace.clone()),
            ..SessionOptions::system(&self.workspace.branch, self.workspace.run_time)
        };
        self.engine.session(options).await.map_err(environment)
    }

    /// The rules that fit the table's columns; a rule with a column that is not there is a mistake of the person.
    fn require_columns(&self, columns: &BTreeSet<String>) -> Result<(), StepError> {
        let mut problems = Vec::new();
        for rule in &self.set.rules {
            for column in rule.test.columns().iter().filter(|c| !columns.contains(*c)) {
                let message = format!("{} has no column `{column}`", self.set.name);
                let diagnostic = Diagnostic::error(codes::UNKNOWN_COLUMN, message).at(rule.span.clone(), "");
                let near = polder_base::nearest(column, columns.iter().map(String::as_str));
                problems.push(near.iter().fold(diagnostic, |d, n| d.hint(format!("did you mean `{n}`?"))));
            }
        }
        together(problems)
    }

    /// Tests the rules that share one scan.
    async fn scan(&self, reader: &Reader<'_>, rules: &[&Rule]) -> Result<Vec<Outcome>, StepError> {
        let Some(table) = self.set.table.as_ref().filter(|_| !rules.is_empty()) else { return Ok(Vec::new()) };
        let from = table.sql();
        let statement = |rules: &[&Rule]| {
            let columns: Vec<String> = rules
                .iter()
                .enumerate()
                .flat_map(|(i, r)| r.aggregates().into_iter().enumerate().map(move |(j, a)| format!("{a} as a{i}_{j}")))
                .collect();
            format!("select {} from {from}", columns.join(", "))
        };
        match reader.row(&statement(rules)).await {
            Ok(row) => Ok(rules.iter().enumerate().map(|(i, rule)| judge(rule, &row, i * 3)).collect()),
            Err(error) if rules.len() == 1 || !is_statement(&error) => Err(self.blame(rules[0], error)),
            // One of them is wrong: one by one they tell which.
            Err(_) => {
                let mut outcomes = Vec::with_capacity(rules.len());
                let mut problems = Vec::new();
                for rule in rules {
                    match reader.row(&statement(&[rule])).await {
                        Ok(row) => outcomes.push(judge(rule, &row, 0)),
                        Err(error) => match self.blame(rule, error) {
                            StepError::Data(diagnostic) => problems.push(*diagnostic),
                            other => return Err(other),
                        },
                    }
                }
                together(problems)?;
                Ok(outcomes)
            }
        }
    }

    /// Tests a rule that needs a query of its own.
    async fn alone(&self, reader: &Reader<'_>, rule: &Rule, total_rows: Option<u64>) -> Result<Outcome, StepError> {
        let table = self.set.table.clone().unwrap_or_else(|| polder_base::TableName::new("", &self.set.name));
        let Some(sql) = rule.count(&table) else { return Ok(Outcome { holds: true, ..Outcome::default() }) };
        let row = reader.row(&sql).await.map_err(|e| self.blame(rule, e))?;
        let failed = row.count(0).unwrap_or(0);
        let keys = row.count(1).filter(|n| *n > 0);
        let several = |n: u64| {
            if n == 1 { "1 value occurs more than once".to_owned() } else { format!("{n} values occur more than once") }
        };
        Ok(Outcome {
            holds: failed == 0,
            failed_rows: Some(failed),
            total_rows: total_rows.filter(|_| rule.filter.is_none() && !matches!(rule.test, Test::Query { .. })),
            detail: keys.map(several),
        })
    }

    /// The problem of a rule that cannot be computed.
    fn blame(&self, rule: &Rule, error: SqlError) -> StepError {
        let (code, reason, hints) = match error {
            SqlError::Statement(diagnostic) => (codes::INVALID, diagnostic.message, diagnostic.hints),
            SqlError::Execution(_) => (codes::FAILED, error.to_string(), Vec::new()),
            other => return environment(other),
        };
        let unmade = self.set.references.iter().find(|table| reason == format!("no table is called `{table}`"));
        let (reason, hints) = match unmade {
            // It is declared, or the project would not be valid.
            Some(table) => (format!("{table} is not built yet"), vec![format!("polder run {table}")]),
            None => (reason, hints),
        };
        let message = format!("the check `{}` of {} cannot be computed: {reason}", rule.title, self.set.name);
        let mut diagnostic = Diagnostic::error(code, message).at(rule.span.clone(), "");
        diagnostic.hints = hints;
        diagnostic.into()
    }

    async fn failure(&self, reader: &Reader<'_>, rule: &Rule, outcome: Outcome) -> Result<CheckFailure, StepError> {
        let query = self.set.table.as_ref().map_or_else(
            || match &rule.test {
                Test::Query { sql } => Some(sql.clone()),
                _ => None,
            },
            |table| rule.offenders(table),
        );
        let sample = match &query {
            Some(query) => sample::take(reader, rule, &self.set.key, query).await.map_err(|e| self.blame(rule, e))?,
            None => Vec::new(),
        };
        Ok(CheckFailure {
            table: self.set.name.clone(),
            check: rule.title.clone(),
            severity: severity(rule).to_owned(),
            failed_rows: outcome.failed_rows,
            total_rows: outcome.total_rows,
            detail: outcome.detail,
            sample,
            query,
            file: rule.span.file.to_string(),
            line: rule.line,
            tables: self.named(rule),
            accepted: false,
        })
    }

    /// The tables that a rule names.
    fn named(&self, rule: &Rule) -> Vec<String> {
        self.set.table.iter().chain(&rule.references).map(ToString::to_string).collect()
    }

    fn passed(&self, rule: &Rule, total_rows: Option<u64>) -> CheckPassed {
        CheckPassed {
            table: self.set.name.clone(),
            check: rule.title.clone(),
            severity: severity(rule).to_owned(),
            total_rows,
            file: rule.span.file.to_string(),
            line: rule.line,
        }
    }

    /// A table that no run has made yet has no rows: what asks for some fails, the rest holds.
    fn without_table(&self) -> StepReport {
        let mut report = StepReport { rows: Some(0), note: Some("no table yet".to_owned()), ..StepReport::default() };
        for rule in &self.set.rules {
            let needs_rows = match &rule.test {
                Test::RowCount { min, .. } => min.is_some_and(|min| min > 0),
                Test::Freshness { .. } => true,
                _ => false,
            };
            if needs_rows {
                report.failures.push(CheckFailure {
                    table: self.set.name.clone(),
                    check: rule.title.clone(),
                    severity: severity(rule).to_owned(),
                    failed_rows: None,
                    total_rows: Some(0),
                    detail: Some("the table does not exist yet".to_owned()),
                    sample: Vec::new(),
                    query: None,
                    file: rule.span.file.to_string(),
                    line: rule.line,
                    tables: self.named(rule),
                    accepted: false,
                });
            } else {
                report.passed.push(self.passed(rule, Some(0)));
            }
        }
        report
    }

    async fn test(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        let session = self.session().await?.stopped_by(&cx.cancel);
        let reader = Reader::new(&session, self.workspace.lake.catalog(), &cx.cancel);
        if let Some(table) = &self.set.table {
            match reader.columns(table).await.map_err(environment)? {
                Some(columns) => self.require_columns(&columns)?,
                None => return Ok(self.without_table()),
            }
        }
        let shared: Vec<&Rule> = self.set.rules.iter().filter(|r| r.test.shares_scan()).collect();
        let mut outcomes = self.scan(&reader, &shared).await?.into_iter();
        let mut total_rows = total_rows_of(&shared, outcomes.as_slice());
        if total_rows.is_none()
            && let Some(table) = &self.set.table
        {
            let sql = format!("select count(*) from {}", table.sql());
            total_rows = reader.row(&sql).await.map_err(environment)?.count(0);
        }
        let mut report = StepReport { rows: total_rows, ..StepReport::default() };
        let mut problems = Vec::new();
        for rule in &self.set.rules {
            let outcome = match outcomes.next_if(rule.test.shares_scan()) {
                Some(outcome) => outcome,
                None => match self.alone(&reader, rule, total_rows).await {
                    Ok(outcome) => outcome,
                    Err(StepError::Data(diagnostic)) => {
                        problems.push(*diagnostic);
                        continue;
                    }
                    Err(other) => return Err(other),
                },
            };
            if outcome.holds {
                report.passed.push(self.passed(rule, outcome.total_rows));
            } else {
                report.failures.push(self.failure(&reader, rule, outcome).await?);
            }
        }
        together(problems)?;
        Ok(report)
    }
}

/// The table's rows, where a rule without a filter has counted them.
fn total_rows_of(rules: &[&Rule], outcomes: &[Outcome]) -> Option<u64> {
    let unfiltered = rules.iter().zip(outcomes).find(|(rule, _)| rule.filter.is_none());
    unfiltered.and_then(|(_, outcome)| outcome.total_rows)
}

/// Takes the next item only where it is wanted.
trait NextIf: Iterator {
    fn next_if(&mut self, wanted: bool) -> Option<Self::Item>;
}

impl<I: Iterator> NextIf for I {
    fn next_if(&mut self, wanted: bool) -> Option<Self::Item> {
        if wanted { self.next() } else { None }
    }
}

#[async_trait::async_trait]
impl Step for CheckStep {
    fn key(&self) -> &StepKey {
        &self.key
    }

    /// The queries as planned, over the snapshots that they would read: equal rules on equal rows come out the same.
    async fn fingerprint(&self) -> Result<Option<Fingerprint>, StepError> {
        let session = self.session().await?;
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part("check 1");
        part(env!("CARGO_PKG_VERSION"));
        part(&self.set.name);
        for rule in &self.set.rules {
            part(&format!("{:?} {:?} {} {}:{}", rule.test, rule.severity, rule.title, rule.span.file, rule.line));
            for sql in self.statements(rule) {
                // What does not plan is told by the run itself.
                let Ok(plan) = session.plan(&sql).await else { return Ok(None) };
                part(&polder_sql::normalised_plan(&plan));
                for table in polder_sql::scanned_tables(&plan) {
                    part(&format!("{} {} {:?} {}", table.name, table.uuid, table.snapshot_id, table.schema_id));
                }
                if polder_sql::is_volatile(&plan) {
                    part(&self.workspace.run_time.to_string());
                }
            }
        }
        Ok(Some(Fingerprint(hasher.finalize().to_hex().to_string())))
    }

    async fn adopt(&self, output: &Output) -> Result<Option<StepReport>, StepError> {
        let Ok(report) = serde_json::from_value::<StepReport>(output.0.clone()) else { return Ok(None) };
        Ok(Some(StepReport { unchanged: true, output: Some(output.clone()), ..report }))
    }

    async fn run(&self, cx: &StepContext) -> Result<StepReport, StepError> {
        let mut report = self.test(cx).await?;
        report.output = serde_json::to_value(&report).ok().map(Output);
        Ok(report)
    }
}

impl CheckStep {
    fn statements(&self, rule: &Rule) -> Vec<String> {
        match &self.set.table {
            Some(table) if rule.test.shares_scan() => {
                vec![format!("select {} from {}", rule.aggregates().join(", "), table.sql())]
            }
            Some(table) => rule.count(table).into_iter().collect(),
            None => match &rule.test {
                Test::Query { sql } => vec![sql.clone()],
                _ => Vec::new(),
            },
        }
    }
}

fn severity(rule: &Rule) -> &'static str {
    match rule.severity {
        CheckSeverity::Error => "error",
        CheckSeverity::Warn => "warn",
    }
}

/// Reads a rule's three aggregates, which start at `column`.
fn judge(rule: &Rule, row: &Row, column: usize) -> Outcome {
    let total_rows = row.count(column);
    match &rule.test {
        Test::RowCount { min, max } => {
            let rows = total_rows.unwrap_or(0);
            let holds = min.is_none_or(|min| rows >= min) && max.is_none_or(|max| rows <= max);
            let rows_text = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
            let wanted = match (min, max) {
                (Some(min), _) if rows < *min => format!("{rows_text}, at least {min} expected"),
                (_, Some(max)) => format!("{rows_text}, at most {max} expected"),
                _ => rows_text,
            };
            Outcome { holds, failed_rows: None, total_rows, detail: (!holds).then_some(wanted) }
        }
        Test::Freshness { column: _, max_age_seconds } => {
            let holds = row.count(column + 1) == Some(0);
            let allowed = duration(*max_age_seconds);
            let newest = row.text(column + 2).map_or_else(
                || format!("no value at all; at most {allowed} old expected"),
                |newest| format!("the newest is {newest}; at most {allowed} old expected"),
            );
            Outcome { holds, failed_rows: None, total_rows, detail: (!holds).then_some(newest) }
        }
        _ => {
            let failed = row.count(column + 1).unwrap_or(0);
            Outcome { holds: failed == 0, failed_rows: Some(failed), total_rows, detail: None }
        }
    }
}

/// Several problems as one: the first, with the places of the others.
fn together(problems: Vec<Diagnostic>) -> Result<(), StepError> {
    let mut problems = problems.into_iter();
    let Some(first) = problems.next() else { return Ok(()) };
    let all = problems.fold(first, |all, next| match next.label {
        Some(label) => all.related(label.span, next.message),
        None => all.hint(next.message),
    });
    Err(all.into())
}

/// The statement itself is wrong, or fails on the data; not the environment.
fn is_statement(error: &SqlError) -> bool {
    matches!(error, SqlError::Statement(_) | SqlError::Execution(_))
}

pub(crate) fn environment(error: SqlError) -> StepError {
    let transient = match &error {
        SqlError::Cancelled => return StepError::Cancelled,
        SqlError::Store(e) | SqlError::Catalog(CatalogError::Store(e)) => is_transient(e),
        SqlError::Lake(e) => e.is_transient(),
        _ => false,
    };
    StepError::Environment { message: error.to_string(), transient }
}

fn is_transient(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { transient: true, .. })
}
