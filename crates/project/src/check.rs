//! `checks/*.yaml` and the `checks:` of a model's `.yml`; `checks/*.sql`.

use std::sync::Arc;

use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::common::{Names, words};
use crate::names::check_plain;
use crate::references::TableRef;
use crate::resource::{Check, CheckKind, CheckSeverity, SqlCheck};
use crate::source::name_of;
use crate::units::parse_duration_seconds;
use crate::yaml::{At, Problems, Scalar, raw};

raw! {
    /// A file below `checks/`: what must hold for a table. A file may also be a list of such.
    ChecksYaml {
        /// The table, such as `bronze.shop_orders`.
        table: At<String>,
        /// What must hold.
        checks: Vec<CheckYaml>,
    }

    /// One check: exactly one of the kinds, and beside it `severity`, `where` and `name`.
    CheckYaml {
        /// Columns in which no value is NULL.
        not_null: Option<Names>,
        /// Columns whose values together are unique among rows in which none of them is NULL.
        unique: Option<Names>,
        /// Values that a column may have.
        accepted_values: Option<AcceptedValues>,
        /// Least and greatest value of a column; both ends belong to the range.
        range: Option<Range>,
        /// A regular expression that each value of a column matches somewhere; anchor it with `^` and `$`.
        regex: Option<Regex>,
        /// Each value of a column that is not NULL exists in a column of another table.
        relationships: Option<Relationships>,
        /// Least and greatest number of rows.
        row_count: Option<RowCount>,
        /// The newest value of a column is not older than this when the run starts.
        freshness: Option<Freshness>,
        /// A row expression that is true (or NULL) for each row, such as `amount >= 0`.
        holds: Option<At<String>>,
        /// A query that gives the rows that break the rule.
        sql: Option<At<String>>,
        /// `error` (the default) holds the run, `warn` only tells.
        severity: Option<SeverityWord>,
        /// The rows that the check is about: a SQL condition.
        r#where: Option<At<String>>,
        /// The check's name in reports.
        name: Option<At<String>>,
    }

    /// Values that a column may have.
    AcceptedValues {
        /// The column.
        column: At<String>,
        /// The values.
        values: Vec<Scalar>,
    }

    /// Bounds of a column's values.
    Range {
        /// The column.
        column: At<String>,
        /// The least value: a number, a date, a timestamp or text.
        min: Option<At<Scalar>>,
        /// The greatest value.
        max: Option<At<Scalar>>,
    }

    /// A pattern for a column's values.
    Regex {
        /// The column.
        column: At<String>,
        /// The regular expression, in Rust's dialect.
        pattern: At<String>,
    }

    /// A reference from one table to another.
    Relationships {
        /// The column that refers.
        column: At<String>,
        /// The table that is referred to.
        to: At<String>,
        /// The column there.
        field: At<String>,
    }

    /// Bounds of a table's number of rows.
    RowCount {
        /// The least number.
        min: Option<At<u64>>,
        /// The greatest number.
        max: Option<At<u64>>,
    }

    /// How old the newest row may be.
    Freshness {
        /// The column with the time.
        column: At<String>,
        /// The greatest age: `30m`, `2h`, `1d 12h`.
        max_age: At<String>,
    }
}

words! {
    /// What a failed check does.
    SeverityWord { error, warn }
}

impl SeverityWord {
    pub(crate) fn severity(self) -> CheckSeverity {
        match self {
            Self::error => CheckSeverity::Error,
            Self::warn => CheckSeverity::Warn,
        }
    }
}

/// A check whose references to tables are not looked up yet.
#[derive(Debug, Clone)]
pub(crate) struct PendingCheck {
    pub(crate) kind: PendingKind,
    pub(crate) severity: CheckSeverity,
    pub(crate) filter: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) enum PendingKind {
    Ready(CheckKind),
    Relationships { column: String, to: TableRef, field: String },
}

