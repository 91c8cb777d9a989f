//! Settings of a connection: what clients set and ask for as they do of PostgreSQL.
//!
//! What changes nothing here is taken and remembered; what would change what comes back, and is not done, is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use polder_base::nearest;

use crate::problem::{Problem, sqlstate};

/// The version of PostgreSQL whose protocol and text forms these are: tools decide by it what they may ask for.
pub(crate) const SERVER_VERSION: &str = concat!("15.0 (Polder ", env!("CARGO_PKG_VERSION"), ")");

/// How a setting behaves.
enum Rule {
    /// Remembered, without effect: what it is about does not exist here.
    Free,
    /// It can be set to what it is.
    Fixed,
    /// Taken from whoever sends it, as drivers do at every start, and told to be what it is.
    Stays,
    Timeout,
    /// Text is UTF-8. A client without an encoding of its own gets it as it is.
    Encoding,
    /// Where names without a schema are looked for.
    Search,
    /// Styles of which one is spoken: text that has to begin with this.
    Begins(&'static str),
}

/// Name as it is told, value at first, rule. Names are compared in lower case.
const KNOWN: &[(&str, &str, Rule)] = &[
    ("application_name", "", Rule::Free),
    ("bytea_output", "hex", Rule::Fixed),
    ("client_encoding", "UTF8", Rule::Encoding),
    ("client_min_messages", "notice", Rule::Free),
    ("DateStyle", "ISO, MDY", Rule::Begins("ISO")),
    ("default_transaction_isolation", "repeatable read", Rule::Free),
    ("default_transaction_read_only", "on", Rule::Free),
    ("extra_float_digits", "1", Rule::Free),
    ("idle_in_transaction_session_timeout", "0", Rule::Free),
    ("idle_session_timeout", "0", Rule::Free),
    ("in_hot_standby", "off", Rule::Fixed),
    ("integer_datetimes", "on", Rule::Fixed),
    ("IntervalStyle", "postgres", Rule::Fixed),
    ("is_superuser", "off", Rule::Fixed),
    ("lock_timeout", "0", Rule::Free),
    ("max_identifier_length", "63", Rule::Fixed),
    ("row_security", "on", Rule::Fixed),
    ("search_path", "", Rule::Search),
    ("server_encoding", "UTF8", Rule::Fixed),
    ("server_version", SERVER_VERSION, Rule::Fixed),
    ("server_version_num", "150000", Rule::Fixed),
    ("session_authorization", "", Rule::Fixed),
    ("standard_conforming_strings", "on", Rule::Fixed),
    ("statement_timeout", "0", Rule::Timeout),
    ("synchronous_commit", "on", Rule::Free),
    ("TimeZone", "UTC", Rule::Stays),
    ("transaction_isolation", "repeatable read", Rule::Free),
    ("transaction_read_only", "on", Rule::Free),
];

/// What clients are told of at the start, and whenever it changes.
pub(crate) const REPORTED: [&str; 11] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
];

#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Lower-case name → value, of those that were set.
    set: BTreeMap<String, String>,
    /// The same at the start of the connection: what RESET goes back to.
    first: BTreeMap<String, String>,
    /// The same before the transaction that goes on: what ROLLBACK goes back to.
    before: Option<BTreeMap<String, String>>,
    /// What holds up to the end of the transaction.
    local: BTreeMap<String, String>,
    /// What is shown as `session_authorization`.
    user: String,
}

impl Settings {
    pub(crate) fn of(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }

