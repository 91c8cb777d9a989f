//! What Polder means by a text that DataFusion takes for something else, or for nothing.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Select, SelectFlavor, SelectItem, UnaryOperator, Value, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use polder_diag::Diagnostic;

use super::text::Text;
use super::{precedence, quantified};
use crate::codes;
use crate::local_time::TIMEZONE;

/// Digits that a decimal has room for.
const MOST_DIGITS: u64 = 38;

/// # Errors
/// `^`, which is power in some databases and exclusive or in others; numbers that no type holds.
pub(super) fn check(tokens: &[TokenWithSpan], text: &Text) -> Result<(), Box<Diagnostic>> {
    tokens.iter().find_map(|token| refusal(token, text)).map_or(Ok(()), |problem| Err(Box::new(problem)))
}

fn refusal(token: &TokenWithSpan, text: &Text) -> Option<Diagnostic> {
    let (message, hint) = match &token.token {
        Token::Caret => (
            "`^` is power in some databases and exclusive or in others".to_owned(),
            "write `power(a, b)` for power, `(a | b) - (a & b)` for exclusive or",
        ),
        Token::Number(number, _) if digits(number) > MOST_DIGITS => (
            format!("a number of {} digits: a decimal has at most {MOST_DIGITS}", digits(number)),
            "with an exponent it is a double: `1e40`",
        ),
        _ => return None,
    };
    let range = text.at(token.span.start)..text.at(token.span.end);
    Some(text.problem(codes::SYNTAX, range, message).hint(hint))
}

/// The digits that a decimal needs for a number. Zeros in front are none, unless the point stands before them.
fn digits(number: &str) -> u64 {
    if is_double(number) {
        return 0;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let count = |part: &str| part.bytes().filter(u8::is_ascii_digit).count() as u64;
    count(whole.trim_start_matches(['0', '_'])) + count(fraction)
}

fn is_double(number: &str) -> bool {
    number.contains(['e', 'E'])
}

/// Puts what is meant in the place of what was written. Columns that are named after their text have their names already.
pub(super) fn settle(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Meaning);
}

struct Meaning;

impl VisitorMut for Meaning {
    type Break = ();

    /// `FROM t` alone is `SELECT * FROM t`.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if select.flavor == SelectFlavor::FromFirstNoSelect && select.projection.is_empty() {
            select.flavor = SelectFlavor::Standard;
            select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if precedence::is_wrong(expr) {
            precedence::set_right(expr);
        }
        quantified::settle(expr);
        if let Expr::AtTimeZone { timestamp, time_zone } = expr {
            let (time, zone) =
                (std::mem::replace(timestamp.as_mut(), null()), std::mem::replace(time_zone.as_mut(), null()));
            *expr = call(TIMEZONE, [zone, time]);
            return ControlFlow::Continue(());
        }
        let meant = match &*expr {
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).and_then(below_zero),
            expr => number(expr).and_then(above_zero),
        };
        if let Some(meant) = meant {
            *expr = meant;
        }
        ControlFlow::Continue(())
    }
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

fn call(function: &str, arguments: [Expr; 2]) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(function)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn number(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A number with an exponent is a double, as in SQL's standard; DataFusion would make it a decimal. An integer beyond
/// BIGINT is a decimal; DataFusion would make it unsigned, which no column is.
fn above_zero(number: &str) -> Option<Expr> {
    if is_double(number) {
        return Some(cast(number.to_owned(), DataType::Double(ExactNumberInfo::None)));
    }
    let digits = integer(number)?;
    digits.parse::<i64>().is_err().then(|| cast(digits, decimal()))
}

/// The least BIGINT is one: without its sign it would not be.
fn below_zero(number: &str) -> Option<Expr> {
    let digits = integer(number)?;
    if digits.parse::<i64>().is_ok() {
        return None;
    }
    let negative = format!("-{digits}");
    let data_type = if negative.parse::<i64>().is_ok() { DataType::BigInt(None) } else { decimal() };
    Some(cast(negative, data_type))
}

/// The digits of a whole number.
fn integer(number: &str) -> Option<String> {
    let digits = number.replace('_', "");
    (!digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())).then_some(digits)
}

fn decimal() -> DataType {
    DataType::Decimal(ExactNumberInfo::PrecisionAndScale(MOST_DIGITS, 0))
}

fn cast(text: String, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(Value::SingleQuotedString(text).into())),
        data_type,
        array: false,
        format: None,
    }
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn digits_are_those_that_a_decimal_needs() {
        for (number, want) in [("0", 0), ("007", 1), ("1_000", 4), ("0.10", 2), ("12.5", 3), (".5", 1), ("1e300", 0)] {
            assert_eq!(digits(number), want, "{number}");
        }
    }
}
