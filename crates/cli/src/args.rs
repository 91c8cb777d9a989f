//! The command line, spelled once: help, reference page and completions come from these types.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 checks or run failed, 2 the project is wrong, 3 the environment \
                          (network, disk, a database), 70 a defect of Polder.";

/// A data platform in one program: sources → checked tables → one atomic publish.
#[derive(Debug, Parser)]
#[command(name = "polder", version, styles = STYLES, after_help = EXIT_CODES, propagate_version = false)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The project folder. Without it: the nearest folder upwards that has a `polder.yaml`.
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// The environment of `polder.yaml` whose settings apply.
    #[arg(long, global = true, value_name = "NAME")]
    pub env: Option<String>,
    /// When to use colours. NO_COLOR is respected.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new project.
    Init(Init),
    /// Add a source: look at what is there, and write its file.
    Add(Add),
    /// Compare `polder.lock` with what the sources have now.
    Lock(Lock),
    /// Look for mistakes in the project's files, all in one go.
    Validate(Validate),
    /// Show what a run would do, and why.
    Plan(Plan),
    /// Show the SQL of models as it runs.
    Compile(Compile),
    /// Ingest, build and check on a branch, then publish all of it or nothing.
    Run(Run),
    /// Publish a run that was held, for a reason.
    Accept(Accept),
    /// List the pipelines: when they run, and how the last run ended.
    Pipelines(Pipelines),
    /// Check the data as it is.
    Check(Check),
    /// Serve the project: PostgreSQL's protocol, HTTP, schedules. Ctrl-C ends it.
    Up(Up),
    /// List runs, and follow them.
    Runs(Runs),
    /// Show what happened in a run.
    Logs(Logs),
    /// Ask a run that goes on to end, in whichever process.
    Cancel(Cancel),
    /// Ask the tables: one statement, a file of them, or a prompt.
    Sql(Sql),
    /// Show where things stand: the ref, the last run, the tables.
    Status(Status),
    /// Show the history of a ref.
    Log(Log),
    /// Show what differs between two refs.
    Diff(Diff),
    /// Find the commit at which a statement stopped holding, and what it changed.
    Bisect(Bisect),
    /// List, make or delete branches.
    Branch(Branch),
    /// Choose the ref that commands use when they are not told one.
    Switch(Switch),
    /// List, make or delete tags.
    Tag(Tag),
    /// Merge a branch, all of its tables in one commit.
    Merge(Merge),
    /// Take tables that nothing needs any more off a branch, with their cursors, as a new commit.
    Drop(Drop),
    /// Make a branch show what it showed before, cursors included, as a new commit.
    Rollback(Rollback),
    /// Show a table: columns, size, partitions, history, where it comes from.
    Show(Show),
    /// List, make or revoke the tokens with which doors are used from elsewhere.
    Token(Token),
    /// Make data to try things on.
    Generate(Generate),
    /// Print the JSON schemas of the project's files, for editors.
    Schema(Schema),
    /// Print the reference of the command line as Markdown.
    #[command(hide = true)]
    Reference,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The folder; it is made where it does not exist.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Start from an example instead of an empty project: `shop`.
    #[arg(long, value_name = "NAME")]
    pub example: Option<String>,
}

