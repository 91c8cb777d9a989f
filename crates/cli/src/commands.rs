//! One module for each family of commands: arguments in, use case, text out.

mod bisect;
mod context;
mod conversation;
mod files;
mod generate;
mod history;
mod pipelines;
mod run;
mod serve;
mod show;
mod sources;
mod sql;
mod token;
mod watch;

use std::sync::Arc;

use polder_app::Door;
use serde::Serialize;

use context::Context;
use context::runtime;

use crate::args::{Command, GenerateWhat, Global};
use crate::failure::{Exit, Failure};
use crate::terminal::{self, Terminal};

/// Runs a command to its end. `doors`: those that `up` opens.
pub fn run(terminal: Terminal, global: &Global, command: &Command, doors: Vec<Arc<dyn Door>>) -> Result<Exit, Failure> {
    let cx = Context { terminal, global };
    match command {
        Command::Init(a) => files::init(cx, a),
        Command::Add(a) => sources::add(cx, a),
        Command::Lock(a) => sources::lock(cx, a),
        Command::Validate(a) => files::validate(cx, a),
        Command::Plan(a) => files::plan(cx, a),
        Command::Compile(a) => files::compile(cx, a),
        Command::Run(a) => run::run(cx, a),
        Command::Accept(a) => run::accept(cx, a),
        Command::Pipelines(a) => pipelines::pipelines(cx, a),
        Command::Check(a) => run::check(cx, a),
        Command::Up(a) => serve::up(cx, a, doors),
        Command::Runs(a) => watch::runs(cx, a),
        Command::Logs(a) => watch::logs(cx, a),
        Command::Cancel(a) => watch::cancel(cx, a),
        Command::Sql(a) => sql::sql(cx, a),
        Command::Status(a) => history::status(cx, a),
        Command::Log(a) => history::log(cx, a),
        Command::Diff(a) => history::diff(cx, a),
        Command::Bisect(a) => bisect::bisect(cx, a),
        Command::Branch(a) => history::branch(cx, a),
        Command::Switch(a) => history::switch(cx, a),
        Command::Tag(a) => history::tag(cx, a),
        Command::Merge(a) => history::merge(cx, a),
        Command::Drop(a) => history::drop(cx, a),
        Command::Rollback(a) => history::rollback(cx, a),
        Command::Show(a) => show::show(cx, a),
        Command::Token(a) => token::token(cx, a),
        Command::Generate(a) => match &a.what {
            GenerateWhat::Shop(shop) => generate::shop(terminal, shop),
        },
        Command::Schema(a) => files::schema(a),
        Command::Reference => {
            terminal::print(&crate::reference::markdown());
            Ok(Exit::Ok)
        }
    }
}

/// A result for programs.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Failure::defect(format!("a result has no JSON form: {e}")))?;
    terminal::line(&text);
    Ok(())
}
