//! Where text goes: standard output and error, with or without colours, never failing because nobody reads.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use crate::args::Colour;

/// The styles that Polder uses.
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub const DIM: Style = Style::new().dimmed();
pub const BOLD: Style = Style::new().bold();
pub const NAME: Style = AnsiColor::Cyan.on_default();

/// The narrowest screen that is taken for one.
pub const MIN_COLUMNS: usize = 20;

/// What is known about the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Standard output is a terminal.
    pub out_is_terminal: bool,
    pub err_is_terminal: bool,
    /// Columns; 100 where there is no terminal.
    pub width: usize,
    out_colour: bool,
    err_colour: bool,
}

impl Terminal {
    pub fn new(colour: Colour) -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let wanted = |terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            // https://no-color.org, https://bixense.com/clicolors
            Colour::Auto if set("NO_COLOR") => false,
            Colour::Auto if set("CLICOLOR_FORCE") => true,
            Colour::Auto => terminal && std::env::var_os("TERM").is_none_or(|t| t != "dumb"),
        };
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let measured = terminal_size::terminal_size().map(|(w, _)| usize::from(w.0));
        let width = measured.or(columns).filter(|w| *w >= MIN_COLUMNS).unwrap_or(100);
        Self { out_is_terminal: out, err_is_terminal: err, width, out_colour: wanted(out), err_colour: wanted(err) }
    }

    pub fn paint(self) -> Paint {
        Paint(self.out_colour)
    }

    pub fn paint_err(self) -> Paint {
        Paint(self.err_colour)
    }

    /// Rows that fit on the screen, for bars.
    pub fn shows_bars(self) -> bool {
        self.out_is_terminal && self.err_is_terminal && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
    }
}

/// Columns and lines of the screen, as it is now; `None` where there is none.
pub fn screen() -> Option<(usize, usize)> {
    terminal_size::terminal_size().map(|(columns, lines)| (usize::from(columns.0), usize::from(lines.0)))
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    pub fn style(self, style: Style, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Writes to standard output. When the reader is gone (`polder log | head`), the process ends quietly, as other
/// programs of a pipe do.
pub fn print(text: &str) {
    finish(io::stdout().lock().write_all(text.as_bytes()));
}

/// [`print`], and a line end.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()));
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    // There is nobody left to tell when this fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub fn flush() {
    finish(io::stdout().lock().flush());
}

/// Ends the process when a pipe was closed; other errors of standard output are told and end it as well.
pub fn finish(result: io::Result<()>) {
    let Err(error) = result else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    note(&format!("polder: cannot write to standard output: {error}"));
    std::process::exit(3);
}
