//! `polder add`: a source from its address alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use polder_base::TableName;
use polder_diag::Span;
use polder_ingest::Surveyed;
use polder_project::Project;

use crate::app::{Loaded, has_errors};
use crate::lock::{ask, told, write_lock};
use crate::{AppError, Problems, codes};

/// A source that is to be added.
#[derive(Debug, Clone)]
pub struct Addition {
    /// The project folder.
    pub project: PathBuf,
    pub environment: Option<String>,
    /// The source's name.
    pub name: String,
    /// `postgres://…`, or a path or pattern of files.
    pub address: String,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The file of the source, relative to the project, and its text.
    pub file: String,
    pub text: String,
    /// The tables that it will fill.
    pub tables: Vec<TableName>,
    /// The line of `.env` that has the address: its name.
    pub variable: Option<String>,
    /// `.env` was not ignored by git, and is now.
    pub ignored: bool,
}

impl Addition {
    /// Whether it is a database, whose tables can be chosen.
    pub fn is_database(&self) -> bool {
        self.address.starts_with("postgres://") || self.address.starts_with("postgresql://")
    }

    fn file(&self) -> String {
        format!("sources/{}.yaml", self.name)
    }

    /// The variable that takes the address of a database.
    fn variable(&self) -> String {
        format!("{}_PG", self.name.to_uppercase())
    }

    /// The tables of the database.
    ///
    /// # Errors
    /// A source of this name that is there, a project with mistakes, an address that is none, a database that does not
    /// let us in.
    pub async fn survey(&self) -> Result<Vec<Surveyed>, AppError> {
        let project = self.check()?;
        let mut project = Project::clone(&project);
        // A problem with the address points here: it stands in no file yet.
        let place = project.files.add("address", "");
        let found = polder_ingest::survey(&self.address, &Span::file(&place)).await;
        let found = found.map_err(|error| told(error, &project))?;
        match found.is_empty() {
            true => {
                Err(AppError::refused(codes::REFUSED, "there is no table in this database that this user may read"))
            }
            false => Ok(found),
        }
    }

    /// Writes the source, what it has into `polder.lock`, and the address of a database into `.env`. `tables`: those of a
    /// database that are to be read.
    ///
    /// # Errors
    /// As [`Addition::survey`]; no such files; tables that cannot be read. Nothing is written then.
    pub async fn add(&self, tables: &[Surveyed]) -> Result<Added, AppError> {
        let before = self.check()?;
        let draft = match self.is_database() {
            true => database_text(&self.name, &self.variable(), tables),
            false => files_text(&self.name, &self.address, None),
        };
        let project = self.read_with(&draft)?;
        let (found, failed) = ask(&self.project, &project, |source| source == self.name).await;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error);
        }
        let text = match found.values().next() {
            Some(table) if !self.is_database() => {
                files_text(&self.name, &self.address, likely_key(&self.name, table.columns.keys()))
            }
            _ => draft,
        };
        let ignored = if self.is_database() { self.keep_address()? } else { false };
        let mut lock = before.lock.clone();
        lock.tables.extend(found.clone());
        write_lock(&self.project, &lock)?;
        write_new(&self.project.join(self.file()), &text)?;
        Ok(Added {
            file: self.file(),
            text,
            tables: found.into_keys().collect(),
            variable: self.is_database().then(|| self.variable()),
            ignored,
        })
    }

    /// The project as it is, in which there is room for the source.
    fn check(&self) -> Result<Arc<Project>, AppError> {
        for file in [self.file(), format!("sources/{}.yml", self.name)] {
            if self.project.join(&file).exists() {
                let refused = AppError::refused(codes::REFUSED, format!("{file} is there already"));
                return Err(refused.hint("add it under another name, or change the file"));
            }
        }
        let loaded = Loaded::read(&self.project, self.environment.clone(), BTreeMap::new());
        loaded.valid().cloned()
    }

    /// The project as it would be with this text of the source.
    fn read_with(&self, text: &str) -> Result<Project, AppError> {
        let variable = self.variable();
        let value = |name: &str| if name == variable { Some(self.address.clone()) } else { std::env::var(name).ok() };
        let options = polder_project::Options {
            environment: self.environment.clone(),
            overlay: BTreeMap::from([(self.file(), text.to_owned())]),
            variables: &value,
        };
        let (project, diagnostics) = polder_project::load(&self.project, &options);
        match has_errors(&diagnostics) {
            true => Err(AppError::Project(Box::new(Problems { diagnostics, sources: project.files }))),
            false => Ok(project),
        }
    }

    /// Puts the address into `.env`, which git ignores. `true`: it did not before.
    fn keep_address(&self) -> Result<bool, AppError> {
        let (path, variable) = (self.project.join(".env"), self.variable());
        let failed = |e: std::io::Error| AppError::Environment(format!("writing {}: {e}", path.display()));
        let before = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(failed(e)),
        };
        let is_there = |line: &str| {
            let line = line.trim_start();
            let name = line.strip_prefix("export ").unwrap_or(line).split('=').next();
            name.is_some_and(|name| name.trim() == variable)
        };
        if before.lines().any(is_there) {
            let refused = AppError::refused(codes::REFUSED, format!("`.env` has {variable} already"));
            return Err(refused.hint("add the source under another name, or take the line out"));
        }
        let ignored = ignore_dotenv(&self.project)?;
        let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        append_secret(&path, &format!("{gap}{variable}={}\n", quoted(&self.address))).map_err(failed)?;
        Ok(ignored)
    }
}

