//! From a decision to a plan: masks over the row filter over the table.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::scalar::ScalarValue;
use polder_base::TableName;
use polder_diag::Diagnostic;
use polder_govern::{Decision, Mask, Policy};

use crate::context::Context;
use crate::resolve::Resolver;
use crate::statement::parse_expression;
use crate::{Result, SqlError, codes};

/// Puts filter and masks over a plan of one table. Filters see the values that masks hide.
///
/// # Errors
/// A filter or mask that does not fit the table.
pub(crate) async fn apply(
    resolver: &Resolver<'_>,
    name: &TableName,
    plan: LogicalPlan,
    decision: &Decision,
) -> Result<LogicalPlan> {
    let schema = plan.schema().as_ref().clone();
    let mut builder = LogicalPlanBuilder::from(plan);
    for filter in &decision.filters {
        builder = builder.filter(expression(resolver, &filter.sql, &schema).await?)?;
    }
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (qualifier, field) in schema.iter() {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        columns.push(match decision.mask_of(field.name()) {
            None => column,
            Some(mask) => masked(resolver, mask, column, field, &schema).await?.alias(field.name()),
        });
    }
    let plan = builder.project(columns)?.alias(name.name.as_str())?.build()?;
    let state = resolver.state;
    Ok(state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?)
}

/// Plans a policy's expression. Its subqueries read with the rights of whoever wrote the policy.
async fn expression(resolver: &Resolver<'_>, sql: &str, schema: &DFSchema) -> Result<Expr> {
    let (text, expr, relations) = parse_expression(sql)?;
    let tables = Box::pin(resolver.definer().tables(&relations, Some(&text))).await?;
    Context::new(resolver.state, &tables).expression(expr, schema).map_err(|error| SqlError::of_planning(error, &text))
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
    match resolver.state.scalar_functions().get(name) {
        Some(function) => Ok(function.call(args)),
        None => Err(SqlError::Denied(format!("a mask needs the function {name}, which is not there"))),
    }
}

/// Checks what can be checked of a policy before any table is known.
pub(crate) fn check_syntax(policy: &Policy) -> Result<()> {
    let expressions = policy.masks.values().filter_map(|mask| match mask {
        Mask::Expression(sql) => Some(sql),
        _ => None,
    });
    for sql in policy.row_filter.iter().chain(expressions) {
        if let Err(SqlError::Statement(problem)) = parse_expression(sql) {
            let message = format!("the policy for {} is no SQL expression: {}", policy.table, problem.message);
            return Err(SqlError::statement(
                Diagnostic::error(codes::POLICY_EXPRESSION, message)
                    .at(policy.span.clone(), "")
                    .hint(format!("it says `{sql}`")),
            ));
        }
    }
    Ok(())
}
