//! Defects on request: what goes wrong in real sources, at a known rate, counted as it is made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::random::{Purpose, Stream};
use crate::{GenerateError, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Defect {
    /// Orders whose `created_at` lies up to a year in the future.
    FutureOrders,
    /// Order lines with a quantity below zero.
    NegativeQuantities,
    /// Orders and payments that come twice.
    DuplicateKeys,
    /// Order lines with a product that does not exist.
    Orphans,
    /// Customers whose mail address is none.
    BrokenEmails,
    /// Lines of text files that end too early.
    TornLines,
}

impl Defect {
    pub const ALL: [Self; 6] = [
        Self::FutureOrders,
        Self::NegativeQuantities,
        Self::DuplicateKeys,
        Self::Orphans,
        Self::BrokenEmails,
        Self::TornLines,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::FutureOrders => "future_orders",
            Self::NegativeQuantities => "negative_quantities",
            Self::DuplicateKeys => "duplicate_keys",
            Self::Orphans => "orphans",
            Self::BrokenEmails => "broken_emails",
            Self::TornLines => "torn_lines",
        }
    }

    /// Rows in a million, unless the person says otherwise.
    fn default_rate(self) -> u64 {
        match self {
            Self::FutureOrders => 50_000,
            Self::NegativeQuantities | Self::Orphans => 10_000,
            Self::DuplicateKeys => 5_000,
            Self::BrokenEmails => 20_000,
            Self::TornLines => 1_000,
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which defects, and how many rows in a million have each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defects {
    rates: BTreeMap<Defect, u64>,
}

impl Defects {
    pub fn none() -> Self {
        Self::default()
    }

    /// All kinds at their usual rates: some percent of the rows.
    pub fn all() -> Self {
        Self { rates: Defect::ALL.into_iter().map(|d| (d, d.default_rate())).collect() }
    }

    #[must_use]
    pub fn with(mut self, defect: Defect, per_million: u64) -> Self {
        self.rates.insert(defect, per_million);
        self
    }

    /// The same without one kind, where the target cannot hold it.
    #[must_use]
    pub(crate) fn without(&self, defect: Defect) -> Self {
        let mut defects = self.clone();
        defects.rates.remove(&defect);
        defects
    }

    pub fn is_empty(&self) -> bool {
        self.rates.is_empty()
    }

    pub fn contains(&self, defect: Defect) -> bool {
        self.rates.contains_key(&defect)
    }

    /// The stream of a row that has the defect, for the details.
    pub(crate) fn strikes(&self, defect: Defect, purpose: Purpose, seed: u64, row: u64) -> Option<Stream> {
        let rate = *self.rates.get(&defect)?;
        let mut stream = Stream::new(seed.wrapping_add(1 + defect as u64), purpose, row);
        (stream.below(1_000_000) < rate).then_some(stream)
    }
}

impl FromStr for Defects {
    type Err = GenerateError;

    /// `all`, or a list such as `future_orders,orphans=0.05` with the share of rows.
    fn from_str(s: &str) -> Result<Self, GenerateError> {
        match s.trim() {
            "all" => return Ok(Self::all()),
            "none" => return Ok(Self::none()),
            _ => {}
        }
        s.split(',').try_fold(Self::none(), |defects, item| {
            let (name, rate) = item.split_once('=').map_or((item, None), |(n, r)| (n, Some(r)));
            let defect = find(name.trim())?;
            let rate = rate.map_or(Ok(defect.default_rate()), |r| parse_rate(defect, r))?;
            Ok(defects.with(defect, rate))
        })
    }
}

fn find(name: &str) -> Result<Defect, GenerateError> {
    let wanted = name.replace('-', "_");
    Defect::ALL.into_iter().find(|d| d.as_str() == wanted).ok_or_else(|| {
        let names = Defect::ALL.map(Defect::as_str);
        let hint = polder_base::nearest(&wanted, names)
            .map_or_else(|| format!("one of {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
        GenerateError::Options(format!("no defect is called `{name}` ({hint})"))
    })
}

fn parse_rate(defect: Defect, text: &str) -> Result<u64, GenerateError> {
    let share: f64 = text.trim().parse().unwrap_or(-1.0);
    if !(0.0..=1.0).contains(&share) {
        let message = format!("the rate of {defect} is a share of the rows, from 0 to 1, not `{text}`");
        return Err(GenerateError::Options(message));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    Ok((share * 1_000_000.0).round() as u64)
}

/// How many rows of which table got which defect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefectCounts(BTreeMap<(Defect, Table), u64>);

impl DefectCounts {
    pub(crate) fn add(&mut self, defect: Defect, table: Table, rows: u64) {
        if rows > 0 {
            *self.0.entry((defect, table)).or_default() += rows;
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for ((defect, table), rows) in &other.0 {
            self.add(*defect, *table, *rows);
        }
    }

    pub fn get(&self, defect: Defect, table: Table) -> u64 {
        self.0.get(&(defect, table)).copied().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Defect, Table, u64)> {
        self.0.iter().map(|((d, t), n)| (*d, *t, *n))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_defects_are_read() {
        let defects: Defects = "future-orders, orphans=0.05".parse().unwrap();
        assert_eq!(defects, Defects::none().with(Defect::FutureOrders, 50_000).with(Defect::Orphans, 50_000));
        assert_eq!("all".parse::<Defects>().unwrap(), Defects::all());
    }

    #[test]
    fn wrong_lists_say_what_was_meant() {
        let err = "orphan".parse::<Defects>().unwrap_err();
        assert_eq!(err.to_string(), "no defect is called `orphan` (did you mean `orphans`?)");
        let err = "orphans=5".parse::<Defects>().unwrap_err();
        assert_eq!(err.to_string(), "the rate of orphans is a share of the rows, from 0 to 1, not `5`");
    }
}
