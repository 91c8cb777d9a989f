use std::sync::Arc;

use super::{render_json, render_text};
use crate::{Diagnostic, Sources, Span};

const DAILY: &str = "select cast(created_at as date) as day,\n  sum(amount) as revenue\nfrom {{ ref('ordes') }}\n";

fn span_of(sources: &Sources, file: &str, text: &str) -> Span {
    let source = sources.get(file).unwrap();
    let start = source.text.find(text).unwrap();
    Span::new(&source.path, start..start + text.len())
}

fn daily() -> (Sources, Diagnostic) {
    let mut sources = Sources::default();
    sources.add("models/gold/daily.sql", DAILY);
    let diagnostic = Diagnostic::error("M012", "no model or source is called `ordes`")
        .at(span_of(&sources, "models/gold/daily.sql", "'ordes'"), "unknown name")
        .hint("did you mean `orders` (models/silver/orders.sql)?");
    (sources, diagnostic)
}

#[test]
fn an_error_as_its_maker_sees_it() {
    let (sources, diagnostic) = daily();
    let want = "\
error[M012]: no model or source is called `ordes`
 --> models/gold/daily.sql:3:13
  |
3 | from {{ ref('ordes') }}
  |             ^^^^^^^ unknown name
  = hint: did you mean `orders` (models/silver/orders.sql)?
";
    assert_eq!(render_text(&diagnostic, &sources, false), want);
}

#[test]
fn colours_are_added_and_nothing_else() {
    let (sources, diagnostic) = daily();
    let coloured = render_text(&diagnostic, &sources, true);
    assert!(coloured.starts_with("\u{1b}[1m\u{1b}[91merror[M012]\u{1b}[0m"), "{coloured:?}");
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, render_text(&diagnostic, &sources, false));
}

#[test]
fn related_places_and_wide_gutters() {
    let mut sources = Sources::default();
    sources.add("models/a.yml", format!("{}orders: 1\n", "#\n".repeat(99)));
    sources.add("sources/b.yaml", "\ttables:\n\t\torders: full\n");
    let diagnostic = Diagnostic::warning("P031", "`orders` is described twice")
        .at(span_of(&sources, "sources/b.yaml", "orders"), "second")
        .related(span_of(&sources, "models/a.yml", "orders"), "first")
        .hint("remove one");
    let want = "\
warning[P031]: `orders` is described twice
   --> sources/b.yaml:2:3
    |
  2 |         orders: full
    |         ^^^^^^ second
   ::: models/a.yml:100:1
    |
100 | orders: 1
    | ------ first
    = hint: remove one
";
    assert_eq!(render_text(&diagnostic, &sources, false), want);
}

#[test]
fn several_lines_have_a_bar() {
    let mut sources = Sources::default();
    let file = sources.add("m.sql", "select 1\nfrom a\n\nwhere b\n");
    let diagnostic = Diagnostic::error("M001", "wrong").at(Span::new(&file, 7..20), "here");
    let want = "\
error[M001]: wrong
 --> m.sql:1:8
  |
1 | / select 1
2 | | from a
3 | |
4 | | where b
  | |___^ here
";
    assert_eq!(render_text(&diagnostic, &sources, false), want);

    let file = sources.add("long.sql", "x\r\n".repeat(20));
    let diagnostic = Diagnostic::error("M001", "wrong").at(Span::new(&file, 0..60), "");
    let want = "\
error[M001]: wrong
  --> long.sql:1:1
   |
 1 | / x
...  |
20 | | x
   | |_^
";
    assert_eq!(render_text(&diagnostic, &sources, false), want);
}

#[test]
fn a_whole_file_an_unknown_file_and_no_file() {
    let mut sources = Sources::default();
    let file = sources.add("polder.yaml", "home: x\n");
    let missing = Diagnostic::error("P004", "`name` is missing").at(Span::file(&file), "add it");
    assert_eq!(
        render_text(&missing, &sources, false),
        "error[P004]: `name` is missing\n --> polder.yaml\n  = note: add it\n"
    );
    let unknown: Arc<str> = "gone.sql".into();
    let gone = Diagnostic::error("P001", "cannot be read").at(Span::new(&unknown, 4..9), "");
    assert_eq!(render_text(&gone, &sources, false), "error[P001]: cannot be read\n --> gone.sql\n");
    let nowhere = Diagnostic::error("L001", "no\nspace \u{1b}[31mleft").hint("free some\nor all");
    assert_eq!(
        render_text(&nowhere, &sources, false),
        "error[L001]: no space \u{fffd}[31mleft\n  = hint: free some\n          or all\n"
    );
}

#[test]
fn spans_that_do_not_fit_are_no_panic() {
    let mut sources = Sources::default();
    let file = sources.add("m.sql", "é\n");
    for start in 0..5 {
        for end in 0..5 {
            let diagnostic = Diagnostic::error("M001", "x").at(Span { file: file.clone(), start, end }, "y");
            render_text(&diagnostic, &sources, false);
            render_json(&diagnostic, &sources);
        }
    }
}

#[test]
fn programs_read_json() {
    let (sources, diagnostic) = daily();
    let diagnostic = diagnostic.related(span_of(&sources, "models/gold/daily.sql", "select"), "");
    let want = concat!(
        r#"{"code":"M012","severity":"error","message":"no model or source is called `ordes`","#,
        r#""file":"models/gold/daily.sql","line":3,"column":13,"end_line":3,"end_column":20,"label":"unknown name","#,
        r#""hints":["did you mean `orders` (models/silver/orders.sql)?"],"#,
        r#""related":[{"file":"models/gold/daily.sql","line":1,"column":1,"end_line":1,"end_column":7,"label":null}]}"#,
    );
    assert_eq!(render_json(&diagnostic, &sources).to_string(), want);
    let nowhere = render_json(&Diagnostic::error("L001", "full"), &sources);
    assert_eq!((nowhere["file"].is_null(), nowhere["line"].is_null()), (true, true));
}