    /// Sets, and says the name and value to report where clients want to know. `None` as a value: back to the first.
    ///
    /// # Errors
    /// A setting that is not known, or that cannot have the value.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<Option<(&'static str, String)>, Problem> {
        let (name, first, rule) = find(name)?;
        let key = name.to_ascii_lowercase();
        self.local.remove(&key);
        match value {
            None => match self.first.get(&key) {
                Some(first) => _ = self.set.insert(key, first.clone()),
                None => _ = self.set.remove(&key),
            },
            Some(value) => {
                check(name, first, rule, value)?;
                if !matches!(rule, Rule::Stays | Rule::Encoding) {
                    self.set.insert(key, value.to_owned());
                }
            }
        }
        Ok(REPORTED.contains(&name).then(|| (name, self.value(name, first))))
    }

    /// Sets up to the end of the transaction, and says what to report as [`Settings::set`] does. Without a transaction
    /// nothing is set, as in PostgreSQL. `None` as a value: the first.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub(crate) fn set_local(
        &mut self,
        name: &str,
        value: Option<&str>,
    ) -> Result<Option<(&'static str, String)>, Problem> {
        let (name, first, rule) = find(name)?;
        let key = name.to_ascii_lowercase();
        let value = match value {
            Some(value) => {
                check(name, first, rule, value)?;
                value.to_owned()
            }
            None => self.first.get(&key).cloned().unwrap_or_else(|| first.to_owned()),
        };
        if self.before.is_none() || matches!(rule, Rule::Stays | Rule::Encoding) {
            return Ok(None);
        }
        self.local.insert(key, value);
        Ok(REPORTED.contains(&name).then(|| (name, self.value(name, first))))
    }

    pub(crate) fn begin_transaction(&mut self) {
        self.before = Some(self.set.clone());
    }

    /// Ends what held for the transaction alone, and without `commit` what was set in it. Gives what to report.
    pub(crate) fn end_transaction(&mut self, commit: bool) -> Vec<(&'static str, String)> {
        let reported = |settings: &Self| {
            let shown = REPORTED.iter().filter_map(|name| settings.show(name).ok());
            shown.collect::<Vec<_>>()
        };
        let told = reported(self);
        self.local.clear();
        if let (Some(before), false) = (self.before.take(), commit) {
            self.set = before;
        }
        reported(self).into_iter().filter(|now| !told.contains(now)).collect()
    }

    /// What is set now is what RESET goes back to.
    pub(crate) fn begin(&mut self) {
        self.first.clone_from(&self.set);
    }

    pub(crate) fn reset(&mut self) {
        self.local.clear();
        self.set.clone_from(&self.first);
    }

    /// # Errors
    /// A setting that is not known.
    pub(crate) fn show(&self, name: &str) -> Result<(&'static str, String), Problem> {
        let (name, first, _) = find(name)?;
        Ok((name, self.value(name, first)))
    }

    fn value(&self, name: &str, first: &str) -> String {
        if name == "session_authorization" {
            return self.user.clone();
        }
        self.holds(&name.to_ascii_lowercase()).map_or_else(|| first.to_owned(), str::to_owned)
    }

    /// The value of a setting that has another than the first, by its name in lower case.
    fn holds(&self, key: &str) -> Option<&str> {
        self.local.get(key).or_else(|| self.set.get(key)).map(String::as_str)
    }

    /// What a statement may take.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.holds("statement_timeout").and_then(milliseconds).filter(|timeout| !timeout.is_zero())
    }

    /// The schema where names without one are looked for first.
    pub(crate) fn search(&self) -> Option<&str> {
        let path = self.holds("search_path")?;
        let mut schemas = path.split(',').map(|schema| schema.trim().trim_matches(['"', '\'']));
        schemas.find(|schema| !schema.is_empty() && !matches!(*schema, "$user" | "public" | "pg_catalog"))
    }
}

fn find(name: &str) -> Result<(&'static str, &'static str, &'static Rule), Problem> {
    let found = KNOWN.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    found.map(|(name, first, rule)| (*name, *first, rule)).ok_or_else(|| {
        let problem = Problem::new(sqlstate::UNDEFINED_OBJECT, format!("there is no setting `{name}` here"));
        match nearest(name, KNOWN.iter().map(|(known, ..)| *known)) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        }
    })
}

