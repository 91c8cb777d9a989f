//! Which resources a run is about: dbt's selections.
//!
//! `daily`, `gold.daily`, `gold.*` name resources; `tag:nightly` and `path:models/gold` choose by property; `source:x`
//! chooses what a source fills; `+x` adds all that `x` is made from, `2+x` two levels of it, and `x+`, `x+1` what is
//! made from it. Several arguments add up, a comma inside of one takes what all its parts have in common, and
//! `--exclude` takes away.

use std::collections::BTreeSet;

/// A resource that can be chosen.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// `gold.daily`; for a check that is about no table its own name.
    pub name: String,
    /// The source that fills it.
    pub source: Option<String>,
    pub tags: Vec<String>,
    /// The file that declares it: `models/gold/daily.sql`.
    pub path: String,
    /// What it is made from, as places in the list of candidates.
    pub parents: Vec<usize>,
}

/// A selection as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    include: Vec<Vec<Selector>>,
    exclude: Vec<Vec<Selector>>,
}

/// One selector: `2+tag:x+`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selector {
    /// As it was written, for messages.
    text: String,
    /// Levels above and below; `usize::MAX` is all of them.
    above: usize,
    below: usize,
    method: Method,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Method {
    Name(String),
    Tag(String),
    Path(String),
    Source(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    #[error("`{selector}` selects nothing")]
    Nothing { selector: String, nearest: Option<String> },
    #[error("`{selector}` is no selection: there is no method `{method}:`")]
    Method { selector: String, method: String, nearest: Option<String> },
    #[error("`{selector}` is no selection: a name is missing")]
    Empty { selector: String },
}

impl Selection {
    /// Reads what was typed. White space in an argument divides it like several arguments.
    pub fn parse(include: &[String], exclude: &[String]) -> Result<Self, SelectionError> {
        Ok(Self { include: parse_all(include)?, exclude: parse_all(exclude)? })
    }

    /// Nothing is chosen or taken away: everything is meant.
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// The chosen candidates, as places in the list.
    ///
    /// # Errors
    /// A selector that chooses nothing, which is nearly always a slip. (One that excludes nothing is none.)
    pub fn apply(&self, candidates: &[Candidate]) -> Result<BTreeSet<usize>, SelectionError> {
        let children = children(candidates);
        let mut chosen: BTreeSet<usize> = BTreeSet::new();
        if self.include.is_empty() {
            chosen.extend(0..candidates.len());
        }
        for group in &self.include {
            let found = group_of(group, candidates, &children);
            if found.is_empty() {
                return Err(nothing(group, candidates));
            }
            chosen.extend(found);
        }
        for group in &self.exclude {
            for place in group_of(group, candidates, &children) {
                chosen.remove(&place);
            }
        }
        Ok(chosen)
    }
}

fn parse_all(texts: &[String]) -> Result<Vec<Vec<Selector>>, SelectionError> {
    let groups = texts.iter().flat_map(|t| t.split_whitespace());
    groups.map(|group| group.split(',').map(Selector::parse).collect()).collect()
}

fn group_of(group: &[Selector], candidates: &[Candidate], children: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut sets = group.iter().map(|s| s.choose(candidates, children));
    let first = sets.next().unwrap_or_default();
    sets.fold(first, |all, set| all.intersection(&set).copied().collect())
}

fn nothing(group: &[Selector], candidates: &[Candidate]) -> SelectionError {
    let selector = group.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(",");
    let nearest = match group {
        [Selector { method: Method::Name(name), .. }] => polder_base::nearest(name, names(candidates)),
        [Selector { method: Method::Tag(tag), .. }] => {
            polder_base::nearest(tag, candidates.iter().flat_map(|c| c.tags.iter().map(String::as_str)))
        }
        _ => None,
    };
    SelectionError::Nothing { selector, nearest: nearest.map(str::to_owned) }
}

fn names(candidates: &[Candidate]) -> impl Iterator<Item = &str> {
    candidates.iter().flat_map(|c| [c.name.as_str(), short(&c.name)])
}

fn short(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}

fn children(candidates: &[Candidate]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); candidates.len()];
    for (place, candidate) in candidates.iter().enumerate() {
        for parent in &candidate.parents {
            children[*parent].push(place);
        }
    }
    children
}

impl Selector {
    fn parse(text: &str) -> Result<Self, SelectionError> {
        let (above, rest) = match text.split_once('+') {
            Some(("", rest)) => (usize::MAX, rest),
            Some((levels, rest)) if levels.bytes().all(|b| b.is_ascii_digit()) => {
                (levels.parse().unwrap_or(usize::MAX), rest)
            }
            _ => (0, text),
        };
        let (rest, below) = match rest.rsplit_once('+') {
            Some((rest, "")) => (rest, usize::MAX),
            Some((rest, levels)) if levels.bytes().all(|b| b.is_ascii_digit()) => {
                (rest, levels.parse().unwrap_or(usize::MAX))
            }
            _ => (rest, 0),
        };
        Ok(Self { text: text.to_owned(), above, below, method: Method::parse(text, rest)? })
    }

    fn choose(&self, candidates: &[Candidate], children: &[Vec<usize>]) -> BTreeSet<usize> {
        let start: BTreeSet<usize> =
            (0..candidates.len()).filter(|place| self.method.matches(&candidates[*place])).collect();
        let mut chosen = start.clone();
        chosen.extend(walk(&start, self.above, |place| &candidates[place].parents));
        chosen.extend(walk(&start, self.below, |place| &children[place]));
        chosen
    }
}

