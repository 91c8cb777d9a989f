//! From text to a statement that can be planned: one query, its tables known by place, its versions taken out.

mod kind;
mod meaning;
mod naming;
mod precedence;
mod quantified;
mod references;
mod relations;
mod text;
mod version;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span as TokenSpan, Token, TokenWithSpan, Tokenizer, Word};
use polder_diag::Diagnostic;

pub use references::{Reference, references, system_references, table_references};
pub(crate) use relations::{Relation, relations};
pub use text::FILE;
pub(crate) use text::Text;
pub(crate) use version::At;

use crate::{Result, SqlError, codes};

/// How deep brackets and subqueries may be nested.
const RECURSION_LIMIT: usize = 128;

/// Operators of one statement.
const MOST_OPERATORS: usize = 5_000;

/// Operators of one expression, each of which is an operand of the next, and queries that `UNION` and its like join.
const MOST_DEEP: usize = 250;

/// A statement, and the tables that it names.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) text: Text,
    pub(crate) kind: Kind,
    pub(crate) relations: Vec<Relation>,
}

/// What a person may ask for.
#[derive(Debug)]
pub(crate) enum Kind {
    Query(Box<Query>),
    /// `EXPLAIN [ANALYZE]` of a query.
    Explain(Box<Statement>),
    /// `DESCRIBE`: the columns of a query.
    Describe(Box<Query>),
    /// `SUMMARIZE`: a row about each column of a query.
    Summarize(Box<Query>),
}

/// Parses one statement.
pub(crate) fn parse(sql: &str) -> Result<Parsed> {
    let text = Text::new(sql);
    parse_text(&text).map(|(kind, relations)| Parsed { text, kind, relations }).map_err(SqlError::statement)
}

fn parse_text(text: &Text) -> Result<(Kind, Vec<Relation>), Box<Diagnostic>> {
    let tokens = tokenize(text)?;
    let (tokens, versions) = version::extract(tokens, text)?;
    let (tokens, summarize) = take_summarize(tokens);
    let statement = parse_tokens(tokens, text)?;
    let mut kind = kind::of(statement, summarize, text)?;
    match &mut kind {
        Kind::Query(query) | Kind::Describe(query) | Kind::Summarize(query) => {
            naming::name_columns(query);
            meaning::settle(query);
        }
        Kind::Explain(statement) => meaning::settle(statement),
    }
    let relations = relations(&mut kind, versions, text)?;
    Ok((kind, relations))
}

fn tokenize(text: &Text) -> Result<Vec<TokenWithSpan>, Box<Diagnostic>> {
    let tokens = Tokenizer::new(&GenericDialect {}, &text.sql).tokenize_with_location();
    tokens.map(without_empty_brackets).map_err(|error| {
        let start = text.at(error.location);
        Box::new(text.problem(codes::SYNTAX, text.word_at(start), lower_first(&error.message)))
    })
}

/// Functions that SQL writes without brackets: the parser takes them only so, and people write `current_user()`.
const BARE_FUNCTIONS: [&str; 3] = ["current_user", "session_user", "user"];

fn without_empty_brackets(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let empty = token.token == Token::RParen
            && matches!(kept.as_slice(), [.., function, bracket]
                if bracket.token == Token::LParen && is_word(function, &BARE_FUNCTIONS));
        if empty {
            kept.pop();
        } else {
            kept.push(token);
        }
    }
    kept
}

/// Signs and words that make an expression or a query deeper by one, however it is bracketed.
fn deepens(token: &TokenWithSpan) -> bool {
    const WORDS: [&str; 8] = ["and", "or", "not", "is", "like", "ilike", "between", "collate"];
    match &token.token {
        Token::Word(_) => is_word(token, &WORDS) || is_word(token, &SET_WORDS),
        Token::Whitespace(_)
        | Token::Number(..)
        | Token::Placeholder(_)
        | Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::SemiColon
        | Token::EOF => false,
        other => !matches!(other, Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)),
    }
}

const SET_WORDS: [&str; 3] = ["union", "except", "intersect"];

/// The parser makes of `1 + 1 + 1 + …` a tree as deep as the chain is long, and much walks that tree by recursion: one
/// that is too deep would end the process. Here what could not even be taken apart again is refused.
fn refuse_long_chains(tokens: &[TokenWithSpan], text: &Text) -> Result<(), Box<Diagnostic>> {
    let beyond = |token: Option<&TokenWithSpan>, most: usize, what: &str| match token {
        None => Ok(()),
        Some(token) => {
            let range = text.word_at(text.at(token.span.start));
            Err(Box::new(text.problem(codes::SYNTAX, range, format!("the statement has more than {most} {what}"))))
        }
    };
    beyond(tokens.iter().filter(|token| deepens(token)).nth(MOST_OPERATORS), MOST_OPERATORS, "operators")?;
    beyond(tokens.iter().filter(|token| is_word(token, &SET_WORDS)).nth(MOST_DEEP), MOST_DEEP, "queries in a row")
}

/// How deep an expression is.
#[derive(Default)]
struct Depth(usize);

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.0 += 1;
        if self.0 > MOST_DEEP { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.0 -= 1;
        ControlFlow::Continue(())
    }
}

