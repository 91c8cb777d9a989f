//! From a decision to a plan: masks over the row filter over the table.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::scalar::ScalarValue;
use polder_base::TableName;
use polder_diag::{Diagnostic, Span};
use polder_govern::{Decision, Mask, Policies, Policy};

use crate::context::Context;
use crate::resolve::Resolver;
use crate::statement::{Text, parse_expression};
use crate::{Result, SqlError, codes, system};

/// Puts filter and masks over a plan of one table. Filters see the values that masks hide.
///
/// # Errors
/// [`SqlError::Policy`]: a filter or mask that does not fit the table.
pub(crate) async fn apply(
    resolver: &Resolver<'_>,
    name: &TableName,
    plan: LogicalPlan,
    decision: &Decision,
) -> Result<LogicalPlan> {
    let schema = plan.schema().as_ref().clone();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if let Some(column) = decision.missing(columns.iter().copied()) {
        return Err(misspelled(name, column, &columns, decision.mask_span(column)));
    }
    let mut builder = LogicalPlanBuilder::from(plan);
    for filter in &decision.filters {
        let unfit = |error| misfit(name, "filter", Some(&filter.span), error);
        let condition = expression(resolver, &filter.sql, &schema).await.map_err(unfit)?;
        let of_planning = |error| unfit(SqlError::of_planning(error, &Text::new(&filter.sql)));
        builder = builder.filter(condition).map_err(of_planning)?;
    }
    let mut shown = Vec::with_capacity(columns.len());
    for (qualifier, field) in schema.iter() {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        shown.push(match decision.mask_of(field.name()) {
            None => column,
            Some(mask) => {
                let what = format!("mask of `{}`", field.name());
                let unfit = |error| misfit(name, &what, decision.mask_span(field.name()), error);
                masked(resolver, mask, column, field, &schema).await.map_err(unfit)?.alias(field.name())
            }
        });
    }
    let settled = builder.project(shown).and_then(|builder| builder.alias(name.name.as_str())?.build());
    let settled = settled.and_then(|plan| resolver.bench.analyse(plan));
    let place = decision.filters.first().map(|filter| &filter.span).or_else(|| decision.any_mask_span());
    settled.map_err(|error| misfit(name, "filter, or a mask,", place, error.into()))
}

/// A policy hides a column that is not there.
fn misspelled(table: &TableName, column: &str, columns: &[&str], place: Option<&Span>) -> SqlError {
    let message = format!("{table} cannot be read: a policy masks `{column}`, and it has no such column");
    let diagnostic = at(Diagnostic::error(codes::POLICY_MISFIT, message), place);
    let near = polder_base::nearest(column, columns.iter().copied());
    SqlError::Policy(Box::new(near.iter().fold(diagnostic, |d, near| d.hint(format!("did you mean `{near}`?")))))
}

/// A part of a policy that cannot be planned over its table. What a plan lacks tells nothing about rows; any other
/// reason is for the log.
fn misfit(table: &TableName, part: &str, place: Option<&Span>, error: SqlError) -> SqlError {
    match error {
        // Not a matter of the policy: it is tried again with the next statement.
        SqlError::Catalog(_) | SqlError::Lake(_) | SqlError::Store(_) | SqlError::Limit(_) | SqlError::Cancelled => {
            error
        }
        SqlError::Statement(problem) => {
            let message =
                format!("{table} cannot be read: the {part} of its policy does not fit it: {}", problem.message);
            let diagnostic = at(Diagnostic::error(codes::POLICY_MISFIT, message), place);
            // Other hints may name tables that are denied to whoever asks.
            let hints = problem.hints.iter().filter(|_| problem.code == codes::COLUMN);
            SqlError::Policy(Box::new(hints.fold(diagnostic, |d, hint| d.hint(hint.as_str()))))
        }
        other => {
            tracing::error!(%table, part, error = %other, "a policy cannot be applied");
            let message = format!("{table} cannot be read: the {part} of its policy does not fit it");
            SqlError::Policy(Box::new(at(Diagnostic::error(codes::POLICY_MISFIT, message), place)))
        }
    }
}

fn at(diagnostic: Diagnostic, place: Option<&Span>) -> Diagnostic {
    place.into_iter().fold(diagnostic, |diagnostic, span| diagnostic.at(span.clone(), ""))
}

