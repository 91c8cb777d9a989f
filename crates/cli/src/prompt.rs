//! The prompt of `polder sql`: lines in, statements and commands out.

mod completion;
mod tokens;
mod vocabulary;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Editor, Helper};

use crate::failure::Failure;
use crate::terminal;
use polder_base::statements;

pub use vocabulary::Vocabulary;

/// What a person typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Statements(Vec<String>),
    /// A line that starts with a backslash: the command's name without it, and the rest.
    Command(String, String),
    Nothing,
    /// Ctrl-C where nothing was typed.
    Interrupted,
    /// Ctrl-D.
    End,
}

impl Input {
    /// `\q` and its like: nothing that one wants to come back to.
    pub fn leaves(&self) -> bool {
        matches!(self, Self::Command(name, _) if matches!(name.as_str(), "q" | "quit"))
    }
}

/// Reads statements over several lines until `;`, with history and completion.
pub struct Prompt {
    editor: Editor<Typing, FileHistory>,
    history: PathBuf,
}

impl Prompt {
    /// `vocabulary`: what Tab completes, beside SQL's own words.
    pub fn new(history: PathBuf, vocabulary: Arc<Vocabulary>) -> Result<Self, Failure> {
        let config = Config::builder()
            .auto_add_history(false)
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .max_history_size(10_000)
            .map_err(|e| failed(&e))?
            .build();
        let mut editor = Editor::with_config(config).map_err(|e| failed(&e))?;
        editor.set_helper(Some(Typing { vocabulary, has_text: Cell::new(false) }));
        // The first time there is none.
        let _ = editor.load_history(&history);
        Ok(Self { editor, history })
    }

    pub fn read(&mut self, at: &str) -> Result<Input, Failure> {
        if let Some(typing) = self.editor.helper() {
            typing.has_text.set(false);
        }
        match self.editor.readline(&format!("{at}> ")) {
            Ok(line) => {
                let input = input(&line);
                if input != Input::Nothing && !input.leaves() {
                    self.remember(line.trim_end());
                }
                Ok(input)
            }
            // Ctrl-C drops what was typed.
            Err(ReadlineError::Interrupted) if self.editor.helper().is_some_and(|t| t.has_text.get()) => {
                Ok(Input::Nothing)
            }
            Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Kept line by line, so that a crash loses nothing.
    fn remember(&mut self, text: &str) {
        let kept = self.editor.add_history_entry(text).and_then(|_| self.editor.append_history(&self.history));
        if let Err(error) = kept {
            terminal::note(&format!("the history was not written: {error}"));
        }
    }
}

fn failed(error: &ReadlineError) -> Failure {
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

/// What the editor asks while somebody types.
struct Typing {
    vocabulary: Arc<Vocabulary>,
    /// Something stands on the line.
    has_text: Cell<bool>,
}

impl Helper for Typing {}
impl Highlighter for Typing {}

impl Hinter for Typing {
    type Hint = String;

    /// No hint: the editor shows the line here whenever it has changed, and when Ctrl-C comes it shows it to nobody.
    fn hint(&self, line: &str, _: usize, _: &rustyline::Context<'_>) -> Option<String> {
        self.has_text.set(!line.trim().is_empty());
        None
    }
}

impl Completer for Typing {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = completion::candidates(&self.vocabulary.names(), line, position);
        Ok((start, found.into_iter().map(|n| Pair { display: n.clone(), replacement: n }).collect()))
    }
}

impl Validator for Typing {
    fn validate(&self, cx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(cx.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
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
