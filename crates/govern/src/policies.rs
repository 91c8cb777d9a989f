//! All policies of a project, and the decision that follows from them.

use polder_base::TableName;
use polder_diag::{Diagnostic, Span};
use polder_project::{Policy, Tables};

use crate::{Decision, Principal, RowFilter};

/// A policy, and what its `table:` means.
#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    policy: Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Table(TableName),
    Namespace(String),
    All,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        if text == "*" || text == "*.*" {
            return Some(Self::All);
        }
        if let Some(namespace) = text.strip_suffix(".*") {
            return (!namespace.is_empty()).then(|| Self::Namespace(namespace.to_owned()));
        }
        text.parse().ok().map(Self::Table)
    }

    /// A namespace holds the namespaces nested in it.
    fn matches(&self, name: &TableName) -> bool {
        match self {
            Self::Table(table) => table == name,
            Self::Namespace(namespace) => {
                name.namespace == *namespace
                    || name.namespace.strip_prefix(namespace.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }
            Self::All => true,
        }
    }
}

/// The policies of a project.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    rules: Vec<Rule>,
}

impl Policies {
    /// # Errors
    /// A policy whose `table` is no table name: it would silently protect nothing.
    pub fn new(policies: Vec<Policy>) -> Result<Self, Box<Diagnostic>> {
        let rule = |policy: Policy| match Pattern::parse(&policy.table) {
            Some(pattern) => Ok(Rule { pattern, policy }),
            None => Err(Box::new(
                Diagnostic::error("S020", format!("the policy's table `{}` is no table name", policy.table))
                    .at(policy.span.clone(), "")
                    .hint("write `namespace.name`, `namespace.*` for all tables of a namespace, or `*` for all"),
            )),
        };
        Ok(Self { rules: policies.into_iter().map(rule).collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.rules.iter().map(|rule| &rule.policy)
    }

    /// Whether a table of this name has to be known again under another one: policies for all tables hold anyway.
    pub fn mention(&self, name: &TableName) -> bool {
        let source = Tables::rejected_from(name);
        let about = |pattern: &Pattern| pattern.matches(name) || source.as_ref().is_some_and(|s| pattern.matches(s));
        self.rules.iter().any(|rule| rule.pattern != Pattern::All && about(&rule.pattern))
    }

    /// Whether any policy, of whatever table, is for a principal.
    pub fn bind(&self, principal: &Principal) -> bool {
        !principal.system && self.rules.iter().any(|rule| applies(&rule.policy, principal))
    }

    /// What a principal may see of a table that goes, or went, by these names. All rules that name the principal
    /// apply together: a row must pass every filter, and one `deny` is enough.
    pub fn decide<'a>(&self, principal: &Principal, names: impl IntoIterator<Item = &'a TableName>) -> Decision {
        let mut decision = Decision::default();
        if principal.system {
            return decision;
        }
        let names: Vec<&TableName> = names.into_iter().collect();
        decision.denied = names.iter().find_map(|name| self.quarantined(principal, name));
        let about = |rule: &&Rule| names.iter().any(|name| rule.pattern.matches(name));
        for Rule { pattern, policy } in self.rules.iter().filter(about).filter(|rule| applies(&rule.policy, principal))
        {
            if policy.deny {
                decision.denied.get_or_insert_with(|| policy.span.clone());
            }
            let place = policy.filter_span();
            let filter = policy.row_filter.iter().map(|sql| RowFilter { sql: sql.clone(), span: place.clone() });
            decision.filters.extend(filter);
            for (column, mask) in &policy.masks {
                decision.mask(column, mask, policy.mask_span(column));
            }
            if matches!(pattern, Pattern::Table(_)) {
                decision.needed.extend(policy.masks.keys().map(|column| column.to_lowercase()));
            }
        }
        decision
    }
}

/// A policy that hides columns of many tables, wherever there are such columns.
#[derive(Debug, Clone, Copy)]
pub struct BroadMasks<'a> {
    pub policy: &'a Policy,
    pattern: &'a Pattern,
}

