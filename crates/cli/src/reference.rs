//! The reference of the command line as Markdown, from the same definitions as `--help`.

use clap::{Arg, Command, CommandFactory};

use crate::args::Cli;

/// `docs/cli.md`.
pub fn markdown() -> String {
    let mut root = Cli::command();
    root.build();
    let mut out = String::from("# Command line\n\n");
    out += "<!-- Written by `make generated`: edit crates/cli/src/args.rs. -->\n\n";
    push_about(&root, &mut out);
    out += "Every command takes:\n\n";
    push_arguments(root.get_arguments().filter(|a| is_shown(a)), &mut out);
    for command in root.get_subcommands().filter(|c| !c.is_hide_set()) {
        push_command(command, "polder", 2, &mut out);
    }
    out += "## Exit codes\n\n| code | meaning |\n|---|---|\n| 0 | ok |\n| 1 | checks or the run failed, or what was \
            asked for cannot be done as things are |\n| 2 | the project, the statement or the command line is wrong |\n\
            | 3 | the environment: network, disk, a database |\n| 70 | a defect of Polder |\n";
    out
}

fn push_command(command: &Command, above: &str, depth: usize, out: &mut String) {
    let name = format!("{above} {}", command.get_name());
    *out += &format!("{} {name}\n\n", "#".repeat(depth));
    push_about(command, out);
    let own = || command.get_arguments().filter(|a| is_shown(a) && !a.is_global_set());
    if !command.has_subcommands() {
        let usage = own().map(usage).collect::<Vec<_>>().join(" ");
        *out += &format!("```\n{}\n```\n\n", format!("{name} {usage}").trim_end());
        push_arguments(own(), out);
    }
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        push_command(sub, &name, depth + 1, out);
    }
}

fn push_about(command: &Command, out: &mut String) {
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        *out += &format!("{about}\n\n");
    }
}

fn push_arguments<'a>(arguments: impl Iterator<Item = &'a Arg>, out: &mut String) {
    let mut any = false;
    for argument in arguments {
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let mut notes = Vec::new();
        let values = argument.get_possible_values();
        let flag = !argument.get_action().takes_values();
        if !flag && !values.is_empty() {
            let values: Vec<String> = values.iter().map(|v| format!("`{}`", v.get_name())).collect();
            notes.push(format!("One of {}.", values.join(", ")));
        }
        if let Some(default) = argument.get_default_values().first().filter(|_| !flag) {
            notes.push(format!("Default: `{}`.", default.to_string_lossy()));
        }
        let notes = if notes.is_empty() { String::new() } else { format!(" {}", notes.join(" ")) };
        let stop = if help.ends_with('.') || help.is_empty() { "" } else { "." };
        *out += &format!("- `{}`: {}{stop}{notes}\n", spelled(argument), help.replace('\n', " "));
        any = true;
    }
    if any {
        out.push('\n');
    }
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

/// `-n, --limit <N>`, `<TABLE>`.
fn spelled(argument: &Arg) -> String {
    let value = value(argument);
    match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{value}"),
        (None, Some(long)) => format!("--{long}{value}"),
        (Some(short), None) => format!("-{short}{value}"),
        (None, None) => value.trim_start().to_owned(),
    }
}

fn usage(argument: &Arg) -> String {
    let spelled = match argument.get_long() {
        Some(long) => format!("--{long}{}", value(argument)),
        None => value(argument).trim_start().to_owned(),
    };
    let many = argument.get_num_args().is_some_and(|n| n.max_values() > 1);
    let spelled = if many { format!("{spelled}…") } else { spelled };
    if argument.is_required_set() { spelled } else { format!("[{spelled}]") }
}

/// ` <NAME>`, or nothing for a flag.
fn value(argument: &Arg) -> String {
    if !argument.get_action().takes_values() {
        return String::new();
    }
    let names: Vec<String> = argument.get_value_names().unwrap_or_default().iter().map(|n| format!("<{n}>")).collect();
    let names = names.join(" ");
    let optional = argument.get_num_args().is_some_and(|n| n.min_values() == 0) && argument.get_long().is_some();
    if optional { format!(" [{names}]") } else { format!(" {names}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_in_it() {
        let text = markdown();
        for want in [
            "## polder run\n",
            "polder run [<SELECTION>…] [--exclude <SELECTION>]",
            "- `--resume [<RUN>]`: ",
            "### polder generate shop\n",
            "- `-n, --limit <N>`: Commits at most. Default: `20`.",
            "- `--color <WHEN>`: ",
        ] {
            assert!(text.contains(want), "{want}\n{text}");
        }
        assert!(!text.contains("reference"), "hidden commands stay hidden");
    }
}
