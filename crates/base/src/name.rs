//! Names of tables and columns.

use std::fmt;
use std::str::FromStr;

/// A table, view or materialised result: `namespace.name`, both normalised lower-case identifiers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TableName {
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("`{0}` is not a table name: write `namespace.name`, such as `silver.orders`")]
    NotQualified(String),
    #[error("columns `{first}` and `{second}` are both called `{normalised}` once normalised")]
    Collision { first: String, second: String, normalised: String },
    #[error("{}", twice(.0))]
    Twice(String),
}

fn twice(name: &str) -> String {
    if name.trim().is_empty() {
        "two columns have no name".to_owned()
    } else {
        format!("two columns are called `{name}`")
    }
}

impl TableName {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

impl FromStr for TableName {
    type Err = NameError;

    /// The last dot divides: `a.b.t` is table `t` in the nested namespace `a.b`.
    fn from_str(s: &str) -> Result<Self, NameError> {
        match s.rsplit_once('.') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Self::new(namespace, name)),
            _ => Err(NameError::NotQualified(s.to_owned())),
        }
    }
}

impl TryFrom<String> for TableName {
    type Error = NameError;
    fn try_from(s: String) -> Result<Self, NameError> {
        s.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

/// `Order ID` → `order_id`, `orderId` → `order_id`, `Größe (cm)` → `größe_cm`, `2024` → `_2024`.
///
/// Letters of any script stay. A run of anything else becomes one `_`; an upper-case letter after a lower-case one
/// starts a word.
pub fn normalise_column(original: &str) -> String {
    let mut out = String::with_capacity(original.len() + 4);
    let mut previous_lower = false;
    let mut gap = false;
    // A leading underscore carries meaning in the field (`_id`, `__v`): keep it.
    let lead: String = original.trim().chars().take_while(|c| *c == '_').collect();
    for c in original.trim().chars() {
        if !c.is_alphanumeric() {
            gap = !out.is_empty();
            previous_lower = false;
            continue;
        }
        if gap || (c.is_uppercase() && previous_lower) {
            out.push('_');
        }
        gap = false;
        previous_lower = c.is_lowercase() || c.is_numeric();
        out.extend(c.to_lowercase());
    }
    if out.is_empty() {
        return "column".to_owned();
    }
    if lead.is_empty() && out.starts_with(|c: char| c.is_numeric()) {
        out.insert(0, '_');
    }
    lead + &out
}

/// The columns of a source, by the name that Polder gives them and by the one that they came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnNames {
    /// `(normalised, original)`, in the order of the source.
    pub columns: Vec<(String, String)>,
}

impl ColumnNames {
    /// Normalises all names of a source.
    ///
    /// # Errors
    /// Two names that become one: Polder does not guess which is meant.
    pub fn normalise<S: AsRef<str>>(originals: impl IntoIterator<Item = S>) -> Result<Self, NameError> {
        let mut columns: Vec<(String, String)> = Vec::new();
        for original in originals {
            let original = original.as_ref();
            let normalised = normalise_column(original);
            match columns.iter().find(|(n, _)| *n == normalised) {
                None => columns.push((normalised, original.to_owned())),
                Some((_, first)) if first == original => return Err(NameError::Twice(original.to_owned())),
                Some((_, first)) => {
                    return Err(NameError::Collision { first: first.clone(), second: original.to_owned(), normalised });
                }
            }
        }
        Ok(Self { columns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_plain_names() {
        for (original, want) in [
            ("Order ID", "order_id"),
            ("orderId", "order_id"),
            ("  Größe (cm) ", "größe_cm"),
            ("2024", "_2024"),
            ("_id", "_id"),
            ("__v", "__v"),
            ("HTTPStatus", "httpstatus"),
            ("a--b", "a_b"),
            ("line2Total", "line2_total"),
            ("%", "column"),
        ] {
            assert_eq!(normalise_column(original), want, "{original}");
        }
    }

    #[test]
    fn colliding_columns_are_named() {
        let err = ColumnNames::normalise(["Order ID", "x", "order_id"]).unwrap_err();
        assert_eq!(err.to_string(), "columns `Order ID` and `order_id` are both called `order_id` once normalised");
        let twice = |names: [&str; 2]| ColumnNames::normalise(names).unwrap_err().to_string();
        assert_eq!(twice(["a", "a"]), "two columns are called `a`");
        assert_eq!(twice(["", ""]), "two columns have no name");
    }

    #[test]
    fn the_last_dot_divides_a_table_name() {
        let name: TableName = "a.b.t".parse().unwrap();
        assert_eq!((name.namespace.as_str(), name.name.as_str()), ("a.b", "t"));
        assert!("orders".parse::<TableName>().is_err());
    }
}
