//! `.env`: variables for `${env:NAME}` that are not for git.

use std::collections::BTreeMap;

use polder_diag::Diagnostic;

use crate::codes;

/// Reads `NAME=value` lines. Values may be quoted (`"…"` knows `\n`, `\t`, `\"` and `\\`; `'…'` is literal); an unquoted
/// value ends before ` #`. A leading `export` is skipped.
///
/// Lines that are no assignment are told by number only: what stands in this file is not for a screen.
pub(crate) fn parse(text: &str, problems: &mut Vec<Diagnostic>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line) {
            Some((name, value)) => {
                variables.insert(name.to_owned(), value);
            }
            None => {
                let message = format!(".env line {} is no assignment and was skipped", number + 1);
                problems.push(Diagnostic::warning(codes::ENV_FILE, message).hint("write `NAME=value`"));
            }
        }
    }
    variables
}

fn assignment(line: &str) -> Option<(&str, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.' || c == '-');
    is_name.then_some(())?;
    Some((name, value_of(value.trim())?))
}

fn value_of(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return Some(rest.split_once('\'')?.0.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        return quoted(rest);
    }
    let end = value.find(" #").or_else(|| value.starts_with('#').then_some(0)).unwrap_or(value.len());
    Some(value[..end].trim_end().to_owned())
}

fn quoted(rest: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn assignments() {
        let text = "\n# shop\nA=1\nexport B = two words # why\nC='x # y'\nD=\"a\\n\\\"b\\\"\"\nE=\nF=p#q\nA=2\n";
        let mut problems = Vec::new();
        let got = parse(text, &mut problems);
        let want = [("A", "2"), ("B", "two words"), ("C", "x # y"), ("D", "a\n\"b\""), ("E", ""), ("F", "p#q")];
        assert_eq!(got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), want);
        assert!(problems.is_empty());
    }

    #[test]
    fn what_is_no_assignment_is_told_without_its_text() {
        let mut problems = Vec::new();
        assert!(parse("A=1\nhunter2\nB=\"open\n", &mut problems).contains_key("A"));
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert_eq!(told[0], "warning[P016]: .env line 2 is no assignment and was skipped");
    }
}
