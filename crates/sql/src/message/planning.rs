//! What DataFusion says of a statement that it cannot plan, in the words of the person who wrote it.

use super::{first_small, sql_types, without_layers};

/// What the engine says when it lists what a function takes.
const NO_FUNCTION: &str = "No function matches the given name and argument types '";
const CANDIDATES: &str = "Candidate functions:";

/// Forms of a function that a hint lists.
const FORMS: usize = 6;

/// Functions that are none without a window: the engine then says that it does not know them.
const WINDOW: &[&str] = &[
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "nth_value",
];

/// One line, and what may help.
pub fn of_planning(message: &str) -> (String, Option<String>) {
    let (message, hint) = match message.split_once("\nDid you mean") {
        Some((message, rest)) => (message, Some(rest.trim().trim_matches(['\'', '?']))),
        None => (message, None),
    };
    let message = without_layers(message.trim());
    let message = message.trim_end_matches('.');
    if let Some((_, rest)) = message.split_once(NO_FUNCTION) {
        return no_such_form(rest);
    }
    if let Some(name) = between(message, "Invalid function '", "'") {
        return no_function(name, hint);
    }
    if let Some(column) = between(message, "column \"", "\" must appear in the GROUP BY") {
        let message = format!("column `{column}` is neither in `group by` nor inside an aggregate function");
        return (message, Some("`group by all` groups by all columns that are not aggregated".to_owned()));
    }
    let hint = hint.map(|near| format!("did you mean `{near}`?"));
    (reworded(message).unwrap_or_else(|| first_small(&sql_types(message))), hint)
}

/// Messages that show the engine's inside, or tell less than they could.
fn reworded(message: &str) -> Option<String> {
    if let Some(operation) = between(message, "Cannot coerce arithmetic expression ", " to valid types") {
        return Some(format!("there is no `{}`: cast one of the two", sql_types(operation)));
    }
    if let Some(types) = between(message, "There isn't a common type to coerce ", " expression") {
        let (types, operator) = types.rsplit_once(" in ")?;
        return Some(format!("{} cannot be compared by {operator}: cast one of the two", sql_types(types)));
    }
    if let Some(columns) = message.strip_prefix("Too many columns! The subquery should only return one column: ") {
        return Some(format!(
            "a subquery in this place gives one column, and this one gives {}",
            columns.split(", ").count()
        ));
    }
    if let Some((wanted, columns)) =
        message.strip_prefix("Order by column out of bounds, specified: ").and_then(|rest| rest.split_once(", max: "))
    {
        return Some(format!("`order by {wanted}`: the number of columns is {columns}"));
    }
    if message.starts_with("Cannot create filter with non-boolean predicate ") {
        let (_, data_type) = message.rsplit_once(" returning ")?;
        return Some(format!("a condition is a boolean, and this one is {}", sql_types(data_type)));
    }
    if message.starts_with("HAVING clause references: ") {
        return Some("what `having` compares is neither in `group by` nor inside an aggregate function".to_owned());
    }
    if let Some((name, _)) = message.strip_prefix("Unsupported ast node ").and_then(|rest| rest.split_once([' ', '(']))
    {
        return Some(format!("{} is not supported", name.to_uppercase()));
    }
    if message.starts_with("Substring without for/from is not valid") {
        return Some(
            "`substr` also takes where to begin: `substr(text, start)` or `substr(text, start, length)`".to_owned(),
        );
    }
    message.strip_prefix("Unsupported SQL type ").map(|name| format!("there is no type `{name}`"))
}

/// `sum(Utf8View)'. You might need … Candidate functions:\n\tsum(Decimal)\n\t…`
fn no_such_form(rest: &str) -> (String, Option<String>) {
    let (call, rest) = rest.split_once('\'').unwrap_or((rest, ""));
    let (name, types) = call.split_once('(').unwrap_or((call, ")"));
    let types = sql_types(types.strip_suffix(')').unwrap_or(types));
    let message = match types.is_empty() {
        true => format!("`{name}` cannot be called without an argument"),
        false => format!("`{name}` does not take ({types})"),
    };
    let candidates = rest.split_once(CANDIDATES).map_or("", |(_, candidates)| candidates);
    let mut forms: Vec<String> = Vec::new();
    for form in candidates.split(['\n', '\t']).map(str::trim).filter(|form| form.starts_with(name)) {
        let form = format!("`{}`", sql_types(form).to_lowercase().replace("string", "text"));
        if !form.contains("userdefined") && !form.contains("any") && !forms.contains(&form) {
            forms.push(form);
        }
    }
    let more = if forms.len() > FORMS { ", …" } else { "" };
    forms.truncate(FORMS);
    (message, (!forms.is_empty()).then(|| format!("there are {}{more}", forms.join(", "))))
}

