//! Setting aside the rows that break rules: out of their table, into its quarantine.
//!
//! Each separation is two queries over one state of the table, the rows that go and the rows that stay. Together they
//! give each row once, which is counted before anything is committed.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use polder_base::{TableName, quote_name, quote_text};
use polder_catalog::Change;
use polder_lake::{LakeTable, Quarantine, SetAside, Workspace, Written};
use polder_run::{CheckFailure, StepError};
use polder_sql::{Engine, Session, SessionOptions};
use polder_table::Operation;
use tokio_util::sync::CancellationToken;

use crate::compile::CheckSet;
use crate::rule::{Rule, Test};
use crate::step::environment;
use crate::text::idents;

/// Columns that say when and from where a row came, in the order in which rows came.
const ARRIVAL: [&str; 4] = ["_run", "_loaded_at", "_file", "_position"];

/// Who sets rows aside, and why.
#[derive(Debug, Clone)]
pub struct Decision {
    pub reason: String,
    /// The cursor of the stream that fills the table.
    pub source: String,
    /// The schema of names that have none.
    pub default_namespace: String,
}

/// Rows that break rules, told apart from the others.
#[derive(Debug)]
struct Separation {
    /// Gives the rows that go, and behind their columns why.
    goes: String,
    /// Gives the rows that stay.
    stays: String,
}

/// Sets aside the rows of a table that break rules whose failures are given, one commit for each way to tell them apart.
/// Gives their number. Of rows with one key the one that came first stays. Rules that are not about rows, and queries
/// whose columns are not the table's, set nothing aside.
///
/// # Errors
/// A query that cannot be computed, the environment.
pub async fn set_aside(
    set: &CheckSet,
    failures: &[CheckFailure],
    decision: &Decision,
    workspace: &Workspace,
    engine: &Arc<Engine>,
    cancel: &CancellationToken,
) -> Result<u64, StepError> {
    let Some(table) = &set.table else { return Ok(0) };
    let failed = |rule: &&Rule| {
        let same = |f: &CheckFailure| f.check == rule.title && f.line == rule.line && *f.file == *rule.span.file;
        failures.iter().any(|f| f.table == set.name && same(f))
    };
    let rules: Vec<&Rule> = set.rules.iter().filter(failed).collect();
    let (single, others): (Vec<&Rule>, Vec<&Rule>) =
        rules.into_iter().partition(|rule| matches!(rule.test, Test::Rows { .. }));
    let groups = (!single.is_empty()).then_some(single).into_iter().chain(others.into_iter().map(|rule| vec![rule]));
    let mut gone = 0;
    for rules in groups {
        let Some(found) = workspace.table(table).await.map_err(|e| environment(e.into()))? else { return Ok(gone) };
        let aside = Aside { table, found: &found, decision, workspace, engine, cancel };
        gone += aside.separate(&rules).await?;
    }
    Ok(gone)
}

struct Aside<'a> {
    table: &'a TableName,
    found: &'a LakeTable,
    decision: &'a Decision,
    workspace: &'a Workspace,
    engine: &'a Arc<Engine>,
    cancel: &'a CancellationToken,
}

impl Aside<'_> {
    async fn separate(&self, rules: &[&Rule]) -> Result<u64, StepError> {
        let options = SessionOptions {
            default_namespace: Some(self.decision.default_namespace.clone()),
            ..SessionOptions::system(&self.workspace.branch, self.workspace.run_time)
        };
        let session = self.engine.session(options).await.map_err(environment)?.stopped_by(self.cancel);
        let Some(separation) = separation(self.table, &self.found.schema, rules, &self.decision.reason) else {
            return Ok(0);
        };
        if let [rule] = rules
            && matches!(rule.test, Test::Query { .. })
            && session.plan(&separation.goes).await.is_err()
        {
            // Its columns are not those of the table: which rows it means is not known.
            return Ok(0);
        }
        let quarantine = Quarantine::of(self.workspace, self.table).await.map_err(|e| environment(e.into()))?;
        let aside =
            SetAside { run: self.workspace.run, at: self.workspace.run_time, source: self.decision.source.clone() };
        let rows = session.query(&separation.goes).await.map_err(environment)?;
        let records = aside.records(rows.stream);
        let gone = quarantine.write(self.workspace, records, self.cancel).await.map_err(|e| environment(e.into()))?;
        let rows = gone.rows;
        if rows == 0 {
            return Ok(0);
        }
        let stays = self.write(&session, &separation.stays).await?;
        self.count(rows, stays.rows)?;
        let replace = Change::Table {
            table: self.table.clone(),
            operations: vec![Operation::Replace { schema: None, files: stays.files }],
            read: Some(self.found.metadata_path.clone()),
        };
        let changes = std::iter::once(replace).chain(quarantine.change(gone)).collect();
        let message = format!("set aside {rows} of the rows of {}", self.table);
        self.workspace.commit(&message, changes).await.map_err(|e| environment(e.into()))?;
        Ok(rows)
    }

    async fn write(&self, session: &Session, sql: &str) -> Result<Written, StepError> {
        let rows = async {
            let plan = session.plan(sql).await?;
            let physical = session.physical(&plan).await?;
            session.execute(&physical)
        };
        let rows = rows.await.map_err(environment)?;
        let target = self.workspace.target(self.found);
        let lake = &self.workspace.lake;
        lake.write(&target, rows, self.cancel, &|_, _| {}).await.map_err(|e| environment(e.into()))
    }

    /// No row may be lost, and none may be in both places.
    fn count(&self, goes: u64, stays: u64) -> Result<(), StepError> {
        let before =
            self.found.metadata.current_snapshot().and_then(|s| {
                s.summary().additional_properties.get("total-records").and_then(|n| n.parse::<u64>().ok())
            });
        match before.filter(|before| *before != goes + stays) {
            None => Ok(()),
            Some(before) => Err(StepError::Defect(format!(
                "of {before} rows of {} {goes} were to go and {stays} to stay: nothing was set aside",
                self.table
            ))),
        }
    }
}

