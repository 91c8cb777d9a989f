use crate::setup::Setup;

#[test]
fn syntax_points_into_the_file() {
    let want = "\
error[M001]: this is no Jinja: unexpected end of input, expected end of block
 --> models/gold/daily.sql:2:11
  |
2 | {% if x %}
  |           ^
  = hint: is an `{% endif %}`, `{% endfor %}` or `{% endmacro %}` missing?
";
    assert_eq!(Setup::new().problems("select 1\n{% if x %}\nfrom y\n"), want);
    let want = "\
error[M001]: this is no Jinja: unexpected identifier, expected end of variable block
 --> models/gold/daily.sql:1:13
  |
1 | select {{ a b }}
  |             ^
";
    assert_eq!(Setup::new().problems("select {{ a b }}\n"), want);
    let want = "\
error[M001]: this is no Jinja: unexpected end of input, expected end of variable block
 --> models/gold/daily.sql:1:11
  |
1 | select {{ a
  |           ^
";
    assert_eq!(Setup::new().problems("select {{ a\n"), want);
}

#[test]
fn undefined_names_are_told() {
    let want = "\
error[M002]: `thiss` is not defined
 --> models/gold/daily.sql:2:30
  |
2 |   é, {{ ref('orders') }}, {{ thiss }}
  |                              ^^^^^ undefined
  = hint: did you mean `this`?
";
    assert_eq!(Setup::new().problems("select\n  é, {{ ref('orders') }}, {{ thiss }}\n"), want);
    let want = "\
error[M002]: `this.x` is not defined
 --> models/gold/daily.sql:1:8
  |
1 | {{ this.x.y }}
  |        ^^^^ undefined
  = hint: did you mean `this`?
";
    assert_eq!(Setup::new().problems("{{ this.x.y }}"), want);
}

#[test]
fn unknown_functions_filters_and_tests() {
    let want = "\
error[M003]: no function or macro is called `cent`
 --> models/gold/daily.sql:1:24
  |
1 | {{ ref('orders') }} {{ cent('x') }}
  |                        ^^^^^^^^^ unknown
  = hint: did you mean `cents`?
";
    assert_eq!(
        Setup::with_macros("{% macro cents(x) %}1{% endmacro %}").problems("{{ ref('orders') }} {{ cent('x') }}"),
        want
    );
    let want = "\
error[M003]: no filter is called `uper`
 --> models/gold/daily.sql:1:10
  |
1 | {{ 'x' | uper }}
  |          ^^^^ unknown
  = hint: did you mean `upper`?
";
    assert_eq!(Setup::new().problems("{{ 'x' | uper }}"), want);
    let want = "\
error[M003]: no test is called `evn`
 --> models/gold/daily.sql:1:9
  |
1 | {{ 1 is evn }}
  |         ^^^ unknown
  = hint: did you mean `even`?
";
    assert_eq!(Setup::new().problems("{{ 1 is evn }}"), want);
    let want = "\
error[M003]: no method is called `split`
 --> models/gold/daily.sql:1:7
  |
1 | {{ 'x'.split(',') }}
  |       ^^^^^^^^^^^ unknown
  = hint: methods of Python are not known here; there may be a filter: `… | split`
";
    assert_eq!(Setup::new().problems("{{ 'x'.split(',') }}"), want);
    let want = "\
error[M002]: `zzz` is not defined
 --> models/gold/daily.sql:2:4
  |
2 | {{ a }}
  |    ^ undefined
  = hint: values from polder.yaml are read with `var('name')`
";
    assert_eq!(Setup::new().problems("{% set a = zzz %}\n{{ a }}"), want);
    let want = "\
error[M002]: `dbt_utils` is not defined
 --> models/gold/daily.sql:1:13
  |
1 | {{ dbt_utils.star(1) }}
  |             ^^^^^^^^ undefined
  = hint: values from polder.yaml are read with `var('name')`
";
    assert_eq!(Setup::new().problems("{{ dbt_utils.star(1) }}"), want);
}

#[test]
fn wrong_arguments() {
    let want = "\
error[M004]: `ref` takes one or two names: `ref('name')`, `ref('namespace', 'name')`
 --> models/gold/daily.sql:1:4
  |
1 | {{ ref() }}
  |    ^^^^^
";
    assert_eq!(Setup::new().problems("{{ ref() }}"), want);
    let want = "\
error[M004]: `ref` takes names: `ref('name')` or `ref('namespace', 'name')`
 --> models/gold/daily.sql:1:6
  |
1 | a {{ ref(1, 2, 3) }}
  |      ^^^^^^^^^^^^
";
    assert_eq!(Setup::new().problems("a {{ ref(1, 2, 3) }}"), want);
    let want = "\
error[M004]: `source` takes two names: `source('shop', 'orders')`
 --> models/gold/daily.sql:1:4
  |
1 | {{ source('shop') }}
  |    ^^^^^^^^^^^^^^
";
    assert_eq!(Setup::new().problems("{{ source('shop') }}"), want);
    let want = "\
error[M004]: too many arguments
 --> models/gold/daily.sql:1:4
  |
1 | {{ m(1, 2) }}
  |    ^^^^^^^
";
    assert_eq!(Setup::with_macros("{% macro m(x) %}1{% endmacro %}").problems("{{ m(1, 2) }}"), want);
}

#[test]
fn variables_and_the_environment() {
    let want = "\
error[M005]: variable `day` has no value
 --> models/gold/daily.sql:1:8
  |
1 | {{ var('day') }} {{ var('zzz') }} {{ env_var('HOME') }}
  |        ^^^^^ not set, and without a default
  = hint: did you mean `days` (polder.yaml)?

error[M005]: variable `zzz` has no value
 --> models/gold/daily.sql:1:25
  |
1 | {{ var('day') }} {{ var('zzz') }} {{ env_var('HOME') }}
  |                         ^^^^^ not set, and without a default
  = hint: set it below `vars:` in polder.yaml, or give a default: `var('zzz', …)`

error[M007]: a model cannot read the environment
 --> models/gold/daily.sql:1:46
  |
1 | {{ var('day') }} {{ var('zzz') }} {{ env_var('HOME') }}
  |                                              ^^^^^^
  = hint: use `var('home')`, with `vars: { home: ${env:HOME} }` in polder.yaml: a run keeps its variables
";
    assert_eq!(Setup::new().problems("{{ var('day') }} {{ var('zzz') }} {{ env_var('HOME') }}"), want);
}

#[test]
fn mistakes_in_macros_point_into_the_macro() {
    let setup = Setup::with_macros("{% macro bad(x) %}\n  {{ x }} {{ y }}\n{% endmacro %}\n");
    let want = "\
error[M002]: `y` is not defined
 --> macros/all.sql:2:14
  |
2 |   {{ x }} {{ y }}
  |              ^ undefined
  = hint: values from polder.yaml are read with `var('name')`
";
    assert_eq!(setup.problems("select {{ bad(1) }}"), want);
}

#[test]
fn files_of_macros_hold_macros() {
    let mut setup = Setup::with_macros("select 1;\n{% macro a() %}{% endmacro %}{% macro ref() %}{% endmacro %}");
    setup.macros.push(("macros/b.sql".into(), "{% macro a() %}{% endmacro %}\n{{ 1 }}".into()));
    setup.macros.push(("macros/c.sql".into(), "{% macro c( %}".into()));
    let want = "\
warning[M009]: what stands outside of macros is not run
 --> macros/all.sql:1:1
  |
1 | select 1;
  | ^^^^^^^^^ skipped
  = hint: files below `macros/` hold `{% macro name(…) %} … {% endmacro %}`

error[M009]: a macro cannot be called `ref`: that is Polder's own
 --> macros/all.sql:2:39
  |
2 | {% macro a() %}{% endmacro %}{% macro ref() %}{% endmacro %}
  |                                       ^^^

error[M009]: macro `a` is defined twice
 --> macros/b.sql:1:10
  |
1 | {% macro a() %}{% endmacro %}
  |          ^ second
 ::: macros/all.sql:2:10
  |
2 | {% macro a() %}{% endmacro %}{% macro ref() %}{% endmacro %}
  |          - first

warning[M009]: what stands outside of macros is not run
 --> macros/b.sql:2:4
  |
2 | {{ 1 }}
  |    ^ skipped
  = hint: files below `macros/` hold `{% macro name(…) %} … {% endmacro %}`

error[M001]: this is no Jinja: unexpected `%`, expected identifier
 --> macros/c.sql:1:13
  |
1 | {% macro c( %}
  |             ^
";
    assert_eq!(setup.problems("{{ a() }}"), want);
}

#[test]
fn includes_are_refused() {
    let want = "\
error[M008]: templates are not included or imported here
 --> models/gold/daily.sql:1:4
  |
1 | {% include 'x.sql' %}
  |    ^^^^^^^^^^^^^^^
  = hint: macros below `macros/` are known everywhere by their names
";
    assert_eq!(Setup::new().problems("{% include 'x.sql' %}"), want);
}