impl PendingCheck {
    pub(crate) fn ready(self, resolve: impl FnOnce(&TableRef) -> Option<polder_base::TableName>) -> Option<Check> {
        let kind = match self.kind {
            PendingKind::Ready(kind) => kind,
            PendingKind::Relationships { column, to, field } => {
                CheckKind::Relationships { column, to: resolve(&to)?, field }
            }
        };
        Some(Check { kind, severity: self.severity, filter: self.filter, name: self.name, span: self.span })
    }
}

/// Makes the check of its raw form.
pub(crate) fn resolve(raw: CheckYaml, problems: &mut Problems<'_>) -> Option<PendingCheck> {
    let span = raw.at.clone();
    let severity = raw.severity.map(SeverityWord::severity).unwrap_or_default();
    let filter = raw.r#where.clone().map(|w| w.value);
    let name = raw.name.clone().map(|n| n.value);
    let kinds = kinds(raw);
    match kinds.as_slice() {
        [(_, _)] => {}
        [] => {
            let diagnostic = Diagnostic::error(codes::CONFLICT, "this check says nothing")
                .at(span, "")
                .hint(format!("give one of {}", crate::yaml::list(&KINDS)));
            problems.push(diagnostic);
            return None;
        }
        [(first, _), (second, _), ..] => {
            let message = format!("`{first}` and `{second}` are two checks");
            let diagnostic = Diagnostic::error(codes::CONFLICT, message).at(span, "");
            problems.push(diagnostic.hint("start each with its own `-`"));
            return None;
        }
    }
    let (_, kind) = kinds.into_iter().next()?;
    let kind = kind.resolve(problems)?;
    Some(PendingCheck { kind, severity, filter, name, span })
}

/// The keys that make a check.
const KINDS: [&str; 10] = [
    "not_null",
    "unique",
    "accepted_values",
    "range",
    "regex",
    "relationships",
    "row_count",
    "freshness",
    "holds",
    "sql",
];

/// The raw kinds of a check, of which there should be one.
enum RawKind {
    NotNull(Names),
    Unique(Names),
    AcceptedValues(AcceptedValues),
    Range(Range),
    Regex(Regex),
    Relationships(Relationships),
    RowCount(RowCount),
    Freshness(Freshness),
    Holds(At<String>),
    Sql(At<String>),
}

fn kinds(raw: CheckYaml) -> Vec<(&'static str, RawKind)> {
    let all = [
        raw.not_null.map(RawKind::NotNull),
        raw.unique.map(RawKind::Unique),
        raw.accepted_values.map(RawKind::AcceptedValues),
        raw.range.map(RawKind::Range),
        raw.regex.map(RawKind::Regex),
        raw.relationships.map(RawKind::Relationships),
        raw.row_count.map(RawKind::RowCount),
        raw.freshness.map(RawKind::Freshness),
        raw.holds.map(RawKind::Holds),
        raw.sql.map(RawKind::Sql),
    ];
    KINDS.into_iter().zip(all).filter_map(|(name, kind)| kind.map(|k| (name, k))).collect()
}

impl RawKind {
    fn resolve(self, problems: &mut Problems<'_>) -> Option<PendingKind> {
        let kind = match self {
            Self::NotNull(columns) => CheckKind::NotNull { columns: columns.values() },
            Self::Unique(columns) => CheckKind::Unique { columns: columns.values() },
            Self::AcceptedValues(raw) => accepted_values(raw.column.value, raw.values, &raw.at, problems)?,
            Self::Range(raw) => range(raw, problems)?,
            Self::Regex(raw) => regex(raw, problems)?,
            Self::Relationships(raw) => {
                let to = TableRef::parse(raw.to.value, raw.to.span);
                return Some(PendingKind::Relationships { column: raw.column.value, to, field: raw.field.value });
            }
            Self::RowCount(raw) => row_count(&raw, problems)?,
            Self::Freshness(raw) => freshness(raw, problems)?,
            Self::Holds(expression) => CheckKind::Holds { expression: sql_text(expression, problems)? },
            Self::Sql(query) => CheckKind::Sql { query: sql_text(query, problems)? },
        };
        Some(PendingKind::Ready(kind))
    }
}

