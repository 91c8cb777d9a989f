//! From model files to SQL that runs: rendering, dependencies, configuration. Pure: no clock, no files, no tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use polder_base::TableName;
use polder_diag::{Diagnostic, Label, Span};
use polder_project::{ColumnSpec, Model, Project};
use polder_run::StepError;
use polder_template::{Reference, Target};
use serde_json::Value;

use crate::codes;
use crate::columns::unnamed_columns;
use crate::config::{Config, Materialization};
use crate::locked::{Known, unknown_columns};
use crate::names::{RelationKind, Relations, Resolved};
use crate::render::{RenderedModel, Rendering, Templates, unknown_name, unknown_reference};

/// What models are compiled against.
#[derive(Debug)]
pub struct CompileContext<'a> {
    pub project: &'a Project,
    /// Values for `var('name')`, those of the command line over those of the project.
    pub vars: &'a BTreeMap<String, Value>,
    /// The tables and views at the ref that is built on.
    pub existing: &'a BTreeMap<TableName, RelationKind>,
    /// Build incremental models in full.
    pub full_refresh: bool,
}

/// A table that a model reads, and where it says so first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub table: TableName,
    pub span: Span,
}

/// A model that is ready to run.
#[derive(Debug)]
pub struct CompiledModel {
    pub table: TableName,
    pub config: Config,
    /// The tables it is made from, its own left out.
    pub reads: Vec<Read>,
    /// It adds to its table in this run, rather than building it in full.
    pub incremental: bool,
    pub description: Option<String>,
    /// The file.
    pub span: Span,
    columns: BTreeMap<String, ColumnSpec>,
    config_spans: BTreeMap<String, Span>,
    full: Rendering,
    /// An incremental model as it is when its table is there.
    onto: Option<Rendering>,
}

/// All models of a project, and what is wrong with them. Models with mistakes of their own are left out.
#[derive(Debug, Default)]
pub struct Compiled {
    pub models: Vec<Arc<CompiledModel>>,
    pub diagnostics: Vec<Diagnostic>,
}

impl CompiledModel {
    /// The SQL that this run executes.
    pub fn sql(&self) -> &str {
        &self.rendering(self.incremental).sql
    }

    /// How it is kept, in a word or two.
    pub fn kind(&self) -> &'static str {
        match self.config.materialization {
            Materialization::View => "view",
            Materialization::Table => "table",
            Materialization::Incremental(_) if self.incremental => "incremental",
            Materialization::Incremental(_) => "incremental, in full",
        }
    }

    pub(crate) fn rendering(&self, incremental: bool) -> &Rendering {
        self.onto.as_ref().filter(|_| incremental).unwrap_or(&self.full)
    }

    /// Where `config(...)` was given a key, else the file.
    pub(crate) fn config_span(&self, key: &str) -> Span {
        self.config_spans.get(key).unwrap_or(&self.span).clone()
    }

    pub(crate) fn partition_span(&self) -> Span {
        self.config_span("partition_by")
    }

    /// The columns of the result, with the comments of the `.yml` beside the model.
    pub(crate) fn describe(&self, schema: &Schema) -> Result<SchemaRef, StepError> {
        let mut seen = BTreeSet::new();
        let mut fields = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            if field.name().trim().is_empty() {
                let message = format!("a column of {} has an empty name", self.table);
                let diagnostic = Diagnostic::error(codes::COLUMN_NAME, message).at(self.span.clone(), "");
                return Err(diagnostic.hint("give it a name: `… as name`").into());
            }
            if !seen.insert(field.name().as_str()) {
                let message = format!("{} has two columns called `{}`", self.table, field.name());
                let diagnostic = Diagnostic::error(codes::COLUMN_NAME, message).at(self.span.clone(), "");
                return Err(diagnostic.hint("give one of them another name: `… as name`").into());
            }
            fields.push(self.describe_field(field)?);
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    fn describe_field(&self, field: &Field) -> Result<Field, StepError> {
        let mut metadata = field.metadata().clone();
        let spec = self.columns.get(field.name());
        if let Some(declared) = spec.and_then(|s| s.data_type.as_deref()) {
            let found = polder_lake::sql_type_name_of_arrow(field.data_type());
            if canonical_type(declared) != canonical_type(&found) {
                let message =
                    format!("{}: column `{}` is declared as {declared} and is {found}", self.table, field.name());
                let span = spec.map_or_else(|| self.span.clone(), |s| s.span.clone());
                let hint = format!("cast it in {}, or declare {found}", self.span.file);
                return Err(Diagnostic::error(codes::DECLARED_COLUMN, message).at(span, "").hint(hint).into());
            }
        }
        match spec.and_then(|s| s.comment.clone()) {
            Some(comment) => metadata.insert(polder_lake::COMMENT.to_owned(), comment),
            // A comment of a column that was read says what it was there.
            None => metadata.remove(polder_lake::COMMENT),
        };
        metadata.remove("PARQUET:field_id");
        Ok(field.clone().with_metadata(metadata))
    }
}

