//! What kind of statement it is, and what to do instead where Polder has another way.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DescribeAlias, ObjectName, Query, SetExpr, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn,
    ShowStatementOptions, Spanned, Statement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span as TokenSpan;
use polder_base::quote_text;
use polder_diag::Diagnostic;

use super::Kind;
use super::text::Text;
use crate::codes;

/// # Errors
/// Statements that are no queries: they change tables, which models do, or settings, which nobody does.
pub(super) fn of(statement: Statement, summarize: bool, text: &Text) -> Result<Kind, Box<Diagnostic>> {
    if let Some((what, hint)) = refusal(&statement) {
        return Err(Box::new(refused(text, &statement, what, hint)));
    }
    if let ControlFlow::Break(what) = statement.visit(&mut Writes) {
        return Err(Box::new(refused(text, &statement, what, MODEL)));
    }
    match statement {
        Statement::Query(query) if summarize => Ok(Kind::Summarize(query)),
        _ if summarize => {
            Err(Box::new(refused(text, &statement, "SUMMARIZE of this", "write SUMMARIZE and a table or a query")))
        }
        Statement::Query(query) => Ok(Kind::Query(query)),
        Statement::Explain { describe_alias: DescribeAlias::Describe | DescribeAlias::Desc, statement, .. } => {
            describe_query(*statement, text)
        }
        Statement::Explain { .. } => Ok(Kind::Explain(Box::new(statement))),
        Statement::ExplainTable { table_name, .. } => select_from(&table_name, text).map(Kind::Describe),
        Statement::ShowColumns { ref show_options, .. } => match table_of(show_options) {
            Some(name) => select_from(&name, text).map(Kind::Describe),
            None => {
                Err(Box::new(refused(text, &statement, "SHOW COLUMNS without a table", "write SHOW COLUMNS FROM t")))
            }
        },
        Statement::ShowTables { ref show_options, .. } => show_tables(show_options, text),
        other => Err(Box::new(refused(text, &other, "this statement", ONLY_QUERIES))),
    }
}

const MODEL: &str =
    "tables are made by models: write the query to `models/<namespace>/<name>.sql` and use `polder run`";
const ONLY_QUERIES: &str = "SELECT, VALUES, WITH, EXPLAIN, DESCRIBE, SHOW TABLES and SUMMARIZE are answered here";

fn refused(text: &Text, statement: &Statement, what: &str, hint: &str) -> Diagnostic {
    let range = text.range(statement.span()).unwrap_or_else(|| text.word_at(0));
    let start = range.start;
    text.problem(codes::NOT_A_QUERY, text.word_at(start), format!("{what} is not for `sql`, which reads only"))
        .hint(hint)
}

fn refusal(statement: &Statement) -> Option<(&'static str, &'static str)> {
    let refusal = match statement {
        Statement::Query(_) | Statement::ExplainTable { .. } => return None,
        // What is not run is not planned either.
        Statement::Explain { statement, .. } => return refusal(statement),
        Statement::ShowColumns { .. } | Statement::ShowTables { .. } => return None,
        Statement::Insert(_) => ("INSERT", MODEL),
        Statement::Update(_) => ("UPDATE", MODEL),
        Statement::Delete(_) => ("DELETE", MODEL),
        Statement::Merge(_) => ("MERGE", "write a model with `config(materialized='incremental', unique_key=…)`"),
        Statement::Truncate(_) => ("TRUNCATE", MODEL),
        Statement::CreateTable(_) => ("CREATE TABLE", MODEL),
        Statement::CreateView(_) => ("CREATE VIEW", MODEL),
        Statement::CreateSchema { .. } | Statement::CreateDatabase { .. } => {
            ("CREATE SCHEMA", "a namespace is there as soon as a table is in it: `models/<namespace>/<name>.sql`")
        }
        Statement::Drop { .. } => {
            ("DROP", "delete the model's file; `polder rollback` undoes what a run has published")
        }
        Statement::AlterTable(_) => ("ALTER TABLE", "change the model's query: its columns follow"),
        Statement::Copy { .. } => {
            ("COPY", "to write a file, use `polder sql --format csv|json|parquet`; to load one, declare a source")
        }
        Statement::Set(_) => ("SET", "sessions have no settings; `polder.yaml` has them for everybody"),
        Statement::ShowVariable { .. } => ("SHOW of a setting", ONLY_QUERIES),
        Statement::Grant { .. } | Statement::Revoke { .. } => {
            ("GRANT", "who may see what is declared in `policies/*.yaml`")
        }
        Statement::StartTransaction { .. } | Statement::Commit { .. } | Statement::Rollback { .. } => {
            ("a transaction", "a session reads one commit from its start to its end")
        }
        Statement::Use(_) => ("USE", "name the ref with `--ref`, or with `FROM t AT BRANCH x`"),
        _ => ("this statement", ONLY_QUERIES),
    };
    Some(refusal)
}