/// How rows that break rules are told apart: several rules about single rows at once, or one of another kind. `None`:
/// the rule is not about rows.
fn separation(table: &TableName, schema: &Schema, rules: &[&Rule], reason: &str) -> Option<Separation> {
    let from = table.sql();
    let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let columns = idents(&names);
    let why = |rule: &Rule| quote_text(&format!("{} ({}:{}): {reason}", rule.title, rule.span.file, rule.line));
    let first = rules.first()?;
    match &first.test {
        Test::Rows { .. } => {
            let broken: Vec<(String, String)> = rules.iter().filter_map(|r| Some((condition(r)?, why(r)))).collect();
            let cases: String = broken.iter().map(|(broken, why)| format!(" when {broken} then {why}")).collect();
            let any = broken.iter().map(|(broken, _)| format!("({broken})")).collect::<Vec<_>>().join(" or ");
            Some(Separation {
                goes: format!("select {columns}, case{cases} end as __why from {from} where {any}"),
                stays: format!("select {columns} from {from} where ({any}) is not true"),
            })
        }
        Test::Unique { columns: keys } => {
            let known = format!("coalesce({}, false)", parenthesised(&first.known_keys(keys)));
            let order = arrival(schema);
            let marked = format!("select {columns}, {known} as __known from {from}");
            let counted = format!(
                "select {columns}, __known, row_number() over (partition by __known, {} order by {order}) as __n from \
                 ({marked}) as m",
                idents(keys)
            );
            let why = why(first);
            Some(Separation {
                goes: format!("select {columns}, {why} as __why from ({counted}) as c where __known and __n > 1"),
                stays: format!("select {columns} from ({counted}) as c where not __known or __n = 1"),
            })
        }
        Test::Relationships { column, to, field } => {
            let (field, to, why) = (quote_name(field), to.sql(), why(first));
            let of_t = names.iter().map(|n| format!("t.{}", quote_name(n))).collect::<Vec<_>>().join(", ");
            let column = quote_name(column);
            let orphan = first.broken_row(&format!("t.{column} is not null and p.__found is null"));
            let joined = format!(
                "from {from} t left join (select distinct {field} as __found from {to}) p on p.__found = t.{column}"
            );
            Some(Separation {
                goes: format!("select {of_t}, {why} as __why {joined} where {orphan}"),
                stays: format!("select {of_t} {joined} where ({orphan}) is not true"),
            })
        }
        Test::Query { sql } => {
            let (why, all) = (why(first), format!("select {columns} from {from}"));
            let broken = format!("select {columns} from ({sql}) as q");
            Some(Separation {
                goes: format!("select {columns}, {why} as __why from ({all} intersect all {broken}) as b"),
                stays: format!("{all} except all {broken}"),
            })
        }
        Test::RowCount { .. } | Test::Freshness { .. } => None,
    }
}

/// The condition under which a row breaks a rule about single rows.
fn condition(rule: &Rule) -> Option<String> {
    match &rule.test {
        Test::Rows { breaks, .. } => Some(rule.broken_row(breaks)),
        _ => None,
    }
}

fn parenthesised(condition: &str) -> String {
    format!("({condition})")
}

/// The order in which rows came. The other columns come after, so that the order is the same each time: rows that are
/// equal in all of them are the same row twice.
fn arrival(schema: &Schema) -> String {
    let has = |name: &&str| schema.field_with_name(name).is_ok();
    let first = ARRIVAL.iter().filter(|name| has(name)).map(|name| quote_name(name));
    let rest = schema.fields().iter().filter(|f| !ARRIVAL.contains(&f.name().as_str())).map(|f| {
        let name = quote_name(f.name());
        if f.data_type().is_nested() { format!("cast({name} as text)") } else { name }
    });
    first.chain(rest).collect::<Vec<_>>().join(", ")
}
