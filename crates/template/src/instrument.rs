//! Writing a template out again, with marks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use minijinja::machinery::{Token, Tokenizer};
use minijinja::syntax::SyntaxConfig;

use crate::map::{Origin, SpanMap};

/// The functions that want to know where they are called.
const PLACED: [&str; 5] = ["ref", "source", "var", "config", "env_var"];

/// The first of the characters for private use that marks are made of.
pub(crate) const FIRST_MARK: char = '\u{f0000}';

/// A template with marks.
#[derive(Debug, Clone)]
pub(crate) struct Instrumented {
    pub(crate) text: String,
    /// From the text with marks to the files, for the engine's own errors.
    pub(crate) map: SpanMap,
    /// What each mark stands for, by its number.
    pub(crate) origins: Vec<Origin>,
    /// The calls of placed functions, by their number.
    pub(crate) calls: Vec<Call>,
    /// Begins and ends a mark; nothing that is rendered contains it.
    pub(crate) mark: char,
}

/// A call of a placed function.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) file: Arc<str>,
    pub(crate) function: &'static str,
    /// From the first argument to the last; the function's name where there is none.
    pub(crate) arguments: Range<usize>,
    /// Keyword arguments and the places of their names.
    pub(crate) keywords: BTreeMap<String, Range<usize>>,
    /// The arguments, where all are plain strings.
    pub(crate) literals: Option<Vec<String>>,
}

/// A token of a tag and its place in the file.
pub(crate) struct Placed<'s> {
    pub(crate) token: Token<'s>,
    pub(crate) range: Range<usize>,
}

impl Placed<'_> {
    fn ident(&self) -> Option<&str> {
        match &self.token {
            Token::Ident(name) => Some(name),
            _ => None,
        }
    }
}

/// A part of a template, as the engine's lexer sees it: white space control is done.
pub(crate) enum Part<'s> {
    /// Text and its place.
    Text(&'s str, Range<usize>),
    /// `{{ … }}`: what is between the braces.
    Expression(Vec<Placed<'s>>),
    /// `{% … %}`.
    Block(Vec<Placed<'s>>),
}

/// The syntax that all templates have. The newline at the end of a file stays, or places would not be the file's.
pub(crate) fn syntax() -> SyntaxConfig {
    let mut builder = SyntaxConfig::builder();
    builder.keep_trailing_newline(true);
    builder.build().unwrap_or_default()
}

/// Divides a template. It has been parsed before: an error here ends it early, and was told.
pub(crate) fn parts(source: &str) -> Vec<Part<'_>> {
    let mut tokens = Tokenizer::new(source, "", false, syntax());
    let mut parts = Vec::new();
    let mut open: Vec<Placed<'_>> = Vec::new();
    while let Ok(Some((token, span))) = tokens.next_token() {
        let range = span.start_offset as usize..span.end_offset as usize;
        match token {
            Token::TemplateData(text) => {
                // The span of a raw block is wider than its text.
                let start = text.as_ptr() as usize - source.as_ptr() as usize;
                parts.push(Part::Text(text, start..start + text.len()));
            }
            Token::VariableStart | Token::BlockStart => open.clear(),
            Token::VariableEnd => parts.push(Part::Expression(std::mem::take(&mut open))),
            Token::BlockEnd => parts.push(Part::Block(std::mem::take(&mut open))),
            token => open.push(Placed { token, range }),
        }
    }
    parts
}

/// How a block changes what happens to the text in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// What follows is kept by the template, up to the matching end.
    Captures,
    Releases,
    None,
}