#[derive(Debug, Args)]
pub struct Add {
    /// The source's name: `sources/NAME.yaml` is written.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A database (`postgres://user:password@host/database`), or a path or pattern of files (`'data/payments/*.csv'`).
    #[arg(value_name = "URL|FILES")]
    pub address: String,
    /// Tables of the database, with a comma between them.
    #[arg(long, value_name = "TABLES", value_delimiter = ',', conflicts_with = "all")]
    pub tables: Vec<String>,
    /// All tables of the database.
    #[arg(long)]
    pub all: bool,
    /// Ask nothing.
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Lock {
    /// The sources to ask. Without any: all.
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Write what was found into `polder.lock`.
    #[arg(long)]
    pub update: bool,
    /// End with 1 where something differs.
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    pub vars: Vars,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Names, `+name`, `name+`, `tag:x`, `path:x`, `gold.*`. Without any: everything.
    #[arg(value_name = "SELECTION")]
    pub select: Vec<String>,
    /// What to leave out, in the same words.
    #[arg(long, value_name = "SELECTION")]
    pub exclude: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Vars {
    /// A value for `var('NAME')` in models; may be given several times.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    pub vars: Vec<(String, serde_json::Value)>,
}

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub selection: Selection,
    /// The ref to read from and publish to.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
    /// Plan to build incremental models anew, and to read sources from their beginning.
    #[arg(long)]
    pub full_refresh: bool,
    #[command(flatten)]
    pub vars: Vars,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Compile {
    /// Names, `+name`, `name+`, `tag:x`, `path:x`, `gold.*`. Without any: everything.
    #[arg(value_name = "SELECTION")]
    pub select: Vec<String>,
    /// The ref whose tables decide what is incremental.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
    /// Show incremental models as they are built anew.
    #[arg(long)]
    pub full_refresh: bool,
    #[command(flatten)]
    pub vars: Vars,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub selection: Selection,
    /// The ref to read from and publish to.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
    /// Build incremental models anew, and read sources from their beginning.
    #[arg(long)]
    pub full_refresh: bool,
    /// What is published when something goes wrong: nothing, or all but what went wrong and what is made from that.
    /// Unless given, what `polder.yaml` says.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub publish: Option<Publish>,
    /// Go on from nothing that a held run has read: read from where the ref stands.
    #[arg(long)]
    pub anew: bool,
    /// Go on with a run that was held, failed or interrupted; without a number, with the last one.
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    #[arg(conflicts_with_all = ["select", "exclude", "full_refresh", "at", "publish", "anew"])]
    pub resume: Option<Option<u64>>,
    /// Run a pipeline now, with what its file says.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["select", "exclude", "full_refresh", "at", "resume"]
    )]
    pub pipeline: Option<String>,
    #[command(flatten)]
    pub vars: Vars,
    /// `json` prints one event a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What is published when something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Publish {
    /// Nothing: all of the run or nothing.
    All,
    /// All but what went wrong and what is made from that.
    Healthy,
}

#[derive(Debug, Args)]
pub struct Accept {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: u64,
    /// Why. It is kept with the commit, and with each row that is set aside.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Set the rows aside that break checks, instead of overruling the checks.
    #[arg(long)]
    pub quarantine: bool,
    /// `json` prints one event a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Pipelines {
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The tables: names, `tag:x`, `path:x`, `gold.*`. Without any: everything.
    #[arg(value_name = "SELECTION")]
    pub select: Vec<String>,
    /// The ref whose tables are checked.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
    /// `json` prints one event a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub vars: Vars,
}

#[derive(Debug, Args)]
pub struct Runs {
    /// Runs at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Go on telling of runs that begin and end, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// `json` prints one list, or with `--follow` one run a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The run; the newest unless given.
    #[arg(value_name = "RUN")]
    pub run: Option<u64>,
    /// Go on until the run is at its end.
    #[arg(long, short)]
    pub follow: bool,
    /// `json` prints one event a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Cancel {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: u64,
}

#[derive(Debug, Args)]
pub struct Token {
    /// The token to make; without it tokens are listed.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Who comes in with it; the token's name unless given.
    #[arg(long = "as", value_name = "PRINCIPAL", requires = "name", conflicts_with = "revoke")]
    pub principal: Option<String>,
    /// A role that policies name; may be given several times.
    #[arg(long = "role", value_name = "ROLE", requires = "name", conflicts_with = "revoke")]
    pub roles: Vec<String>,
    /// For how long it is good, such as `90d`; for good unless given.
    #[arg(long, value_name = "DURATION", requires = "name", conflicts_with = "revoke", value_parser = parse_keep)]
    pub expires: Option<std::time::Duration>,
    /// Make the token worthless.
    #[arg(long, requires = "name")]
    pub revoke: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// Aligned columns for people.
    Table,
    /// With a header.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Jsonl,
    /// A file; needs `--output`.
    Parquet,
}

