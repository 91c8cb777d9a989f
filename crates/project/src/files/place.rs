//! What a file is, by its path alone.

use polder_base::nearest;

/// The kinds of files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Settings,
    Source,
    Model,
    ModelDocs,
    Checks,
    SqlCheck,
    Policies,
    Pipeline,
    Macros,
    Lock,
}

/// The file of settings, at the root.
pub const SETTINGS: &str = "polder.yaml";
/// Folders that are read.
pub(crate) const FOLDERS: [&str; 6] = ["sources", "models", "checks", "policies", "pipelines", "macros"];
/// The folder of policies.
const POLICIES: &str = "policies";
/// Folders of the design that this version does not read.
pub(crate) const LATER: [&str; 6] = ["streams", "dashboards", "alerts", "secrets", "seeds", "snapshots"];

/// What a file is, or why it is not read: `Err(None)` where that is no mistake.
pub(crate) fn kind_of(path: &str) -> Result<Kind, Option<String>> {
    if path == SETTINGS {
        return Ok(Kind::Settings);
    }
    if path == crate::lock::LOCK {
        return Ok(Kind::Lock);
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
    let depth = path.matches('/').count();
    let yaml = matches!(ending, "yaml" | "yml");
    let Some((folder, _)) = path.split_once('/') else { return Err(stray_at_root(file, ending)) };
    match (folder, ending) {
        ("sources" | "pipelines", _) if yaml && depth > 1 => {
            Err(Some(format!("files of `{folder}/` lie directly in it, not in folders below")))
        }
        ("checks", _) if (yaml || ending == "sql") && depth > 1 => {
            Err(Some("files of `checks/` lie directly in it, not in folders below".to_owned()))
        }
        ("sources", _) if yaml => Ok(Kind::Source),
        (POLICIES, _) if yaml => Ok(Kind::Policies),
        ("pipelines", _) if yaml => Ok(Kind::Pipeline),
        ("checks", _) if yaml => Ok(Kind::Checks),
        ("checks", "sql") => Ok(Kind::SqlCheck),
        ("models", "sql") => Ok(Kind::Model),
        ("models", _) if yaml => Ok(Kind::ModelDocs),
        ("macros", "sql") => Ok(Kind::Macros),
        // dbt documents macros in YAML.
        ("macros", _) if yaml => Err(None),
        _ if is_note(file, ending) => Err(None),
        ("models", "py") => Err(Some("models in Python are not run by this version of Polder".to_owned())),
        ("sources" | "policies" | "pipelines", _) => Err(Some(format!("`{folder}/` holds `.yaml` files"))),
        ("checks", _) => Err(Some("`checks/` holds `.yaml` and `.sql` files".to_owned())),
        ("models", _) => Err(Some("`models/` holds `.sql` files, and `.yml` files beside them".to_owned())),
        ("macros", _) => Err(Some("`macros/` holds `.sql` files".to_owned())),
        _ => Err(None),
    }
}

/// Whether a path is one of policies, or was probably meant to be. What is wrong there is never only a warning: a policy
/// that is not read protects nothing, and nobody would notice.
pub fn is_of_policies(path: &str) -> bool {
    let top = path.split_once('/').map_or_else(|| stem(path), |(folder, _)| folder);
    top == POLICIES || folder_meant(top) == Some(POLICIES)
}

fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// Whether files of a folder may lie in folders below it.
pub(crate) fn has_folders_below(folder: &str) -> bool {
    matches!(folder, "models" | "macros" | POLICIES)
}

/// Whether a file, by its name, is one that belongs into a folder.
pub(crate) fn belongs(folder: &str, file: &str) -> bool {
    let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "yaml" | "yml" => folder != "macros",
        "sql" => !matches!(folder, "sources" | "pipelines" | POLICIES),
        "csv" => LATER.contains(&folder),
        _ => false,
    }
}

