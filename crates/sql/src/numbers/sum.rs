//! `sum` that fails instead of wrapping.
//!
//! Integers and decimals are added up in 128 bits, so that an error depends on the sum alone and never on the order in
//! which partitions come: `sum` of (2^63-1, 1, -5) is a number whatever is added first. The type of the result stays
//! what it was (BIGINT for integers), and a sum that does not fit it is an error.

use std::collections::HashMap;
use std::fmt::Debug;
use std::mem::size_of_val;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, Int64Array, PrimitiveArray,
    UInt64Array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Field, FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};
use datafusion::physical_expr::NullState;
use datafusion::scalar::ScalarValue;

/// The aggregate and window function `sum`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CheckedSum {
    /// What is not counted in 128 bits (floats, durations, intervals) is DataFusion's.
    inner: Sum,
}

/// What is added up, and so the type of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int64,
    UInt64,
    Decimal { precision: u8, scale: i8 },
}

impl Kind {
    /// From the type of the result, which tells the type of the argument.
    fn of(result: &DataType) -> Option<Self> {
        match result {
            DataType::Int64 => Some(Self::Int64),
            DataType::UInt64 => Some(Self::UInt64),
            DataType::Decimal128(precision, scale) => Some(Self::Decimal { precision: *precision, scale: *scale }),
            _ => None,
        }
    }