/// Finds writes inside queries: `WITH x AS (DELETE …)`, `SELECT … INTO`.
struct Writes;

impl Visitor for Writes {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
        match query.body.as_ref() {
            SetExpr::Insert(_) => ControlFlow::Break("INSERT"),
            SetExpr::Update(_) => ControlFlow::Break("UPDATE"),
            SetExpr::Delete(_) => ControlFlow::Break("DELETE"),
            SetExpr::Merge(_) => ControlFlow::Break("MERGE"),
            SetExpr::Select(select) if select.into.is_some() => ControlFlow::Break("SELECT INTO"),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn describe_query(statement: Statement, text: &Text) -> Result<Kind, Box<Diagnostic>> {
    match statement {
        Statement::Query(query) => Ok(Kind::Describe(query)),
        other => Err(Box::new(refused(text, &other, "DESCRIBE of this", ONLY_QUERIES))),
    }
}

fn table_of(options: &ShowStatementOptions) -> Option<ObjectName> {
    let ShowStatementIn { parent_name, .. } = options.show_in.as_ref()?;
    parent_name.clone()
}

/// `SELECT * FROM name`, the name with its places.
fn select_from(name: &ObjectName, text: &Text) -> Result<Box<Query>, Box<Diagnostic>> {
    let mut query = parse_query("SELECT * FROM t", text)?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Table { name: target, .. } = &mut from.relation
    {
        *target = name.clone();
    }
    Ok(query)
}

fn show_tables(options: &ShowStatementOptions, text: &Text) -> Result<Kind, Box<Diagnostic>> {
    let mut conditions = Vec::new();
    if let Some(name) = table_of(options) {
        let namespace = name.0.iter().filter_map(|part| part.as_ident()).map(super::normalise).collect::<Vec<_>>();
        conditions.push(format!("namespace = {}", quote_text(&namespace.join("."))));
    }
    let filter = match &options.filter_position {
        Some(ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) => Some(filter),
        None => None,
    };
    match filter {
        Some(ShowStatementFilter::Like(pattern)) => conditions.push(format!("name LIKE {}", quote_text(pattern))),
        Some(ShowStatementFilter::ILike(pattern)) => conditions.push(format!("name ILIKE {}", quote_text(pattern))),
        Some(ShowStatementFilter::Where(condition)) => conditions.push(format!("({condition})")),
        Some(ShowStatementFilter::NoKeyword(pattern)) => conditions.push(format!("name LIKE {}", quote_text(pattern))),
        None => {}
    }
    let condition = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
    let sql = format!("SELECT namespace, name, kind FROM system.tables WHERE {condition} ORDER BY namespace, name");
    parse_query(&sql, text).map(Kind::Query)
}

/// A query of our own making. Its places mean nothing in the person's text, so they are left out.
fn parse_query(sql: &str, text: &Text) -> Result<Box<Query>, Box<Diagnostic>> {
    let mut tokens = super::tokenize(&Text::new(sql))?;
    tokens.iter_mut().for_each(|token| token.span = TokenSpan::empty());
    match super::parse_tokens(tokens, text)? {
        Statement::Query(query) => Ok(query),
        other => Err(Box::new(refused(text, &other, "this statement", ONLY_QUERIES))),
    }
}
