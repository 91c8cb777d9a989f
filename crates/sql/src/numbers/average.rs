//! `avg` and `median` of decimals, with the digits that they have.
//!
//! DataFusion's `avg` cuts what is beyond four more digits, and its `median` gives 1.00 for 1.00 and 1.01. Here an
//! average is a [quotient](super::quotient), and the middle of two decimals, which has one digit more than they have, is
//! exact. Everything that is not a decimal is DataFusion's.

use std::mem::size_of_val;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, UInt64Array};
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, UInt64Type};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature};
use datafusion::scalar::ScalarValue;

use super::quotient::Digits;
use super::sum::{DistinctTotal, Kind, add_up, valid};

/// The aggregate and window function `avg`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RoundedAvg {
    /// Of what is no decimal.
    inner: Avg,
}

/// From sums to averages.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// Of what is averaged.
    scale: i8,
    to: Digits,
}

impl Rule {
    /// `None`: DataFusion's.
    fn of(input: &DataType) -> Option<Self> {
        let digits = Digits::of(input)?;
        Some(Self { scale: digits.scale, to: digits.average() })
    }

    fn of_args(args: &AccumulatorArgs) -> Option<Self> {
        Self::of(args.expr_fields.first()?.data_type())
    }

    fn sum_type(self) -> DataType {
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, self.scale)
    }

    /// What sums are added up as.
    fn kind(self) -> Kind {
        Kind::Decimal { precision: DECIMAL128_MAX_PRECISION, scale: self.scale }
    }

    fn average(self, total: i128, count: u64) -> Result<i128> {
        self.to.quotient(total, i128::from(count), self.scale)
    }

    fn scalar(self, total: i128, count: u64) -> Result<ScalarValue> {
        let average = if count == 0 { None } else { Some(self.average(total, count)?) };
        Ok(ScalarValue::Decimal128(average, self.to.precision, self.to.scale))
    }
}

impl AggregateUDFImpl for RoundedAvg {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().and_then(Rule::of) {
            Some(rule) => Ok(rule.to.data_type()),
            None => self.inner.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Rule::of_args(&args) {
            Some(rule) if args.is_distinct => {
                Ok(Box::new(DistinctAverage { rule, different: DistinctTotal::new(rule.kind()) }))
            }
            Some(rule) => Ok(Box::new(Average { rule, total: 0, count: 0 })),
            None => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(rule) = args.input_fields.first().and_then(|field| Rule::of(field.data_type())) else {
            return self.inner.state_fields(args);
        };
        if args.is_distinct {
            let item = Field::new_list_field(rule.sum_type(), true);
            return Ok(vec![Arc::new(Field::new_list(format_state_name(args.name, "avg distinct"), item, false))]);
        }
        let field = |name: &str, data_type| Arc::new(Field::new(format_state_name(args.name, name), data_type, true));
        Ok(vec![field("count", DataType::UInt64), field("sum", rule.sum_type())])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match Rule::of_args(&args) {
            Some(_) => !args.is_distinct,
            None => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match Rule::of_args(&args) {
            Some(rule) => Ok(Box::new(GroupAverages { rule, totals: Vec::new(), counts: Vec::new() })),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

fn overflow() -> datafusion::common::DataFusionError {
    exec_datafusion_err!("Arithmetic overflow: the sum of an average is beyond the 38 digits of a DECIMAL")
}

/// One average, over all rows or over a window that slides.
#[derive(Debug)]
struct Average {
    rule: Rule,
    total: i128,
    count: u64,
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let more = add_up(self.rule.kind(), &values[0])?;
        self.total = self.total.checked_add(more).ok_or_else(overflow)?;
        self.count += valid(&values[0]);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let more = add_up(self.rule.kind(), &states[1])?;
        self.total = self.total.checked_add(more).ok_or_else(overflow)?;
        self.count += states[0].as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let less = add_up(self.rule.kind(), &values[0])?;
        self.total = self.total.checked_sub(less).ok_or_else(overflow)?;
        self.count -= valid(&values[0]);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let total = ScalarValue::Decimal128(Some(self.total), DECIMAL128_MAX_PRECISION, self.rule.scale);
        Ok(vec![ScalarValue::UInt64(Some(self.count)), total])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.rule.scalar(self.total, self.count)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The average of different values.
#[derive(Debug)]
struct DistinctAverage {
    rule: Rule,
    different: DistinctTotal,
}

impl Accumulator for DistinctAverage {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.different.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.different.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.different.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.different.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.rule.scalar(self.different.total(), self.different.count())
    }

    fn size(&self) -> usize {
        self.different.size()
    }
}

/// The averages of many groups.
#[derive(Debug)]
struct GroupAverages {
    rule: Rule,
    totals: Vec<i128>,
    counts: Vec<u64>,
}

/// Whether a row counts.
fn is_chosen(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl GroupAverages {
    /// Adds sums of `counts` values each; without `counts` each is one value.
    fn add(
        &mut self,
        sums: &ArrayRef,
        counts: Option<&UInt64Array>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.totals.resize(group_count, 0);
        self.counts.resize(group_count, 0);
        let sums: &Decimal128Array = sums.as_primitive();
        let mut wrapped = false;
        for (row, group) in groups.iter().enumerate() {
            if sums.is_null(row) || !is_chosen(filter, row) {
                continue;
            }
            let (total, overflows) = self.totals[*group].overflowing_add(sums.value(row));
            self.totals[*group] = total;
            self.counts[*group] += counts.map_or(1, |counts| counts.value(row));
            wrapped |= overflows;
        }
        if wrapped { Err(overflow()) } else { Ok(()) }
    }

    fn state_of(&self, totals: Vec<i128>, counts: Vec<u64>) -> Vec<ArrayRef> {
        let totals = Decimal128Array::from(totals).with_data_type(self.rule.sum_type());
        vec![Arc::new(UInt64Array::from(counts)), Arc::new(totals)]
    }
}

impl GroupsAccumulator for GroupAverages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.add(&values[0], None, groups, filter, group_count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.add(&states[1], Some(states[0].as_primitive()), groups, None, group_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = emit_to.take_needed(&mut self.totals);
        let counts = emit_to.take_needed(&mut self.counts);
        let of = |(total, count)| if count == 0 { Ok(None) } else { self.rule.average(total, count).map(Some) };
        let averages: Decimal128Array = totals.into_iter().zip(counts).map(of).collect::<Result<_>>()?;
        let Digits { precision, scale } = self.rule.to;
        Ok(Arc::new(averages.with_precision_and_scale(precision, scale)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let totals = emit_to.take_needed(&mut self.totals);
        let counts = emit_to.take_needed(&mut self.counts);
        Ok(self.state_of(totals, counts))
    }

    /// For aggregations that give up on grouping early because nearly each row is a group of its own.
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values: &Decimal128Array = values[0].as_primitive::<Decimal128Type>();
        let rows = 0..values.len();
        let counted = |row: usize| values.is_valid(row) && is_chosen(filter, row);
        let totals = rows.clone().map(|row| if counted(row) { values.value(row) } else { 0 }).collect();
        Ok(self.state_of(totals, rows.map(|row| u64::from(counted(row))).collect()))
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<i128>() + self.counts.capacity() * size_of::<u64>()
    }
}