    /// Partial sums may be beyond the result's type.
    fn state_type(self) -> DataType {
        match self {
            Self::Int64 | Self::UInt64 => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
            Self::Decimal { scale, .. } => DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale),
        }
    }

    fn fits(self, total: i128) -> bool {
        match self {
            Self::Int64 => i64::try_from(total).is_ok(),
            Self::UInt64 => u64::try_from(total).is_ok(),
            Self::Decimal { precision, scale } => {
                Decimal128Type::validate_decimal_precision(total, precision, scale).is_ok()
            }
        }
    }

    fn overflow(self, total: i128) -> DataFusionError {
        match self {
            Self::Int64 | Self::UInt64 => exec_datafusion_err!(
                "Arithmetic overflow: the sum {total} is beyond the range of BIGINT; sum(CAST(… AS DECIMAL(38, 0))) has room for it"
            ),
            Self::Decimal { .. } => {
                exec_datafusion_err!("Arithmetic overflow: the sum is beyond the 38 digits of a DECIMAL")
            }
        }
    }

    /// The results of groups. Groups without a value hold 0, which fits every type.
    fn array(self, totals: Vec<i128>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        if let Some(total) = totals.iter().find(|total| !self.fits(**total)) {
            return Err(self.overflow(*total));
        }
        Ok(match self {
            Self::Int64 => Arc::new(Int64Array::new(totals.into_iter().map(|t| t as i64).collect(), nulls)),
            Self::UInt64 => Arc::new(UInt64Array::new(totals.into_iter().map(|t| t as u64).collect(), nulls)),
            Self::Decimal { precision, scale } => {
                Arc::new(Decimal128Array::new(totals.into(), nulls).with_precision_and_scale(precision, scale)?)
            }
        })
    }

    fn scalar(self, total: Option<i128>) -> Result<ScalarValue> {
        if let Some(total) = total.filter(|total| !self.fits(*total)) {
            return Err(self.overflow(total));
        }
        Ok(match self {
            Self::Int64 => ScalarValue::Int64(total.map(|t| t as i64)),
            Self::UInt64 => ScalarValue::UInt64(total.map(|t| t as u64)),
            Self::Decimal { precision, scale } => ScalarValue::Decimal128(total, precision, scale),
        })
    }

    fn state_array(self, totals: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(Decimal128Array::new(totals.into(), nulls).with_data_type(self.state_type()))
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Kind::of(args.return_field.data_type()) {
            Some(kind) if args.is_distinct => Ok(Box::new(DistinctTotal::new(kind))),
            Some(kind) => Ok(Box::new(Total { kind, total: 0, count: 0 })),
            None => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Kind::of(args.return_field.data_type()) {
            Some(_) => self.accumulator(args),
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(kind) = Kind::of(args.return_type()) else {
            return self.inner.state_fields(args);
        };
        let field = if args.is_distinct {
            let item = Field::new_list_field(kind.state_type(), true);
            Field::new_list(format_state_name(args.name, "sum distinct"), item, false)
        } else {
            Field::new(format_state_name(args.name, "sum"), kind.state_type(), true)
        };
        Ok(vec![Arc::new(field)])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match Kind::of(args.return_field.data_type()) {
            Some(kind) => Ok(Box::new(GroupTotals { kind, totals: Vec::new(), seen: NullState::new() })),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }
}

/// Adds up a batch; `None`: even 128 bits overflow, or the type is not one of ours.
pub(super) fn add_up(kind: Kind, values: &ArrayRef) -> Result<i128> {
    match (kind, values.data_type()) {
        (Kind::Int64, DataType::Int64) => Ok(by_runs::<Int64Type>(values, add_up_i64)),
        (Kind::UInt64, DataType::UInt64) => Ok(by_runs::<UInt64Type>(values, add_up_u64)),
        (_, DataType::Decimal128(_, _)) => {
            let values: &Decimal128Array = values.as_primitive();
            let mut total = 0_i128;
            for value in values.iter().flatten() {
                total = total.checked_add(value).ok_or_else(|| kind.overflow(total))?;
            }
            Ok(total)
        }
        (_, other) => internal_err!("sum got an array of {other}"),
    }
}

/// Adds up the stretches between NULLs.
fn by_runs<T: ArrowPrimitiveType>(values: &ArrayRef, add_up: fn(&[T::Native]) -> i128) -> i128 {
    let array: &PrimitiveArray<T> = values.as_primitive();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => add_up(array.values()),
        Some(nulls) => nulls.valid_slices().map(|(start, end)| add_up(&array.values()[start..end])).sum(),
    }
}

/// High and low halves are added up apart: 64-bit lanes that vector instructions can add, and that 2^31 values cannot
/// overflow.
fn add_up_i64(values: &[i64]) -> i128 {
    let (mut high, mut low) = (0_i64, 0_u64);
    for value in values {
        high += value >> 32;
        low += u64::from(*value as u32);
    }
    (i128::from(high) << 32) + i128::from(low)
}

fn add_up_u64(values: &[u64]) -> i128 {
    let (mut high, mut low) = (0_u64, 0_u64);
    for value in values {
        high += value >> 32;
        low += u64::from(*value as u32);
    }
    (i128::from(high) << 32) + i128::from(low)
}

/// Values that are not NULL.
pub(super) fn valid(values: &ArrayRef) -> u64 {
    (values.len() - values.null_count()) as u64
}

/// One sum, over all rows or over a window that slides.
#[derive(Debug)]
struct Total {
    kind: Kind,
    total: i128,
    /// Values that are not NULL: a sum of none is NULL.
    count: u64,
}

impl Total {
    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let more = add_up(self.kind, values)?;
        self.total = self.total.checked_add(more).ok_or_else(|| self.kind.overflow(self.total))?;
        self.count += valid(values);
        Ok(())
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(&states[0])
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let less = add_up(self.kind, &values[0])?;
        self.total = self.total.checked_sub(less).ok_or_else(|| self.kind.overflow(self.total))?;
        self.count -= valid(&values[0]);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let total = (self.count > 0).then_some(self.total);
        match self.kind.state_type() {
            DataType::Decimal128(precision, scale) => Ok(vec![ScalarValue::Decimal128(total, precision, scale)]),
            other => internal_err!("sum has no state of type {other}"),
        }
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.kind.scalar((self.count > 0).then_some(self.total))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of different values, over all rows or over a window that slides.
#[derive(Debug)]
pub(super) struct DistinctTotal {
    kind: Kind,
    /// How often each value is there.
    counts: HashMap<i128, u64>,
    total: i128,
}

impl DistinctTotal {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, counts: HashMap::new(), total: 0 }
    }

    pub(super) fn total(&self) -> i128 {
        self.total
    }

    /// How many different values there are.
    pub(super) fn count(&self) -> u64 {
        self.counts.len() as u64
    }

    fn for_each(kind: Kind, values: &ArrayRef, mut f: impl FnMut(i128) -> Result<()>) -> Result<()> {
        match (kind, values.data_type()) {
            (Kind::Int64, DataType::Int64) => {
                values.as_primitive::<Int64Type>().iter().flatten().try_for_each(|v| f(i128::from(v)))
            }
            (Kind::UInt64, DataType::UInt64) => {
                values.as_primitive::<UInt64Type>().iter().flatten().try_for_each(|v| f(i128::from(v)))
            }
            (_, DataType::Decimal128(_, _)) => {
                values.as_primitive::<Decimal128Type>().iter().flatten().try_for_each(&mut f)
            }
            (_, other) => internal_err!("sum got an array of {other}"),
        }
    }

    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let Self { kind, counts, total } = self;
        Self::for_each(*kind, values, |value| {
            let count = counts.entry(value).or_insert(0);
            *count += 1;
            if *count == 1 {
                *total = total.checked_add(value).ok_or_else(|| kind.overflow(*total))?;
            }
            Ok(())
        })
    }
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0].as_list::<i32>().iter().flatten().try_for_each(|values| self.add(&values))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Self { kind, counts, total } = self;
        Self::for_each(*kind, &values[0], |value| {
            if let Some(count) = counts.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&value);
                    *total = total.checked_sub(value).ok_or_else(|| kind.overflow(*total))?;
                }
            }
            Ok(())
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state_type = self.kind.state_type();
        let DataType::Decimal128(precision, scale) = state_type else {
            return internal_err!("sum has no state of type {state_type}");
        };
        let values: Vec<_> =
            self.counts.keys().map(|value| ScalarValue::Decimal128(Some(*value), precision, scale)).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &state_type))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.kind.scalar((!self.counts.is_empty()).then_some(self.total))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(i128, u64)>()
    }
}