/// Sees to it that git does not take `.env`. `true`: it would have.
fn ignore_dotenv(project: &Path) -> Result<bool, AppError> {
    let mut asked = Command::new("git");
    asked.args(["check-ignore", "--quiet", ".env"]).current_dir(project).stdout(Stdio::null()).stderr(Stdio::null());
    let path = project.join(".gitignore");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let is_listed = text.lines().any(|line| matches!(line.trim(), ".env" | "/.env" | "*.env"));
    if is_listed || asked.status().is_ok_and(|status| status.success()) {
        return Ok(false);
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let write = || {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(format!("{gap}# Secrets.\n.env\n").as_bytes())
    };
    write().map_err(|e: std::io::Error| AppError::Environment(format!("writing {}: {e}", path.display())))?;
    Ok(true)
}

/// A file that is made anew is for its owner alone.
fn append_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn write_new(path: &Path, text: &str) -> Result<(), AppError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::File::create_new(path)?.write_all(text.as_bytes())
    };
    write().map_err(|e: std::io::Error| AppError::Environment(format!("writing {}: {e}", path.display())))
}

/// A value as `.env` takes it.
fn quoted(value: &str) -> String {
    match value.contains('\'') {
        false => format!("'{value}'"),
        true => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

fn database_text(name: &str, variable: &str, tables: &[Surveyed]) -> String {
    let mut out = format!(
        "# Made by `polder add`. `TABLE` lands in bronze.{name}_TABLE.\npostgres: ${{env:{variable}}}\ntables:\n"
    );
    for table in tables {
        out += &format!("  # {}\n  {}: {}\n", reason(table), word(&table.name), read_mode(table));
    }
    out
}

fn read_mode(table: &Surveyed) -> String {
    match &table.cursor {
        Some(cursor) => format!("{{ key: {}, cursor: {} }}", words(&table.key), word(&cursor.column)),
        None => "full".to_owned(),
    }
}

/// Why a table is read as it is.
fn reason(table: &Surveyed) -> String {
    let rows = match table.rows {
        Some(1) => "about 1 row".to_owned(),
        Some(rows) => format!("about {rows} rows"),
        None => "never counted by the database".to_owned(),
    };
    match &table.cursor {
        Some(cursor) if cursor.indexed => {
            format!("{rows}; what {} says has changed is read, by its index", cursor.column)
        }
        Some(cursor) => format!("{rows}; what {} says has changed is read (an index on it would help)", cursor.column),
        None if table.key.is_empty() => format!("{rows}; read in full each time: it has no primary key"),
        None => format!("{rows}; read in full each time: no column says when a row was changed"),
    }
}

fn files_text(name: &str, address: &str, key: Option<&str>) -> String {
    let several = address.contains(['*', '?', '[', '{']);
    let how = match several {
        true => "new files are added, and changed ones read again",
        false => "the table is what the file says now",
    };
    let mut out = format!("# Made by `polder add`. Lands in bronze.{name}; {how}.\nfiles: {}\n", word(address));
    if let Some(key) = key {
        out += &format!(
            "# If no two rows have the same, a row that comes again replaces the earlier one:\n# key: {}\n",
            word(key)
        );
    }
    out
}

/// The column that by its name identifies rows.
fn likely_key<'a>(source: &str, mut columns: impl Iterator<Item = &'a String> + Clone) -> Option<&'a str> {
    let singular = source.strip_suffix('s').unwrap_or(source);
    let names = ["id".to_owned(), format!("{source}_id"), format!("{singular}_id")];
    let by_name = names.iter().find_map(|name| columns.clone().find(|column| *column == name));
    by_name.or_else(|| columns.find(|column| column.ends_with("_id"))).map(String::as_str)
}

