//! What a person sees who made a mistake.

use crate::folder::Folder;

#[test]
fn ten_mistakes_give_ten_diagnostics() {
    let folder = Folder::new(&[
        ("polder.yaml", "name: shop\nconcurency: 4\n"),
        (
            "sources/shop.yaml",
            "postgres: ${env:SHOP_PG}\ntables:\n  orders: { key: order_id, curser: updated_at }\n  customers: ful\n",
        ),
        ("sources/payments.yaml", "files: data/payments/*.csv\nfiles: data/other.csv\n"),
        ("models/gold/daily.sql", "select 1 as day\n"),
        ("models/gold/finance/daily.sql", "select 2 as day\n"),
        ("models/gold/_models.yml", "models:\n  - name: dayly\n    columns: []\n"),
        ("checks/daily.yaml", "table: gold.daily\nchecks:\n  - unique: [day\n"),
        ("checks/orders.yaml", "table: gold.dialy\nchecks:\n  - not_null: day\n"),
        ("policies/all.yaml", "- for: analyst\n  deny: true\n"),
    ]);
    let (project, found) = folder.load();
    assert_eq!(found.len(), 10, "{}", folder.problems());
    let want = "\
error[P002]: this is no YAML: unclosed bracket '['
 --> checks/daily.yaml:3:13
  |
3 |   - unique: [day
  |             ^

error[P013]: no model or source makes `gold.dialy`
 --> checks/orders.yaml:1:8
  |
1 | table: gold.dialy
  |        ^^^^^^^^^^ unknown table
  = hint: did you mean `gold.daily` (models/gold/daily.sql)?

error[P017]: no model is called `dayly`
 --> models/gold/_models.yml:2:11
  |
2 |   - name: dayly
  |           ^^^^^ unknown name
  = hint: did you mean `daily` (models/gold/daily.sql)?

error[P012]: `gold.daily` is defined twice
 --> models/gold/finance/daily.sql
  = note: second definition
 ::: models/gold/daily.sql
  = note: first definition
  = hint: the first folder below `models/` and the file's name make the table

error[P003]: unknown key `concurency`
 --> polder.yaml:2:1
  |
2 | concurency: 4
  | ^^^^^^^^^^ unknown key
  = hint: did you mean `concurrency`?

error[P004]: this entry has no key `table`
 --> policies/all.yaml:1:3
  |
1 | - for: analyst
  |   ^^^ `table` is required

error[P006]: `files` is given twice
 --> sources/payments.yaml:2:1
  |
2 | files: data/other.csv
  | ^^^^^ second
 ::: sources/payments.yaml:1:1
  |
1 | files: data/payments/*.csv
  | ----- first

error[P007]: environment variable `SHOP_PG` is not set
 --> sources/shop.yaml:1:11
  |
1 | postgres: ${env:SHOP_PG}
  |           ^^^^^^^^^^^^^^ not set
  = hint: set it, or write `SHOP_PG=…` into `.env` beside `polder.yaml`

error[P003]: unknown key `curser`
 --> sources/shop.yaml:3:28
  |
3 |   orders: { key: order_id, curser: updated_at }
  |                            ^^^^^^ not a key of `tables.orders`
  = hint: did you mean `cursor`?

error[P005]: `tables.customers` takes `full`, or a mapping such as `{ key: id, cursor: updated_at }`, not `ful`
 --> sources/shop.yaml:4:14
  |
4 |   customers: ful
  |              ^^^
  = hint: did you mean `full`?
";
    assert_eq!(folder.problems(), want);
    // What is whole is there.
    assert_eq!(project.models.len(), 1);
    assert_eq!(project.sources.len(), 2);
    assert!(project.policies_broken);
}

/// The first lines and hints of what is told about one file beside a model and a source.
fn told(path: &str, text: &str) -> String {
    let folder = Folder::new(&[
        ("sources/shop.yaml", "files: { orders: data/orders.csv }\n"),
        ("models/gold/daily.sql", "select 1 as day\n"),
        (path, text),
    ]);
    let lines = folder.load().1.into_iter().flat_map(|d| {
        let first = format!("{d}");
        std::iter::once(first).chain(d.hints.into_iter().map(|hint| format!("  {hint}")))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn settings() {
    for (text, want) in [
        (
            "name: Shop-1",
            "error[P011]: `Shop-1` cannot be the name of a project: it takes lower-case letters, digits and `_`\n  `shop_1`",
        ),
        ("name: x\nconcurrency: 0", "error[P005]: `concurrency` is a number from 1 to 1024"),
        ("name: x\nconcurrency: many", "error[P005]: `concurrency` takes a whole number, not `many`"),
        (
            "name: x\nmemory_limit: 1KB",
            "error[P005]: `memory_limit` is at least 128MB: with less, queries fail that could have spilled to disk",
        ),
        (
            "name: x\nwarehouse: s3:/lake",
            "error[P005]: `warehouse` is an address such as `s3://bucket/prefix`, or `local`\n  a warehouse on disk is in the folder that `home` names",
        ),
        (
            "name: x\ns3: { endpoint: 'http://minio.example:9000' }",
            "error[P005]: `endpoint` is not encrypted\n  use `https://`, or add `allow_http: true` if that is meant",
        ),
        (
            "name: x\ns3: { endpoint: 'https://h/bucket' }",
            "error[P005]: `endpoint` is the URL of a store, with nothing behind its host and port\n  such as `https://minio.example:9000`",
        ),
        (
            "name: x\ns3: { access_key_id: AKIA }",
            "error[P005]: `access_key_id` and `secret_access_key` go together\n  give both, or none of them",
        ),
        ("name: x\ns3: { timeout: 1h }", "error[P005]: `timeout` is a duration from `1s` to `5m`\n  such as `60s`"),
        ("name: x\nmemory_limit: 0", "error[P005]: `memory_limit` is a size, such as `2GB` or `512MB`"),
        ("name: x\nmemory_limit: lots", "error[P005]: `memory_limit` is a size, such as `2GB` or `512MB`"),
        ("name: x\nvars: 7", "error[P005]: `vars` takes a mapping, not the number 7"),
        ("name: [x]", "error[P005]: `name` takes text, not a list"),
        (
            "name: x\ndefault_namespace: system",
            "error[P011]: namespace `system` is filled by Polder itself\n  choose another name",
        ),
        ("name: x\nformat: 2\nnew_key: [", "error[P002]: this is no YAML: unclosed bracket '['"),
        (
            "name: x\nformat: 2\nnew_key: 1",
            "error[P010]: this project was written for a newer Polder: its format is 2\n  install a newer Polder",
        ),
        (
            "name: x\nenvironments: { dev: { sources: { shopp: { postgres: x } }, hom: y } }",
            "error[P003]: unknown key `hom`\n  did you mean `home`?",
        ),
        ("- a", "error[P005]: the file takes a mapping, not a list"),
        (
            "name: x\nhome: ${env:HOM}",
            "error[P007]: environment variable `HOM` is not set\n  set it, or write `HOM=…` into `.env` beside `polder.yaml`",
        ),
        (
            "name: x\nhome: ${HOME}",
            "warning[P007]: `${HOME}` is taken as it stands\n  to take it from the environment, write `${env:HOME}`",
        ),
        (
            "name: x\nhome: ${secret:h}",
            "error[P008]: `${secret:h}`: this version has no secrets yet\n  take it from the environment: `${env:NAME}`, with the value in `.env` (which git should ignore)",
        ),
    ] {
        assert_eq!(told("polder.yaml", text), want, "{text}");
    }
}

#[test]
fn environments() {
    let text = "name: x\nenvironments: { dev: { sources: { shopp: { postgres: 'postgres://x' } } }, prod: {} }";
    let mut folder = Folder::new(&[("polder.yaml", text), ("sources/shop.yaml", "files: a.csv")]);
    folder.environment = Some("prd".into());
    assert_eq!(
        folder.problems(),
        "error[P020]: `polder.yaml` has no environment `prd`\n --> polder.yaml\n  = hint: did you mean `prod`?\n"
    );
    folder.environment = Some("dev".into());
    let want = "\
error[P021]: no source is called `shopp`
 --> polder.yaml:2:35
  |
2 | environments: { dev: { sources: { shopp: { postgres: 'postgres://x' } } }, prod: {} }
  |                                   ^^^^^ unknown name
  = hint: did you mean `shop` (sources/shop.yaml)?
";
    assert_eq!(folder.problems(), want);
}

#[test]
fn sources() {
    for (text, want) in [
        (
            "tables: {}",
            "error[P015]: a source needs `postgres` or `files`\n  such as `postgres: ${env:SHOP_PG}` with `tables:`, or `files: data/orders/*.csv`",
        ),
        (
            "postgres: postgres://x\nfiles: a.csv",
            "error[P015]: a source has `postgres` or `files`, not both\n  make two files of it",
        ),
        (
            "postgres: mysql://x\ntables: [a]",
            "error[P005]: the address of a PostgreSQL database starts with `postgres://`\n  `postgres://user:password@host:5432/database`",
        ),
        (
            "postgres: postgres://x",
            "error[P004]: a PostgreSQL source needs `tables`\n  such as `tables: { orders: { key: order_id, cursor: updated_at }, customers: full }`",
        ),
        (
            "postgres: postgres://x\ntables: [a]\nmode: append",
            "error[P015]: `mode` goes with `files`, not with `postgres`",
        ),
        (
            "postgres: postgres://x\ntables: [A, a]",
            "error[P012]: `bronze.erp_a` is defined twice\n  two names that become one table: rename one of the files",
        ),
        (
            "postgres: postgres://x\ntables: { a: { cursor: at, lag: 5 minutes } }",
            "error[P015]: `lag` needs a `key`\n  rows that are read again take the place of those with the same key",
        ),
        (
            "postgres: postgres://x\ntables: { a: { key: id, lag: 5 minutes } }",
            "error[P015]: `lag` needs a `cursor`\n  it says how far before the cursor each read begins",
        ),
        (
            "postgres: postgres://x\ntables: { a: { key: id, cursor: at, lag: soon } }",
            "error[P005]: `lag` is a time such as `5 minutes`, or a number, greater than zero",
        ),
        ("files: a.csv\ntables: [a]", "error[P015]: `tables` goes with `postgres`, not with `files`"),
        (
            "files: data/*",
            "error[P004]: the format of `data/*` cannot be told from its ending\n  add `format:`, one of `csv`, `tsv`, `jsonl`, `ndjson`, `json` and `parquet`",
        ),
        (
            "files: 'data/*.{csv,jsonl}'",
            "error[P005]: `data/*.{csv,jsonl}` names files of several formats\n  a stream has one: write a stream for each of them",
        ),
        ("files: 'data/[a.csv'", "error[P005]: `data/[a.csv` is no pattern: unclosed character class; missing ']'"),
        (
            "files: a.csv\nformat: cvs",
            "error[P005]: `format` takes `csv`, `tsv`, `jsonl`, `ndjson`, `json` or `parquet`, not `cvs`\n  did you mean `csv`?",
        ),
        ("postgres: postgres://x\ntables: [a]\ns3: {}", "error[P015]: `s3` goes with `files`, not with `postgres`"),
        (
            "files: 'https://h/latest?key=a.csv'",
            "error[P004]: the format of `https://h/latest?key=a.csv` cannot be told from its ending\n  add `format:`, one of `csv`, `tsv`, `jsonl`, `ndjson`, `json` and `parquet`",
        ),
        ("files: a.parquet\nheader: true", "error[P015]: `header` is for CSV files only"),
        ("files: a.csv\ndelimiter: '||'", "error[P005]: `||` cannot divide fields: one ASCII character, or `tab`"),
        ("files: a.csv\nmax_rejected: -1", "error[P005]: `max_rejected` takes a whole number, not the number -1"),
        ("files: { a: { path: a.csv, colums: {} } }", "error[P003]: unknown key `colums`\n  did you mean `columns`?"),
        ("files: { a: { format: csv } }", "error[P004]: `files.a` has no key `path`"),
        (
            "files: { a: a.csv }\nkey: id",
            "error[P015]: `key` beside several `files` belongs to none of them\n  write it into the file's own mapping: `orders: { path: …, key: … }`",
        ),
        ("files: a.csv\ncolumns: { a: bigintt }", "error[P005]: no type is called `bigintt`\n  did you mean `bigint`?"),
        ("files: a.csv\ncolumns: { A b: text, a_b: text }", "error[P006]: two columns are called `a_b`"),
    ] {
        assert_eq!(told("sources/erp.yaml", text), want, "{text}");
    }
    let want = "error[P011]: `my-shop` cannot be the name of a source: it takes lower-case letters, digits and `_`\n  `my_shop`\n  a source has its file's name";
    assert_eq!(told("sources/my-shop.yaml", "files: a.csv"), want);
    assert_eq!(told("sources/shop.yml", "files: a.csv"), "error[P012]: source `shop` is defined twice");
}

#[test]
fn models_and_their_descriptions() {
    let want = "error[P011]: `Daily Sales` cannot be the name of a model: it takes lower-case letters, digits and `_`\n  `daily_sales`\n  \
                a model has its file's name, and the first folder below `models/` as namespace";
    assert_eq!(told("models/gold/Daily Sales.sql", "select 1"), want);
    for (text, want) in [
        (
            "models: [{ name: dayly }]",
            "error[P017]: no model is called `dayly`\n  did you mean `daily` (models/gold/daily.sql)?",
        ),
        (
            "models: [{ name: other }]",
            "error[P017]: no model is called `other`\n  a file `models/gold/other.sql` would make it one",
        ),
        ("models: [{ name: daily }, { name: gold.daily }]", "error[P012]: model `gold.daily` is described twice"),
        (
            "models: [{ name: daily, columns: [{ name: a, tests: [notnull] }] }]",
            "error[P018]: there is no test `notnull`\n  did you mean `not_null`?",
        ),
        (
            "models: [{ name: daily, columns: [{ name: a, tests: [dbt_utils.x: {}] }] }]",
            "error[P018]: there is no test `dbt_utils.x`\n  the tests are `not_null`, `unique`, `accepted_values` and `relationships`\n  anything else can be said below `checks:`, as `holds: <row expression>` or `sql: <query>`",
        ),
        (
            "models: [{ name: daily, columns: [{ name: a, tests: [accepted_values] }] }]",
            "error[P004]: `accepted_values` has no `values`",
        ),
        (
            "models: [{ name: daily, columns: [{ name: a, tests: [relationships: { to: ref('daily') }] }] }]",
            "error[P004]: `relationships` has no `field`",
        ),
        ("models: [{ name: daily, columns: [{ name: a, tests: [unique: {}, not_null] }] }]", ""),
        ("models: [{ name: daily, tests: [unique] }]", "error[P004]: `unique` has no `column_name`"),
        (
            "models: [{ name: daily, columns: [{ name: a }, { name: a }] }]",
            "error[P006]: column `a` is described twice",
        ),
        ("sources: [{ name: x }]", "warning[P018]: `sources` is not read by this version of Polder"),
        ("descripton: x", "error[P003]: unknown key `descripton`\n  did you mean `description`?"),
    ] {
        assert_eq!(told("models/gold/_schema.yml", text), want, "{text}");
    }
}

#[test]
fn checks() {
    let check = |check: &str| format!("table: gold.daily\nchecks:\n  - {check}\n");
    for (text, want) in [
        (
            "severity: warn",
            "error[P015]: this check says nothing\n  give one of `not_null`, `unique`, `accepted_values`, `range`, `regex`, `relationships`, `row_count`, `freshness`, `holds` and `sql`",
        ),
        (
            "unique: a\n    not_null: a",
            "error[P015]: `not_null` and `unique` are two checks\n  start each with its own `-`",
        ),
        (
            "uniqe: a",
            "error[P003]: unknown key `uniqe`\n  did you mean `unique`?\nerror[P015]: this check says nothing",
        ),
        ("{ unique: a, severity: warning }", "error[P005]: `checks.severity` takes `error` or `warn`, not `warning`"),
        ("range: { column: a }", "error[P005]: `range` needs `min`, `max` or both"),
        ("range: { column: a, min: 2, max: 1 }", "error[P005]: `min` is greater than `max`: no value is in that range"),
        ("regex: { column: a, pattern: '(' }", "error[P005]: this is no regular expression: unclosed group"),
        ("row_count: {}", "error[P005]: `row_count` needs `min`, `max` or both"),
        (
            "freshness: { column: a, max_age: soon }",
            "error[P005]: `soon` is no duration: write `30m`, `2h` or `1d 12h`",
        ),
        ("holds: ''", "error[P005]: SQL is missing here"),
        ("accepted_values: { column: a, values: [] }", "error[P005]: `accepted_values` needs at least one value"),
        (
            "relationships: { column: a, to: gold.dayly, field: b }",
            "error[P013]: no model or source makes `gold.dayly`\n  did you mean `gold.daily` (models/gold/daily.sql)?",
        ),
        (
            "relationships: { column: a, to: silver.daily, field: b }",
            "error[P013]: no model or source makes `silver.daily`\n  did you mean `gold.daily` (models/gold/daily.sql)?",
        ),
        (
            "relationships: { column: a, to: dayly, field: b }",
            "error[P013]: no model or source makes `dayly`\n  did you mean `gold.daily` (models/gold/daily.sql)?",
        ),
        (
            "relationships: { column: a, to: zzz, field: b }",
            "error[P013]: no model or source makes `zzz`\n  write it in full: `namespace.name`",
        ),
        ("unique", "error[P005]: `checks` takes a mapping, not `unique`"),
    ] {
        let told = told("checks/c.yaml", &check(text));
        assert!(told.starts_with(want), "{text}: {told}");
    }
    let want = "error[P013]: no model or source makes `gold.nothing_like_it`\n  the tables are `bronze.shop_orders` and `gold.daily`";
    assert_eq!(told("checks/c.yaml", "table: gold.nothing_like_it\nchecks: []"), want);
    // Tables that only a run can know.
    assert_eq!(told("checks/c.yaml", "table: quarantine.shop_orders\nchecks: [{ row_count: { max: 0 } }]"), "");
}

#[test]
fn policies() {
    for (text, want) in [
        ("table: gold.daily", "error[P015]: this policy does nothing\n  give `deny`, `filter` or `mask`"),
        (
            "table: gold.daily\ndeny: true\nfilter: a",
            "error[P015]: `deny` hides the table altogether: there is nothing left to filter or mask",
        ),
        (
            "table: gold.daily\nfor: []\ndeny: true",
            "error[P015]: `for` is empty: this policy is for nobody\n  leave it out for everybody",
        ),
        (
            "table: gold.daily\nmask: { a: hsah }",
            "error[P005]: `mask.a` takes `hash`, `null`, `partial` or `{ sql: … }`, not `hsah`\n  did you mean `hash`?",
        ),
        (
            "table: gold.dayly\ndeny: true",
            "error[P013]: no model or source makes `gold.dayly`\n  did you mean `gold.daily` (models/gold/daily.sql)?",
        ),
        (
            "table: daily\ndeny: true",
            "error[P005]: `daily` is no table: write `namespace.name`, or `namespace.*` for all of a namespace",
        ),
        ("table: hr.people\ndeny: true", "warning[P013]: no model or source makes `hr.people`"),
        ("table: gould.*\ndeny: true", "error[P013]: no model or source makes `gould.*`\n  did you mean `gold.*`?"),
    ] {
        assert_eq!(told("policies/p.yaml", text), want, "{text}");
    }
}

/// Whatever a policy is broken by, nobody may take the project for one without it.
#[test]
fn a_policy_that_does_not_apply_breaks_the_policies() {
    const GOOD: &str = "table: gold.daily\ndeny: true\n";
    for (path, text, want) in [
        ("policies/p.yaml", "", "error[P019]: `policies/p.yaml` is empty policies/p.yaml:1"),
        ("policies/p.yaml", "# later\n", "error[P019]: `policies/p.yaml` is empty policies/p.yaml:1"),
        ("policies/p.yaml", "table: [", "error[P002]: this is no YAML: unclosed bracket '[' policies/p.yaml:1"),
        ("policies/p.json", "{}", "error[P014]: `policies/p.json` is not read policies/p.json"),
        ("policies/p.YAML", GOOD, "error[P014]: `policies/p.YAML` is not read policies/p.YAML"),
        ("policies/hr/p.yaml.txt", GOOD, "error[P014]: `policies/hr/p.yaml.txt` is not read policies/hr/p.yaml.txt"),
        ("policy/p.yaml", GOOD, "error[P014]: folder `policy/` is not read policy/"),
        ("Policies/hr/p.yaml", GOOD, "error[P014]: folder `Policies/` is not read Policies/"),
        ("policies.yaml", GOOD, "error[P014]: `policies.yaml` is not read policies.yaml"),
        ("policies", GOOD, "error[P001]: `policies` is a file, but should be a folder policies"),
        (
            "policies/hr/p.yaml",
            "table: gold.daily\nmask:\n  x: hsah\n",
            "error[P005]: `mask.x` takes `hash`, `null`, `partial` or `{ sql: … }`, not `hsah` policies/hr/p.yaml:3",
        ),
        (
            "policies/p.yaml",
            "table: gold.daily\nfilter: a = '${env:NOT_SET}'\n",
            "error[P007]: environment variable `NOT_SET` is not set policies/p.yaml:2",
        ),
        (
            "policies/p.yaml",
            "table: quarantine.shop_order\ndeny: true\n",
            "error[P013]: no model or source makes `quarantine.shop_order` policies/p.yaml:1",
        ),
    ] {
        let folder = Folder::new(&[
            ("models/gold/daily.sql", "select 1 as a\n"),
            ("sources/shop.yaml", "files: { orders: data/orders.csv }\n"),
            (path, text),
        ]);
        let (project, problems) = folder.load();
        let place = |d: &polder_diag::Diagnostic| {
            let label = d.label.as_ref()?;
            let line = project.files.line_col(&label.span).map(|at| format!(":{}", at.line)).unwrap_or_default();
            Some(format!(" {}{line}", label.span.file))
        };
        let told: Vec<String> = problems.iter().map(|d| format!("{d}{}", place(d).unwrap_or_default())).collect();
        assert_eq!(told, [want], "{path}: {text}");
        assert!(project.policies_broken, "{path}: {text}");
    }
    // What lies beside policies without being one is no matter.
    let folder = Folder::new(&[("policies/p.yaml.bak", GOOD), ("policies/README.md", ""), ("data/p.yaml", GOOD)]);
    assert!(!folder.load().0.policies_broken);
}

#[test]
fn what_a_source_rejects_is_a_table_to_speak_of() {
    let told_of =
        |table: &str| told("checks/c.yaml", &format!("table: {table}\nchecks: [{{ row_count: {{ max: 0 }} }}]"));
    assert_eq!(told_of("quarantine.shop_orders"), "");
    assert_eq!(
        told_of("quarantine.shop_ordes"),
        "error[P013]: no model or source makes `quarantine.shop_ordes`\n  did you mean `quarantine.shop_orders`?"
    );
    assert_eq!(
        told_of("quarantine.else"),
        "error[P013]: no model or source makes `quarantine.else`\n  it would hold what `bronze.else` rejects, and no source fills that"
    );
}

#[test]
fn what_follows_from_a_broken_file_is_not_told() {
    let folder = Folder::new(&[
        ("sources/shop.yaml", "files: { orders: [ }"),
        ("models/gold/daily.sql", ""),
        ("checks/c.yaml", "- { table: bronze.shop_orders, checks: [] }\n- { table: gold.daily, checks: [] }\n"),
        ("models/gold/daily.yml", "description: x"),
    ]);
    let codes: Vec<&str> = folder.load().1.iter().map(|p| p.code).collect();
    assert_eq!(codes, ["P019", "P002"]);
}

#[test]
fn a_bare_name_that_several_tables_have() {
    let folder = Folder::new(&[
        ("models/gold/orders.sql", "select 1"),
        ("models/silver/orders.sql", "select 1"),
        ("checks/c.yaml", "table: orders\nchecks: []"),
    ]);
    let want = "\
error[P013]: `orders` could be `gold.orders` and `silver.orders`
 --> checks/c.yaml:1:8
  |
1 | table: orders
  |        ^^^^^^ which?
  = hint: write it in full
";
    assert_eq!(folder.problems(), want);
}

#[test]
fn mistakes_of_a_pipeline_are_told_at_once() {
    let folder = Folder::new(&[(
        "pipelines/nightly.yaml",
        "cron: 0 25 * * *\ntime_zone: europe/amsterdam\nmised: run\noverlap: allow\nretries: { times: 500, wait: 1x }\n\
         timeout: 0s\nnotify:\n  - webhook: chat\n    on: [failed]\n",
    )]);
    let (project, found) = folder.load();
    assert!(project.pipelines.is_empty());
    let told: Vec<String> = found.iter().map(|d| format!("{d} {}", d.hints.join(", ")).trim().to_owned()).collect();
    assert_eq!(
        told,
        [
            "error[P005]: `0 25 * * *` is no cron schedule: number out of bounds \
             minute, hour, day of the month, month, day of the week: `0 6 * * 1-5` is 06:00 from Monday to Friday",
            "error[P005]: there is no time zone `europe/amsterdam` did you mean `Europe/Amsterdam`?",
            "error[P003]: unknown key `mised` did you mean `missed`?",
            "error[P005]: `overlap` takes `skip` or `queue`, not `allow`",
            "error[P005]: `retries.times` is 100 at most",
            "error[P005]: `1x` is no duration: write `90s`, `15m` or `2h`",
            "error[P005]: `timeout` is longer than no time at all",
            "error[P005]: a webhook is an address that begins with `https://` or `http://`",
            "error[P005]: `notify.on` takes `failure` or `recovery`, not `failed`",
        ]
    );
}

#[test]
fn a_pipeline_needs_one_schedule() {
    let told = |text: &str| -> String {
        let (_, problems) = Folder::new(&[("pipelines/p.yaml", text)]).load();
        problems.into_iter().map(|d| format!("{d} ({})", d.hints.join(", "))).collect::<Vec<_>>().join("\n")
    };
    assert!(told("run: all\n").starts_with("error[P015]: nothing says when this pipeline runs ("));
    assert!(told("every: 1h\ncron: '@daily'\n").starts_with("error[P015]: `cron` and `every` both say when it runs"));
    assert!(told("every: 1h\ntime_zone: UTC\n").starts_with("error[P015]: `every` counts in all time zones alike"));
    assert!(told("every: 5s\n").starts_with("error[P005]: `every` is 10 seconds at least"));
    assert_eq!(
        told("run: a\ncron: */15 * * * *\n"),
        "error[P002]: text that begins with `*` wants quotes (cron: '*/15 * * * *')"
    );
    // An address that lacks its variable is told once.
    assert_eq!(told("every: 1h\nnotify: [{ webhook: '${env:HOOK}' }]\n").lines().count(), 1);
    assert!(
        Folder::new(&[("pipelines/Nightly.yaml", "every: 1h\n")])
            .problems()
            .contains("cannot be the name of a pipeline")
    );
}
