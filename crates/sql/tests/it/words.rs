//! Words of SQL as names: what is left without quotes is a name to the parser, wherever it stands.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
use datafusion::sql::sqlparser::parser::Parser;
use polder_base::quote_name;

/// Statements with a name in every place where a column, an alias, a table or a namespace can stand.
const STATEMENTS: [&str; 12] = [
    "SELECT $ FROM gold.t",
    "SELECT a, $, b FROM gold.t",
    "SELECT DISTINCT $ FROM gold.t WHERE $ IS NULL AND $ = 1 AND $ IN (1) AND $ NOT IN (2) OR NOT $ > 2 OR ($) LIKE 'x'",
    "SELECT count(*), max($), count(DISTINCT $), sum($) FILTER (WHERE $ > 1) FROM gold.t GROUP BY $ HAVING $ < 3",
    "SELECT a AS $ FROM gold.t ORDER BY $, t.$ DESC",
    "SELECT t.$, -$, $ + 1, 1 - $, $::int, CAST($ AS int), ($, b) FROM gold.t AS t",
    "SELECT CASE WHEN $ THEN $ ELSE $ END, CASE $ WHEN $ THEN 1 END, $ BETWEEN $ AND $ FROM gold.t",
    "SELECT row_number() OVER (PARTITION BY $ ORDER BY $) FROM gold.t",
    "SELECT * FROM gold.$ WHERE true",
    "SELECT * FROM $.t",
    "SELECT * FROM $.$ AS t JOIN $.$ AS d ON t.$ = d.$ LEFT JOIN $.u USING ($)",
    "SELECT $ FROM (SELECT $, count(*) AS n FROM $.$ GROUP BY $) AS x",
];

#[test]
fn words_without_quotes_are_names_to_the_parser() {
    let parsed = |sql: &str| format!("{:?}", Parser::parse_sql(&GenericDialect {}, sql));
    let mut taken = Vec::new();
    for word in ALL_KEYWORDS.iter().map(|word| word.to_lowercase()) {
        if quote_name(&word) != word {
            continue;
        }
        // A name of the same length that is no word of any dialect: places stay the same.
        let name = "z".repeat(word.len());
        let differs = |sql: &&&str| {
            let (as_name, as_word) = (parsed(&sql.replace('$', &name)), parsed(&sql.replace('$', &word)));
            as_name.replace(&format!("\"{name}\""), &format!("\"{word}\"")) != as_word
        };
        if let Some(sql) = STATEMENTS.iter().find(differs) {
            taken.push(format!("{word}: {sql}"));
        }
    }
    assert!(taken.is_empty(), "{} words are not quoted:\n{}", taken.len(), taken.join("\n"));
}
