//! What a statement is, as far as the connection itself answers it.

/// A statement by who answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// The session.
    Query,
    Begin,
    /// `true`: COMMIT, as it is answered; both end the same way, for nothing was written.
    End {
        commit: bool,
    },
    /// `None`: back to the first value.
    Set {
        name: String,
        value: Option<String>,
        /// Up to the end of the transaction.
        local: bool,
    },
    /// A setting that is asked for.
    Show(String),
    /// Of what there is none here: temporary tables, cursors of SQL, notices.
    Nothing {
        tag: &'static str,
    },
    /// `RESET ALL`, `DISCARD ALL`.
    Reset {
        tag: &'static str,
    },
    /// A prepared statement; `None`: all.
    Deallocate(Option<String>),
}

/// What `SHOW` asks of the session rather than of a setting.
const SHOWN_BY_SESSION: [&str; 3] = ["tables", "columns", "all"];

impl Command {
    pub(crate) fn of(sql: &str) -> Self {
        let words = words(sql);
        let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        match lower.as_slice() {
            ["begin", ..] | ["start", "transaction", ..] => Self::Begin,
            ["commit", ..] | ["end"] | ["end", "transaction" | "work"] => Self::End { commit: true },
            ["rollback" | "abort"] | ["rollback" | "abort", "transaction" | "work"] => Self::End { commit: false },
            ["set", "session" | "local", "characteristics" | "transaction", ..] | ["set", "transaction", ..] => {
                Self::Set { name: "transaction_isolation".to_owned(), value: None, local: false }
            }
            ["set", "time", "zone", ..] => set("TimeZone", &words[3..], false),
            ["set", scope @ ("session" | "local"), "time", "zone", ..] => {
                set("TimeZone", &words[4..], *scope == "local")
            }
            ["set", scope @ ("session" | "local"), _, ..] => set(words[2], &words[3..], *scope == "local"),
            ["set", "names", ..] => set("client_encoding", &words[2..], false),
            ["set", _, ..] => set(words[1], &words[2..], false),
            ["show", "time", "zone"] => Self::Show("TimeZone".to_owned()),
            ["show", "transaction", "isolation", "level"] => Self::Show("transaction_isolation".to_owned()),
            ["show", name] if !SHOWN_BY_SESSION.contains(name) => Self::Show(words[1].to_owned()),
            ["reset", "all"] => Self::Reset { tag: "RESET" },
            ["discard", "all"] => Self::Reset { tag: "DISCARD ALL" },
            ["discard", "temp" | "temporary"] => Self::Nothing { tag: "DISCARD TEMP" },
            ["discard", "sequences"] => Self::Nothing { tag: "DISCARD SEQUENCES" },
            ["discard", "plans"] => Self::Nothing { tag: "DISCARD PLANS" },
            ["close", "all"] => Self::Nothing { tag: "CLOSE CURSOR ALL" },
            ["unlisten", ..] => Self::Nothing { tag: "UNLISTEN" },
            ["reset", _] => Self::Set { name: words[1].to_owned(), value: None, local: false },
            ["deallocate", "all"] | ["deallocate", "prepare", "all"] => Self::Deallocate(None),
            ["deallocate", "prepare", _] => Self::Deallocate(Some(unquoted(words[2]))),
            ["deallocate", _] => Self::Deallocate(Some(unquoted(words[1]))),
            _ => Self::Query,
        }
    }

    /// What is told when it is done; of a query, the number of rows follows.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Self::Query => "SELECT",
            Self::Begin => "BEGIN",
            Self::End { commit: true } => "COMMIT",
            Self::End { commit: false } => "ROLLBACK",
            Self::Set { .. } => "SET",
            Self::Show(_) => "SHOW",
            Self::Reset { tag } | Self::Nothing { tag } => tag,
            Self::Deallocate(_) => "DEALLOCATE",
        }
    }
}

/// `SET name = value`, `SET name TO value, value`.
fn set(name: &str, rest: &[&str], local: bool) -> Command {
    let mut values = rest;
    if let [first, others @ ..] = rest
        && (*first == "=" || first.eq_ignore_ascii_case("to"))
    {
        values = others;
    }
    let value = values.iter().map(|word| unquoted(word)).collect::<Vec<_>>().join(" ").replace(" ,", ",");
    let value = Some(value).filter(|value| !value.eq_ignore_ascii_case("default"));
    Command::Set { name: unquoted(name), value, local }
}

fn unquoted(word: &str) -> String {
    for quote in ['\'', '"'] {
        if let Some(inner) = word.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.replace(&format!("{quote}{quote}"), &quote.to_string());
        }
    }
    word.to_owned()
}

/// Words at the start of a statement that are looked at: nothing that is answered here is longer.
const MOST_WORDS: usize = 24;

/// The words of a statement without its comments: names, quoted texts, single signs.
fn words(sql: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = sql;
    while words.len() < MOST_WORDS {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
            continue;
        }
        let Some(first) = rest.chars().next() else { break };
        let end = match first {
            '\'' | '"' => end_of_quoted(rest, first),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after;
    }
    words
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '-')
}

/// Two quotes inside of a quoted text are one of its characters.
fn end_of_quoted(text: &str, quote: char) -> usize {
    let mut from = 1;
    while let Some(at) = text[from..].find(quote) {
        let after = from + at + 1;
        if !text[after..].starts_with(quote) {
            return after;
        }
        from = after + 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: Option<&str>) -> Command {
        Command::Set { name: name.to_owned(), value: value.map(str::to_owned), local: false }
    }

    fn set_local(name: &str, value: Option<&str>) -> Command {
        Command::Set { name: name.to_owned(), value: value.map(str::to_owned), local: true }
    }

    #[test]
    fn what_a_connection_answers_itself() {
        for (sql, command) in [
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", Command::Begin),
            (" /* x */ start transaction", Command::Begin),
            ("COMMIT;", Command::End { commit: true }),
            ("ROLLBACK", Command::End { commit: false }),
            ("SET extra_float_digits = 3", set("extra_float_digits", Some("3"))),
            ("set session DateStyle to 'ISO, MDY'", set("DateStyle", Some("ISO, MDY"))),
            ("SET TIME ZONE 'Europe/Amsterdam'", set("TimeZone", Some("Europe/Amsterdam"))),
            ("set search_path to silver, gold", set("search_path", Some("silver, gold"))),
            ("set statement_timeout = default", set("statement_timeout", None)),
            ("SET LOCAL statement_timeout = '5s'", set_local("statement_timeout", Some("5s"))),
            ("set local time zone 'UTC'", set_local("TimeZone", Some("UTC"))),
            ("RESET statement_timeout", set("statement_timeout", None)),
            ("show transaction isolation level", Command::Show("transaction_isolation".to_owned())),
            ("SHOW server_version", Command::Show("server_version".to_owned())),
            ("SHOW TABLES", Command::Query),
            ("DISCARD ALL", Command::Reset { tag: "DISCARD ALL" }),
            ("DISCARD TEMP", Command::Nothing { tag: "DISCARD TEMP" }),
            ("UNLISTEN *", Command::Nothing { tag: "UNLISTEN" }),
            ("DEALLOCATE \"_pg3_0\"", Command::Deallocate(Some("_pg3_0".to_owned()))),
            ("select 1", Command::Query),
            ("-- begin\nselect 'rollback'", Command::Query),
            ("", Command::Query),
        ] {
            assert_eq!(Command::of(sql), command, "{sql}");
        }
    }
}
