//! What DataFusion and Arrow say while rows flow, in the words of the person whose rows they are.

use datafusion::error::DataFusionError;

/// Which part of the machinery noticed is of no use to a reader.
const LAYERS: &[&str] = &[
    "Arrow error: ",
    "Execution error: ",
    "External error: ",
    "Cast error: ",
    "Parser error: ",
    "Compute error: ",
    "Invalid argument error: ",
];

/// Arrow's types as SQL calls them.
const TYPES: &[(&str, &str)] = &[
    ("Int8", "tinyint"),
    ("Int16", "smallint"),
    ("Int32", "integer"),
    ("Int64", "bigint"),
    ("Float32", "real"),
    ("Float64", "double"),
    ("Boolean", "boolean"),
    ("Utf8View", "text"),
    ("Utf8", "text"),
    ("Date32", "date"),
    ("Timestamp(µs)", "timestamp"),
];

/// One line about an error that came while a statement ran.
pub fn of_execution(error: &DataFusionError) -> String {
    let text = error.find_root().strip_backtrace();
    readable(text.lines().next().unwrap_or_default())
}

fn readable(line: &str) -> String {
    let mut rest = line;
    while let Some(inner) = LAYERS.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = inner;
    }
    if rest == "Divide by zero error" {
        return "division by zero".to_owned();
    }
    if let Some((number, _)) = rest.split_once(" is too ").filter(|(_, why)| why.contains("to store in a Decimal")) {
        return format!("{number} does not fit its type: it has too many digits");
    }
    let overflow = rest.strip_prefix("Arithmetic overflow: Overflow happened on: ");
    if let Some(sum) = overflow.or_else(|| Some(rest.split_once("Array overflow on ")?.1)) {
        return format!("`{sum}` does not fit its type");
    }
    let mut text = rest.to_owned();
    for (arrow, sql) in TYPES {
        text = text.replace(&format!(" value of {arrow} type"), &format!(" {sql}"));
        text = text.replace(&format!(" to type {arrow}"), &format!(" to {sql}"));
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn messages_name_what_a_person_knows() {
        for (arrow, told) in [
            ("Arrow error: Divide by zero error", "division by zero"),
            (
                "Arrow error: Cast error: Cannot cast string 'x' to value of Int32 type",
                "cannot cast string 'x' to integer",
            ),
            (
                "Arrow error: Cast error: Can't cast value 99999999999 to type Int32",
                "can't cast value 99999999999 to integer",
            ),
            (
                "Arrow error: Arithmetic overflow: Overflow happened on: 9223372036854775807 + 1",
                "`9223372036854775807 + 1` does not fit its type",
            ),
            (
                "Execution error: Scalar subquery returned more than one row",
                "scalar subquery returned more than one row",
            ),
        ] {
            assert_eq!(readable(arrow), told);
        }
    }
}
