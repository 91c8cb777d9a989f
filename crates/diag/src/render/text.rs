//! The form for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::snippet::{ShownLine, one_line, show_line};
use crate::{Diagnostic, Label, Severity, SourceFile, Sources};

/// A stretch of more lines than this is shown by its ends only.
const MAX_LINES: u32 = 6;

/// The diagnostic for a terminal, ending with a line end.
///
/// ```text
/// error[M012]: no model or source is called `ordes`
///  --> models/gold/daily.sql:3:13
///   |
/// 3 | from {{ ref('ordes') }}
///   |             ^^^^^^^ unknown name
///   = hint: did you mean `orders` (models/silver/orders.sql)?
/// ```
///
/// Related places follow in the same form, each after ` ::: `. Without `colour` the text holds no escape sequences,
/// whatever the files hold.
pub fn render_text(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let mut page = Page::new(diagnostic, sources, colour);
    page.heading(diagnostic);
    if let Some(label) = &diagnostic.label {
        page.place("-->", label, '^');
    }
    for label in &diagnostic.related {
        page.place(":::", label, '-');
    }
    for hint in &diagnostic.hints {
        page.footer("hint", hint);
    }
    page.out
}

struct Page<'a> {
    out: String,
    sources: &'a Sources,
    /// Width of the greatest line number that is shown.
    gutter: usize,
    paint: Paint,
}

impl<'a> Page<'a> {
    fn new(diagnostic: &Diagnostic, sources: &'a Sources, colour: bool) -> Self {
        let last_line = |label: &Label| {
            sources.get(&label.span.file).map_or(1, |f| f.line_col(label.span.end.max(label.span.start)).line)
        };
        let widest = diagnostic.label.iter().chain(&diagnostic.related).map(last_line).max().unwrap_or(1);
        let paint = Paint::new(colour, diagnostic.severity);
        Self { out: String::new(), sources, gutter: widest.to_string().len(), paint }
    }

    fn heading(&mut self, diagnostic: &Diagnostic) {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let head = self.paint.severity(&format!("{severity}[{}]", diagnostic.code));
        let message = self.paint.bold(&format!(": {}", one_line(&diagnostic.message)));
        self.line(&format!("{head}{message}"));
    }

    fn place(&mut self, arrow: &str, label: &Label, mark: char) {
        let span = &label.span;
        let file = self.sources.get(&span.file);
        let whole_file = span.start == 0 && span.end == 0;
        let at = match file {
            Some(file) if !whole_file => {
                let start = file.line_col(span.start);
                format!("{}:{}:{}", span.file, start.line, start.column)
            }
            _ => span.file.to_string(),
        };
        let arrow = self.paint.gutter(arrow);
        self.line(&format!("{}{arrow} {}", " ".repeat(self.gutter), one_line(&at)));
        match file {
            Some(file) if !whole_file => self.snippet(file, label, mark),
            _ if !label.text.is_empty() => self.footer("note", &label.text),
            _ => {}
        }
    }

    fn snippet(&mut self, file: &SourceFile, label: &Label, mark: char) {
        let (start, end) = marked_lines(file, label);
        self.bare_gutter();
        if start.number == end.number {
            let shown = show_line(start.text, start.offset..end.offset);
            self.numbered(start.number, &shown.text);
            let under = mark.to_string().repeat(shown.mark.len());
            self.marks(&" ".repeat(shown.mark.start), &under, &label.text);
        } else {
            self.stretch(file, &start, &end, mark, &label.text);
        }
    }

    /// Several lines, with a bar along them.
    fn stretch(&mut self, file: &SourceFile, start: &Place<'_>, end: &Place<'_>, mark: char, text: &str) {
        let bar = self.paint.severity("|");
        let first = show_line(start.text, start.offset..start.offset);
        let corner = self.paint.severity("/");
        self.numbered(start.number, &format!("{corner} {}", first.text));
        if end.number - start.number < MAX_LINES {
            for number in start.number + 1..end.number {
                let shown = show_line(file.line(number), 0..0);
                self.numbered(number, format!("{bar} {}", shown.text).trim_end());
            }
        } else {
            let dots = self.paint.gutter("...");
            self.line(&format!("{dots}{}{bar}", " ".repeat(self.gutter)));
        }
        let last: ShownLine = show_line(end.text, end.offset..end.offset);
        self.numbered(end.number, format!("{bar} {}", last.text).trim_end());
        let reach = "_".repeat(last.mark.start.max(1));
        self.marks("", &format!("|{reach}{mark}"), text);
    }

    fn bare_gutter(&mut self) {
        let bar = self.paint.gutter("|");
        self.line(&format!("{} {bar}", " ".repeat(self.gutter)));
    }

    fn numbered(&mut self, number: u32, text: &str) {
        let gutter = self.paint.gutter(&format!("{number:>width$} |", width = self.gutter));
        let space = if text.is_empty() { "" } else { " " };
        self.line(&format!("{gutter}{space}{text}"));
    }

    fn marks(&mut self, indent: &str, marks: &str, text: &str) {
        let bar = self.paint.gutter("|");
        let marks = self.paint.severity(format!("{marks} {}", one_line(text)).trim_end());
        self.line(&format!("{} {bar} {indent}{marks}", " ".repeat(self.gutter)));
    }

    /// `= hint: …`; further lines of the text stand below its first.
    fn footer(&mut self, word: &str, text: &str) {
        let mut lines = text.lines();
        let sign = self.paint.gutter("=");
        let word_shown = self.paint.bold(&format!("{word}:"));
        let first = one_line(lines.next().unwrap_or(""));
        let indent = " ".repeat(self.gutter + 1);
        self.line(&format!("{indent}{sign} {word_shown} {first}"));
        for line in lines {
            let space = " ".repeat(word.len() + 4);
            self.line(format!("{indent}{space}{}", one_line(line)).trim_end());
        }
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }
}

/// One end of a span.
struct Place<'a> {
    number: u32,
    text: &'a str,
    /// Bytes from the start of the line.
    offset: usize,
}

/// Both ends of a label. A span that reaches to the start of the next line ends on the line before.
fn marked_lines<'a>(file: &'a SourceFile, label: &Label) -> (Place<'a>, Place<'a>) {
    let text = &*file.text;
    let start = label.span.start.min(text.len());
    let mut end = label.span.end.clamp(start, text.len());
    while end > start && text.as_bytes().get(end - 1).is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        end -= 1;
    }
    (place(file, start), place(file, end))
}

fn place(file: &SourceFile, offset: usize) -> Place<'_> {
    let number = file.line_col(offset).line;
    let line_start = file.text.as_bytes()[..offset].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    Place { number, text: file.line(number), offset: offset - line_start }
}

struct Paint {
    colour: bool,
    severity: Style,
}

impl Paint {
    fn new(colour: bool, severity: Severity) -> Self {
        let hue = match severity {
            Severity::Error => AnsiColor::BrightRed,
            Severity::Warning => AnsiColor::BrightYellow,
        };
        Self { colour, severity: hue.on_default().bold() }
    }

    fn severity(&self, text: &str) -> String {
        self.apply(self.severity, text)
    }

    fn bold(&self, text: &str) -> String {
        self.apply(Style::new().bold(), text)
    }

    fn gutter(&self, text: &str) -> String {
        self.apply(AnsiColor::BrightBlue.on_default().bold(), text)
    }

    fn apply(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
