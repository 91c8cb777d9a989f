//! A new project.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use polder_base::nearest;

use crate::{AppError, codes};

/// Files of the example projects, by path below `examples/`.
const EXAMPLES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// What a project starts with.
const STARTER: &[(&str, &str)] = &[
    (".gitignore", "# State and data of Polder.\n.polder/\n# Secrets.\n.env\n"),
    (
        "sources/orders.yaml",
        "# One file: bronze.orders is what it says now. `polder run` reads it again when it changes.\n\
         files: data/orders.csv\n\
         key: order_id\n",
    ),
    (
        "models/silver/orders.sql",
        "-- silver.orders: one row for each order that counts.\n\
         select order_id, customer, cast(ordered_at as date) as day, amount\n\
         from bronze.orders\n\
         where status <> 'cancelled'\n",
    ),
    (
        "models/gold/daily.sql",
        "-- gold.daily: revenue by day.\n\
         select day, count(*) as orders, sum(amount) as revenue\n\
         from {{ ref('silver.orders') }}\n\
         group by day\n",
    ),
    (
        "checks/orders.yaml",
        "table: bronze.orders\n\
         checks:\n\
         \x20 - unique: order_id\n\
         \x20 - not_null: [order_id, customer, amount]\n\
         \x20 - holds: ordered_at <= run_time()\n",
    ),
    (
        "data/orders.csv",
        "order_id,customer,ordered_at,status,amount\n\
         1001,ada,2026-01-05 09:12:00,paid,19.90\n\
         1002,grace,2026-01-05 17:40:00,paid,5.00\n\
         1003,ada,2026-01-06 08:03:00,cancelled,12.50\n\
         1004,edsger,2026-01-06 11:27:00,paid,42.00\n",
    ),
];

/// What `init` made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Initialised {
    pub folder: PathBuf,
    /// Relative to the folder, in order.
    pub files: Vec<String>,
}

/// The names of the example projects.
pub fn examples() -> Vec<&'static str> {
    let mut names: Vec<&str> = EXAMPLES.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0)).collect();
    names.dedup();
    names
}

/// Writes a project into a folder that has none: a small one of its own, or an example.
///
/// # Errors
/// A folder with files in it or inside a project, an example that does not exist, a disk that does not take the files.
pub fn init(folder: &Path, example: Option<&str>) -> Result<Initialised, AppError> {
    refuse_files(folder)?;
    refuse_nested(folder)?;
    let files: Vec<(String, Vec<u8>)> = match example {
        Some(name) => example_files(name)?,
        None => {
            let settings = ("polder.yaml".to_owned(), format!("name: {}\n", project_name(folder)).into_bytes());
            let rest = STARTER.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
            std::iter::once(settings).chain(rest).collect()
        }
    };
    for (path, bytes) in &files {
        write_new(&folder.join(path), bytes)?;
    }
    Ok(Initialised { folder: folder.to_owned(), files: files.into_iter().map(|(path, _)| path).collect() })
}

/// A folder that exists may hold what version control and editors put there, and nothing else.
fn refuse_files(folder: &Path) -> Result<(), AppError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(AppError::Environment(format!("reading {}: {e}", folder.display()))),
    };
    let mut names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    match names.find(|n| !matches!(n.as_str(), ".git" | ".github" | ".vscode" | ".idea" | "LICENSE")) {
        None => Ok(()),
        Some(name) => {
            let message = format!("{} is not empty: it has `{name}`", folder.display());
            Err(AppError::refused(codes::NOT_EMPTY, message).hint("choose a new folder: polder init DIR"))
        }
    }
}

/// A project inside another would be found in the place of the outer one by every command that is given below it.
fn refuse_nested(folder: &Path) -> Result<(), AppError> {
    let Some(outer) = project_above(folder) else { return Ok(()) };
    let message = format!("{} lies in the project {}, and a project holds no other", folder.display(), outer.display());
    Err(AppError::refused(codes::NOT_EMPTY, message).hint("choose a folder outside of it: polder init DIR"))
}

fn project_above(folder: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(folder).ok()?;
    // The folder may not be there yet. What is there of the way to it is taken without `..` and links.
    let there = absolute.ancestors().skip(1).find_map(|above| above.canonicalize().ok())?;
    let above = match absolute.canonicalize() {
        Ok(real) => real.parent()?.to_owned(),
        Err(_) => there,
    };
    above.ancestors().find(|above| above.join(polder_project::SETTINGS).is_file()).map(Path::to_owned)
}

fn example_files(name: &str) -> Result<Vec<(String, Vec<u8>)>, AppError> {
    let prefix = format!("{name}/");
    let files: Vec<(String, Vec<u8>)> = EXAMPLES
        .iter()
        .filter_map(|(path, bytes)| Some((path.strip_prefix(&prefix)?.to_owned(), bytes.to_vec())))
        .collect();
    if files.is_empty() {
        let refused = AppError::refused(codes::UNKNOWN_EXAMPLE, format!("there is no example `{name}`"));
        let hint = match nearest(name, examples()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", examples().join(", ")),
        };
        return Err(refused.hint(hint));
    }
    Ok(files)
}

fn project_name(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = absolute.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String = polder_base::normalise_column(&name).chars().filter(char::is_ascii).collect();
    if plain.is_empty() { "project".to_owned() } else { plain }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), AppError> {
    let write = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = fs::File::create_new(path)?;
        file.write_all(bytes)
    };
    write().map_err(|e: std::io::Error| AppError::Environment(format!("writing {}: {e}", path.display())))
}