fn words(names: &[String]) -> String {
    match names {
        [name] => word(name),
        names => format!("[{}]", names.iter().map(|name| word(name)).collect::<Vec<_>>().join(", ")),
    }
}

/// Text as YAML takes it, also within `{ … }`.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let starts = text.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '/');
    let is_word = matches!(text, "true" | "false" | "null");
    match starts && !is_word && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use polder_ingest::Cursor;

    use super::*;

    fn table(name: &str, key: &[&str], cursor: Option<(&str, bool)>) -> Surveyed {
        Surveyed {
            name: name.to_owned(),
            rows: Some(12),
            key: key.iter().map(|k| (*k).to_owned()).collect(),
            cursor: cursor.map(|(column, indexed)| Cursor { column: column.to_owned(), indexed }),
        }
    }

    #[test]
    fn a_database_is_written_with_reasons() {
        let tables = [
            table("orders", &["order_id"], Some(("updated_at", true))),
            table("sales.lines", &["order_id", "No"], Some(("Changed At", false))),
            table("regions", &["id"], None),
            table("log", &[], None),
        ];
        assert_eq!(
            database_text("shop", "SHOP_PG", &tables),
            "# Made by `polder add`. `TABLE` lands in bronze.shop_TABLE.\npostgres: ${env:SHOP_PG}\ntables:\n\
             \x20 # about 12 rows; what updated_at says has changed is read, by its index\n\
             \x20 orders: { key: order_id, cursor: updated_at }\n\
             \x20 # about 12 rows; what Changed At says has changed is read (an index on it would help)\n\
             \x20 sales.lines: { key: [order_id, No], cursor: 'Changed At' }\n\
             \x20 # about 12 rows; read in full each time: no column says when a row was changed\n  regions: full\n\
             \x20 # about 12 rows; read in full each time: it has no primary key\n  log: full\n"
        );
    }

    #[test]
    fn words_are_quoted_where_yaml_wants_it() {
        for (text, want) in [
            ("orders", "orders"),
            ("data/x-1.csv", "data/x-1.csv"),
            ("data/*.csv", "'data/*.csv'"),
            ("it's", "'it''s'"),
            ("null", "'null'"),
            ("2026", "'2026'"),
        ] {
            assert_eq!(word(text), want);
        }
        assert_eq!(quoted("postgres://a:b'c@h/d"), "\"postgres://a:b'c@h/d\"");
    }

    #[test]
    fn a_key_is_guessed_by_its_name() {
        let columns: Vec<String> = ["amount", "order_id", "payment_id"].map(str::to_owned).to_vec();
        assert_eq!(likely_key("payments", columns.iter()), Some("payment_id"));
        assert_eq!(likely_key("x", columns.iter()), Some("order_id"));
    }
}
