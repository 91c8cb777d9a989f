//! What a check asks, as SQL.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use polder_base::{TableName, quote_name, quote_text};
use polder_diag::Span;
use polder_project::{Check, CheckKind, CheckSeverity};

use crate::text::{idents, literal, shown};

/// One statement about a table. A check over several columns, such as `not_null: [a, b]`, is several rules.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) test: Test,
    pub(crate) severity: CheckSeverity,
    /// Rows that the rule is about: a SQL condition.
    pub(crate) filter: Option<String>,
    /// In one line, as a person would say it.
    pub(crate) title: String,
    pub(crate) span: Span,
    /// The line of `span`, from 1.
    pub(crate) line: u32,
    /// Tables that are read besides the one that the rule is about.
    pub(crate) references: BTreeSet<TableName>,
}

/// How a rule is tested.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    /// A condition that is true for the rows that break the rule; counted in the scan that all rules share.
    Rows {
        breaks: String,
        columns: Vec<String>,
    },
    RowCount {
        min: Option<u64>,
        max: Option<u64>,
    },
    Freshness {
        column: String,
        max_age_seconds: u64,
    },
    Unique {
        columns: Vec<String>,
    },
    Relationships {
        column: String,
        to: TableName,
        field: String,
    },
    /// A query that gives the rows that break the rule.
    Query {
        sql: String,
    },
}

impl Test {
    /// Whether the rule is answered by aggregates over the table, together with others.
    pub(crate) fn shares_scan(&self) -> bool {
        matches!(self, Self::Rows { .. } | Self::RowCount { .. } | Self::Freshness { .. })
    }

    /// Columns that the table must have, as they were written.
    pub(crate) fn columns(&self) -> &[String] {
        match self {
            Self::Rows { columns, .. } | Self::Unique { columns } => columns,
            Self::Freshness { column, .. } | Self::Relationships { column, .. } => std::slice::from_ref(column),
            Self::RowCount { .. } | Self::Query { .. } => &[],
        }
    }
}

impl Rule {
    /// The rules of one check.
    pub(crate) fn of(check: &Check, line: u32) -> Vec<Self> {
        let rule = |title: String, test: Test| Self {
            test,
            severity: check.severity,
            filter: check.filter.clone(),
            title: check.name.clone().unwrap_or(title),
            span: check.span.clone(),
            line,
            references: BTreeSet::new(),
        };
        match &check.kind {
            CheckKind::NotNull { columns } => columns
                .iter()
                .map(|c| rule(format!("not_null {c}"), rows(format!("{} is null", quote_name(c)), c)))
                .collect(),
            CheckKind::Unique { columns } => {
                vec![rule(format!("unique {}", columns.join(", ")), Test::Unique { columns: columns.clone() })]
            }
            CheckKind::AcceptedValues { column, values } => {
                let list = values.iter().map(literal).collect::<Vec<_>>().join(", ");
                let breaks = match values.is_empty() {
                    true => format!("{} is not null", quote_name(column)),
                    false => format!("{} not in ({list})", quote_name(column)),
                };
                vec![rule(format!("accepted_values {column}"), rows(breaks, column))]
            }
            CheckKind::Range { column, min, max } => {
                let low = min.as_ref().map(|v| format!("{} < {}", quote_name(column), literal(v)));
                let high = max.as_ref().map(|v| format!("{} > {}", quote_name(column), literal(v)));
                let breaks = low.into_iter().chain(high).collect::<Vec<_>>().join(" or ");
                let end = |v: &Option<serde_json::Value>| v.as_ref().map(shown).unwrap_or_default();
                let title = format!("range {column} {}..{}", end(min), end(max));
                vec![rule(title, rows(if breaks.is_empty() { "false".to_owned() } else { breaks }, column))]
            }
            CheckKind::Regex { column, pattern } => {
                let breaks = format!("cast({} as text) !~ {}", quote_name(column), quote_text(pattern));
                vec![rule(format!("regex {column} {pattern}"), rows(breaks, column))]
            }
            CheckKind::Relationships { column, to, field } => {
                let test = Test::Relationships { column: column.clone(), to: to.clone(), field: field.clone() };
                vec![rule(format!("relationships {column} → {to}.{field}"), test)]
            }
            CheckKind::RowCount { min, max } => {
                vec![rule(row_count_title(*min, *max), Test::RowCount { min: *min, max: *max })]
            }
            CheckKind::Freshness { column, max_age_seconds } => {
                let test = Test::Freshness { column: column.clone(), max_age_seconds: *max_age_seconds };
                vec![rule(format!("freshness {column} {}", duration(*max_age_seconds)), test)]
            }
            CheckKind::Holds { expression } => {
                let breaks = format!("({expression}) is false");
                vec![rule(one_line(expression), Test::Rows { breaks, columns: Vec::new() })]
            }
            CheckKind::Sql { query } => {
                let sql = query.trim().trim_end_matches(';').to_owned();
                vec![rule(one_line(&sql), Test::Query { sql })]
            }
        }
    }