impl BroadMasks<'_> {
    pub fn cover(&self, name: &TableName) -> bool {
        self.pattern.matches(name)
    }

    /// The namespace of the tables. `None`: the policy is for all.
    pub fn namespace(&self) -> Option<&str> {
        match self.pattern {
            Pattern::Namespace(namespace) => Some(namespace),
            Pattern::Table(_) | Pattern::All => None,
        }
    }
}

impl Policies {
    /// The policies that hide columns of many tables.
    pub fn broad_masks(&self) -> impl Iterator<Item = BroadMasks<'_>> {
        let broad = |rule: &&Rule| !rule.policy.masks.is_empty() && !matches!(rule.pattern, Pattern::Table(_));
        self.rules.iter().filter(broad).map(|Rule { pattern, policy }| BroadMasks { policy, pattern })
    }

    /// `quarantine.t` holds records that `bronze.t` rejected, as they came: no filter or mask fits them. So whoever may
    /// not see all of the one may see nothing of the other.
    fn quarantined(&self, principal: &Principal, name: &TableName) -> Option<Span> {
        let table = Tables::rejected_from(name)?;
        let about = |rule: &&Rule| rule.pattern.matches(&table) && applies(&rule.policy, principal);
        self.rules.iter().find(about).map(|rule| rule.policy.span.clone())
    }
}

