//! Time travel: `FROM t AT BRANCH x`, `FOR VERSION AS OF …`, `FOR TIMESTAMP AS OF …`.
//!
//! No dialect parses all of these, and a planner may ignore those that a dialect does parse. So they are taken out of
//! the tokens before parsing, and remembered by the place of the table's name that they follow; what is left has the
//! places of the original text.

use std::ops::Range;

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use polder_base::Timestamp;
use polder_diag::Diagnostic;

use super::text::Text;
use crate::codes;

/// Which version of a table is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// A ref as people write it.
    Ref(String),
    /// A snapshot of the table.
    Snapshot(i64),
    /// What the session's ref showed at a time.
    Time(Timestamp),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ref(spec) => f.write_str(spec),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
            Self::Time(time) => time.fmt(f),
        }
    }
}

/// A version clause, and the table name that it follows.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) at: At,
    /// Where the table's name starts.
    pub(crate) anchor: usize,
    /// The clause itself.
    pub(crate) range: Range<usize>,
}

/// Takes the version clauses out of a statement's tokens.
pub(crate) fn extract(
    tokens: Vec<TokenWithSpan>,
    text: &Text,
) -> Result<(Vec<TokenWithSpan>, Vec<Version>), Box<Diagnostic>> {
    let significant: Vec<usize> =
        (0..tokens.len()).filter(|i| !matches!(tokens[*i].token, Token::Whitespace(_))).collect();
    let reader = Reader { tokens: &tokens, significant: &significant, text };
    let (mut versions, mut dropped) = (Vec::new(), vec![false; tokens.len()]);
    let mut i = 1;
    while i < significant.len() {
        match reader.clause(i)? {
            Some((at, length)) => {
                let (first, last) = (significant[i], significant[i + length - 1]);
                let range = text.at(tokens[first].span.start)..text.at(tokens[last].span.end);
                versions.push(Version { at, anchor: reader.name_before(i), range });
                dropped[first..=last].fill(true);
                i += length;
            }
            None => i += 1,
        }
    }
    let kept = tokens.into_iter().zip(dropped).filter(|(_, dropped)| !dropped).map(|(token, _)| token).collect();
    Ok((kept, versions))
}

struct Reader<'a> {
    tokens: &'a [TokenWithSpan],
    significant: &'a [usize],
    text: &'a Text,
}

impl Reader<'_> {
    fn token(&self, i: usize) -> Option<&TokenWithSpan> {
        self.significant.get(i).map(|i| &self.tokens[*i])
    }

    fn is_word(&self, i: usize, words: &[&str]) -> bool {
        matches!(self.token(i).map(|t| &t.token), Some(Token::Word(Word { value, quote_style: None, .. }))
            if words.iter().any(|word| value.eq_ignore_ascii_case(word)))
    }

    /// The clause that starts at a token, and how many tokens it has.
    fn clause(&self, i: usize) -> Result<Option<(At, usize)>, Box<Diagnostic>> {
        if !matches!(self.token(i - 1).map(|t| &t.token), Some(Token::Word(_) | Token::SingleQuotedString(_))) {
            return Ok(None);
        }
        if self.is_word(i, &["at"]) && self.is_word(i + 1, &["branch", "tag", "commit", "ref"]) {
            let (spec, length) = self.reference(i + 2)?;
            return Ok(Some((At::Ref(spec), 2 + length)));
        }
        if !(self.is_word(i, &["for"]) && self.is_word(i + 2, &["as"]) && self.is_word(i + 3, &["of"])) {
            return Ok(None);
        }
        if self.is_word(i + 1, &["version", "system_version"]) {
            return self.version(i + 4).map(|at| Some((at, 5)));
        }
        if self.is_word(i + 1, &["timestamp", "system_time"]) {
            let typed = usize::from(self.is_word(i + 4, &["timestamp", "timestamptz", "date"]));
            return self.time(i + 4 + typed).map(|at| Some((at, 5 + typed)));
        }
        Ok(None)
    }

    /// A ref: quoted, or as it stands (`main`, `run/12`, `main@2026-11-20`, `main~2`) up to the next space or bracket.
    fn reference(&self, i: usize) -> Result<(String, usize), Box<Diagnostic>> {
        match self.token(i).map(|t| &t.token) {
            Some(Token::SingleQuotedString(spec)) => return Ok((spec.clone(), 1)),
            Some(Token::Word(Word { value, quote_style: Some(_), .. })) => return Ok((value.clone(), 1)),
            Some(Token::Word(_) | Token::Number(..)) => {}
            _ => return Err(Box::new(self.expected(i, "the name of a branch, such as `main` or 'run/12'"))),
        }
        let mut length = 1;
        while self.glued(i + length) {
            length += 1;
        }
        let (first, last) = (self.significant[i], self.significant[i + length - 1]);
        let range = self.text.at(self.tokens[first].span.start)..self.text.at(self.tokens[last].span.end);
        Ok((self.text.sql[range].to_owned(), length))
    }

    /// Whether a token belongs to the unquoted ref before it.
    fn glued(&self, i: usize) -> bool {
        let part = match self.token(i).map(|t| &t.token) {
            Some(Token::Word(word)) => word.quote_style.is_none(),
            Some(Token::Number(..) | Token::Div | Token::Minus | Token::Period | Token::AtSign | Token::Tilde) => true,
            Some(Token::Colon) => true,
            _ => false,
        };
        part && self.significant[i] == self.significant[i - 1] + 1
    }

    fn version(&self, i: usize) -> Result<At, Box<Diagnostic>> {
        match self.token(i).map(|t| &t.token) {
            Some(Token::SingleQuotedString(spec)) => Ok(At::Ref(spec.clone())),
            Some(Token::Number(digits, _)) => digits
                .parse()
                .map(At::Snapshot)
                .map_err(|_| Box::new(self.expected(i, "the id of a snapshot, a whole number"))),
            _ => Err(Box::new(self.expected(i, "the id of a snapshot (a number) or a ref or commit in quotes"))),
        }
    }

    fn time(&self, i: usize) -> Result<At, Box<Diagnostic>> {
        let Some(Token::SingleQuotedString(time)) = self.token(i).map(|t| &t.token) else {
            return Err(Box::new(self.expected(i, "a time in quotes, such as '2026-11-20 06:00:00'")));
        };
        match string_to_timestamp_nanos(time) {
            Ok(nanos) => Ok(At::Time(Timestamp(nanos.div_euclid(1000)))),
            Err(_) => {
                Err(Box::new(self.expected(i, "a time such as '2026-11-20 06:00:00' (UTC unless it names a zone)")))
            }
        }
    }

    fn expected(&self, i: usize, what: &str) -> Diagnostic {
        let (range, found) = match self.token(i) {
            Some(token) => (self.text.at(token.span.start)..self.text.at(token.span.end), format!("`{}`", token.token)),
            None => (self.text.sql.len()..self.text.sql.len(), "the end of the statement".to_owned()),
        };
        self.text.problem(codes::VERSION, range, format!("expected {what}, found {found}"))
    }

    /// Where the dotted name starts that ends before a token.
    fn name_before(&self, i: usize) -> usize {
        let mut first = i - 1;
        while first >= 2
            && matches!(self.token(first - 1).map(|t| &t.token), Some(Token::Period))
            && matches!(self.token(first - 2).map(|t| &t.token), Some(Token::Word(_)))
        {
            first -= 2;
        }
        self.token(first).map_or(0, |token| self.text.at(token.span.start))
    }
}