/// What lies within `levels` steps of `start`.
fn walk<'a>(start: &BTreeSet<usize>, levels: usize, next: impl Fn(usize) -> &'a Vec<usize>) -> BTreeSet<usize> {
    let mut seen = start.clone();
    let mut border: Vec<usize> = start.iter().copied().collect();
    let mut level = 0;
    while level < levels && !border.is_empty() {
        border = border.iter().flat_map(|place| next(*place)).copied().filter(|place| seen.insert(*place)).collect();
        level += 1;
    }
    seen
}

impl Method {
    const ALL: [&'static str; 4] = ["name", "tag", "path", "source"];

    fn parse(selector: &str, text: &str) -> Result<Self, SelectionError> {
        let (method, value) = text.split_once(':').unwrap_or(("name", text));
        if value.is_empty() {
            return Err(SelectionError::Empty { selector: selector.to_owned() });
        }
        let value = value.to_owned();
        match method {
            "name" => Ok(Self::Name(value)),
            "tag" => Ok(Self::Tag(value)),
            "path" => Ok(Self::Path(value.trim_end_matches('/').to_owned())),
            "source" => Ok(Self::Source(value)),
            _ => Err(SelectionError::Method {
                selector: selector.to_owned(),
                method: method.to_owned(),
                nearest: polder_base::nearest(method, Self::ALL).map(str::to_owned),
            }),
        }
    }

    fn matches(&self, candidate: &Candidate) -> bool {
        match self {
            Self::Name(pattern) => glob(pattern, &candidate.name) || glob(pattern, short(&candidate.name)),
            Self::Tag(pattern) => candidate.tags.iter().any(|tag| glob(pattern, tag)),
            Self::Path(path) => {
                let path = path.strip_prefix("./").unwrap_or(path);
                let inside = candidate.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
                inside || glob(path, &candidate.path)
            }
            Self::Source(pattern) => candidate.source.as_deref().is_some_and(|source| glob(pattern, source)),
        }
    }
}

/// `*` stands for any text, `?` for one character.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| *c == '?' || *c == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Selection, SelectionError, glob};

    /// bronze.orders, bronze.customers → silver.orders → gold.daily → gold.monthly; bronze.customers → gold.customers
    fn candidates() -> Vec<Candidate> {
        let candidate = |name: &str, tags: &[&str], parents: &[usize]| Candidate {
            name: name.to_owned(),
            source: name.starts_with("bronze").then(|| "shop".to_owned()),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            path: format!("models/{}.sql", name.replace('.', "/")),
            parents: parents.to_vec(),
        };
        vec![
            candidate("bronze.orders", &[], &[]),
            candidate("bronze.customers", &[], &[]),
            candidate("silver.orders", &["nightly"], &[0, 1]),
            candidate("gold.daily", &["nightly"], &[2]),
            candidate("gold.monthly", &[], &[3]),
            candidate("gold.customers", &[], &[1]),
        ]
    }

    fn select(include: &[&str], exclude: &[&str]) -> Result<Vec<String>, SelectionError> {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let candidates = candidates();
        let chosen = Selection::parse(&owned(include), &owned(exclude))?.apply(&candidates)?;
        Ok(chosen.into_iter().map(|place| candidates[place].name.clone()).collect())
    }

    #[test]
    fn selections_are_dbts() {
        for (include, exclude, want) in [
            (&["gold.daily"][..], &[][..], &["gold.daily"][..]),
            (&["daily"], &[], &["gold.daily"]),
            (&["orders"], &[], &["bronze.orders", "silver.orders"]),
            (&["+daily"], &[], &["bronze.orders", "bronze.customers", "silver.orders", "gold.daily"]),
            (&["1+daily"], &[], &["silver.orders", "gold.daily"]),
            (&["silver.orders+"], &[], &["silver.orders", "gold.daily", "gold.monthly"]),
            (&["silver.orders+1"], &[], &["silver.orders", "gold.daily"]),
            (&["1+daily+1"], &[], &["silver.orders", "gold.daily", "gold.monthly"]),
            (&["gold.*"], &[], &["gold.daily", "gold.monthly", "gold.customers"]),
            (&["tag:nightly"], &[], &["silver.orders", "gold.daily"]),
            (&["tag:nightly,gold.*"], &[], &["gold.daily"]),
            (&["path:models/gold"], &["monthly"], &["gold.daily", "gold.customers"]),
            (&["path:models/gold/daily.sql"], &[], &["gold.daily"]),
            (&["source:shop"], &[], &["bronze.orders", "bronze.customers"]),
            (&["daily", "gold.customers"], &[], &["gold.daily", "gold.customers"]),
            (&["daily customers"], &["bronze.*"], &["gold.daily", "gold.customers"]),
            (&[], &["gold.*", "bronze.*"], &["silver.orders"]),
        ] {
            assert_eq!(select(include, exclude).unwrap(), want, "{include:?} without {exclude:?}");
        }
    }

    #[test]
    fn a_slip_is_an_error() {
        assert_eq!(
            select(&["+dayly"], &[]).unwrap_err(),
            SelectionError::Nothing { selector: "+dayly".to_owned(), nearest: Some("daily".to_owned()) }
        );
        assert!(
            matches!(select(&["tags:x"], &[]).unwrap_err(), SelectionError::Method { nearest: Some(n), .. } if n == "tag")
        );
        assert!(matches!(select(&["+"], &[]).unwrap_err(), SelectionError::Empty { .. }));
    }

    #[test]
    fn globs_backtrack() {
        assert!(glob("*a*b", "xaxbxab"));
        assert!(!glob("*a*b", "xaxbxa"));
        assert!(glob("?b", "ab") && !glob("?b", "b") && glob("*", ""));
    }
}