fn no_function(name: &str, near: Option<&str>) -> (String, Option<String>) {
    if WINDOW.contains(&name) {
        return (format!("`{name}` needs a window"), Some(format!("`{name}(…) over (partition by … order by …)`")));
    }
    // The engine names the nearest of all its functions, however far it is.
    let near = near.and_then(|near| polder_base::nearest(name, [near]));
    (format!("there is no function `{name}`"), near.map(|near| format!("did you mean `{near}`?")))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::of_planning;

    #[test]
    fn messages_say_what_a_person_can_mend() {
        for (engine, message, hint) in [
            (
                "Internal error: Function 'sum' failed to match any signature, errors: Error during planning: Function \
                 'sum' requires Decimal, but received String (DataType: Utf8View).. This issue was likely caused by a \
                 bug in DataFusion's code. Please help us. No function matches the given name and argument types \
                 'sum(Utf8View)'. You might need to add explicit type casts.\n\tCandidate functions:\n\tsum(Decimal)\n\t\
                 sum(UInt64)\n\tsum(Int64)\n\tsum(Float64)",
                "`sum` does not take (text)",
                "there are `sum(decimal)`, `sum(bigint)`, `sum(double)`",
            ),
            (
                "Execution error: Function 'make_array' user-defined coercion failed with: Error during planning: Failed \
                 to unify argument types of make_array: [Int64, Utf8]. No function matches the given name and argument \
                 types 'make_array(Int64, Utf8)'. You might need to add explicit type casts.\n\tCandidate functions:\n\t\
                 make_array(UserDefined)",
                "`make_array` does not take (bigint, text)",
                "",
            ),
            (
                "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \
                 \"bronze.o.customer\" must appear in the GROUP BY clause or must be part of an aggregate function, \
                 currently only \"sum(bronze.o.amount)\" appears in the SELECT clause satisfies this requirement",
                "column `bronze.o.customer` is neither in `group by` nor inside an aggregate function",
                "`group by all` groups by all columns that are not aggregated",
            ),
            ("Invalid function 'sumn'.\nDid you mean 'sum'?", "there is no function `sumn`", "did you mean `sum`?"),
            ("Invalid function 'get_json'.\nDid you mean 'btrim'?", "there is no function `get_json`", ""),
            (
                "Invalid function 'lag'.\nDid you mean 'log'?",
                "`lag` needs a window",
                "`lag(…) over (partition by … order by …)`",
            ),
            (
                "Cannot coerce arithmetic expression Decimal128(18, 2) / Utf8View to valid types",
                "there is no `decimal(18, 2) / text`: cast one of the two",
                "",
            ),
            (
                "There isn't a common type to coerce Utf8View and Int64 in LIKE expression",
                "text and bigint cannot be compared by LIKE: cast one of the two",
                "",
            ),
            ("Order by column out of bounds, specified: 3, max: 1", "`order by 3`: the number of columns is 1", ""),
            (
                "Cannot create filter with non-boolean predicate 'bronze.o.n' returning Int64",
                "a condition is a boolean, and this one is bigint",
                "",
            ),
            (
                "Unsupported ast node Pivot { table: Table { name: ObjectName([]) } } in create_relation",
                "PIVOT is not supported",
                "",
            ),
            ("Unsupported SQL type money", "there is no type `money`", ""),
            (
                "Unary operator 'NOT' requires a boolean expression, got Decimal128(18, 2)",
                "unary operator 'NOT' requires a boolean expression, got decimal(18, 2)",
                "",
            ),
            (
                "Arrow error: Parser error: Invalid input syntax for type interval: \"3 foos\"",
                "invalid input syntax for type interval: \"3 foos\"",
                "",
            ),
            ("UNION queries have different number of columns", "UNION queries have different number of columns", ""),
        ] {
            let (told, helps) = of_planning(engine);
            assert_eq!((told.as_str(), helps.as_deref().unwrap_or_default()), (message, hint));
        }
    }
}