/// One spelling for each type, for comparing.
fn canonical_type(text: &str) -> String {
    let compact: String = text.to_lowercase().split_whitespace().collect();
    let (name, arguments) = compact.split_once('(').map_or((compact.as_str(), ""), |(n, a)| (n, a));
    let name = match name {
        "int" | "int4" | "integer" | "smallint" | "tinyint" => "integer",
        "int8" | "bigint" | "long" => "bigint",
        "varchar" | "string" | "text" | "char" => return "text".to_owned(),
        "float8" | "double" | "doubleprecision" => "double",
        "float4" | "real" | "float" => "real",
        "bool" | "boolean" => "boolean",
        "numeric" | "decimal" => "decimal",
        "timestamptz" | "timestampwithtimezone" => "timestamptz",
        "timestamp" | "timestampwithouttimezone" | "datetime" => "timestamp",
        "bytea" | "binary" | "varbinary" | "blob" => "binary",
        other => other,
    };
    if arguments.is_empty() { name.to_owned() } else { format!("{name}({arguments}") }
}

/// Compiles all models of a project.
pub fn compile(cx: &CompileContext<'_>) -> Compiled {
    let relations = Relations::new(cx.project, cx.existing);
    let templates = Templates::new(cx.project, cx.vars);
    let known = known_columns(cx.project);
    let mut compiled = Compiled { models: Vec::new(), diagnostics: templates.problems().to_vec() };
    for model in &cx.project.models {
        let mut compiler =
            Compiler { cx, relations: &relations, templates: &templates, known: &known, model, problems: Vec::new() };
        let result = compiler.compile();
        let broken = compiler.problems.iter().any(|d| d.severity == polder_diag::Severity::Error);
        compiled.diagnostics.append(&mut compiler.problems);
        compiled.models.extend(result.filter(|_| !broken).map(Arc::new));
    }
    compiled.diagnostics.extend(cycles(&compiled.models));
    compiled
}

