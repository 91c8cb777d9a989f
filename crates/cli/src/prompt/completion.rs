//! What may stand where the cursor is.

use polder_app::{NamedRelation, Names};
use polder_base::{quote_name, quote_text};

use super::tokens::{Kind, Token, parts, split_last, tokens};

/// Commands of the prompt that Tab completes, and what stands behind them.
const COMMANDS: &[(&str, Argument)] = &[
    ("\\?", Argument::None),
    ("\\d", Argument::Relation),
    ("\\df", Argument::Function),
    ("\\dt", Argument::Relation),
    ("\\dv", Argument::Relation),
    ("\\format", Argument::One(&["table", "csv", "json", "jsonl"])),
    ("\\l", Argument::None),
    ("\\pset", Argument::One(&["pager on", "pager off"])),
    ("\\q", Argument::None),
    ("\\ref", Argument::Ref),
    ("\\refresh", Argument::None),
    ("\\timing", Argument::One(&["on", "off"])),
    ("\\x", Argument::One(&["on", "off"])),
];

#[derive(Debug, Clone, Copy)]
enum Argument {
    None,
    Relation,
    Function,
    Ref,
    One(&'static [&'static str]),
}

/// Words that begin statements.
const STATEMENTS: &[&str] =
    &["describe", "explain", "explain analyze", "from", "select", "show", "summarize", "values", "with"];

/// Words inside of statements.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "and", "as", "asc", "at branch", "at tag", "between", "case", "cast(", "cross join", "desc", "distinct", "else", "end",
    "except", "exists", "false", "filter", "for timestamp as of", "for version as of", "from", "full join", "group by",
    "group by all", "having", "ilike", "in", "inner join", "intersect", "interval", "is not null", "is null", "join",
    "left join", "like", "limit", "not", "null", "nulls first", "nulls last", "offset", "on", "or", "order by", "over",
    "partition by", "qualify", "right join", "select", "then", "true", "union all", "using", "when", "where", "with",
];

/// Words that end a list of tables; none of them is an alias.
#[rustfmt::skip]
const AFTER_TABLES: &[&str] = &[
    "at", "cross", "except", "for", "full", "group", "having", "inner", "intersect", "join", "left", "limit", "natural",
    "offset", "on", "order", "qualify", "right", "select", "union", "using", "where", "window",
];

/// Candidates for what ends at `position`, and where it starts.
pub fn candidates(names: &Names, line: &str, position: usize) -> (usize, Vec<String>) {
    let Some(before) = line.get(..position) else { return (position, Vec::new()) };
    let (start, mut found) = match before.trim_start().starts_with('\\') {
        true => of_command(names, before),
        false => of_statement(names, line, before),
    };
    found.sort_unstable();
    found.dedup();
    (start, found)
}

fn of_command(names: &Names, before: &str) -> (usize, Vec<String>) {
    let start = before.len() - before.trim_start().len();
    let Some((command, argument)) = before[start..].split_once(char::is_whitespace) else {
        return (start, with_prefix(COMMANDS.iter().map(|(name, _)| (*name).to_owned()), &before[start..]));
    };
    let argument = argument.trim_start();
    let start = before.len() - argument.len();
    let Some((_, takes)) = COMMANDS.iter().find(|(name, _)| *name == command) else { return (start, Vec::new()) };
    let found = match takes {
        Argument::None => Vec::new(),
        Argument::Relation => relations(names, argument, &[]),
        Argument::Function => with_prefix(names.functions.iter().map(|f| f.name.clone()), argument),
        Argument::Ref => with_prefix(names.refs.iter().cloned(), argument),
        Argument::One(words) => with_prefix(words.iter().map(|word| (*word).to_owned()), argument),
    };
    (start, found)
}