fn check(name: &str, first: &str, rule: &Rule, value: &str) -> Result<(), Problem> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let fits = match rule {
        Rule::Free | Rule::Search | Rule::Stays => true,
        Rule::Encoding => matches!(&*plain(value), "utf8" | "unicode" | "sqlascii" | "auto" | ""),
        Rule::Fixed => plain(value) == plain(first) || matches!((first, &*plain(value)), ("on", "true" | "1")),
        Rule::Timeout => milliseconds(value).is_some(),
        Rule::Begins(start) => plain(value).starts_with(&plain(start)),
    };
    match (fits, rule) {
        (true, _) => Ok(()),
        (false, Rule::Timeout) => {
            let problem = Problem::new(sqlstate::INVALID_TEXT, format!("`{name}` takes milliseconds, not `{value}`"));
            Err(problem.hint("write `5000`, `5s`, `2min`, or `0` for no limit"))
        }
        (false, _) => {
            Err(Problem::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("`{name}` is `{first}` here, and stays so")))
        }
    }
}

fn milliseconds(value: &str) -> Option<Duration> {
    let value = value.trim();
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..end].parse().ok()?;
    let factor = match value[end..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_where_they_hold() {
        let mut settings = Settings::of("ann");
        assert_eq!(settings.set("Application_Name", Some("psql")).unwrap().unwrap().1, "psql");
        assert_eq!(settings.show("application_name").unwrap().1, "psql");
        settings.set("client_encoding", Some("utf-8")).unwrap();
        assert!(settings.set("client_encoding", Some("LATIN1")).is_err());
        settings.set("datestyle", Some("ISO")).unwrap();
        assert!(settings.set("datestyle", Some("German")).is_err());
        assert!(settings.set("enable_seqscn", Some("off")).is_err());
        assert_eq!(settings.show("session_authorization").unwrap().1, "ann");
        settings.reset();
        assert_eq!(settings.show("application_name").unwrap().1, "");
    }

    #[test]
    fn a_timeout_and_a_schema_have_an_effect() {
        let mut settings = Settings::default();
        assert_eq!(settings.timeout(), None);
        settings.set("statement_timeout", Some("2min")).unwrap();
        assert_eq!(settings.timeout(), Some(Duration::from_secs(120)));
        assert!(settings.set("statement_timeout", Some("soon")).is_err());
        settings.set("search_path", Some("\"$user\", public, silver")).unwrap();
        assert_eq!(settings.search(), Some("silver"));
    }

    #[test]
    fn what_is_local_ends_with_its_transaction() {
        let mut settings = Settings::default();
        settings.set("statement_timeout", Some("10s")).unwrap();
        settings.set_local("statement_timeout", Some("1s")).unwrap();
        assert_eq!(settings.timeout(), Some(Duration::from_secs(10)), "there is no transaction");
        settings.begin_transaction();
        settings.set_local("statement_timeout", Some("1s")).unwrap();
        settings.set_local("search_path", Some("silver")).unwrap();
        settings.set_local("application_name", Some("etl")).unwrap().unwrap();
        assert!(settings.set_local("statement_timeout", Some("soon")).is_err());
        assert_eq!((settings.timeout(), settings.search()), (Some(Duration::from_secs(1)), Some("silver")));
        assert_eq!(settings.end_transaction(true), [("application_name", String::new())]);
        assert_eq!((settings.timeout(), settings.search()), (Some(Duration::from_secs(10)), None));
    }

    #[test]
    fn what_was_set_in_a_transaction_is_rolled_back_with_it() {
        let mut settings = Settings::default();
        for (commit, left) in [(false, None), (true, Some("silver"))] {
            settings.begin_transaction();
            settings.set_local("search_path", Some("gold")).unwrap();
            settings.set("search_path", Some("silver")).unwrap();
            assert_eq!(settings.search(), Some("silver"), "what is set last");
            settings.end_transaction(commit);
            assert_eq!(settings.search(), left);
        }
    }
}