fn applies(policy: &Policy, principal: &Principal) -> bool {
    policy.principals.iter().any(|name| principal.is_called(name))
        && !policy.except.iter().any(|name| principal.is_called(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use polder_base::TableName;
    use polder_diag::Span;
    use polder_project::{Mask, Policy, PolicyPlaces};

    use super::Policies;
    use crate::{Bindings, Principal};

    fn policy(table: &str) -> Policy {
        let file: Arc<str> = "policies/p.yaml".into();
        Policy {
            table: table.to_owned(),
            principals: vec!["*".to_owned()],
            except: Vec::new(),
            deny: false,
            row_filter: None,
            masks: BTreeMap::new(),
            span: Span::file(&file),
            places: PolicyPlaces::default(),
        }
    }

    fn orders() -> TableName {
        TableName::new("silver", "orders")
    }

    #[test]
    fn all_rules_that_name_the_principal_apply_together() {
        let first = Policy { row_filter: Some("a = 1".to_owned()), ..policy("silver.orders") };
        let second =
            Policy { row_filter: Some("b = 2".to_owned()), principals: vec!["eu".to_owned()], ..policy("silver.*") };
        let policies = Policies::new(vec![first, second]).unwrap();
        let filters = |principal: &Principal| {
            policies.decide(principal, [&orders()]).filters.into_iter().map(|f| f.sql).collect::<Vec<_>>()
        };
        assert_eq!(filters(&Principal::user("ann")), ["a = 1"]);
        assert_eq!(filters(&Principal::user("ann").with_roles(["eu"])), ["a = 1", "b = 2"]);
        assert!(filters(&Principal::system()).is_empty());
    }

    #[test]
    fn an_exception_wins() {
        let deny = Policy { deny: true, except: vec!["finance".to_owned()], ..policy("silver.orders") };
        let policies = Policies::new(vec![deny]).unwrap();
        assert!(policies.decide(&Principal::user("ann"), [&orders()]).denied.is_some());
        assert!(policies.decide(&Principal::user("bob").with_roles(["finance"]), [&orders()]).is_open());
        assert!(policies.decide(&Principal::user("ann"), [&TableName::new("silver", "other")]).is_open());
    }

    #[test]
    fn masks_that_disagree_hide_everything() {
        let mask = |mask: Mask| Policy { masks: BTreeMap::from([("email".to_owned(), mask)]), ..policy("*") };
        let policies = Policies::new(vec![mask(Mask::Hash), mask(Mask::Hash)]).unwrap();
        assert_eq!(policies.decide(&Principal::user("ann"), [&orders()]).masks["email"], Mask::Hash);
        let policies = Policies::new(vec![mask(Mask::Hash), mask(Mask::Partial)]).unwrap();
        assert_eq!(policies.decide(&Principal::user("ann"), [&orders()]).masks["email"], Mask::Null);
    }

    #[test]
    fn a_column_that_is_not_there_is_missed_only_where_the_policy_is_for_one_table() {
        let masks = BTreeMap::from([("Emial".to_owned(), Mask::Hash)]);
        let policies = Policies::new(vec![
            Policy { masks: masks.clone(), ..policy("silver.orders") },
            Policy { masks, ..policy("gold.*") },
        ])
        .unwrap();
        let decide = |name: TableName| policies.decide(&Principal::user("ann"), [&name]);
        assert_eq!(decide(orders()).missing(["id", "email"]), Some("emial"));
        assert_eq!(decide(orders()).missing(["id", "EMIAL"]), None);
        assert_eq!(decide(TableName::new("gold", "orders")).missing(["id", "email"]), None);
    }

    #[test]
    fn a_renamed_table_stays_governed() {
        let policies = Policies::new(vec![Policy { deny: true, ..policy("silver.orders") }]).unwrap();
        let mut bindings = Bindings::default();
        assert!(bindings.bind("u-1", &orders()));
        assert!(!bindings.bind("u-1", &orders()));
        let renamed = TableName::new("silver", "orders_old");
        let names = std::iter::once(&renamed).chain(bindings.names("u-1"));
        assert!(policies.decide(&Principal::user("ann"), names).denied.is_some());
    }

    #[test]
    fn rejected_records_of_a_governed_table_are_nobodys() {
        let masked = Policy { masks: BTreeMap::from([("Email".to_owned(), Mask::Null)]), ..policy("bronze.users") };
        let policies = Policies::new(vec![masked]).unwrap();
        let decide = |name: TableName| policies.decide(&Principal::user("ann"), [&name]);
        assert!(decide(TableName::new("quarantine", "users")).denied.is_some());
        assert!(decide(TableName::new("quarantine", "orders")).is_open());
        assert_eq!(decide(TableName::new("bronze", "users")).mask_of("EMAIL"), Some(&Mask::Null));
    }

    #[test]
    fn a_namespace_holds_those_nested_in_it() {
        let policies = Policies::new(vec![Policy { deny: true, ..policy("hr.*") }]).unwrap();
        assert!(policies.mention(&TableName::new("hr.pay", "salaries")));
        assert!(!policies.mention(&TableName::new("hrx", "salaries")));
        assert!(Policies::new(vec![policy("orders")]).unwrap_err().message.contains("orders"));
    }

    #[test]
    fn tables_are_known_again_where_a_policy_is_about_them_by_name() {
        let policies = Policies::new(vec![Policy { deny: true, ..policy("bronze.users") }]).unwrap();
        assert!(policies.mention(&TableName::new("bronze", "users")));
        assert!(policies.mention(&TableName::new("quarantine", "users")));
        assert!(!policies.mention(&orders()));
        let policies = Policies::new(vec![Policy { deny: true, ..policy("*") }]).unwrap();
        assert!(!policies.mention(&orders()));
        assert!(policies.decide(&Principal::user("ann"), [&orders()]).denied.is_some());
    }

    #[test]
    fn a_policy_binds_those_whom_it_is_for() {
        let analysts = Policy { deny: true, principals: vec!["analyst".to_owned()], ..policy("silver.orders") };
        let policies = Policies::new(vec![Policy { except: vec!["root".to_owned()], ..analysts }]).unwrap();
        let analyst = |name: &str| Principal::user(name).with_roles(["analyst"]);
        assert!(policies.bind(&analyst("ann")));
        assert!(!policies.bind(&analyst("root")) && !policies.bind(&Principal::user("zoe")));
        let everybody = Policies::new(vec![Policy { deny: true, ..policy("silver.orders") }]).unwrap();
        assert!(everybody.bind(&Principal::user("zoe")) && !everybody.bind(&Principal::system()));
    }
}