/// Readmes and the like lie everywhere.
fn is_note(file: &str, ending: &str) -> bool {
    // Some editors save `orders.yaml.txt` when they are asked for `orders.yaml`.
    let saved_as_text = ending == "txt" && [".yaml", ".yml", ".sql"].iter().any(|code| stem(file).ends_with(code));
    matches!(ending, "md" | "rst" | "png" | "svg" | "orig" | "bak" | "swp")
        || (ending == "txt" && !saved_as_text)
        || file.starts_with('.')
        || file.ends_with('~')
        || file.starts_with("README")
        || file.starts_with("LICENSE")
}

fn stray_at_root(file: &str, ending: &str) -> Option<String> {
    let stem = stem(file);
    match ending {
        "yml" | "yaml" if stem == "polder" || nearest(stem, ["polder"]).is_some() => {
            Some(format!("the file of settings is called `{SETTINGS}`"))
        }
        "sql" => Some(format!("models lie below `models/`, such as `models/gold/{file}`")),
        "yml" | "yaml" => {
            let folder = FOLDERS.into_iter().find(|folder| *folder == stem).or_else(|| folder_meant(stem));
            folder.map(|folder| format!("did you mean `{folder}/{file}`?"))
        }
        _ => None,
    }
}

/// The folder that a name was probably meant to be: `model`, `source`, `polices`.
pub(crate) fn folder_meant(name: &str) -> Option<&'static str> {
    match name.to_lowercase().as_str() {
        known if FOLDERS.contains(&known) && name != known => FOLDERS.into_iter().find(|f| *f == known),
        known if FOLDERS.contains(&known) || LATER.contains(&known) => None,
        "policy" => Some("policies"),
        "marts" | "transforms" | "transform" | "queries" => Some("models"),
        "tests" | "test" => Some("checks"),
        other => nearest(other, FOLDERS).and_then(|near| FOLDERS.into_iter().find(|f| *f == near)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_kinds() {
        for (path, kind) in [
            ("polder.yaml", Kind::Settings),
            ("sources/shop.yml", Kind::Source),
            ("models/gold/a/b.sql", Kind::Model),
            ("models/gold/_schema.yml", Kind::ModelDocs),
            ("checks/a.sql", Kind::SqlCheck),
            ("macros/x/y.sql", Kind::Macros),
            ("policies/hr/pay.yaml", Kind::Policies),
            ("pipelines/nightly.yaml", Kind::Pipeline),
        ] {
            assert_eq!(kind_of(path), Ok(kind), "{path}");
        }
        for silent in ["README.md", "data/x.csv", "models/README.md", "docker-compose.yaml", "models/gold/.x.sql~"] {
            assert_eq!(kind_of(silent), Err(None), "{silent}");
        }
        for stray in [
            "polder.yml",
            "daily.sql",
            "source.yaml",
            "sources.yaml",
            "sources/a/b.yaml",
            "pipelines/a/b.yaml",
            "sources/a.yaml.txt",
            "models/x.py",
            "checks/x.json",
            "policies/x.YAML",
        ] {
            assert!(matches!(kind_of(stray), Err(Some(_))), "{stray}");
        }
    }

    #[test]
    fn places_of_policies_are_told_by_their_first_part() {
        for path in ["policies", "policies/a/b.txt", "policy/x.yaml", "Policies/x.yaml", "policies.yaml", "policy.yml"]
        {
            assert!(is_of_policies(path), "{path}");
        }
        for path in ["models/policies/x.sql", "data/policies.csv", "sources.yaml", "polder.yaml"] {
            assert!(!is_of_policies(path), "{path}");
        }
    }

    #[test]
    fn folders_that_were_meant() {
        assert_eq!(folder_meant("model"), Some("models"));
        assert_eq!(folder_meant("Models"), Some("models"));
        assert_eq!(folder_meant("polices"), Some("policies"));
        assert_eq!(folder_meant("data"), None);
        assert_eq!(folder_meant("models"), None);
        assert_eq!(folder_meant("seeds"), None);
    }
}