#[derive(Debug, Args)]
pub struct Sql {
    /// The statement. Without it: statements from standard input, or a prompt on a terminal.
    #[arg(value_name = "STATEMENT")]
    pub statement: Option<String>,
    /// Statements from a file, one after another.
    #[arg(long, short, value_name = "FILE", conflicts_with = "statement")]
    pub file: Option<PathBuf>,
    /// The ref to read: `main`, `run/12`, `main@2026-11-20`, `main~1`, a commit.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
    /// How rows are written. From the ending of `--output` when that is given, else `table`.
    #[arg(long, value_enum)]
    pub format: Option<RowFormat>,
    /// Write the rows to a file.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ask as somebody else, to see what policies leave: a principal, or a role as `role:analysts`. Files are not
    /// read then.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub principal: Option<String>,
    /// Rows that a table shows at most; 0: all.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub max_rows: usize,
    /// Tell how long each statement took.
    #[arg(long)]
    pub timing: bool,
}

#[derive(Debug, Args)]
pub struct Status {
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Log {
    /// The ref.
    #[arg(value_name = "REF")]
    pub at: Option<String>,
    /// Commits at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The older side. Alone: compared with the current ref. Neither: the last commit of the current ref. `FROM..TO`
    /// are both sides.
    #[arg(value_name = "FROM")]
    pub from: Option<String>,
    /// The newer side.
    #[arg(value_name = "TO")]
    pub to: Option<String>,
    /// Also which rows of changed tables differ: counts, columns, and a few of them by key.
    #[arg(long)]
    pub rows: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Bisect {
    /// A query of one boolean, such as `select count(*) > 100 from gold.daily`: it holds where all its rows are true.
    #[arg(value_name = "STATEMENT")]
    pub statement: String,
    /// Where it held. Unless given, one is looked for, 1, 2, 4, … commits back.
    #[arg(long, value_name = "REF")]
    pub good: Option<String>,
    /// Where it does not hold; the current ref unless given. Its history is searched.
    #[arg(long, value_name = "REF")]
    pub bad: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Branch {
    /// The branch to make; without it branches are listed.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Where it starts; the current ref unless given.
    #[arg(long, value_name = "REF", requires = "name")]
    pub from: Option<String>,
    /// Delete the branch.
    #[arg(long, short, requires = "name", conflicts_with = "from")]
    pub delete: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Switch {
    /// The ref.
    #[arg(value_name = "REF")]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Tag {
    /// The tag to make; without it tags are listed.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// What it names; the current ref unless given.
    #[arg(value_name = "REF")]
    pub at: Option<String>,
    /// Delete the tag.
    #[arg(long, short, requires = "name", conflicts_with = "at")]
    pub delete: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Merge {
    /// The branch whose changes are taken.
    #[arg(value_name = "FROM")]
    pub from: String,
    /// The branch that takes them; the current ref unless given.
    #[arg(long, value_name = "REF")]
    pub into: Option<String>,
    /// Also what a run wrote that was held, has failed or is not at its end: past its checks.
    #[arg(long)]
    pub unchecked: bool,
}

#[derive(Debug, Args)]
pub struct Drop {
    /// The tables and views. What was set aside in `quarantine` goes with its table.
    #[arg(value_name = "TABLE", required = true)]
    pub tables: Vec<String>,
    /// The branch; the current one unless given.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// What to go back to: `main~1`, `main@2026-11-20`, a tag, a commit. The commit before the last one unless given.
    #[arg(long, value_name = "REF", conflicts_with = "run")]
    pub to: Option<String>,
    /// Go back to before this run was published.
    #[arg(long, value_name = "RUN")]
    pub run: Option<u64>,
    /// Only these tables, with the cursors that fill them.
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// The branch to roll back; the current ref unless given.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The table: `gold.daily`.
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// The ref.
    #[arg(long = "ref", value_name = "REF")]
    pub at: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Generate {
    #[command(subcommand)]
    pub what: GenerateWhat,
}

#[derive(Debug, Subcommand)]
pub enum GenerateWhat {
    /// A web shop: customers, products, orders, order lines, payments, click events. The same options and seed give the
    /// same bytes, on every machine.
    Shop(GenerateShop),
}

#[derive(Debug, Args)]
pub struct GenerateShop {
    /// A folder, or a database: `postgres://user:password@host/database`.
    #[arg(long, value_name = "DIR|URL")]
    pub out: String,
    /// Orders in the history; everything else follows from it.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = parse_count)]
    pub orders: u64,
    /// What decides every value.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// The last day of the history.
    #[arg(long, value_name = "DATE", default_value = "2025-12-31")]
    pub until: String,
    /// Days of the history.
    #[arg(long, value_name = "N", default_value_t = 365)]
    pub days: u32,
    /// Make one later day instead: its new rows, and the orders that changed on it.
    #[arg(long, value_name = "DATE")]
    pub day: Option<String>,
    /// csv, jsonl or parquet. Unless given: payments as gzipped CSV, events as JSON lines, the rest as CSV.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// none, gzip or zstd, of CSV and JSON lines.
    #[arg(long, value_name = "METHOD")]
    pub compression: Option<String>,
    /// Only these tables.
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    pub tables: Vec<String>,
    /// What goes wrong: `all` (also without a value), or a list such as `future_orders,orphans=0.05` with the share of
    /// rows. There are future_orders, negative_quantities, duplicate_keys, orphans, broken_emails, torn_lines.
    #[arg(long, value_name = "LIST", num_args = 0..=1, default_missing_value = "all")]
    pub defects: Option<String>,
    /// In a database: drop tables of the same names first.
    #[arg(long)]
    pub replace: bool,
    /// Threads. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct Schema {
    /// Which one: polder, source, model, checks, policies or pipeline. Without it the names are listed.
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
    /// Write all of them into a folder.
    #[arg(long, value_name = "DIR", conflicts_with = "kind")]
    pub out: Option<PathBuf>,
}

/// `NAME=VALUE`; the value is YAML's idea of a scalar: a number, true, false, null, or text.
fn parse_var(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
    Ok((name.trim().to_owned(), value))
}

/// `90d`, `12h`, `2w`.
fn parse_keep(text: &str) -> Result<std::time::Duration, String> {
    let seconds = polder_app::duration_seconds(text).filter(|seconds| *seconds > 0);
    seconds.map(std::time::Duration::from_secs).ok_or_else(|| "a duration, such as 12h, 90d or 52w".to_owned())
}

/// `1000000`, `1_000_000`, `10k`, `5M`.
fn parse_count(text: &str) -> Result<u64, String> {
    let plain = text.replace(['_', ','], "");
    let (digits, unit) = match plain.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1_000),
        Some((at, 'm' | 'M')) => (&plain[..at], 1_000_000),
        _ => (plain.as_str(), 1),
    };
    let number: u64 = digits.parse().map_err(|_| "a whole number, such as 100000, 1_000_000 or 5M".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn counts_may_be_short() {
        assert_eq!(parse_count("5M"), Ok(5_000_000));
        assert_eq!(parse_count("1_000"), Ok(1_000));
        assert!(parse_count("many").is_err());
    }

    #[test]
    fn values_of_variables_have_types() {
        assert_eq!(parse_var("n=3"), Ok(("n".to_owned(), serde_json::json!(3))));
        assert_eq!(parse_var("day=2026-11-20"), Ok(("day".to_owned(), serde_json::json!("2026-11-20"))));
        assert!(parse_var("n").is_err());
    }
}
