use polder_template::Target;
use serde_json::json;

use crate::setup::Setup;

#[test]
fn names_become_tables() {
    let setup = Setup::new();
    assert_eq!(setup.sql("from {{ ref('orders') }} o"), "from silver.orders o");
    assert_eq!(setup.sql("from {{ ref('silver', 'orders') }}"), "from silver.orders");
    assert_eq!(setup.sql("from {{ ref('silver.orders') }}"), "from silver.orders");
    assert_eq!(setup.sql("from {{ source('shop', \"orders\") }}"), "from bronze.shop_orders");
    assert_eq!(setup.sql("{{ this }} {{ this.schema }} {{ this.identifier }}"), "gold.daily gold daily");
    assert_eq!(setup.sql("{{ ref('orders').schema }}.x"), "silver.x");
    assert_eq!(setup.sql("{{ target.name }}"), "dev");
}

#[test]
fn references_are_listed_with_their_places() {
    let text = "from {{ ref('orders') }} join {{ source('shop', 'orders') }} using (id) join {{ ref('nope') }}";
    let rendered = Setup::new().render(text);
    let listed: Vec<_> =
        rendered.references.iter().map(|r| (&text[r.span.start..r.span.end], r.resolved.as_deref())).collect();
    assert_eq!(
        listed,
        [("'orders'", Some("silver.orders")), ("'shop', 'orders'", Some("bronze.shop_orders")), ("'nope'", None)]
    );
    assert_eq!(rendered.references[2].target, Target::Ref { namespace: None, name: "nope".into() });
    // Rendering goes on, so that all unknown names are found at once.
    assert!(rendered.problems.is_empty() && rendered.sql.ends_with("unknown.nope"));
}

#[test]
fn names_that_the_template_makes_up_are_looked_up_too() {
    let rendered = Setup::new().render("{% for t in ['orders', 'customers'] %}{{ ref(t) }} {% endfor %}");
    assert_eq!(rendered.sql, "silver.orders silver.customers ");
    assert_eq!(rendered.references.len(), 2);
}

#[test]
fn variables_have_types_and_defaults() {
    let setup = Setup::new();
    assert_eq!(setup.sql("{{ var('days') + 1 }}"), "8");
    assert_eq!(setup.sql("{{ var('weeks', 2) }} {{ var('x', default='y') }}"), "2 y");
    assert_eq!(
        setup.sql("{% for r in var('regions') %}'{{ r }}'{{ ', ' if not loop.last }}{% endfor %}"),
        "'eu', 'us'"
    );
}

#[test]
fn config_is_handed_out_and_leaves_no_text() {
    let text = "{{ config(materialized='incremental', unique_key=['a', 'b'], tags=['x']) }}\nselect 1";
    let rendered = Setup::new().render(text);
    assert_eq!(rendered.sql, "\nselect 1");
    assert_eq!(rendered.config["unique_key"].value, json!(["a", "b"]));
    let span = &rendered.config["materialized"].span;
    assert_eq!(&text[span.start..span.end], "materialized");
    let rendered = Setup::new().render("{{ config({'materialized': 'view'}) }}");
    assert_eq!(rendered.config["materialized"].value, json!("view"));
}

#[test]
fn incremental_runs_take_the_other_branch() {
    let text = "select 1{% if is_incremental() %} where x > (select max(x) from {{ this }}){% endif %}";
    let mut setup = Setup::new();
    assert_eq!(setup.sql(text), "select 1");
    setup.incremental = true;
    assert_eq!(setup.sql(text), "select 1 where x > (select max(x) from gold.daily)");
    assert!(setup.render(text).uses_incremental);
    assert!(!setup.render("select 1 {# is_incremental() #}").uses_incremental);
}

#[test]
fn macros_are_known_everywhere_by_name() {
    let setup = Setup::with_macros(
        "-- helpers\n\
         {% macro cents(column, scale=2) %}({{ column }} / {{ power(scale) }})::decimal(12, {{ scale }}){% endmacro %}\n\
         {% macro power(n) %}{% if n == 0 %}1{% else %}{{ '1' ~ '0' * n }}{% endif %}{% endmacro %}\n\
         {% macro latest(name) %}(select max(at) from {{ ref(name) }}){% endmacro %}\n",
    );
    assert_eq!(setup.sql("select {{ cents('amount') }}"), "select (amount / 100)::decimal(12, 2)");
    assert_eq!(setup.sql("{{ cents('a', scale=3) }}"), "(a / 1000)::decimal(12, 3)");
    assert_eq!(setup.sql("{{ latest('orders') }}"), "(select max(at) from silver.orders)");
    assert_eq!(setup.sql("{{ power(1) | length }}"), "2");
    assert_eq!(setup.templates().macro_names().collect::<Vec<_>>(), ["cents", "latest", "power"]);
}

#[test]
fn what_a_macro_gives_is_a_value_without_marks() {
    let setup = Setup::with_macros("{% macro columns() %}a,b{% endmacro %}");
    assert_eq!(setup.sql("{% set c = columns() %}{% for x in c | split(',') %}[{{ x }}]{% endfor %}"), "[a][b]");
    assert_eq!(setup.sql("{% if columns() == 'a,b' %}yes{% endif %}"), "yes");
    assert_eq!(setup.sql("{% set t %}  x {{ 1 }} {% endset %}[{{ t | trim }}]"), "[x 1]");
    assert_eq!(setup.sql("{% filter upper %}a{{ 'b' }}{% endfilter %}c"), "ABc");
    let call = "{% macro twice() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call twice() %}x{% endcall %}y";
    assert_eq!(setup.sql(call), "xxy");
}

#[test]
fn white_space_raw_text_and_comments_are_as_jinja_has_them() {
    let setup = Setup::new();
    assert_eq!(setup.sql("a  {{- 1 -}}  b"), "a1b");
    assert_eq!(setup.sql("a\n{%- if true -%}\n  b\n{%- endif %}\nc\n"), "ab\nc\n");
    assert_eq!(setup.sql("a {#- x -#} b"), "ab");
    assert_eq!(setup.sql("{% raw %}{{ x }} {% y %}{% endraw %}"), "{{ x }} {% y %}");
    assert_eq!(setup.sql("a  {%- raw -%}  {{ x }}  {%- endraw -%}  b"), "a{{ x }}b");
    assert_eq!(setup.sql("'{' {%- if true %}x{% endif %}"), "'{'x");
    assert_eq!(setup.sql("{ {%- if true %}x{% endif %}"), "{x");
    assert_eq!(setup.sql("{{ {'a': {'b': 1}}['a']['b'] }}"), "1");
    assert_eq!(setup.sql("{{ '%}' }}{{ \"}}\" }}"), "%}}}");
    assert_eq!(setup.sql("select 1 -- no { braces }\n"), "select 1 -- no { braces }\n");
}

#[test]
fn private_characters_of_the_person_stay() {
    let setup = Setup::new();
    assert_eq!(setup.sql("'\u{f0000}0\u{f0000}' {{ 1 }}"), "'\u{f0000}0\u{f0000}' 1");
    assert_eq!(setup.sql("{{ '\\udb80\\udc00' }}7"), "\u{f0000}7");
}
