//! A statement whose names are resolved, on its way to a plan that runs.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{InList, Placeholder};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use crate::govern::compares;
use crate::prepared::{Parameters, Prepared, parameter_types, with_list_types};
use crate::scanned::{is_volatile, reads_governed, suits_one_thread};
use crate::statement::Text;
use crate::workbench::Workbench;
use crate::{Result, SqlError, types};

/// Types of values for which one statement's plans are kept: a client has one driver, and that has its way.
const MOST_FORMS: usize = 4;

/// A statement whose names are resolved.
#[derive(Debug)]
pub(crate) struct Planned {
    text: Text,
    plan: LogicalPlan,
    /// What it gives are not the rows of a query as it was written: it takes no parameters, and its types are settled.
    settled: bool,
    /// How it goes on, by the types of its values. `None`: it is planned once.
    forms: Option<Mutex<Forms>>,
}

type Forms = Vec<(Vec<DataType>, Arc<Form>)>;

/// How far a statement can be planned before its values are known.
#[derive(Debug)]
enum Form {
    /// Optimised. `values`: where those of parameters stand in it.
    Open { plan: LogicalPlan, values: Values },
    /// No further than its names: what becomes of it depends on the values.
    Closed,
}

impl Planned {
    pub(crate) fn new(text: Text, plan: LogicalPlan, settled: bool) -> Self {
        Self { text, plan, settled, forms: None }
    }

    /// Whether it gives the same the next time, as long as the tables are the same.
    pub(crate) fn lasts(&self) -> bool {
        !self.settled && !is_volatile(&self.plan)
    }

    /// The same, to be asked again.
    pub(crate) fn into_kept(self) -> Self {
        Self { forms: Some(Mutex::default()), ..self }
    }

