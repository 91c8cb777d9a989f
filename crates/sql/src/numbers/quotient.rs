//! Quotients of decimals: how many digits they have, and how the last of them is rounded.
//!
//! Arrow gives four digits more than the dividend has, and cuts the rest off: `2 / 3.0` would be 0.6666. PostgreSQL
//! gives some 16 significant digits, but its decimals have no fixed type, and ours have 38 digits for all. Ten digits
//! after the point leave room to multiply two quotients.

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, i256};
use datafusion::common::{Result, exec_datafusion_err};

/// Digits after the point that a quotient has at least.
const LEAST_SCALE: i16 = 10;

/// And so many more than its dividend.
const MORE: i16 = 4;

/// Precision and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digits {
    pub(super) precision: u8,
    pub(super) scale: i8,
}

impl Digits {
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Decimal128(precision, scale) => Some(Self { precision: *precision, scale: *scale }),
            _ => None,
        }
    }

    pub(super) fn data_type(self) -> DataType {
        DataType::Decimal128(self.precision, self.scale)
    }

    /// Those of a quotient.
    pub(super) fn over(self, divisor: Self) -> Self {
        let (scale, other) = (i16::from(self.scale), i16::from(divisor.scale));
        let most = i16::from(DECIMAL128_MAX_PRECISION);
        let whole = i16::from(self.precision) - scale + other;
        let scale = LEAST_SCALE.max(scale + MORE).min(most);
        let precision = (whole.max(1) + scale).min(most);
        let fits = |digits: i16| u8::try_from(digits).unwrap_or(DECIMAL128_MAX_PRECISION);
        Self { precision: fits(precision), scale: i8::try_from(scale).unwrap_or(i8::MAX) }
    }

    /// Those of an average.
    pub(super) fn average(self) -> Self {
        self.over(Self { precision: 1, scale: 0 })
    }

    /// `dividend / divisor`, where the dividend has the scale `from` more than the divisor, rounded half away from zero.
    ///
    /// # Errors
    /// A quotient with more digits than these.
    pub(super) fn quotient(self, dividend: i128, divisor: i128, from: i8) -> Result<i128> {
        let shift = u32::try_from(i16::from(self.scale) - i16::from(from)).ok();
        let quotient = shift.and_then(|shift| rounded(dividend, shift, divisor));
        let fits = |q: &i128| Decimal128Type::validate_decimal_precision(*q, self.precision, self.scale).is_ok();
        quotient.filter(fits).ok_or_else(|| {
            let Self { precision, scale } = self;
            exec_datafusion_err!(
                "Arithmetic overflow: the quotient does not fit its type, decimal({precision}, {scale})"
            )
        })
    }
}

/// `dividend * 10^shift / divisor`. `None`: it does not fit 128 bits.
fn rounded(dividend: i128, shift: u32, divisor: i128) -> Option<i128> {
    let scaled = 10_i128.checked_pow(shift).and_then(|factor| dividend.checked_mul(factor));
    let up = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
    let (quotient, rest) = match scaled {
        Some(scaled) => (scaled.checked_div(divisor)?, scaled.checked_rem(divisor)?),
        None => {
            let scaled = i256::from_i128(dividend).checked_mul(i256::from_i128(10).checked_pow(shift)?)?;
            let divisor = i256::from_i128(divisor);
            (scaled.checked_div(divisor)?.to_i128()?, scaled.checked_rem(divisor)?.to_i128()?)
        }
    };
    // Half of the divisor or more, without doubling what may be the greatest number there is.
    let is_half = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    if is_half { quotient.checked_add(up) } else { Some(quotient) }
}

#[cfg(test)]
mod tests {
    use super::{Digits, rounded};

    fn digits(precision: u8, scale: i8) -> Digits {
        Digits { precision, scale }
    }

    #[test]
    fn halves_go_away_from_zero() {
        for (dividend, divisor, want) in
            [(5, 2, 3), (-5, 2, -3), (5, -2, -3), (-5, -2, 3), (4, 3, 1), (-4, 3, -1), (1, 3, 0), (2, 3, 1), (0, 7, 0)]
        {
            assert_eq!(rounded(dividend, 0, divisor), Some(want), "{dividend} / {divisor}");
        }
        assert_eq!(rounded(i128::MAX, 0, 1), Some(i128::MAX));
        assert_eq!(rounded(i128::MIN, 0, -1), None);
        assert_eq!(rounded(1, 0, 0), None);
        assert_eq!(rounded(10_i128.pow(37), 30, 10_i128.pow(37)), Some(10_i128.pow(30)), "by way of 256 bits");
        assert_eq!(
            rounded(-2 * 10_i128.pow(37), 10, 3 * 10_i128.pow(10)),
            Some(-6_666_666_666_666_666_666_666_666_666_666_666_667)
        );
    }

    #[test]
    fn a_quotient_has_ten_digits_after_the_point_and_four_more_than_before() {
        assert_eq!(digits(2, 1).over(digits(20, 0)), digits(11, 10));
        assert_eq!(digits(20, 0).over(digits(2, 1)), digits(31, 10));
        assert_eq!(digits(12, 8).over(digits(1, 0)), digits(16, 12));
        assert_eq!(digits(38, 10).over(digits(38, 10)), digits(38, 14));
        assert_eq!(digits(38, 38).over(digits(38, 38)), digits(38, 38));
        assert_eq!(digits(10, 2).average(), digits(18, 10));
        assert!(digits(11, 10).quotient(10_i128.pow(12), 1, 0).is_err());
    }
}
