//! The command line: arguments in, use cases of `polder-app`, text out. It decides nothing.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod commands;
mod failure;
mod human;
mod pager;
mod prompt;
mod reference;
mod report;
mod rows;
mod terminal;
mod text;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use failure::{Exit, Failure};
use polder_app::Door;
use terminal::{BAD, Terminal};

/// Runs the program with the process's arguments. Ends with one of the documented exit codes. `doors`: those that `up`
/// opens.
pub fn main(doors: Vec<Arc<dyn Door>>) -> ExitCode {
    let cli = args::Cli::parse();
    let terminal = Terminal::new(cli.global.color);
    std::panic::set_hook(Box::new(|panic| terminal::note(&defect_text(panic))));
    let result =
        std::panic::catch_unwind(AssertUnwindSafe(|| commands::run(terminal, &cli.global, &cli.command, doors)));
    let exit = match result {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            tell(terminal, &failure);
            failure.exit()
        }
        // The hook has told it.
        Err(_) => Exit::Defect,
    };
    ExitCode::from(exit as u8)
}

/// What a person reads who met a defect of Polder.
fn defect_text(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let place = panic.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
    let first = message.lines().next().unwrap_or_default();
    format!("polder: this is a defect of Polder, please report it: {first}{place}")
}

fn tell(terminal: Terminal, failure: &Failure) {
    let paint = terminal.paint_err();
    match failure {
        Failure::Mistakes { problems, .. } => terminal::note(&failure::told(problems, paint)),
        Failure::Message { message, hints, .. } => {
            terminal::note(&format!("{} {message}", paint.style(BAD, "error:")));
            for hint in hints {
                terminal::note(&format!("  = hint: {hint}"));
            }
        }
    }
}
