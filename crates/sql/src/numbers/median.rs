//! `median` of decimals, exact: the middle of two has one digit more than they have, and DataFusion cuts it off.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::functions_aggregate::median::Median;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature};
use datafusion::scalar::ScalarValue;

/// Digits of the longest decimals: two of them can be added in 128 bits.
const MOST: u8 = 37;

/// The aggregate function `median`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ExactMedian {
    inner: Median,
}

/// The type in which the middle of two decimals is exact. `None`: values are taken as they are.
fn wider(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Decimal128(precision, scale) if *precision < MOST || *scale < MOST.cast_signed() => {
            Some(DataType::Decimal128(MOST.min(precision + 1), scale + 1))
        }
        _ => None,
    }
}

fn widen(values: &[ArrayRef], to: &DataType) -> Result<Vec<ArrayRef>> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    values.iter().map(|values| Ok(cast_with_options(values, to, &strict)?)).collect()
}

/// The field of the one argument, wider.
fn wide_field(fields: &[FieldRef]) -> Option<FieldRef> {
    let field = fields.first()?;
    Some(Arc::new(Field::new(field.name(), wider(field.data_type())?, field.is_nullable())))
}

impl AggregateUDFImpl for ExactMedian {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().and_then(wider) {
            Some(wide) => Ok(wide),
            None => self.inner.return_type(types),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match wide_field(args.input_fields) {
            Some(wide) => self.inner.state_fields(StateFieldsArgs { input_fields: &[wide], ..args }),
            None => self.inner.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some(wide) = wide_field(args.expr_fields) else { return self.inner.accumulator(args) };
        let to = wide.data_type().clone();
        let inner = self.inner.accumulator(AccumulatorArgs { expr_fields: &[wide], ..args })?;
        Ok(Box::new(Widened { to, inner }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let Some(wide) = wide_field(args.expr_fields) else { return self.inner.create_groups_accumulator(args) };
        let to = wide.data_type().clone();
        let inner = self.inner.create_groups_accumulator(AccumulatorArgs { expr_fields: &[wide], ..args })?;
        Ok(Box::new(Widened { to, inner }))
    }
}

/// Takes values of a narrower type than `inner` does.
#[derive(Debug)]
struct Widened<A> {
    to: DataType,
    inner: A,
}

impl Accumulator for Widened<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widen(values, &self.to)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&widen(values, &self.to)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

impl GroupsAccumulator for Widened<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.inner.update_batch(&widen(values, &self.to)?, groups, filter, group_count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, group_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&widen(values, &self.to)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
