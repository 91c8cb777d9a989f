//! What DataFusion and Arrow say, in the words of the person whose statement and whose rows it is about.

mod planning;

use datafusion::error::DataFusionError;

pub use planning::of_planning;

/// Which part of the machinery noticed is of no use to a reader.
const LAYERS: &[(&str, &str)] = &[
    ("Arrow error: ", ""),
    ("Execution error: ", ""),
    ("External error: ", ""),
    ("Cast error: ", ""),
    ("Parser error: ", ""),
    ("Compute error: ", ""),
    ("Invalid argument error: ", ""),
    ("Error during planning: ", ""),
    ("This feature is not implemented: ", "Not supported: "),
];

/// Arrow's types as SQL calls them.
const TYPES: &[(&str, &str)] = &[
    ("Int8", "tinyint"),
    ("Int16", "smallint"),
    ("Int32", "integer"),
    ("Int64", "bigint"),
    ("UInt8", "smallint"),
    ("UInt16", "integer"),
    ("UInt32", "bigint"),
    ("UInt64", "bigint"),
    ("Float32", "real"),
    ("Float64", "double"),
    ("Decimal128", "decimal"),
    ("Boolean", "boolean"),
    ("Utf8View", "text"),
    ("Utf8", "text"),
    ("LargeUtf8", "text"),
    ("Binary", "bytea"),
    ("BinaryView", "bytea"),
    ("Date32", "date"),
];

/// One line about an error that came while a statement ran.
pub fn of_execution(error: &DataFusionError) -> String {
    let text = error.find_root().strip_backtrace();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    match (first.ends_with("regex parse error:"), lines.next_back()) {
        (true, Some(last)) => {
            format!("this is no regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
        }
        _ => readable(first),
    }
}

fn readable(line: &str) -> String {
    let rest = without_layers(line);
    let rest = rest.as_str();
    if rest == "Divide by zero error" {
        return "division by zero".to_owned();
    }
    if rest == "Unable to cast to Date32 for converting from i64 to i32 failed" {
        return "a text that is no date cannot be made one".to_owned();
    }
    if let Some((number, _)) = rest.split_once(" is too ").filter(|(_, why)| why.contains("to store in a Decimal")) {
        return format!("{number} does not fit its type: it has too many digits");
    }
    let overflow = rest.strip_prefix("Arithmetic overflow: Overflow happened on: ");
    if let Some(sum) = overflow.or_else(|| Some(rest.split_once("Array overflow on ")?.1)) {
        return format!("`{sum}` does not fit its type");
    }
    let text = sql_types(rest).replace(" to type ", " to ");
    first_small(&match text.split_once(" to value of ") {
        Some((what, data_type)) => format!("{what} to {}", data_type.strip_suffix(" type").unwrap_or(data_type)),
        None => text,
    })
}

fn without_layers(text: &str) -> String {
    let mut rest = text.to_owned();
    while let Some((layer, instead)) = LAYERS.iter().find(|(layer, _)| rest.starts_with(layer)) {
        rest = rest.replacen(layer, instead, 1);
    }
    rest
}

/// A message as the part of a line that it will be. A word in capitals stays.
fn first_small(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// The text with Arrow's types by their SQL names, but for what stands in quotes: that is the person's own.
fn sql_types(text: &str) -> String {
    let text = text.replace("Timestamp(µs)", "timestamp").replace("Timestamp(ns)", "timestamp");
    let text =
        text.replace("Timestamp(µs, \"UTC\")", "timestamptz").replace("Timestamp(µs, \"+00:00\")", "timestamptz");
    let mut out = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut word = String::new();
    // The blank at the end ends the last word.
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        let data_type = TYPES.iter().find(|(arrow, _)| quote.is_none() && *arrow == word).map(|(_, sql)| *sql);
        out.push_str(data_type.unwrap_or(&word));
        match quote {
            Some(open) if open == c => quote = None,
            // An apostrophe inside a word opens nothing.
            None if matches!(c, '"' | '`') || c == '\'' && word.is_empty() => quote = Some(c),
            _ => {}
        }
        word.clear();
        out.push(c);
    }
    out.pop();
    out
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
                "Arrow error: Cast error: Cannot cast string 'Int64' to value of Decimal128(38, 10) type",
                "cannot cast string 'Int64' to decimal(38, 10)",
            ),
            ("Error during planning: LIMIT must be >= 0, '-1' was provided", "LIMIT must be >= 0, '-1' was provided"),
            (
                "This feature is not implemented: COUNT DISTINCT with multiple arguments",
                "not supported: COUNT DISTINCT with multiple arguments",
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
