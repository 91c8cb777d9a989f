//! From names to tables: the catalog is asked once for each table of a statement, before planning, which cannot wait.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use futures::future::BoxFuture;
use polder_base::TableName;
use polder_catalog::{CatalogError, CommitId, Entry, EntryKey, Shown};
use polder_diag::Diagnostic;
use polder_govern::Decision;
use polder_lake::LakeTable;

use crate::context::{Outcome, Tables};
use crate::govern::{self, GovernedTable};
use crate::scanned::{Scanned, ScannedTable, scanned_tables};
use crate::session::{Core, query_plan, search_order};
use crate::statement::{self, At, Kind, Relation, Text};
use crate::workbench::Workbench;
use crate::{Result, SqlError, codes, files, system};

/// In whose name tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// The session's principal: policies apply.
    Principal,
    /// Who wrote the view (or the policy): all rows are seen. The platform itself, too.
    Definer,
}

/// Finds the tables of a statement at one commit.
#[derive(Clone)]
pub(crate) struct Resolver<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) bench: &'a Workbench,
    rights: Rights,
    at: CommitId,
    namespaces: Vec<String>,
    /// The views that are being read, from the statement down.
    above: Vec<TableName>,
    /// Whether something was read at another commit than the session's. Of the whole statement, views and policies too.
    elsewhen: Arc<AtomicBool>,
}

/// An entry of the catalog that a name means.
struct Found {
    name: TableName,
    entry: Entry,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(core: &'a Arc<Core>, bench: &'a Workbench, rights: Rights) -> Self {
        Self {
            core,
            bench,
            rights,
            at: core.at.clone(),
            namespaces: core.namespaces.clone(),
            above: Vec::new(),
            elsewhen: Arc::default(),
        }
    }

    pub(crate) fn rights(&self) -> Rights {
        self.rights
    }

    /// The same resolver with the rights of whoever wrote the view or policy.
    pub(crate) fn definer(&self) -> Self {
        Self { rights: Rights::Definer, ..self.clone() }
    }

    /// Whether all that was read is of the session's commit: then it is the same as long as that is.
    pub(crate) fn read_one_commit(&self) -> bool {
        !self.elsewhen.load(Ordering::Relaxed)
    }

    /// What each name of a statement means. Names that mean nothing become errors only when the planner asks for them:
    /// they may be those of common table expressions.
    pub(crate) async fn tables(&self, relations: &[Relation], text: Option<&Text>) -> Result<Tables> {
        let mut tables = Tables::default();
        for relation in relations {
            tables.insert(relation, self.outcome(relation, text).await?);
        }
        Ok(tables)
    }

    async fn outcome(&self, relation: &Relation, text: Option<&Text>) -> Result<Outcome> {
        let place = text.zip(relation.range.clone());
        if relation.file {
            return files::outcome(self, &relation.name, place).await;
        }
        if let Some(namespace) = relation.namespace.as_deref().filter(|namespace| system::is_namespace(namespace)) {
            return self.records(namespace, relation, place).await;
        }
        if matches!(relation.version, Some(At::Ref(_) | At::Time(_))) {
            self.elsewhen.store(true, Ordering::Relaxed);
        }
        let at = match &relation.version {
            None | Some(At::Snapshot(_)) => self.at.clone(),
            Some(At::Ref(spec)) => match self.core.engine.catalog().resolve(spec).await {
                Ok(commit) => commit,
                Err(error) => return unknown_version(error, place),
            },
            Some(At::Time(time)) => {
                let shown = &self.core.options.at;
                match self.core.engine.catalog().shown_at(&self.at, *time).await? {
                    Shown::Commit(commit) => commit,
                    Shown::NothingYet => {
                        let message = format!("`{shown}` has no history before {time}");
                        return Ok(wrong(place, codes::VERSION, message, None));
                    }
                    Shown::Cut => {
                        let message = format!("what `{shown}` showed at {time} is no longer kept");
                        return Ok(wrong(place, codes::VERSION, message, None));
                    }
                }
            }
        };
        match self.find(&at, relation).await? {
            Some(found) => self.load(&at, found, relation, place).await,
            // To look through all names for one that is like it takes long, and the planner does not ask for this one.
            None if relation.common => Ok(unknown(relation, place, None)),
            None => self.unknown(&at, relation, place).await,
        }
    }

    /// One of the platform's own tables, which may be governed like any other.
    async fn records(&self, namespace: &str, relation: &Relation, place: Place<'_>) -> Result<Outcome> {
        let Some(table) = system::table(self, namespace, &relation.name) else {
            let names = system::names(namespace);
            let near = polder_base::nearest(&relation.name, names.iter().copied());
            let hint = near.map_or_else(
                || format!("there are {}", names.join(", ")),
                |near| format!("did you mean `{namespace}.{near}`?"),
            );
            return Ok(unknown(relation, place, Some(hint)));
        };
        if relation.version.is_some() {
            return Ok(wrong(place, codes::VERSION, "the platform's records have no versions", None));
        }
        let name = TableName::new(namespace, &relation.name);
        let decision = self.decide(&name, None);
        if decision.denied.is_some() {
            return Ok(Outcome::Denied(denied(&self.core.options.principal.name, &name)));
        }
        self.shown(&name, table, &decision).await
    }

