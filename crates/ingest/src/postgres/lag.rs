//! How far behind its cursor a read begins.

use polder_diag::Diagnostic;
use polder_project::Lag;

use super::catalog::{PgColumn, literal};
use crate::codes;
use crate::landing::Landing;

const DAY_SECONDS: u64 = 86_400;

/// A lag in the terms of its cursor's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The type to reckon in: one whose values an index on the column still finds.
    reckoned_in: String,
    /// What is taken off, as SQL.
    off: String,
}

impl Behind {
    /// # Errors
    /// `I028`: a time for a number, a number for a time, or a cursor that nothing can be taken off.
    pub fn new(landing: &Landing<'_>, column: &PgColumn, lag: Lag) -> Result<Self, Box<Diagnostic>> {
        let found = match (lag, column.type_id) {
            (Lag::Seconds(seconds), 1114 | 1184) => Some((&*column.type_name, format!("interval '{seconds} seconds'"))),
            // Part of a day means nothing to a date.
            (Lag::Seconds(seconds), 1082) => Some(("date", seconds.div_ceil(DAY_SECONDS).to_string())),
            (Lag::Values(count), 20 | 21 | 23) => Some(("bigint", count.to_string())),
            (Lag::Values(count), 700 | 701) => Some(("double precision", count.to_string())),
            (Lag::Values(count), 1700) => Some(("numeric", count.to_string())),
            _ => None,
        };
        let misfit = || {
            let what = match lag {
                Lag::Seconds(_) => "a time",
                Lag::Values(_) => "a number",
            };
            let message = format!("`lag` is {what}, and the cursor `{}` is {}", column.name, column.type_name);
            let hint = "`5 minutes` for a date or timestamp, `1000` for a number; other cursors have none";
            Diagnostic::error(codes::LAG, message).at(landing.stream.span.clone(), "").hint(hint)
        };
        let (reckoned_in, off) = found.ok_or_else(|| Box::new(misfit()))?;
        Ok(Self { reckoned_in: reckoned_in.to_owned(), off })
    }

    /// The value as far behind, as SQL.
    pub fn of(&self, value: &str) -> String {
        format!("({}::{} - {})", literal(value), self.reckoned_in, self.off)
    }
}