/// Compiles one model.
struct Compiler<'a> {
    cx: &'a CompileContext<'a>,
    relations: &'a Relations<'a>,
    templates: &'a Templates<'a>,
    known: &'a Known,
    model: &'a Model,
    problems: Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn compile(&mut self) -> Option<CompiledModel> {
        let table = &self.model.table;
        let first = self.templates.render(self.model, false, self.relations);
        self.tell(&first);
        let config = Config::read(&first.config, &mut self.problems);
        if !first.usable {
            return None;
        }
        let is_table = self.cx.existing.get(table) == Some(&RelationKind::Table);
        let incremental =
            matches!(config.materialization, Materialization::Incremental(_)) && is_table && !self.cx.full_refresh;
        let mut reads = self.reads(&first.rendering, &first.references, false);
        let onto = match config.materialization {
            Materialization::Incremental(_) => {
                let second = self.templates.render(self.model, true, self.relations);
                self.tell(&second);
                if incremental && second.usable {
                    reads = self.reads(&second.rendering, &second.references, true);
                }
                Some(second.rendering)
            }
            _ => None,
        };
        self.name_columns(&first.rendering);
        self.know_columns(&first.rendering);
        let config_spans = first.config.into_iter().map(|(key, (_, span))| (key, span)).collect();
        let description = config.description.clone().or_else(|| self.model.description.clone());
        Some(CompiledModel {
            table: table.clone(),
            config,
            reads,
            incremental,
            description,
            span: self.model.span.clone(),
            columns: self.model.columns.clone(),
            config_spans,
            full: first.rendering,
            onto,
        })
    }

    /// Takes over what is wrong with a rendering, once.
    fn tell(&mut self, rendered: &RenderedModel) {
        let unknown = rendered.references.iter().filter_map(|r| unknown_reference(r, self.relations));
        for problem in rendered.problems.iter().cloned().chain(unknown) {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    /// The tables that a rendered query names.
    fn reads(&mut self, rendering: &Rendering, references: &[Reference], incremental: bool) -> Vec<Read> {
        let found = match polder_sql::references(&rendering.sql) {
            Ok(found) => found,
            Err(polder_sql::SqlError::Statement(diagnostic)) => {
                self.problems.push(rendering.rebase(*diagnostic));
                return Vec::new();
            }
            Err(error) => {
                let diagnostic = Diagnostic::error(codes::SYNTAX, error.to_string());
                self.problems.push(diagnostic.at(self.model.span.clone(), ""));
                return Vec::new();
            }
        };
        let mut reads: Vec<Read> = Vec::new();
        for reference in found.into_iter().filter(|r| !r.versioned) {
            let by_template = references.iter().find(|r| is_meant(r, &reference));
            if by_template.is_some_and(|r| r.resolved.is_none()) {
                // Told already.
                continue;
            }
            let span = by_template.map_or_else(|| rendering.locate(reference.range.clone()), |r| r.span.clone());
            let Some(table) = self.resolve(reference.namespace.as_deref(), &reference.name, &span) else { continue };
            if table == self.model.table {
                if !incremental {
                    self.problems.push(reads_itself(&table, &span));
                }
            } else if !reads.iter().any(|r| r.table == table) {
                reads.push(Read { table, span });
            }
        }
        reads
    }

    fn resolve(&mut self, schema: Option<&str>, name: &str, span: &Span) -> Option<TableName> {
        match self.relations.plain(schema, name) {
            Resolved::Table(table) => Some(table),
            Resolved::Elsewhere | Resolved::Ambiguous(_) => None,
            Resolved::Unknown { nearest } => {
                let written = schema.iter().fold(name.to_owned(), |n, s| format!("{s}.{n}"));
                self.problems.push(unknown_name(&written, span, nearest));
                None
            }
        }
    }

    /// Tells of columns that a source did not have when it was last asked.
    fn know_columns(&mut self, rendering: &Rendering) {
        for unknown in unknown_columns(&rendering.sql, self.known) {
            let message = format!("{} has no column `{}`", unknown.table, unknown.column);
            let diagnostic = Diagnostic::error(codes::UNKNOWN_COLUMN, message)
                .at(rendering.locate(unknown.range), "not in polder.lock");
            let known = self.known.get(&unknown.table).into_iter().flatten().map(String::as_str);
            let diagnostic = match polder_base::nearest(&unknown.column, known) {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic,
            };
            self.problems.push(diagnostic.hint("if the source has it by now: `polder lock --update`"));
        }
    }

    fn name_columns(&mut self, rendering: &Rendering) {
        if let Some((range, text)) = unnamed_columns(&rendering.sql).into_iter().next() {
            let message = format!("a column of {} has no name", self.model.table);
            let diagnostic = Diagnostic::error(codes::COLUMN_NAME, message).at(rendering.locate(range), "");
            self.problems.push(diagnostic.hint(format!("give it one: `{} as name`", shorten(&text))));
        }
    }
}

/// The columns of what sources fill: those that `polder.lock` has, those that are declared, and Polder's own.
fn known_columns(project: &Project) -> Known {
    let streams = project.sources.iter().flat_map(|source| &source.streams);
    let known = streams.filter_map(|stream| {
        let locked = stream.locked.as_ref()?.columns.keys();
        let own = ["_run", "_loaded_at", "_file", "_position"].map(str::to_owned);
        Some((stream.table.clone(), locked.chain(stream.columns.keys()).cloned().chain(own).collect()))
    });
    known.collect()
}

/// Whether a table of the SQL was put there by this call of `ref` or `source`.
fn is_meant(call: &Reference, found: &polder_sql::Reference) -> bool {
    match (&call.resolved, &call.target) {
        (Some(text), _) => {
            let plain = text.replace('"', "");
            plain.rsplit_once('.') == found.namespace.as_deref().map(|n| (n, found.name.as_str()))
        }
        (None, Target::Ref { name, .. }) => *name == found.name,
        (None, Target::Source { source, stream }) => {
            *stream == found.name && found.namespace.as_deref() == Some(source.as_str())
        }
    }
}

fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 40 { line } else { line.chars().take(39).chain(['…']).collect() }
}