    async fn find(&self, at: &CommitId, relation: &Relation) -> Result<Option<Found>> {
        let namespaces = match &relation.namespace {
            Some(namespace) => std::slice::from_ref(namespace),
            None => self.namespaces.as_slice(),
        };
        for namespace in namespaces {
            let name = TableName::new(namespace, &relation.name);
            if let Some(entry) = self.core.engine.catalog().entry(at, &EntryKey::Relation(name.clone())).await? {
                return Ok(Some(Found { name, entry }));
            }
        }
        Ok(None)
    }

    async fn unknown(&self, at: &CommitId, relation: &Relation, place: Place<'_>) -> Result<Outcome> {
        let entries = self.core.engine.catalog().entries(at).await?;
        let mut names: Vec<TableName> = entries
            .into_iter()
            .filter_map(|(key, _)| match key {
                EntryKey::Relation(name) => Some(name),
                EntryKey::Cursor(_) => None,
            })
            .collect();
        names.retain(|name| self.decide(name, None).denied.is_none());
        Ok(unknown(relation, place, nearest(relation, &names)))
    }

    /// What the policies let the principal see of a table.
    pub(crate) fn decide(&self, name: &TableName, uuid: Option<&str>) -> Decision {
        match self.rights {
            Rights::Definer => Decision::default(),
            Rights::Principal => self.core.engine.governance().decide(&self.core.options.principal, name, uuid),
        }
    }

    async fn load(&self, at: &CommitId, found: Found, relation: &Relation, place: Place<'_>) -> Result<Outcome> {
        let Found { name, entry } = found;
        let uuid = match &entry {
            Entry::Table(table) => &table.uuid,
            Entry::View(view) => &view.uuid,
            Entry::Cursor(_) => return Ok(wrong(place, codes::UNKNOWN_TABLE, format!("{name} is a cursor"), None)),
        };
        let decision = self.decide(&name, Some(uuid));
        if decision.denied.is_some() {
            return Ok(Outcome::Denied(denied(&self.core.options.principal.name, &name)));
        }
        match entry {
            Entry::View(_) => match relation.version {
                Some(At::Snapshot(_)) => {
                    Ok(wrong(place, codes::VERSION, format!("{name} is a view, and views have no snapshots"), None))
                }
                _ => self.view_outcome(at, &name, &decision).await,
            },
            _ => {
                let Some(table) = self.core.engine.lake().table(at, &name).await? else {
                    return self.unknown(at, relation, place).await;
                };
                match &relation.version {
                    Some(At::Snapshot(id)) => match table.at_snapshot(*id)? {
                        Some(table) => self.table_outcome(name, table, &decision).await,
                        None => Ok(wrong(
                            place,
                            codes::VERSION,
                            format!("{name} has no snapshot {id}"),
                            Some(format!("SELECT * FROM system.snapshots WHERE name = '{}' shows them", name.name)),
                        )),
                    },
                    _ => self.table_outcome(name, table, &decision).await,
                }
            }
        }
    }

    async fn table_outcome(&self, name: TableName, table: LakeTable, decision: &Decision) -> Result<Outcome> {
        let scanned = ScannedTable {
            name: name.clone(),
            uuid: table.metadata.uuid().to_string(),
            snapshot_id: table.snapshot_id,
            schema_id: table.metadata.current_schema_id(),
            metadata_path: table.metadata_path.clone(),
        };
        self.shown(&name, Arc::new(Scanned { table: scanned, inner: table.provider(), lake: table }), decision).await
    }

    /// What a principal sees of a table.
    async fn shown(&self, name: &TableName, table: Arc<dyn TableProvider>, decision: &Decision) -> Result<Outcome> {
        if decision.is_open() {
            return Ok(Outcome::Table(table));
        }
        let plan = LogicalPlanBuilder::scan(name.name.as_str(), provider_as_source(table), None)?.build()?;
        self.governed(name, plan, decision).await
    }

    async fn view_outcome(&self, at: &CommitId, name: &TableName, decision: &Decision) -> Result<Outcome> {
        let Some(view) = self.core.engine.lake().view(at, name).await? else {
            return Ok(wrong(None, codes::UNKNOWN_TABLE, format!("no view is called `{name}`"), None));
        };
        let plan = self.view(at, name, &view.sql).await?;
        // Whoever may not see all of a table may see what a view makes of it, but not look below the view.
        let guarded = scanned_tables(&plan).iter().any(|table| !self.decide(&table.name, Some(&table.uuid)).is_open());
        if decision.is_open() && !guarded {
            return Ok(Outcome::Table(Arc::new(ViewTable::new(plan, Some(view.sql)))));
        }
        let plan = LogicalPlanBuilder::from(plan).alias(name.name.as_str())?.build()?;
        self.governed(name, plan, decision).await
    }