    /// The condition under which a row is looked at.
    pub(crate) fn applies(&self) -> String {
        self.filter.as_ref().map_or_else(|| "true".to_owned(), |f| format!("({f})"))
    }

    /// The condition under which a row is shown as breaking the rule, for rules about single rows.
    pub(crate) fn broken_row(&self, breaks: &str) -> String {
        match &self.filter {
            Some(filter) => format!("({filter}) and ({breaks})"),
            None => breaks.to_owned(),
        }
    }

    /// Three aggregates: rows looked at, rows that break the rule (or NULL), and a value to show (or NULL).
    pub(crate) fn aggregates(&self) -> [String; 3] {
        let looked_at = format!("count(*) filter (where {})", self.applies());
        match &self.test {
            Test::Rows { breaks, .. } => {
                let broken = format!("count(*) filter (where {})", self.broken_row(breaks));
                [looked_at, broken, "cast(null as text)".to_owned()]
            }
            Test::Freshness { column, max_age_seconds } => {
                let newest = format!("max({}) filter (where {})", quote_name(column), self.applies());
                let stale = format!(
                    "case when {newest} >= run_time() - interval '{max_age_seconds} seconds' then 0 else 1 end"
                );
                [looked_at, stale, format!("cast({newest} as text)")]
            }
            _ => [looked_at, "cast(null as bigint)".to_owned(), "cast(null as text)".to_owned()],
        }
    }

    /// The query that shows all rows that break the rule; `None` where rows do not say it.
    pub(crate) fn offenders(&self, of: &TableName) -> Option<String> {
        let from = of.sql();
        match &self.test {
            Test::Rows { breaks, .. } => Some(format!("select * from {from} where {}", self.broken_row(breaks))),
            Test::Unique { columns } => {
                let keys = idents(columns);
                let same =
                    columns.iter().map(|c| format!("t.{0} = d.{0}", quote_name(c))).collect::<Vec<_>>().join(" and ");
                let order = columns.iter().map(|c| format!("t.{}", quote_name(c))).collect::<Vec<_>>().join(", ");
                let inner = format!(
                    "select {keys} from {from} where {} group by {keys} having count(*) > 1",
                    self.known_keys(columns)
                );
                let filter = self.filter.as_ref().map(|_| format!("(select * from {from} where {})", self.applies()));
                let rows = filter.unwrap_or_else(|| from.clone());
                Some(format!("select t.* from {rows} t join ({inner}) d on {same} order by {order}"))
            }
            Test::Relationships { column, to, field } => {
                let (column, field, to) = (quote_name(column), quote_name(field), to.sql());
                let orphan = format!(
                    "t.{column} is not null and not exists (select 1 from {to} p where p.{field} = t.{column})"
                );
                Some(format!("select t.* from {from} t where {}", self.broken_row(&orphan)))
            }
            Test::Query { sql } => Some(sql.clone()),
            Test::RowCount { .. } | Test::Freshness { .. } => None,
        }
    }

