//! Where bars are drawn: standard error, a little narrower than it is.

use std::io::{self, BufWriter, Stderr, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

/// Columns that bars leave free. The terminal echoes Ctrl-C as `^C` behind the last bar; were there no room for that,
/// the echo would begin another line, and one line of the bars would stay for ever.
pub const MARGIN: usize = 3;

/// Standard error with a margin.
#[derive(Debug)]
pub struct Screen {
    out: Mutex<BufWriter<Stderr>>,
    columns: usize,
}

impl Screen {
    pub fn new(columns: usize) -> Self {
        Self { out: Mutex::new(BufWriter::new(io::stderr())), columns: columns.saturating_sub(MARGIN) }
    }

    fn out(&self) -> MutexGuard<'_, BufWriter<Stderr>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, cells: usize, direction: char) -> io::Result<()> {
        if cells == 0 { Ok(()) } else { write!(self.out(), "\u{1b}[{cells}{direction}") }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        u16::try_from(self.columns).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.moved(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        writeln!(self.out(), "{s}")
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.out().write_all(s.as_bytes())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        self.out().flush()
    }
}