    async fn governed(&self, name: &TableName, plan: LogicalPlan, decision: &Decision) -> Result<Outcome> {
        let tables = scanned_tables(&plan);
        match govern::apply(self, name, plan, decision).await {
            Ok(plan) => {
                let fields = plan.schema().fields().iter();
                let masked =
                    fields.filter(|f| decision.mask_of(f.name()).is_some()).map(|f| f.name().clone()).collect();
                Ok(Outcome::Table(Arc::new(GovernedTable::new(name.clone(), plan, masked, tables))))
            }
            // A policy that cannot be applied shows nothing.
            Err(SqlError::Policy(problem)) => Ok(Outcome::Unfit(problem)),
            Err(error) => Err(error),
        }
    }

    /// The plan of a view, with its definer's rights and at the commit that the view is read at. Names without a schema
    /// are looked for beside the view first, whatever the session's own order is.
    fn view<'b>(&'b self, at: &'b CommitId, name: &'b TableName, sql: &'b str) -> BoxFuture<'b, Result<LogicalPlan>> {
        Box::pin(async move {
            let broken =
                |why: String| SqlError::statement(Diagnostic::error(codes::VIEW, format!("the view {name} {why}")));
            if self.above.contains(name) {
                return Err(broken("is built on itself".to_owned()));
            }
            let namespaces = search_order(Some(&name.namespace));
            let above = self.above.iter().chain([name]).cloned().collect();
            let inner = Self { at: at.clone(), namespaces, above, ..self.definer() };
            inner.view_plan(sql).await.map_err(|error| match error {
                SqlError::Statement(problem) => broken(format!("cannot be read any more: {}", problem.message)),
                other => other,
            })
        })
    }

    async fn view_plan(&self, sql: &str) -> Result<LogicalPlan> {
        let parsed = statement::parse(sql)?;
        let tables = self.tables(&parsed.relations, Some(&parsed.text)).await?;
        let Kind::Query(query) = parsed.kind else {
            return Err(SqlError::statement(Diagnostic::error(codes::VIEW, "a view is a query")));
        };
        let plan = query_plan(self.bench, &tables, *query).and_then(crate::types::with_result_types);
        plan.map_err(|error| SqlError::of_planning(error, &parsed.text))
    }
}

/// Where a name stands in the statement.
pub(crate) type Place<'a> = Option<(&'a Text, Range<usize>)>;

pub(crate) fn wrong(place: Place<'_>, code: &'static str, message: impl Into<String>, hint: Option<String>) -> Outcome {
    let diagnostic = match place {
        Some((text, range)) => text.problem(code, range, message),
        None => Diagnostic::error(code, message),
    };
    Outcome::Wrong(Box::new(hint.into_iter().fold(diagnostic, Diagnostic::hint)))
}

fn unknown(relation: &Relation, place: Place<'_>, hint: Option<String>) -> Outcome {
    wrong(place, codes::UNKNOWN_TABLE, format!("no table is called `{}`", relation.shown()), hint)
}

/// A ref that is not there is the statement's mistake.
fn unknown_version(error: CatalogError, place: Place<'_>) -> Result<Outcome> {
    let nearest = match &error {
        CatalogError::UnknownRef { nearest, .. } => nearest.clone(),
        CatalogError::UnknownCommit { .. } => None,
        _ => return Err(error.into()),
    };
    Ok(wrong(place, codes::VERSION, error.to_string(), nearest.map(|nearest| format!("did you mean `{nearest}`?"))))
}

fn denied(principal: &str, name: &TableName) -> String {
    format!("{principal} may not read {name}: a policy denies it")
}

/// What was perhaps meant: a name spelled nearly so, or the same name in another namespace.
fn nearest(relation: &Relation, names: &[TableName]) -> Option<String> {
    if let Some(elsewhere) = names.iter().find(|name| name.name == relation.name) {
        return Some(format!("did you mean `{elsewhere}`?"));
    }
    let shown: Vec<String> = match &relation.namespace {
        Some(_) => names.iter().map(ToString::to_string).collect(),
        None => names.iter().map(|name| name.name.clone()).collect(),
    };
    let near = polder_base::nearest(&relation.shown(), shown.iter().map(String::as_str))?;
    let name = names.iter().zip(&shown).find(|(_, shown)| *shown == near).map(|(name, _)| name)?;
    Some(format!("did you mean `{name}`?"))
}
