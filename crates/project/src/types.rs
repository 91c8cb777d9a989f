//! Names of SQL types, as columns are declared.

use polder_base::nearest;
use polder_diag::Diagnostic;

use crate::codes;
use crate::yaml::At;

/// The type names that a column may be declared with. `decimal` and `numeric` take precision and scale, `varchar`,
/// `char` and the timestamps one argument, which says nothing; any of them followed by `[]` is a list.
pub const SQL_TYPES: [&str; 33] = [
    "boolean",
    "bool",
    "smallint",
    "tinyint",
    "int",
    "integer",
    "int2",
    "int4",
    "int8",
    "bigint",
    "long",
    "real",
    "float",
    "float4",
    "float8",
    "double",
    "double precision",
    "decimal",
    "numeric",
    "date",
    "time",
    "timestamp",
    "datetime",
    "timestamptz",
    "timestamp with time zone",
    "timestamp without time zone",
    "text",
    "string",
    "varchar",
    "char",
    "uuid",
    "json",
    "bytea",
];

/// Names that are known besides: they mean one of the above.
const ALIASES: [&str; 7] =
    ["jsonb", "character varying", "character", "binary", "blob", "varbinary", "time without time zone"];

/// Tells a type that there is not.
pub(crate) fn check_type(data_type: &At<String>) -> Option<Diagnostic> {
    let written = data_type.value.trim().to_lowercase();
    let mut item = written.as_str();
    while let Some(inner) = item.strip_suffix("[]") {
        item = inner.trim_end();
    }
    let (name, arguments) = divide(item);
    let told = |message: String| Some(Diagnostic::error(codes::VALUE, message).at(data_type.span.clone(), ""));
    if !SQL_TYPES.contains(&name.as_str()) && !ALIASES.contains(&name.as_str()) {
        let diagnostic = told(format!("no type is called `{}`", data_type.value))?;
        return Some(match nearest(&name, SQL_TYPES) {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic.hint("such as `bigint`, `decimal(12,2)`, `date`, `timestamp`, `text`"),
        });
    }
    match (name.as_str(), arguments.as_slice()) {
        (_, []) => None,
        ("decimal" | "numeric", [precision]) if (1..=38).contains(precision) => None,
        ("decimal" | "numeric", [precision, scale]) if (1..=38).contains(precision) && scale <= precision => None,
        ("decimal" | "numeric", _) => told(format!(
            "`{}`: a decimal has 1 to 38 digits, and no more of them behind the point than there are",
            data_type.value
        )),
        (name, [_]) if name.starts_with("timestamp") || name.starts_with("datetime") || name.contains("char") => None,
        (name, _) => told(format!("`{name}` takes no arguments like those of `{}`", data_type.value)),
    }
}

/// `timestamp (6)  with time zone` → `timestamp with time zone`, `[6]`. Arguments that are no numbers count as too great.
fn divide(text: &str) -> (String, Vec<u32>) {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((before, rest)) = text.split_once('(') else { return (words(text), Vec::new()) };
    let (inner, after) = rest.split_once(')').unwrap_or((rest, ""));
    let arguments = inner.split(',').map(|a| a.trim().parse().unwrap_or(u32::MAX)).collect();
    (words(&format!("{before} {after}")), arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str) -> Option<String> {
        let file = "a".into();
        let at = At { value: name.to_owned(), span: polder_diag::Span::file(&file) };
        check_type(&at).map(|d| format!("{} | {}", d.message, d.hints.join(" | ")))
    }

    #[test]
    fn types_that_there_are() {
        let more = ["Decimal(12, 2)", "numeric(38)", "timestamp(6) with time zone", "varchar(20)", "text[]", "int[][]"];
        for good in SQL_TYPES.iter().chain(&ALIASES).chain(&more) {
            assert_eq!(told(good), None, "{good}");
        }
    }

    #[test]
    fn types_that_there_are_not() {
        assert_eq!(told("bigintt").unwrap(), "no type is called `bigintt` | did you mean `bigint`?");
        assert!(told("money").unwrap().contains("such as"));
        for bad in ["decimal(40,2)", "decimal(2,3)", "decimal(a)", "decimal(1,1,1)", "int(4)", "timestamp(1,2)"] {
            assert!(told(bad).is_some(), "{bad}");
        }
    }
}
