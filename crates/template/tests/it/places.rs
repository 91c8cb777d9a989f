use proptest::prelude::*;

use crate::setup::Setup;

/// Where the person wrote what is found in the SQL.
fn source_of<'t>(text: &'t str, setup: &Setup, part: &str) -> &'t str {
    let rendered = setup.render(text);
    let start = rendered.sql.find(part).unwrap_or_else(|| panic!("{part} is not in {}", rendered.sql));
    let span = rendered.map.to_source(start..start + part.len()).unwrap();
    &text[span.start..span.end]
}

#[test]
fn text_points_at_itself_and_expressions_at_theirs() {
    let setup = Setup::with_macros("{% macro sums(c) %}sum({{ c }}) as total{% endmacro %}");
    let text = "{{ config(materialized='view') }}\nselect dey, {{ sums('amount') }}, größe\n\
                from {{ ref('orders') }}\nwhere {% if var('days') > 3 %}dey > 1{% endif %} and x\n";
    assert_eq!(source_of(text, &setup, "dey,"), "dey,");
    assert_eq!(source_of(text, &setup, "größe"), "größe");
    assert_eq!(source_of(text, &setup, "total"), "sums('amount')");
    assert_eq!(source_of(text, &setup, "silver.orders"), "ref('orders')");
    assert_eq!(source_of(text, &setup, "orders"), "ref('orders')");
    assert_eq!(source_of(text, &setup, "dey > 1"), "dey > 1");
    assert_eq!(source_of(text, &setup, "and x"), "and x");
    assert_eq!(source_of(text, &setup, "from silver.orders\nwhere"), "from {{ ref('orders') }}\nwhere");
}

#[test]
fn loops_point_into_their_body() {
    let text = "select {% for c in ['a', 'b'] %}sum({{ c }}) as {{ c }}_total, {% endfor %}1";
    let setup = Setup::new();
    assert_eq!(source_of(text, &setup, "_total, sum(b)"), "_total, ");
    assert_eq!(source_of(text, &setup, "b)"), "c }})");
    assert_eq!(source_of(text, &setup, "1"), "1");
}

#[test]
fn white_space_control_shifts_nothing() {
    let text = "select 1,   {{- 2 -}}   , oops  {%- if true -%}   , also {%- endif %} , last";
    let setup = Setup::new();
    for part in ["oops", "also", "last"] {
        assert_eq!(source_of(text, &setup, part), part);
    }
    assert_eq!(source_of("{%- raw -%}  {{ oops }} {%- endraw %}{{ 1 }}", &setup, "oops"), "oops");
}

#[test]
fn files_without_jinja_map_to_themselves() {
    let rendered = Setup::new().render("select 1");
    let span = rendered.map.to_source(7..8).unwrap();
    assert_eq!((span.start, span.end), (7, 8));
}

/// Pieces that templates are made of: those of plain text are found again at their place, whatever is around them.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{{ 1 }}".to_owned()),
        Just("{{- ref('orders') -}}".to_owned()),
        Just("{%- if true -%}".to_owned() + " x {% endif -%}"),
        Just("{% for i in [1, 2] %}{{ i }} é {%- endfor %}".to_owned()),
        Just("{# no #}".to_owned()),
        Just("{% set y %}a{{ 1 }}{% endset %}{{- y }}".to_owned()),
        Just("{%- raw %} {{ z }} {% endraw -%}".to_owned()),
        "[ a-z{}\n\u{e9}]{0,6}".prop_filter("no tags", |s| !s.contains('{')),
    ]
}

proptest! {
    #[test]
    fn plain_words_are_found_at_their_place(before in prop::collection::vec(piece(), 0..6), after in prop::collection::vec(piece(), 0..6)) {
        let setup = Setup::new();
        let text = format!("{} NEEDLE {}", before.concat(), after.concat());
        let rendered = setup.render(&text);
        prop_assert!(rendered.problems.is_empty(), "{text:?} {:?}", rendered.problems);
        let start = rendered.sql.find("NEEDLE").unwrap();
        let span = rendered.map.to_source(start..start + 6).unwrap();
        prop_assert_eq!(&text[span.start..span.end], "NEEDLE");
    }

    /// The marks change nothing: the engine alone gives the same text.
    #[test]
    fn marks_leave_no_trace(pieces in prop::collection::vec(piece(), 0..10)) {
        let text = pieces.concat();
        let mut plain = minijinja::Environment::new();
        let mut syntax = minijinja::syntax::SyntaxConfig::builder();
        syntax.keep_trailing_newline(true);
        plain.set_syntax(syntax.build().unwrap());
        plain.add_function("ref", |name: String| format!("silver.{name}"));
        prop_assert_eq!(Setup::new().render(&text).sql, plain.render_str(&text, ()).unwrap());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}|[{}%#\\-a-z'\"() \n]{0,40}") {
        let rendered = Setup::new().render(&text);
        for start in 0..rendered.sql.len().min(20) {
            rendered.map.to_source(start..start + 3);
        }
        Setup::with_macros(&text).problems("{{ x }}");
    }
}
