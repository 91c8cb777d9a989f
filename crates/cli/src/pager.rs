//! Long answers of the prompt, in the program with which the person reads such.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::terminal;

/// What `less` is told where nothing else is: colours, and long lines to scroll along.
const LESS: &str = "RS";

/// What a shell ends with that found no such program, or may not run it.
const NOT_STARTED: [i32; 2] = [126, 127];

/// A pager, as a line for the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pager {
    line: String,
    /// Lines are not broken, and can be scrolled along.
    scrolls: bool,
}

impl Pager {
    /// The pager of `$PAGER`; without that, `less` where there is one. An empty `$PAGER`: none.
    pub fn find() -> Option<Self> {
        let less = std::env::var("LESS").ok();
        match std::env::var("PAGER") {
            Ok(line) => Self::of(&line, less.as_deref()),
            Err(_) => is_there("less").then(|| Self { line: "less -RS".to_owned(), scrolls: true }),
        }
    }

    /// `less`: the options that the person has set for it.
    fn of(line: &str, less: Option<&str>) -> Option<Self> {
        let mut words = line.split_whitespace();
        let program = words.next()?;
        let is_less = program.rsplit('/').next() == Some("less");
        let short = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.contains('S');
        let cuts = |options: &str| options == LESS || options.split_whitespace().any(short);
        let scrolls = is_less && (words.any(short) || cuts(less.unwrap_or(LESS)));
        Some(Self { line: line.to_owned(), scrolls })
    }

    /// Whether lines may be wider than the screen.
    pub fn scrolls(&self) -> bool {
        self.scrolls
    }

    /// Shows a text, until the person has read it. Where the pager does not start, the text is printed.
    pub fn show(&self, text: &str) {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.line).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        let Ok(mut child) = command.spawn() else { return terminal::print(text) };
        if let Some(mut input) = child.stdin.take() {
            // Who has read enough leaves before the end.
            let _ = input.write_all(text.as_bytes());
        }
        let ended = child.wait().ok().and_then(|status| status.code());
        if ended.is_some_and(|code| NOT_STARTED.contains(&code)) {
            terminal::print(text);
        }
    }
}

fn is_there(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_lines_are_for_pagers_that_scroll_along_them() {
        let scrolls = |line: &str, less: Option<&str>| Pager::of(line, less).map(|pager| pager.scrolls());
        assert_eq!(scrolls("less", None), Some(true));
        assert_eq!(scrolls("/usr/bin/less -FS", Some("-R")), Some(true));
        assert_eq!(scrolls("less", Some("-R -S")), Some(true));
        assert_eq!(scrolls("less --SILENT", Some("-R")), Some(false));
        assert_eq!(scrolls("cat", None), Some(false));
        assert_eq!(scrolls("more -S", None), Some(false));
        assert_eq!(scrolls(" ", None), None);
    }
}
