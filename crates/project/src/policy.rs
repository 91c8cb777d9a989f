//! `policies/**/*.yaml`.

use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::common::Names;
use crate::resource::{Mask, Policy, PolicyPlaces};
use crate::yaml::{At, Decode, Entries, Node, Problems, Value, raw};

raw! {
    /// A file below `policies/`: who may see what of a table. A file may also be a list of such. All rules that name a
    /// principal apply together.
    PolicyYaml {
        /// The table, or `gold.*` for all of a namespace, or `'*'` for all tables.
        table: At<String>,
        /// Principals or roles that the rule is for; `'*'` (the default) is everybody.
        r#for: Option<Names>,
        /// Principals or roles that the rule is not for.
        except: Option<Names>,
        /// Hides the table altogether.
        deny: Option<At<bool>>,
        /// The rows that are theirs: a SQL condition; `current_user()` is the principal's name.
        filter: Option<At<String>>,
        /// Columns and how they are hidden.
        mask: Option<At<Entries<MaskYaml>>>,
    }

    /// A mask of one's own.
    MaskSql {
        /// A SQL expression over the table's columns that takes the column's place.
        sql: At<String>,
    }
}

/// `hash`, `null`, `partial`, or an expression.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub(crate) enum MaskYaml {
    /// YAML's own `null`.
    Null(()),
    Word(MaskWord),
    Expression(MaskSql),
}

/// `hash`: the SHA-256 of the value; `null`: NULL; `partial`: all but the last four characters as `*`.
#[derive(Debug, Clone, Copy, schemars::JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum MaskWord {
    Hash,
    Null,
    Partial,
}

impl Decode for MaskYaml {
    fn decode(node: &Node, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Self::Null(())),
            Value::Text(word) if word == "null" => Some(Self::Word(MaskWord::Null)),
            Value::Text(word) if word == "hash" => Some(Self::Word(MaskWord::Hash)),
            Value::Text(word) if word == "partial" => Some(Self::Word(MaskWord::Partial)),
            Value::Map(_) => MaskSql::decode(node, problems).map(Self::Expression),
            _ => problems.wrong_word(node, "`hash`, `null`, `partial` or `{ sql: … }`", &["hash", "null", "partial"]),
        }
    }
}

impl MaskYaml {
    fn mask(self) -> Mask {
        match self {
            Self::Null(()) | Self::Word(MaskWord::Null) => Mask::Null,
            Self::Word(MaskWord::Hash) => Mask::Hash,
            Self::Word(MaskWord::Partial) => Mask::Partial,
            Self::Expression(expression) => Mask::Expression(expression.sql.value),
        }
    }
}

/// Makes the policy of its raw form.
pub(crate) fn resolve(raw: PolicyYaml, problems: &mut Problems<'_>) -> Option<Policy> {
    let deny = raw.deny.as_ref().is_some_and(|d| d.value);
    let others = raw.filter.as_ref().map(|f| &f.span).or(raw.mask.as_ref().map(|m| &m.span));
    if !deny && others.is_none() {
        problems.push(conflict("this policy does nothing", &raw.table.span).hint("give `deny`, `filter` or `mask`"));
        return None;
    }
    if let Some(span) = others.filter(|_| deny) {
        problems.push(conflict("`deny` hides the table altogether: there is nothing left to filter or mask", span));
    }
    if raw.r#for.as_ref().is_some_and(|names| names.0.is_empty()) {
        let diagnostic = conflict("`for` is empty: this policy is for nobody", &raw.table.span);
        problems.push(diagnostic.hint("leave it out for everybody"));
    }
    for sql in raw.filter.iter().filter(|f| crate::model::is_blank(&f.value)) {
        problems.push(Diagnostic::error(codes::VALUE, "SQL is missing here").at(sql.span.clone(), ""));
    }
    let masks = raw.mask.map(|m| m.value.0).unwrap_or_default();
    let places = PolicyPlaces {
        filter: raw.filter.as_ref().map(|f| f.span.clone()),
        masks: masks.iter().map(|(column, _)| (column.value.clone(), column.span.clone())).collect(),
    };
    Some(Policy {
        span: raw.table.span,
        table: raw.table.value,
        principals: raw.r#for.map_or_else(|| vec!["*".to_owned()], Names::values),
        except: raw.except.unwrap_or_default().values(),
        deny,
        row_filter: raw.filter.map(|f| f.value),
        masks: masks.into_iter().map(|(column, mask)| (column.value, mask.mask())).collect(),
        places,
    })
}

fn conflict(message: &str, span: &Span) -> Diagnostic {
    Diagnostic::error(codes::CONFLICT, message).at(span.clone(), "")
}