/// The sums of many groups.
struct GroupTotals {
    kind: Kind,
    totals: Vec<i128>,
    /// Which groups have had a value.
    seen: NullState,
}

impl GroupTotals {
    fn accumulate<T: ArrowPrimitiveType + Send>(
        &mut self,
        values: &PrimitiveArray<T>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()>
    where
        T::Native: Into<i128>,
    {
        let Self { kind, totals, seen } = self;
        totals.resize(group_count, 0);
        let mut overflow = false;
        seen.accumulate(groups, values, filter, group_count, |group, value| {
            let (total, wrapped) = totals[group].overflowing_add(value.into());
            totals[group] = total;
            overflow |= wrapped;
        });
        if overflow { Err(kind.overflow(i128::MAX)) } else { Ok(()) }
    }

    fn add(
        &mut self,
        values: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        match values.data_type() {
            DataType::Int64 => self.accumulate::<Int64Type>(values.as_primitive(), groups, filter, group_count),
            DataType::UInt64 => self.accumulate::<UInt64Type>(values.as_primitive(), groups, filter, group_count),
            DataType::Decimal128(_, _) => {
                self.accumulate::<Decimal128Type>(values.as_primitive(), groups, filter, group_count)
            }
            other => internal_err!("sum got an array of {other}"),
        }
    }
}

impl GroupsAccumulator for GroupTotals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.add(&values[0], groups, filter, group_count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.add(&states[0], groups, None, group_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = emit_to.take_needed(&mut self.totals);
        let nulls = self.seen.build(emit_to);
        self.kind.array(totals, nulls)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let totals = emit_to.take_needed(&mut self.totals);
        let nulls = self.seen.build(emit_to);
        Ok(vec![self.kind.state_array(totals, nulls)])
    }

    /// For aggregations that give up on grouping early because nearly each row is a group of its own.
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = &values[0];
        let totals: Vec<i128> = match values.data_type() {
            DataType::Int64 => values.as_primitive::<Int64Type>().values().iter().map(|v| i128::from(*v)).collect(),
            DataType::UInt64 => values.as_primitive::<UInt64Type>().values().iter().map(|v| i128::from(*v)).collect(),
            DataType::Decimal128(_, _) => values.as_primitive::<Decimal128Type>().values().to_vec(),
            other => return internal_err!("sum got an array of {other}"),
        };
        let chosen = filter.map(|filter| match filter.nulls() {
            Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
            None => NullBuffer::new(filter.values().clone()),
        });
        Ok(vec![self.kind.state_array(totals, NullBuffer::union(values.nulls(), chosen.as_ref()))])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<i128>() + self.seen.size()
    }
}

#[cfg(test)]
mod tests {
    use super::{add_up_i64, add_up_u64};

    #[test]
    fn halves_add_up_to_the_whole() {
        let values = [i64::MAX, i64::MAX, i64::MIN, -1, 0, 1, -4_294_967_297, 4_294_967_296];
        assert_eq!(add_up_i64(&values), values.iter().map(|v| i128::from(*v)).sum());
        let values = [u64::MAX, u64::MAX, 7];
        assert_eq!(add_up_u64(&values), values.iter().map(|v| i128::from(*v)).sum());
    }
}