fn reads_itself(table: &TableName, span: &Span) -> Diagnostic {
    Diagnostic::error(codes::READS_ITSELF, format!("{table} reads itself"))
        .at(span.clone(), "its own table")
        .hint("only an incremental model may, inside `{% if is_incremental() %} … {% endif %}`")
        .hint("if another table of this name is meant, write its namespace")
}

/// One diagnostic for each way that leads from a model back to itself.
fn cycles(models: &[Arc<CompiledModel>]) -> Vec<Diagnostic> {
    let by_table: BTreeMap<&TableName, &CompiledModel> = models.iter().map(|m| (&m.table, m.as_ref())).collect();
    let mut search = CycleSearch { by_table, done: BTreeSet::new(), way: Vec::new(), found: Vec::new() };
    for model in models {
        search.visit(&model.table);
    }
    search.found
}

struct CycleSearch<'a> {
    by_table: BTreeMap<&'a TableName, &'a CompiledModel>,
    done: BTreeSet<&'a TableName>,
    way: Vec<&'a TableName>,
    found: Vec<Diagnostic>,
}

impl<'a> CycleSearch<'a> {
    fn visit(&mut self, table: &TableName) {
        let Some((table, model)) = self.by_table.get_key_value(table).map(|(t, m)| (*t, *m)) else { return };
        if self.done.contains(table) {
            return;
        }
        if let Some(start) = self.way.iter().position(|t| *t == table) {
            self.found.push(self.cycle(&self.way[start..]));
            return;
        }
        self.way.push(table);
        for read in &model.reads {
            self.visit(&read.table);
        }
        self.way.pop();
        self.done.insert(table);
    }

    fn cycle(&self, way: &[&'a TableName]) -> Diagnostic {
        let names: Vec<String> = way.iter().chain(way.first()).map(ToString::to_string).collect();
        let mut labels = way.iter().enumerate().filter_map(|(i, table)| {
            let next = way[(i + 1) % way.len()];
            let read = self.by_table.get(table)?.reads.iter().find(|r| r.table == *next)?;
            Some(Label { span: read.span.clone(), text: format!("{table} reads {next}") })
        });
        let message = format!("models are made from each other: {}", names.join(" ← "));
        let mut diagnostic = Diagnostic::error(codes::CYCLE, message);
        diagnostic.label = labels.next();
        diagnostic.related = labels.collect();
        diagnostic
    }
}
