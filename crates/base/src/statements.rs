//! Where one statement ends and the next begins.

/// A text with statements: the complete ones, and what is left after the last `;`.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'a> {
    pub statements: Vec<&'a str>,
    pub rest: &'a str,
    /// The rest ends inside a string, a quoted name or a comment.
    pub open: bool,
}

/// Splits at `;` outside of strings, quoted names and comments. Empty statements are left out.
pub fn split(text: &str) -> Split<'_> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut open = false;
    while at < text.len() {
        let rest = &text[at..];
        let step = match rest.as_bytes()[0] {
            b';' => {
                if !is_blank(&text[start..at]) {
                    statements.push(text[start..at].trim());
                }
                start = at + 1;
                Some(1)
            }
            quote @ (b'\'' | b'"') => after(rest, 1, char::from(quote).encode_utf8(&mut [0; 4])),
            b'-' if rest.starts_with("--") => Some(rest.find('\n').map_or(rest.len(), |n| n + 1)),
            b'/' if rest.starts_with("/*") => after_comment(rest),
            b'$' => dollar_tag(rest).map_or(Some(1), |tag| after(rest, tag.len(), tag)),
            _ => Some(rest.chars().next().map_or(1, char::len_utf8)),
        };
        at = step.map_or(text.len(), |n| at + n);
        open = step.is_none();
    }
    Split { statements, rest: &text[start.min(text.len())..], open }
}

/// Only white space and comments.
pub fn is_blank(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        rest = if rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, r)| r).trim_start()
        } else if rest.starts_with("/*") {
            after_comment(rest).map_or("", |n| &rest[n..]).trim_start()
        } else {
            return rest.is_empty();
        };
    }
}

/// The end of what begins with `from` bytes and ends with `end`.
fn after(rest: &str, from: usize, end: &str) -> Option<usize> {
    rest[from..].find(end).map(|n| from + n + end.len())
}

/// Comments nest.
fn after_comment(rest: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

/// `$$` or `$tag$`.
fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest[1..].find('$')? + 2;
    let tag = &rest[..end];
    let inner = &tag[1..end - 1];
    let name = inner.chars().all(|c| c.is_alphanumeric() || c == '_') && !inner.starts_with(|c: char| c.is_numeric());
    name.then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<&str> {
        split(text).statements
    }

    #[test]
    fn semicolons_end_statements() {
        assert_eq!(statements("select 1; select 2;"), ["select 1", "select 2"]);
        let open = split("select 1;\nselect");
        assert_eq!((open.rest, open.open), ("\nselect", false));
        assert_eq!(statements(";; -- nothing\n;"), Vec::<&str>::new());
    }

    #[test]
    fn semicolons_in_strings_and_comments_do_not() {
        for one in [
            "select 'a;b''c;'",
            "select \"a;b\"",
            "select 1 -- a;b\n+ 2",
            "select /* a; /* b; */ c; */ 1",
            "select $$a;b$$",
            "select $x$a;$$b$x$",
            "select 'größe;'",
        ] {
            assert_eq!(statements(&format!("{one};")), [one]);
        }
    }

    #[test]
    fn what_is_open_is_known() {
        assert!(split("select 'a;").open);
        assert!(split("select 1 /* a;").open);
        assert!(!split("select $1").open);
        assert!(is_blank(" -- only\n/* comments */ "));
    }
}
