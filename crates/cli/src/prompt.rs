//! The prompt of `polder sql`: lines in, statements and commands out.

use std::fs::OpenOptions;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;

use crate::failure::Failure;
use crate::statements;
use crate::terminal;

/// What a person typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Statements(Vec<String>),
    /// A line that starts with a backslash: the command's name without it, and the rest.
    Command(String, String),
    Nothing,
    /// Ctrl-D.
    End,
}

/// Reads statements over several lines until `;`, and remembers them in a file.
pub struct Prompt {
    history: PathBuf,
}

impl Prompt {
    pub fn new(history: PathBuf) -> Self {
        Self { history }
    }

    pub fn read(&mut self, at: &str) -> Result<Input, Failure> {
        let mut text = String::new();
        let mut shown = format!("{at}> ");
        loop {
            let mut out = stdout();
            out.write_all(shown.as_bytes()).and_then(|()| out.flush()).map_err(|e| failed(&e))?;
            if stdin().lock().read_line(&mut text).map_err(|e| failed(&e))? == 0 {
                return Ok(if text.trim().is_empty() { Input::End } else { input(&text) });
            }
            if is_complete(&text) {
                break;
            }
            shown = format!("{:>width$}> ", "-", width = at.chars().count());
        }
        if !text.trim().is_empty() {
            self.remember(text.trim_end());
        }
        Ok(input(&text))
    }

    /// Kept statement by statement, so that a crash loses nothing.
    fn remember(&self, text: &str) {
        let kept = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.history)
            .and_then(|mut file| writeln!(file, "{}", text.replace('\n', " ")));
        if let Err(error) = kept {
            terminal::note(&format!("the history was not written: {error}"));
        }
    }
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::environment(format!("cannot read from the terminal: {error}"))
}

/// What a finished input means.
fn input(text: &str) -> Input {
    let trimmed = text.trim();
    if let Some(command) = trimmed.strip_prefix('\\') {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        return Input::Command(name.to_owned(), rest.trim().trim_end_matches(';').trim().to_owned());
    }
    // People type these out of habit.
    if matches!(trimmed.trim_end_matches(';').trim_end().to_ascii_lowercase().as_str(), "exit" | "quit") {
        return Input::Command("q".to_owned(), String::new());
    }
    let split = statements::split(text);
    let mut all: Vec<String> = split.statements.into_iter().map(str::to_owned).collect();
    if !statements::is_blank(split.rest) {
        all.push(split.rest.trim().to_owned());
    }
    if all.is_empty() { Input::Nothing } else { Input::Statements(all) }
}

/// Whether Enter ends the input, or begins a new line.
fn is_complete(text: &str) -> bool {
    let trimmed = text.trim();
    let word = matches!(trimmed.to_ascii_lowercase().as_str(), "exit" | "quit");
    if trimmed.is_empty() || trimmed.starts_with('\\') || word {
        return true;
    }
    let split = statements::split(text);
    !split.open && statements::is_blank(split.rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon() {
        assert!(!is_complete("select 1"));
        assert!(!is_complete("select ';"));
        assert!(is_complete("select 1;"));
        assert!(is_complete("select 1; -- done"));
        assert!(is_complete("\\d gold.daily"));
        assert!(is_complete(""));
    }

    #[test]
    fn input_is_statements_or_a_command() {
        assert_eq!(input("select 1; select\n2;"), Input::Statements(vec!["select 1".into(), "select\n2".into()]));
        assert_eq!(input("\\d gold.daily;"), Input::Command("d".into(), "gold.daily".into()));
        assert_eq!(input("quit"), Input::Command("q".into(), String::new()));
        assert_eq!(input(" ; "), Input::Nothing);
    }
}
