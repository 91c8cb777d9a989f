//! What DataFusion's SQL planner may ask: tables that were resolved before planning, functions, types.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result, TableReference, plan_datafusion_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::parser::Statement as PlannerStatement;
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Statement};
use polder_diag::Diagnostic;

use crate::SqlError;
use crate::statement::Relation;
use crate::types::Types;
use crate::workbench::Workbench;

/// What became of a name.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Table(Arc<dyn TableProvider>),
    /// There is no such table, or its version is not known.
    Wrong(Box<Diagnostic>),
    Denied(String),
    /// A policy does not fit the table.
    Unfit(Box<Diagnostic>),
}

/// The tables of a statement, by the names under which the planner asks for them.
#[derive(Debug, Default)]
pub(crate) struct Tables(HashMap<TableReference, Outcome>);

impl Tables {
    pub(crate) fn insert(&mut self, relation: &Relation, outcome: Outcome) {
        self.0.insert(relation.key.clone(), outcome);
    }
}

/// Plans statements and expressions over resolved tables.
pub(crate) struct Context<'a> {
    bench: &'a Workbench,
    tables: &'a Tables,
}

impl<'a> Context<'a> {
    pub(crate) fn new(bench: &'a Workbench, tables: &'a Tables) -> Self {
        Self { bench, tables }
    }

    pub(crate) fn statement(&self, statement: Statement) -> Result<LogicalPlan> {
        SqlToRel::new_with_options(self, self.parser_options())
            .statement_to_plan(PlannerStatement::Statement(Box::new(statement)))
    }

    /// Plans an expression over the columns of `schema`.
    pub(crate) fn expression(&self, expr: SqlExpr, schema: &DFSchema) -> Result<Expr> {
        SqlToRel::new_with_options(self, self.parser_options()).sql_to_expr(expr, schema, &mut PlannerContext::new())
    }

    fn parser_options(&self) -> ParserOptions {
        ParserOptions::from(&self.options().sql_parser)
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.0.get(&name) {
            Some(Outcome::Table(provider)) => Ok(provider_as_source(Arc::clone(provider))),
            Some(Outcome::Wrong(diagnostic)) => Err(SqlError::Statement(diagnostic.clone()).into_datafusion()),
            Some(Outcome::Denied(message)) => Err(SqlError::Denied(message.clone()).into_datafusion()),
            Some(Outcome::Unfit(diagnostic)) => Err(SqlError::Policy(diagnostic.clone()).into_datafusion()),
            None => Err(plan_datafusion_err!("table '{name}' not found")),
        }
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let state = self.bench.state();
        let function = self
            .bench
            .common()
            .table_functions()
            .get(&name.to_lowercase())
            .ok_or_else(|| plan_datafusion_err!("no table function is called '{name}'"))?;
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let simplified = |arg: Expr| simplifier.coerce(arg, &schema).and_then(|arg| simplifier.simplify(arg));
        let args = args.into_iter().map(simplified).collect::<Result<Vec<_>>>()?;
        Ok(provider_as_source(function.create_table_provider_with_args(TableFunctionArgs::new(&args, state))?))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.bench.state().expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.bench.scalar(name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.bench.higher_order(name)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.bench.aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.bench.window(name)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.bench.state().config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.bench.scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.bench.common().higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.bench.common().aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.bench.common().window_functions().keys().cloned().collect()
    }
}
