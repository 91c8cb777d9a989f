//! The engine's errors, as problems of the person's file.

use std::ops::Range;
use std::sync::Arc;

use minijinja::{Error, ErrorKind};
use polder_base::nearest;
use polder_diag::{Diagnostic, Span};

use crate::codes;
use crate::map::SpanMap;

/// The problem of a template that does not parse; the error's place is one in the file.
pub(crate) fn of_syntax(error: &Error, file: &Arc<str>, source: &str) -> Diagnostic {
    let detail = error.detail().unwrap_or("it cannot be parsed");
    let range = error.range().unwrap_or(0..0);
    let range = first_line(clamp(range, source), source);
    let diagnostic =
        Diagnostic::error(codes::SYNTAX, format!("this is no Jinja: {detail}")).at(Span::new(file, range), "");
    if detail.contains("expected end of block") && detail.contains("end of input") {
        return diagnostic.hint("is an `{% endif %}`, `{% endfor %}` or `{% endmacro %}` missing?");
    }
    diagnostic
}

/// What is open at the end of a file reaches to that end: the line where it begins says enough.
fn first_line(range: Range<usize>, source: &str) -> Range<usize> {
    let length = source[range.clone()].find('\n').unwrap_or(range.len());
    range.start..range.start + length
}

/// An offset past the end is the end; spans are on borders of characters.
fn clamp(range: Range<usize>, source: &str) -> Range<usize> {
    let border = |mut at: usize| {
        at = at.min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = border(range.start);
    start..border(range.end).max(start)
}

/// What is known by name: for "did you mean".
pub(crate) struct Known<'a> {
    pub(crate) functions: Vec<&'a str>,
    pub(crate) variables: Vec<&'a str>,
}

/// The problem that stopped a rendering. `text` and `map` are those of the instrumented template.
pub(crate) fn of_rendering(error: &Error, text: &str, map: &SpanMap, file: &Arc<str>, known: &Known<'_>) -> Diagnostic {
    let range = error.range().map(|r| clamp(r, text));
    let span = range.clone().and_then(|r| map.to_source(r)).unwrap_or_else(|| Span::file(file));
    let written = range.and_then(|r| text.get(r)).unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        // `dbt_utils.star(…)`: the trouble is not the method.
        ErrorKind::UnknownMethod if detail.starts_with("undefined") => undefined(written, detail, span, known),
        ErrorKind::UndefinedError => undefined(written, detail, span, known),
        ErrorKind::UnknownFunction | ErrorKind::UnknownMethod | ErrorKind::UnknownFilter | ErrorKind::UnknownTest => {
            unknown(error.kind(), written, detail, span, known)
        }
        ErrorKind::TooManyArguments | ErrorKind::MissingArgument => {
            let message = match (error.kind(), detail) {
                (ErrorKind::MissingArgument, "") => "an argument is missing",
                (_, "") => "too many arguments",
                (_, detail) => detail,
            };
            Diagnostic::error(codes::ARGUMENTS, message).at(span, "")
        }
        ErrorKind::OutOfFuel => endless(span),
        ErrorKind::InvalidOperation if detail.contains("recursion limit") => endless(span),
        ErrorKind::TemplateNotFound | ErrorKind::BadInclude => {
            let diagnostic = Diagnostic::error(codes::FAILED, "templates are not included or imported here");
            diagnostic.at(span, "").hint("macros below `macros/` are known everywhere by their names")
        }
        kind => {
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            Diagnostic::error(codes::FAILED, format!("the template stopped: {kind}{detail}")).at(span, "")
        }
    }
}

fn endless(span: Span) -> Diagnostic {
    Diagnostic::error(codes::LIMIT, "the template does not come to an end")
        .at(span, "stopped here")
        .hint("a macro that calls itself, or a loop over too much?")
}

fn undefined(written: &str, detail: &str, span: Span, known: &Known<'_>) -> Diagnostic {
    let name = name_in(detail).or_else(|| variable(written));
    let message = match name {
        Some(name) => format!("`{name}` is not defined"),
        None => "something here is not defined".to_owned(),
    };
    let diagnostic = Diagnostic::error(codes::UNDEFINED, message).at(span, "undefined");
    let candidates = known.variables.iter().chain(&known.functions).copied();
    match name.and_then(|n| nearest(n, candidates)) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint("values from polder.yaml are read with `var('name')`"),
    }
}

fn unknown(kind: ErrorKind, written: &str, detail: &str, span: Span, known: &Known<'_>) -> Diagnostic {
    let what = match kind {
        ErrorKind::UnknownFilter => "filter",
        ErrorKind::UnknownTest => "test",
        ErrorKind::UnknownMethod => "method",
        _ => "function or macro",
    };
    let name = name_in(detail).or_else(|| variable(written)).unwrap_or(written).trim_start_matches('.');
    let diagnostic =
        Diagnostic::error(codes::UNKNOWN_FUNCTION, format!("no {what} is called `{name}`")).at(span, "unknown");
    let near = match kind {
        ErrorKind::UnknownFilter => nearest(name, FILTERS),
        ErrorKind::UnknownTest => nearest(name, TESTS),
        ErrorKind::UnknownMethod => None,
        _ => nearest(name, known.functions.iter().copied()),
    };
    match (near, kind) {
        (Some(near), _) => diagnostic.hint(format!("did you mean `{near}`?")),
        (None, ErrorKind::UnknownMethod) => {
            diagnostic.hint(format!("methods of Python are not known here; there may be a filter: `… | {name}`"))
        }
        (None, ErrorKind::UnknownFunction) => {
            diagnostic.hint("macros lie below `macros/`; SQL functions need no braces")
        }
        (None, _) => diagnostic,
    }
}

/// What the engine's message is about: `` `foo` is undefined (from line 3)``, `filter foo is unknown`,
/// `string has no method named foo`.
fn name_in(detail: &str) -> Option<&str> {
    if let Some(quoted) = detail.split('`').nth(1) {
        return Some(quoted);
    }
    let before = detail.strip_suffix(" is unknown").or_else(|| detail.strip_suffix(" is undefined"));
    let before = before.or_else(|| detail.split_once(" has no method named ").map(|(_, name)| name))?;
    before.rsplit(' ').next().filter(|name| !name.is_empty())
}

/// The dotted name at the start of an expression.
fn variable(written: &str) -> Option<&str> {
    let end = written.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(written.len());
    (end > 0).then(|| &written[..end])
}

const FILTERS: [&str; 30] = [
    "abs",
    "batch",
    "bool",
    "capitalize",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "replace",
    "reverse",
    "round",
    "select",
    "sort",
    "title",
    "trim",
    "upper",
];

const TESTS: [&str; 12] = [
    "boolean",
    "defined",
    "divisibleby",
    "even",
    "in",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "undefined",
];