    /// About the bytes that it takes in memory, with what becomes of it.
    pub(crate) fn size_bytes(&self) -> usize {
        const NODE: usize = 2048;
        const EXPRESSION: usize = 512;
        let mut bytes = NODE + self.text.sql.len();
        let _ = self.plan.apply_with_subqueries(|node| {
            bytes += NODE;
            node.apply_expressions(|expr| {
                expr.apply(|_| {
                    bytes += EXPRESSION;
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        });
        // As it was resolved, and in each form.
        bytes * (1 + MOST_FORMS)
    }

    /// What is known before the values are. `types`: as far as the client says them.
    pub(crate) fn prepare(&self, bench: &Workbench, types: &[Option<DataType>]) -> Result<Prepared> {
        let plan = with_list_types(self.plan.clone()).map_err(|error| self.failed(error))?;
        let parameters = parameter_types(&plan, types).map_err(|error| self.failed(error))?;
        let plan = self.settle_plan(plan, bench, Parameters::Types(types))?;
        Ok(Prepared { parameters, schema: Arc::new(Schema::clone(plan.schema().as_arrow())) })
    }

    /// Settles what is open in the plan: parameters, types.
    pub(crate) fn settle(&self, bench: &Workbench, parameters: Parameters<'_>) -> Result<LogicalPlan> {
        self.settle_plan(self.plan.clone(), bench, parameters)
    }

    fn settle_plan(&self, plan: LogicalPlan, bench: &Workbench, parameters: Parameters<'_>) -> Result<LogicalPlan> {
        let filled = match self.settled {
            true => Parameters::NONE.fill(plan),
            false => parameters.fill(plan).and_then(types::with_result_types),
        };
        let settled = filled.and_then(|plan| match plan {
            // The optimiser shows the analysis of the plan inside.
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => Ok(plan),
            plan => bench.analyse(plan),
        });
        settled.map_err(|error| self.failed(error))
    }

    /// The plan that runs.
    pub(crate) async fn physical(&self, bench: &Workbench, values: &[ScalarValue]) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = match self.open(bench, values)? {
            Some(plan) => plan,
            None => match self.settle(bench, Parameters::Values(values))? {
                plan @ (LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) => return explained(bench, &plan).await,
                plan => bench.optimise(plan)?,
            },
        };
        if suits_one_thread(&plan).await? {
            let state = bench.narrow();
            return Ok(state.query_planner().create_physical_plan(&plan, &state).await?);
        }
        let state = bench.state();
        Ok(state.query_planner().create_physical_plan(&plan, state).await?)
    }

    fn failed(&self, error: datafusion::error::DataFusionError) -> SqlError {
        SqlError::of_planning(error, &self.text)
    }

    /// The optimised plan with these values, where it was optimised without them.
    fn open(&self, bench: &Workbench, values: &[ScalarValue]) -> Result<Option<LogicalPlan>> {
        let Some(form) = self.form(bench, values) else { return Ok(None) };
        let Form::Open { plan, values: stand } = form.as_ref() else { return Ok(None) };
        if *stand == Values::None {
            return Ok(Some(plan.clone()));
        }
        let filled = Parameters::Values(values).fill(plan.clone()).map_err(|error| self.failed(error))?;
        Ok(Some(if *stand > Values::Compared { bench.fold(filled)? } else { filled }))
    }

    fn form(&self, bench: &Workbench, values: &[ScalarValue]) -> Option<Arc<Form>> {
        let forms = self.forms.as_ref()?;
        let types: Vec<DataType> = values.iter().map(ScalarValue::data_type).collect();
        if let Some((_, form)) = forms.lock().iter().find(|(known, _)| *known == types) {
            return Some(Arc::clone(form));
        }
        let form = Arc::new(self.made(bench, &types));
        let mut forms = forms.lock();
        if forms.len() >= MOST_FORMS {
            forms.remove(0);
        }
        forms.push((types, Arc::clone(&form)));
        Some(form)
    }

    /// An error is none here: with its values the statement fails again, or does not.
    fn made(&self, bench: &Workbench, types: &[DataType]) -> Form {
        let values = values_in(&self.plan);
        // Below a policy goes only what is known to be harmless, and a value that is not known is not.
        if values == Values::Anywhere || values > Values::None && reads_governed(&self.plan) {
            return Form::Closed;
        }
        let typed = with_types(&self.plan, types).and_then(types::with_result_types);
        match typed.and_then(|plan| bench.analyse(plan)).and_then(|plan| bench.optimise(plan)) {
            Ok(plan) => Form::Open { values: values_in(&plan), plan },
            Err(_) => Form::Closed,
        }
    }
}

/// The plan of an EXPLAIN: it shows the threads that the statement inside would have.
async fn explained(bench: &Workbench, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let inside = plan.inputs().into_iter().next().cloned();
    let optimised = inside.map(|plan| bench.analyse(plan).and_then(|plan| bench.optimise(plan)));
    // What is wrong with it is told by the planning below.
    let narrow = match optimised {
        Some(Ok(optimised)) => suits_one_thread(&optimised).await?,
        _ => false,
    };
    Ok(match narrow {
        true => bench.narrow().create_physical_plan(plan).await?,
        false => bench.state().create_physical_plan(plan).await?,
    })
}

/// Where the parameters of a plan stand, at the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Values {
    None,
    /// As one side of a comparison.
    Compared,
    /// In what is computed by operators and casts, whose types follow from the types of their parts.
    Computed,
    /// Where types, or how a plan is made, may follow from the value itself: `round(x, $1)`, `LIMIT $1`.
    Anywhere,
}

fn values_in(plan: &LogicalPlan) -> Values {
    let mut worst = Values::None;
    let _ = plan.apply_with_subqueries(|node| {
        let here = match node {
            LogicalPlan::Filter(_)
            | LogicalPlan::Projection(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::SubqueryAlias(_) => Values::Computed,
            _ => Values::Anywhere,
        };
        node.apply_expressions(|expr| {
            worst = worst.max(values_of(expr, here));
            Ok(TreeNodeRecursion::Continue)
        })
    });
    worst
}

/// `here`: how bad a parameter would be in the place of `expr`.
fn values_of(expr: &Expr, here: Values) -> Values {
    let below = match expr {
        Expr::Placeholder(_) => return here,
        Expr::BinaryExpr(BinaryExpr { op, .. }) if compares(*op) => Values::Compared,
        Expr::Between(Between { .. }) | Expr::InList(InList { .. }) => Values::Compared,
        Expr::BinaryExpr(_)
        | Expr::Alias(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::Like(_)
        | Expr::Negative(_)
        | Expr::Not(_) => Values::Computed,
        _ => Values::Anywhere,
    };
    let mut worst = Values::None;
    let _ = expr.apply_children(|child| {
        worst = worst.max(values_of(child, below));
        Ok(TreeNodeRecursion::Continue)
    });
    worst
}

/// The plan with parameters of these types. Those that have none are left as they are.
fn with_types(plan: &LogicalPlan, types: &[DataType]) -> datafusion::common::Result<LogicalPlan> {
    let typed = |expr: Expr| match expr {
        Expr::Placeholder(Placeholder { id, field }) => {
            let number = id.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
            let of_value = number.and_then(|number| types.get(number.checked_sub(1)?));
            let field = of_value.map(|of| Arc::new(Field::new("", of.clone(), true))).or(field);
            Ok(Transformed::yes(Expr::Placeholder(Placeholder { id, field })))
        }
        other => Ok(Transformed::no(other)),
    };
    if types.is_empty() {
        return Ok(plan.clone());
    }
    let plan = plan.clone().transform_up_with_subqueries(|node| {
        // All schemas above a parameter depend on its type.
        node.map_expressions(|expr| expr.transform_up(typed))?.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(plan.data)
}