fn of_statement(names: &Names, line: &str, before: &str) -> (usize, Vec<String>) {
    let all = tokens(line);
    let position = before.len();
    let statement = around(&all, position);
    // What stands before the cursor without white space between: `run/1` is three tokens, and one ref.
    let typed =
        before.rfind(char::is_whitespace).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    if let Some(quotes) = ref_place(&preceding(statement, typed)) {
        return (typed, refs(names, &before[typed..], quotes));
    }
    let under = statement.iter().find(|token| token.start < position && position <= token.range().end);
    let start = match under {
        Some(token) if matches!(token.kind, Kind::Text | Kind::Comment | Kind::Number) => {
            return (position, Vec::new());
        }
        Some(token) if token.kind == Kind::Word => token.start,
        _ => position,
    };
    let (written, previous) = (&before[start..], preceding(statement, start));
    let sources = Sources::of(statement, start);
    let found = match table_place(&previous) {
        true => relations(names, written, &sources.defined),
        false => expressions(names, written, &sources, previous.is_empty()),
    };
    (start, found)
}

/// The tokens of the statement in which the position is.
fn around<'a, 't>(all: &'a [Token<'t>], position: usize) -> &'a [Token<'t>] {
    let ends = |token: &Token<'_>| token.is_sign(';');
    let from = all.iter().rposition(|token| ends(token) && token.start < position).map_or(0, |at| at + 1);
    let to = all[from..].iter().position(ends).map_or(all.len(), |at| from + at);
    &all[from..to]
}

/// The tokens that end before a place, comments left out.
fn preceding<'a, 't>(statement: &'a [Token<'t>], place: usize) -> Vec<&'a Token<'t>> {
    statement.iter().filter(|token| token.range().end <= place && token.kind != Kind::Comment).collect()
}