fn refuse_depth(tree: &impl Visit, text: &Text) -> Result<(), Box<Diagnostic>> {
    if tree.visit(&mut Depth::default()).is_continue() {
        return Ok(());
    }
    let message = format!("an expression is more than {MOST_DEEP} operators deep");
    Err(Box::new(text.problem(codes::SYNTAX, 0..0, message).hint("write `x in (…)` for many values")))
}

fn parse_tokens(tokens: Vec<TokenWithSpan>, text: &Text) -> Result<Statement, Box<Diagnostic>> {
    refuse_long_chains(&tokens, text)?;
    meaning::check(&tokens, text)?;
    let tokens = with_select_before_from(tokens);
    let mut parser =
        Parser::new(&GenericDialect {}).with_recursion_limit(RECURSION_LIMIT).with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements().map_err(|error| parse_problem(&error, text))?;
    let end = text.sql.len();
    match statements.len() {
        1 => {
            let statement = statements.remove(0);
            refuse_depth(&statement, text)?;
            Ok(statement)
        }
        0 => Err(Box::new(text.problem(codes::SYNTAX, end..end, "there is no statement"))),
        n => Err(Box::new(
            text.problem(codes::SYNTAX, 0..0, format!("{n} statements at once, and one was expected"))
                .hint("send them one after the other"),
        )),
    }
}

/// `FROM t WHERE …` is `SELECT * FROM t WHERE …`. The parser takes `FROM t` alone, and `FROM t SELECT …`.
fn with_select_before_from(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let first = tokens.iter().position(|token| !matches!(token.token, Token::Whitespace(_)));
    let Some(first) = first.filter(|at| is_word(&tokens[*at], &["from"])) else { return tokens };
    let mut depth = 0_usize;
    let has_select = tokens.iter().any(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && is_word(token, &["select"])
    });
    if !has_select {
        let span = tokens[first].span;
        let select = [Token::make_keyword("SELECT"), Token::Mul].map(|token| TokenWithSpan::new(token, span));
        tokens.splice(first..first, select);
    }
    tokens
}

/// `SUMMARIZE t` and `SUMMARIZE SELECT …` become queries: DataFusion knows neither.
fn take_summarize(mut tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, bool) {
    let mut words = (0..tokens.len()).filter(|i| !matches!(tokens[*i].token, Token::Whitespace(_)));
    let (Some(first), second) = (words.next(), words.next()) else {
        return (tokens, false);
    };
    if !is_word(&tokens[first], &["summarize"]) {
        return (tokens, false);
    }
    let query = second.is_some_and(|i| {
        is_word(&tokens[i], &["select", "with", "values", "from", "table"]) || tokens[i].token == Token::LParen
    });
    let span = tokens[first].span;
    let replacement: Vec<TokenWithSpan> = if query { Vec::new() } else { select_all_from(span) };
    tokens.splice(first..=first, replacement);
    (tokens, true)
}

fn select_all_from(span: TokenSpan) -> Vec<TokenWithSpan> {
    [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")]
        .into_iter()
        .map(|token| TokenWithSpan::new(token, span))
        .collect()
}

fn is_word(token: &TokenWithSpan, words: &[&str]) -> bool {
    matches!(&token.token, Token::Word(Word { value, quote_style: None, .. })
        if words.iter().any(|word| value.eq_ignore_ascii_case(word)))
}

/// The parser tells places at the end of its messages: `… at Line: 1, Column: 15`.
fn parse_problem(error: &ParserError, text: &Text) -> Diagnostic {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply",
    };
    let (message, range) = match place(message) {
        Some((message, location)) => (message, text.word_at(text.at(location))),
        None => (message, text.sql.len()..text.sql.len()),
    };
    text.problem(codes::SYNTAX, range, lower_first(message))
}

fn place(message: &str) -> Option<(&str, Location)> {
    let (before, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((before, Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?)))
}

fn lower_first(message: &str) -> String {
    let mut chars = message.trim().chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Parses an expression that stands alone, such as a policy's row filter.
pub(crate) fn parse_expression(sql: &str) -> Result<(Text, Expr, Vec<Relation>)> {
    let text = Text::new(sql);
    let parsed = || -> Result<_, Box<Diagnostic>> {
        let tokens = tokenize(&text)?;
        refuse_long_chains(&tokens, &text)?;
        meaning::check(&tokens, &text)?;
        let mut parser =
            Parser::new(&GenericDialect {}).with_recursion_limit(RECURSION_LIMIT).with_tokens_with_locations(tokens);
        let mut expr = parser.parse_expr().map_err(|error| parse_problem(&error, &text))?;
        let rest = parser.peek_token();
        if rest.token != Token::EOF {
            let start = text.at(rest.span.start);
            return Err(Box::new(text.problem(
                codes::SYNTAX,
                text.word_at(start),
                format!("expected one expression, found `{}`", rest.token),
            )));
        }
        meaning::settle(&mut expr);
        let relations = relations::of_expression(&mut expr, &text)?;
        Ok((expr, relations))
    };
    let (expr, relations) = parsed().map_err(SqlError::statement)?;
    Ok((text, expr, relations))
}

/// The names of a statement's parts, lower case unless quoted.
pub(crate) fn normalise(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}