fn wrong<T>(problems: &mut Problems<'_>, span: &Span, message: impl Into<String>) -> Option<T> {
    problems.push(Diagnostic::error(codes::VALUE, message).at(span.clone(), ""));
    None
}

pub(crate) fn accepted_values(
    column: String,
    values: Vec<Scalar>,
    at: &Span,
    problems: &mut Problems<'_>,
) -> Option<CheckKind> {
    if values.is_empty() {
        return wrong(problems, at, "`accepted_values` needs at least one value");
    }
    Some(CheckKind::AcceptedValues { column, values: values.into_iter().map(|v| v.value).collect() })
}

fn range(raw: Range, problems: &mut Problems<'_>) -> Option<CheckKind> {
    if raw.min.is_none() && raw.max.is_none() {
        return wrong(problems, &raw.at, "`range` needs `min`, `max` or both");
    }
    let number = |bound: &Option<At<Scalar>>| bound.as_ref().and_then(|b| b.value.value.as_f64());
    if let (Some(min), Some(max)) = (number(&raw.min), number(&raw.max))
        && min > max
    {
        return wrong(problems, &raw.at, "`min` is greater than `max`: no value is in that range");
    }
    let value = |bound: Option<At<Scalar>>| bound.map(|b| b.value.value);
    Some(CheckKind::Range { column: raw.column.value, min: value(raw.min), max: value(raw.max) })
}

fn regex(raw: Regex, problems: &mut Problems<'_>) -> Option<CheckKind> {
    match regex_syntax::parse(&raw.pattern.value) {
        Ok(_) => Some(CheckKind::Regex { column: raw.column.value, pattern: raw.pattern.value }),
        Err(error) => {
            let reason = match &error {
                regex_syntax::Error::Parse(e) => e.kind().to_string(),
                regex_syntax::Error::Translate(e) => e.kind().to_string(),
                _ => "it cannot be parsed".to_owned(),
            };
            wrong(problems, &raw.pattern.span, format!("this is no regular expression: {reason}"))
        }
    }
}

fn row_count(raw: &RowCount, problems: &mut Problems<'_>) -> Option<CheckKind> {
    let value = |bound: &Option<At<u64>>| bound.as_ref().map(|b| b.value);
    match (value(&raw.min), value(&raw.max)) {
        (None, None) => wrong(problems, &raw.at, "`row_count` needs `min`, `max` or both"),
        (Some(min), Some(max)) if min > max => {
            wrong(problems, &raw.at, "`min` is greater than `max`: no table has that many rows")
        }
        (min, max) => Some(CheckKind::RowCount { min, max }),
    }
}

fn freshness(raw: Freshness, problems: &mut Problems<'_>) -> Option<CheckKind> {
    match parse_duration_seconds(&raw.max_age.value).filter(|s| *s > 0) {
        Some(max_age_seconds) => Some(CheckKind::Freshness { column: raw.column.value, max_age_seconds }),
        None => {
            let message = format!("`{}` is no duration: write `30m`, `2h` or `1d 12h`", raw.max_age.value);
            wrong(problems, &raw.max_age.span, message)
        }
    }
}

fn sql_text(text: At<String>, problems: &mut Problems<'_>) -> Option<String> {
    if crate::model::is_blank(&text.value) {
        return wrong(problems, &text.span, "SQL is missing here");
    }
    Some(text.value)
}

/// Makes the check of a file `checks/*.sql`.
pub(crate) fn resolve_sql(file: &Arc<str>, text: &Arc<str>, problems: &mut Vec<Diagnostic>) -> Option<SqlCheck> {
    let span = Span::file(file);
    let name = name_of(file);
    if let Some(found) = check_plain("check", &name, &span) {
        problems.push(found);
        return None;
    }
    if crate::model::is_blank(text) {
        let diagnostic = Diagnostic::error(codes::EMPTY, format!("check `{name}` is empty"));
        problems.push(diagnostic.at(span, "a `select` of the rows that break the rule is missing"));
        return None;
    }
    Some(SqlCheck { name: name.to_string(), sql: Arc::clone(text), severity: CheckSeverity::Error, span })
}