/// Plans a policy's expression. Its subqueries read with the rights of whoever wrote the policy.
async fn expression(resolver: &Resolver<'_>, sql: &str, schema: &DFSchema) -> Result<Expr> {
    let (text, expr, relations) = parse_expression(sql)?;
    let tables = Box::pin(resolver.definer().tables(&relations, Some(&text))).await?;
    let planned = Context::new(resolver.bench, &tables).expression(expr, schema);
    let expr = planned.map_err(|error| SqlError::of_planning(error, &text))?;
    let of_many = |expr: &Expr| Ok(matches!(expr, Expr::AggregateFunction(_) | Expr::WindowFunction(_)));
    if expr.exists(of_many)? {
        let message = "it is about many rows, and has to be about one";
        return Err(SqlError::statement(Diagnostic::error(codes::PLAN, message)));
    }
    Ok(expr)
}

async fn masked(resolver: &Resolver<'_>, mask: &Mask, column: Expr, field: &Field, schema: &DFSchema) -> Result<Expr> {
    let text = || match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => column.clone(),
        _ => cast(column.clone(), DataType::Utf8View),
    };
    match mask {
        Mask::Null => Ok(Expr::Literal(ScalarValue::try_from(field.data_type())?, None)),
        Mask::Hash => {
            let hash = call(resolver, "sha256", vec![text()])?;
            Ok(cast(call(resolver, "encode", vec![hash, lit("hex")])?, DataType::Utf8View))
        }
        Mask::Partial => {
            let length = call(resolver, "character_length", vec![text()])?;
            // Of four characters or fewer nothing is shown: they would be shown whole.
            let shown = when(length.clone().gt(lit(4)), lit(4_i64)).otherwise(lit(0_i64))?;
            let stars = cast(length, DataType::Int64) - shown.clone();
            let stars = call(resolver, "repeat", vec![lit("*"), stars])?;
            let end = call(resolver, "right", vec![text(), shown])?;
            Ok(cast(call(resolver, "concat", vec![stars, end])?, DataType::Utf8View))
        }
        Mask::Expression(sql) => expression(resolver, sql, schema).await,
    }
}

fn call(resolver: &Resolver<'_>, name: &str, args: Vec<Expr>) -> Result<Expr> {
    match resolver.bench.scalar(name) {
        Some(function) => Ok(function.call(args)),
        None => Err(SqlError::Denied(format!("a mask needs the function {name}, which is not there"))),
    }
}

/// What is wrong with policies, as far as that can be told before any table is known.
pub fn check_policies(policies: &[Policy]) -> Vec<Diagnostic> {
    policies.iter().flat_map(problems_of).collect()
}

fn problems_of(policy: &Policy) -> Vec<Diagnostic> {
    let table = Policies::new(vec![policy.clone()]).err().map(|problem| *problem).or_else(|| unknown_record(policy));
    let filter = policy.row_filter.iter().filter_map(|sql| syntax_problem("filter", sql, policy.filter_span()));
    let masks = policy.masks.iter().filter_map(|(column, mask)| match mask {
        Mask::Expression(sql) => syntax_problem(&format!("mask of `{column}`"), sql, policy.mask_span(column)),
        Mask::Null | Mask::Hash | Mask::Partial => None,
    });
    table.into_iter().chain(filter).chain(masks).collect()
}

/// A policy for one of the platform's own tables, which are all known.
fn unknown_record(policy: &Policy) -> Option<Diagnostic> {
    let name: TableName = policy.table.trim().to_lowercase().parse().ok()?;
    if !system::is_namespace(&name.namespace) || name.name == "*" || system::is_system_table(&name) {
        return None;
    }
    let names = system::names(&name.namespace);
    let message = format!("no table is called `{name}`");
    let diagnostic = Diagnostic::error(codes::POLICY_TABLE, message).at(policy.span.clone(), "");
    Some(match polder_base::nearest(&name.name, names.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{}.{near}`?", name.namespace)),
        None => diagnostic.hint(format!("there are {}", names.join(", "))),
    })
}

fn syntax_problem(part: &str, sql: &str, place: &Span) -> Option<Diagnostic> {
    match parse_expression(sql) {
        Err(SqlError::Statement(problem)) => {
            let message = format!("the policy's {part} is no SQL expression: {}", problem.message);
            let diagnostic = Diagnostic::error(codes::POLICY_EXPRESSION, message).at(place.clone(), "");
            Some(problem.hints.into_iter().fold(diagnostic, Diagnostic::hint))
        }
        _ => None,
    }
}
