//! How much of a table a statement looks at, guessed from what manifests say.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use polder_table::DataFileInfo;

use super::LakeTable;
use super::bounds::column_bounds;
use crate::Result;

/// Rows up to which handing them to other threads takes longer than what is done with them.
const MOST_ROWS: f64 = 65_536.0;

/// Files beyond which to look at them takes longer than that.
const MOST_FILES: usize = 64;

impl LakeTable {
    /// Whether one thread does as well as several at reading the rows for which all of these hold: they lie in one row
    /// group, which one thread decodes in any case, and are likely to be few.
    ///
    /// # Errors
    /// As [`LakeTable::files`].
    pub async fn suits_one_thread(&self, filters: &[Expr]) -> Result<bool> {
        let files = self.files().await?;
        if files.len() > MOST_FILES {
            return Ok(false);
        }
        let wanted = Wanted::of(filters);
        let (mut rows, mut groups) = (0.0, 0);
        for info in &files {
            let part = wanted.part_of(self, info);
            if part > 0.0 {
                rows += part * count(info.file.record_count());
                groups += info.file.split_offsets().map_or(1, |offsets| offsets.len().max(1));
            }
        }
        Ok(groups <= 1 && rows <= MOST_ROWS)
    }
}

/// The values that are asked for, by column: from the least to the greatest.
#[derive(Debug, Default)]
struct Wanted<'a>(BTreeMap<&'a str, (f64, f64)>);

impl<'a> Wanted<'a> {
    fn of(filters: &'a [Expr]) -> Self {
        let mut wanted = Self::default();
        filters.iter().for_each(|filter| wanted.add(filter));
        wanted
    }

    /// What is not understood is taken to hold for all rows.
    fn add(&mut self, filter: &'a Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.add(left);
                self.add(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) => self.narrow(&column.name, *op, value),
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    if let Some(op) = op.swap() {
                        self.narrow(&column.name, op, value);
                    }
                }
                _ => {}
            },
            Expr::Between(Between { expr, negated: false, low, high }) => {
                if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                    (expr.as_ref(), low.as_ref(), high.as_ref())
                {
                    self.narrow(&column.name, Operator::GtEq, low);
                    self.narrow(&column.name, Operator::LtEq, high);
                }
            }
            _ => {}
        }
    }

    fn narrow(&mut self, column: &'a str, op: Operator, value: &ScalarValue) {
        let Some(value) = number(value) else { return };
        let (from, to) = match op {
            Operator::Eq => (value, value),
            Operator::Lt | Operator::LtEq => (f64::NEG_INFINITY, value),
            Operator::Gt | Operator::GtEq => (value, f64::INFINITY),
            _ => return,
        };
        let range = self.0.entry(column).or_insert((f64::NEG_INFINITY, f64::INFINITY));
        *range = (range.0.max(from), range.1.min(to));
    }

    /// The part of a file's rows that is likely to be wanted, from 0 (none can be) to 1, as if values were spread evenly.
    fn part_of(&self, table: &LakeTable, info: &DataFileInfo) -> f64 {
        let columns = table.iceberg.as_struct();
        let part = |(column, (from, to)): (&&str, &(f64, f64))| {
            let bounds = columns.field_by_name(column).map(|field| column_bounds(info, &table.metadata, field));
            let (lower, upper) = bounds.map_or((None, None), |bounds| (bounds.lower, bounds.upper));
            match (lower.as_ref().and_then(number), upper.as_ref().and_then(number)) {
                (Some(lower), Some(upper)) => share(lower, upper, *from, *to),
                _ => 1.0,
            }
        };
        self.0.iter().map(part).product()
    }
}

/// The part of `lower..=upper` that lies in `from..=to`, counted in whole steps.
fn share(lower: f64, upper: f64, from: f64, to: f64) -> f64 {
    let (from, to) = (from.max(lower), to.min(upper));
    if from > to { 0.0 } else { (to - from + 1.0) / (upper - lower + 1.0) }
}

/// A number that grows as the value does; whole for what is counted in steps.
#[expect(clippy::cast_precision_loss, reason = "a guess")]
fn number(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(f64::from),
        ScalarValue::Int64(value)
        | ScalarValue::Time64Microsecond(value)
        | ScalarValue::TimestampMicrosecond(value, _) => value.map(|value| value as f64),
        ScalarValue::Decimal128(value, _, _) => value.map(|value| value as f64),
        ScalarValue::Float32(value) => value.map(f64::from),
        ScalarValue::Float64(value) => *value,
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a guess")]
fn count(rows: u64) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn what_is_wanted_of_a_column_is_one_range() {
        let filters = [col("a").gt_eq(lit(10_i64)).and(lit(20_i64).gt_eq(col("a"))), col("b").eq(lit("x"))];
        let wanted = Wanted::of(&filters);
        assert_eq!(wanted.0, BTreeMap::from([("a", (10.0, 20.0))]));
        let between = [col("a").between(lit(1_i64), lit(5_i64)), col("a").lt(lit(3_i64))];
        assert_eq!(Wanted::of(&between).0, BTreeMap::from([("a", (1.0, 3.0))]));
    }

    #[test]
    fn a_share_is_of_the_bounds() {
        assert_eq!(share(0.0, 99.0, 5.0, 5.0), 0.01);
        assert_eq!(share(0.0, 99.0, f64::NEG_INFINITY, 49.0), 0.5);
        assert_eq!(share(0.0, 99.0, 100.0, f64::INFINITY), 0.0);
        assert_eq!(share(7.0, 7.0, f64::NEG_INFINITY, f64::INFINITY), 1.0);
    }
}