/// Whether a ref is to follow, and then whether it must stand in quotes.
fn ref_place(previous: &[&Token<'_>]) -> Option<bool> {
    match previous {
        [.., at, kind] if at.is("at") && (kind.is("branch") || kind.is("tag")) => Some(false),
        [.., version, r#as, of] if version.is("version") && r#as.is("as") && of.is("of") => Some(true),
        _ => None,
    }
}

fn refs(names: &Names, typed: &str, quotes: bool) -> Vec<String> {
    let prefix = typed.trim_start_matches('\'');
    let is_quoted = quotes || typed.starts_with('\'');
    let written = |name: &String| match is_quoted || quote_name(name) != *name {
        true => quote_text(name),
        false => name.clone(),
    };
    names.refs.iter().filter(|name| name.starts_with(prefix)).map(written).collect()
}

/// Whether a table's name is to follow.
fn table_place(previous: &[&Token<'_>]) -> bool {
    let Some(last) = previous.last() else { return false };
    if ["from", "join", "describe", "summarize"].iter().any(|word| last.is(word)) {
        return true;
    }
    // In `from a, ` and not in `select a, `: the last word of a clause tells.
    let clause = previous.iter().rev().find(|t| t.is("from") || t.is("join") || is_clause(t));
    last.is_sign(',') && clause.is_some_and(|t| t.is("from") || t.is("join"))
}

fn is_clause(token: &Token<'_>) -> bool {
    ["select", "where", "group", "order", "having", "on", "using", "by", "with", "qualify"].iter().any(|w| token.is(w))
}

/// A table as a statement names it.
struct Source {
    name: Vec<String>,
    alias: Option<String>,
}

/// The tables of a statement.
struct Sources {
    named: Vec<Source>,
    /// Those that a WITH defines.
    defined: Vec<String>,
}

impl Sources {
    /// `cursor`: where the word starts that is being typed, which names nothing yet.
    fn of(statement: &[Token<'_>], cursor: usize) -> Self {
        let tokens: Vec<&Token<'_>> =
            statement.iter().filter(|t| t.kind != Kind::Comment && t.start != cursor).collect();
        let mut named = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let is_call = tokens.get(at + 1).is_some_and(|next| next.is_sign('('));
            if token.kind == Kind::Word && !is_call && table_place(&tokens[..at]) {
                named.push(Source { name: parts(token.text), alias: alias(&tokens[at + 1..]) });
            }
        }
        let defined = match tokens.first() {
            Some(first) if first.is("with") => tokens
                .windows(3)
                .filter(|w| w[0].kind == Kind::Word && w[1].is("as") && w[2].is_sign('('))
                .map(|w| w[0].text.to_owned())
                .collect(),
            _ => Vec::new(),
        };
        Self { named, defined }
    }

    /// The table that an alias, or a table's own name, means here.
    fn meant<'n>(&self, names: &'n Names, qualifier: &[String]) -> Option<&'n NamedRelation> {
        let source = self.named.iter().find(|source| match (&source.alias, qualifier) {
            (Some(alias), [only]) => alias == only,
            (None, qualifier) => source.name.ends_with(qualifier),
            _ => false,
        });
        found(names, &source?.name)
    }
}

/// The alias that follows a table's name, behind its version.
fn alias(after: &[&Token<'_>]) -> Option<String> {
    let after = match after {
        [at, _, _, rest @ ..] if at.is("at") => rest,
        [r#for, _, r#as, of, _, rest @ ..] if r#for.is("for") && r#as.is("as") && of.is("of") => rest,
        all => all,
    };
    let (explicit, first) = match after {
        [r#as, name, ..] if r#as.is("as") => (true, name),
        [name, ..] => (false, name),
        [] => return None,
    };
    let is_name = first.kind == Kind::Word && (explicit || !AFTER_TABLES.iter().any(|word| first.is(word)));
    is_name.then(|| parts(first.text).concat())
}

/// A table by the parts of its name.
fn found<'n>(names: &'n Names, parts: &[String]) -> Option<&'n NamedRelation> {
    match parts {
        [name] => names.bare(name),
        [namespace @ .., name] => names.relation(&namespace.join("."), name),
        [] => None,
    }
}

/// Tables, as far as they are typed: schemas and names that need none, then the tables of a schema.
fn relations(names: &Names, written: &str, defined: &[String]) -> Vec<String> {
    let (qualifier, prefix) = split_last(written);
    if qualifier.is_empty() {
        let schemas = names.relations.iter().map(|r| format!("{}.", quote_name(&r.name.namespace)));
        let bare = names.relations.iter().filter(|r| names.bare(&r.name.name) == Some(r));
        let bare = bare.map(|r| quote_name(&r.name.name));
        return with_prefix(schemas.chain(bare).chain(defined.iter().cloned()), prefix);
    }
    let namespace = parts(qualifier.trim_end_matches('.')).join(".");
    let tables = names.relations.iter().filter(|r| r.name.namespace == namespace);
    qualified(qualifier, tables.map(|r| quote_name(&r.name.name)), prefix)
}

/// Columns of the statement's tables, functions and words.
fn expressions(names: &Names, written: &str, sources: &Sources, first: bool) -> Vec<String> {
    let (qualifier, prefix) = split_last(written);
    if !qualifier.is_empty() {
        let relation = sources.meant(names, &parts(qualifier.trim_end_matches('.')));
        let columns = relation.into_iter().flat_map(|r| &r.columns).map(|column| quote_name(column));
        return qualified(qualifier, columns, prefix);
    }
    if first {
        return if prefix.is_empty() { Vec::new() } else { words(STATEMENTS, prefix) };
    }
    let relations = sources.named.iter().filter_map(|source| found(names, &source.name));
    let columns = relations.flat_map(|r| &r.columns).map(|column| quote_name(column));
    let mut all = with_prefix(columns, prefix);
    // All words and functions at once would help nobody.
    if !prefix.is_empty() {
        let aliases = sources.named.iter().filter_map(|source| source.alias.as_deref());
        all.extend(with_prefix(aliases.map(|alias| format!("{}.", quote_name(alias))), prefix));
        all.extend(with_prefix(names.functions.iter().map(|f| format!("{}(", f.name)), prefix));
        all.extend(words(WORDS, prefix));
    }
    all
}

/// Those that begin as typed, whatever the case of that.
fn with_prefix(all: impl Iterator<Item = String>, typed: &str) -> Vec<String> {
    let (typed, bare) = (typed.to_lowercase(), typed.trim_start_matches('"').to_lowercase());
    let begins = |name: &String| {
        let name = name.to_lowercase();
        name.starts_with(&typed) || name.trim_start_matches('"').starts_with(&bare)
    };
    all.filter(begins).collect()
}

fn qualified(qualifier: &str, all: impl Iterator<Item = String>, typed: &str) -> Vec<String> {
    with_prefix(all, typed).into_iter().map(|name| format!("{qualifier}{name}")).collect()
}

/// Words of SQL, in the case in which they are typed.
fn words(all: &[&str], typed: &str) -> Vec<String> {
    let upper = typed.chars().any(char::is_uppercase) && !typed.chars().any(char::is_lowercase);
    let cased = |word: &&str| if upper { word.to_uppercase() } else { (*word).to_owned() };
    with_prefix(all.iter().map(cased), typed)
}

#[cfg(test)]
mod tests {
    use polder_base::TableName;

    use super::*;

    fn names() -> Names {
        let relation = |namespace: &str, name: &str, columns: &[&str]| NamedRelation {
            name: TableName::new(namespace, name),
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        };
        Names {
            relations: vec![
                relation("gold", "daily", &["day", "revenue", "Größe"]),
                relation("silver", "daily", &["other"]),
                relation("silver", "orders", &["order_id", "amount"]),
                relation("system", "runs", &["run", "status"]),
            ],
            search: ["gold", "silver", "bronze"].map(str::to_owned).to_vec(),
            functions: vec![polder_app::Function { name: "round".into(), kind: "scalar", usage: None, about: None }],
            refs: ["main", "fix", "run/12"].map(str::to_owned).to_vec(),
        }
    }

    /// Candidates at the `|` of a text; what is completed starts where they say.
    #[track_caller]
    fn at(text: &str, want: &[&str]) {
        let position = text.find('|').unwrap();
        let (start, found) = candidates(&names(), &text.replace('|', ""), position);
        assert!(start <= position);
        assert_eq!(found, want, "{text}");
    }

    #[test]
    fn tables_stand_behind_from_and_join() {
        at("select * from go|", &["gold."]);
        at("select * from gold.|", &["gold.daily"]);
        at("select * from silver.o|", &["silver.orders"]);
        at("select * from SYS|", &["system."]);
        at("select * from system.r|", &["system.runs"]);
        at("select * from orders o join da|", &["daily"]);
        at("select 1; select * from gold.daily, ord|", &["orders"]);
        at("with recent as (select 1) select * from rec|", &["recent"]);
        at("describe o|", &["orders"]);
    }

    #[test]
    fn columns_are_those_of_the_tables_that_are_named() {
        at("select | from gold.daily", &["\"Größe\"", "day", "revenue"]);
        at("select rev| from daily", &["revenue"]);
        at("select gr| from daily", &["\"Größe\"", "group by", "group by all"]);
        at("select o.am| from silver.orders AT BRANCH fix as o", &["o.amount"]);
        at("select o.| from silver.orders o, daily d", &["o.amount", "o.order_id"]);
        at("select daily.d| from daily", &["daily.day"]);
        at("select x.| from silver.orders o", &[]);
        at("select 1 from silver.orders where ord|", &["order by", "order_id"]);
        at("select rev|; select 2 from gold.daily", &[]);
        at("select ro| from gold.daily", &["round("]);
        at("select r| from system.runs ru", &["right join", "round(", "ru.", "run"]);
    }

    #[test]
    fn words_take_the_case_that_is_typed() {
        at("sel|", &["select"]);
        at("SEL|", &["SELECT"]);
        at("select 1 from orders WHE|", &["WHEN", "WHERE"]);
        at("|", &[]);
    }

    #[test]
    fn refs_stand_behind_versions() {
        at("select * from orders at branch f|", &["fix"]);
        at("select * from orders at branch |", &["'run/12'", "fix", "main"]);
        at("select * from orders at branch run/1|", &["'run/12'"]);
        at("select * from orders for version as of 'ma|", &["'main'"]);
        at("\\ref r|", &["run/12"]);
    }

    #[test]
    fn nothing_in_texts_and_comments() {
        at("select 'from go|", &[]);
        at("select 1 -- from go|", &[]);
        at("select größe, |", &[]);
    }

    #[test]
    fn commands_have_arguments() {
        at("\\d|", &["\\d", "\\df", "\\dt", "\\dv"]);
        at("\\d gold.d|", &["gold.daily"]);
        at("\\df r|", &["round"]);
        at("\\pset |", &["pager off", "pager on"]);
    }
}