fn effect(block: &[Placed<'_>]) -> Effect {
    match block.first().and_then(Placed::ident) {
        Some("macro" | "call" | "filter") => Effect::Captures,
        Some("set") if !assigns(block) => Effect::Captures,
        Some("endmacro" | "endcall" | "endfilter" | "endset") => Effect::Releases,
        _ => Effect::None,
    }
}

/// `{% set x = … %}` keeps nothing, `{% set x | replace(a=1) %}` does: its `=` lies inside of parentheses.
fn assigns(block: &[Placed<'_>]) -> bool {
    let mut depth = 0_i32;
    for placed in block {
        match placed.token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => depth -= 1,
            Token::Assign if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

impl Instrumented {
    pub(crate) fn new() -> Self {
        Self { text: String::new(), map: SpanMap::default(), origins: Vec::new(), calls: Vec::new(), mark: FIRST_MARK }
    }

    /// Adds a whole template.
    pub(crate) fn template(&mut self, file: &Arc<str>, source: &str) {
        let mut captured = 0_usize;
        for part in parts(source) {
            match part {
                Part::Text(text, range) => {
                    if captured == 0 {
                        self.marked(file, range.clone(), true);
                    }
                    self.literal(file, text, range);
                }
                Part::Expression(tokens) => {
                    if captured == 0 {
                        self.marked(file, extent(&tokens), false);
                    }
                    self.tag("{{", "}}", file, source, &tokens);
                }
                Part::Block(tokens) => {
                    let effect = effect(&tokens);
                    // What `{% call %}` and `{% filter %}` make goes to the output when they end.
                    let emits = matches!(tokens.first().and_then(Placed::ident), Some("call" | "filter"));
                    if captured == 0 && emits {
                        self.marked(file, extent(&tokens), false);
                    }
                    match effect {
                        Effect::Captures => captured += 1,
                        Effect::Releases => captured = captured.saturating_sub(1),
                        Effect::None => {}
                    }
                    self.tag("{%", "%}", file, source, &tokens);
                }
            }
        }
    }

    /// Adds a part of a file with macros: inside of a macro nothing is marked.
    pub(crate) fn macro_part(&mut self, file: &Arc<str>, source: &str, part: &Part<'_>) {
        match part {
            Part::Text(text, range) => self.literal(file, text, range.clone()),
            Part::Expression(tokens) => self.tag("{{", "}}", file, source, tokens),
            Part::Block(tokens) => self.tag("{%", "%}", file, source, tokens),
        }
    }

    /// A mark: what the template puts out from here came from `range`.
    fn marked(&mut self, file: &Arc<str>, range: Range<usize>, copied: bool) {
        let number = self.origins.len();
        self.origins.push(Origin { file: Arc::clone(file), range, copied });
        self.text.push(self.mark);
        self.text.push_str(&number.to_string());
        self.text.push(self.mark);
    }

    fn literal(&mut self, file: &Arc<str>, text: &str, range: Range<usize>) {
        // Text that holds a tag's beginning comes from a raw block, and must be one again; a brace at its end would
        // become one with the tag behind it.
        let raw = text.ends_with('{') || ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag));
        if raw {
            self.text.push_str("{% raw %}");
        }
        self.copy(file, text, range);
        if raw {
            self.text.push_str("{% endraw %}");
        }
    }

    fn copy(&mut self, file: &Arc<str>, text: &str, range: Range<usize>) {
        self.map.push(self.text.len(), Origin { file: Arc::clone(file), range, copied: true });
        self.text.push_str(text);
    }

    /// Writes a tag, without white space control, which is done, and with the numbers of placed calls.
    fn tag(&mut self, open: &str, close: &str, file: &Arc<str>, source: &str, tokens: &[Placed<'_>]) {
        let extent = extent(tokens);
        self.text.push_str(open);
        self.text.push(' ');
        let mut done = extent.start;
        for at in 0..tokens.len() {
            let Some(call) = placed_call(file, tokens, at) else { continue };
            let paren = tokens[at + 1].range.end;
            self.copy(file, &source[done..paren], done..paren);
            let number = self.calls.len().to_string();
            let comma =
                if matches!(tokens.get(at + 2), Some(p) if matches!(p.token, Token::ParenClose)) { "" } else { ", " };
            self.text.push_str(&number);
            self.text.push_str(comma);
            self.calls.push(call);
            done = paren;
        }
        self.copy(file, &source[done..extent.end], done..extent.end);
        self.text.push(' ');
        self.text.push_str(close);
    }
}

fn extent(tokens: &[Placed<'_>]) -> Range<usize> {
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => first.range.start..last.range.end,
        _ => 0..0,
    }
}

/// The call of a placed function that begins at token `at`.
fn placed_call(file: &Arc<str>, tokens: &[Placed<'_>], at: usize) -> Option<Call> {
    let name = tokens[at].ident()?;
    let function = PLACED.into_iter().find(|f| *f == name)?;
    matches!(tokens.get(at + 1)?.token, Token::ParenOpen).then_some(())?;
    let before = at.checked_sub(1).map(|b| &tokens[b]);
    // `x.ref(…)` is a method, `{% macro ref(…) %}` a definition, `… | source(…)` a filter.
    let other = before.is_some_and(|b| matches!(b.token, Token::Dot | Token::Pipe) || b.ident() == Some("macro"));
    if other {
        return None;
    }
    let inner = &tokens[at + 2..closing(tokens, at + 1)?];
    let arguments = if inner.is_empty() { tokens[at].range.clone() } else { extent(inner) };
    Some(Call { file: Arc::clone(file), function, arguments, keywords: keywords(inner), literals: literals(inner) })
}

/// The token that closes the parenthesis at `open`.
fn closing(tokens: &[Placed<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, placed) in tokens.iter().enumerate().skip(open) {
        match placed.token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn keywords(inner: &[Placed<'_>]) -> BTreeMap<String, Range<usize>> {
    let mut depth = 0_i32;
    let mut found = BTreeMap::new();
    for (at, placed) in inner.iter().enumerate() {
        match placed.token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => depth -= 1,
            Token::Ident(name)
                if depth == 0 && matches!(inner.get(at + 1), Some(p) if matches!(p.token, Token::Assign)) =>
            {
                found.insert(name.to_owned(), placed.range.clone());
            }
            _ => {}
        }
    }
    found
}

fn literals(inner: &[Placed<'_>]) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for (at, placed) in inner.iter().enumerate() {
        match (&placed.token, at % 2) {
            (Token::Str(text), 0) => out.push((*text).to_owned()),
            (Token::String(text), 0) => out.push(text.to_string()),
            (Token::Comma, 1) => {}
            _ => return None,
        }
    }
    Some(out)
}