    /// The query that counts what breaks a rule that has a scan of its own: rows, and groups of rows or NULL.
    pub(crate) fn count(&self, of: &TableName) -> Option<String> {
        let from = of.sql();
        match &self.test {
            Test::Unique { columns } => {
                let keys = idents(columns);
                let groups = format!(
                    "select count(*) as n from {from} where {} group by {keys} having count(*) > 1",
                    self.known_keys(columns)
                );
                Some(format!("select cast(coalesce(sum(n), 0) as bigint), count(*) from ({groups}) as g"))
            }
            Test::Relationships { .. } | Test::Query { .. } => {
                let rows = self.offenders(of)?;
                Some(format!("select count(*), cast(null as bigint) from ({rows}) as broken"))
            }
            _ => None,
        }
    }

    pub(crate) fn known_keys(&self, columns: &[String]) -> String {
        let known = columns.iter().map(|c| format!("{} is not null", quote_name(c)));
        let filter = self.filter.as_ref().map(|_| self.applies());
        filter.into_iter().chain(known).collect::<Vec<_>>().join(" and ")
    }

    /// Names in the rule's expressions that may be columns: what a sample should show.
    pub(crate) fn mentioned(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.test.columns().iter().cloned().collect();
        let expression = match &self.test {
            Test::Rows { breaks, .. } => breaks.as_str(),
            _ => "",
        };
        for text in [expression, self.filter.as_deref().unwrap_or_default()] {
            let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().unwrap_or_default();
            names.extend(tokens.into_iter().filter_map(|token| match token {
                Token::Word(word) if word.quote_style.is_some() => Some(word.value),
                Token::Word(word) => Some(word.value.to_lowercase()),
                _ => None,
            }));
        }
        names
    }
}

fn rows(breaks: String, column: &str) -> Test {
    Test::Rows { breaks, columns: vec![column.to_owned()] }
}

pub(crate) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 80 { line } else { line.chars().take(79).chain(['…']).collect() }
}

fn row_count_title(min: Option<u64>, max: Option<u64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("row_count {min}..{max}"),
        (Some(min), None) => format!("row_count at least {min}"),
        (None, Some(max)) => format!("row_count at most {max}"),
        (None, None) => "row_count".to_owned(),
    }
}

/// `90 s`, `2 h`, `3 days`: the greatest unit that divides it.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        s if s >= 172_800 && s.is_multiple_of(86_400) => format!("{} days", s / 86_400),
        s if s >= 3600 && s.is_multiple_of(3600) => format!("{} h", s / 3600),
        s if s >= 60 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polder_base::TableName;
    use polder_diag::Span;
    use polder_project::{Check, CheckKind, CheckSeverity};
    use serde_json::json;

    use super::Rule;

    fn rule(kind: CheckKind, filter: Option<&str>) -> Rule {
        let check = Check {
            kind,
            severity: CheckSeverity::Error,
            filter: filter.map(str::to_owned),
            name: None,
            span: Span::file(&Arc::from("checks/x.yaml")),
        };
        Rule::of(&check, 1).remove(0)
    }

    fn orders() -> TableName {
        TableName::new("bronze", "orders")
    }

    #[test]
    fn the_query_that_shows_all_is_plain_sql() {
        let range = CheckKind::Range { column: "qty".to_owned(), min: Some(json!(1)), max: Some(json!(9)) };
        assert_eq!(
            rule(range, Some("status = 'paid' or x")).offenders(&orders()).unwrap(),
            "select * from bronze.orders where (status = 'paid' or x) and (qty < 1 or qty > 9)"
        );
        let unique = CheckKind::Unique { columns: vec!["a".to_owned(), "order".to_owned()] };
        assert_eq!(
            rule(unique, None).offenders(&orders()).unwrap(),
            "select t.* from bronze.orders t join (select a, \"order\" from bronze.orders where a is not null and \
             \"order\" is not null group by a, \"order\" having count(*) > 1) d on t.a = d.a and t.\"order\" = \
             d.\"order\" order by t.a, t.\"order\""
        );
    }

    #[test]
    fn a_sample_shows_what_the_rule_mentions() {
        let holds = CheckKind::Holds { expression: "Created_At <= run_time() and \"X y\" > 1".to_owned() };
        let mentioned = rule(holds, Some("status = 'created_at2'")).mentioned();
        for name in ["created_at", "X y", "status"] {
            assert!(mentioned.contains(name), "{name}");
        }
        assert!(!mentioned.contains("created_at2"));
    }
}
