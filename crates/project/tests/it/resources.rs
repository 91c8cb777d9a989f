//! What a project declares, once it is whole.

use polder_project::*;
use serde_json::json;

use crate::folder::Folder;

fn stream<'p>(project: &'p Project, table: &str) -> &'p Stream {
    let streams = project.sources.iter().flat_map(|s| &s.streams);
    streams.into_iter().find(|s| s.table.to_string() == table).unwrap_or_else(|| panic!("no stream {table}"))
}

fn files<'p>(project: &'p Project, table: &str) -> &'p FileStream {
    match &stream(project, table).read {
        ReadMode::Files(files) => files,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_project_of_the_design() {
    let mut folder = Folder::new(&[
        (
            "sources/shop.yaml",
            "postgres: ${env:SHOP_PG}\ntables:\n  orders: { key: order_id, cursor: updated_at }\n  customers: full\n",
        ),
        (
            "models/gold/daily.sql",
            "select cast(created_at as date) as day, sum(amount) as revenue\nfrom bronze.shop_orders group by all\n",
        ),
        (
            "checks/orders.yaml",
            "# checks/orders.yaml\ntable: bronze.shop_orders\nchecks:\n  - unique: order_id\n  - not_null: [order_id, \
             customer_id]\n  - holds: created_at <= run_time()\n  - row_count: { min: 1000 }\n    severity: warn\n",
        ),
    ]);
    folder.variables.insert("SHOP_PG".into(), "postgres://u:p@h/d".into());
    let project = folder.project();
    assert_eq!(project.name, "shop");
    assert!(matches!(&project.sources[0].connection, Connection::Postgres { url } if url == "postgres://u:p@h/d"));
    let orders = stream(&project, "bronze.shop_orders");
    assert!(matches!(&orders.read, ReadMode::Incremental { cursor, lag: None } if cursor == "updated_at"));
    assert_eq!((orders.key.as_slice(), orders.max_rejected), (["order_id".to_owned()].as_slice(), 0));
    assert!(matches!(stream(&project, "bronze.shop_customers").read, ReadMode::Full));
    assert_eq!(project.models[0].table.to_string(), "gold.daily");
    let checks = &project.checks[0].checks;
    assert!(matches!(&checks[0].kind, CheckKind::Unique { columns } if columns == &["order_id"]));
    assert!(matches!(&checks[1].kind, CheckKind::NotNull { columns } if columns.len() == 2));
    assert!(matches!(&checks[2].kind, CheckKind::Holds { expression } if expression == "created_at <= run_time()"));
    assert!(matches!(checks[3].kind, CheckKind::RowCount { min: Some(1000), max: None }));
    assert_eq!(checks[3].severity, CheckSeverity::Warn);
    // As reports say it: `checks/orders.yaml:6`.
    assert_eq!(project.files.line_col(&checks[2].span).unwrap().line, 6);
    // No password in logs.
    assert!(!format!("{project:?}").contains("u:p"));
}

#[test]
fn file_sources_in_all_their_forms() {
    let project = Folder::new(&[
        ("sources/payments.yaml", "files: data/payments/*.csv\nkey: Payment ID\nnulls: [n/a, '-']\ndelimiter: ;\n"),
        (
            "sources/web.yaml",
            "files:\n  orders: data/orders.tsv\n  Page Views: data/*.jsonl.gz\n  products:\n    path: /abs/p.parquet\n    \
             mode: append\n    max_rejected: 5\n    columns: { Price: 'decimal(12,2)', 'a b': { type: text, comment: x } }\n  \
             raw: { path: data/raw/*, format: csv, header: false }\n",
        ),
    ])
    .project();
    let payments = files(&project, "bronze.payments");
    assert_eq!((payments.format, payments.mode, payments.delimiter), (FileFormat::Csv, FileMode::Append, b';'));
    assert_eq!(payments.nulls, ["n/a", "-"]);
    assert_eq!(stream(&project, "bronze.payments").key, ["payment_id"]);
    let orders = files(&project, "bronze.web_orders");
    assert_eq!((orders.format, orders.mode, orders.delimiter), (FileFormat::Csv, FileMode::Replace, b'\t'));
    assert!(orders.header);
    assert_eq!(files(&project, "bronze.web_page_views").format, FileFormat::JsonLines);
    let products = stream(&project, "bronze.web_products");
    assert_eq!(products.max_rejected, 5);
    assert_eq!(products.columns["price"].data_type.as_deref(), Some("decimal(12,2)"));
    assert_eq!(products.columns["a_b"].comment.as_deref(), Some("x"));
    assert_eq!(files(&project, "bronze.web_products").mode, FileMode::Append);
    assert!(!files(&project, "bronze.web_raw").header);
}

#[test]
fn tables_may_be_a_list_and_have_schemas() {
    let project = Folder::new(&[(
        "sources/erp.yaml",
        "postgres: postgresql://h/d\ntables: [public.orders, sales.Lines, customers]\n",
    )])
    .project();
    let names: Vec<String> = project.sources[0].streams.iter().map(|s| s.table.to_string()).collect();
    assert_eq!(names, ["bronze.erp_orders", "bronze.erp_sales_lines", "bronze.erp_customers"]);
    assert_eq!(project.sources[0].streams[1].name, "sales.Lines");
}

#[test]
fn a_read_may_begin_before_its_cursor() {
    let project = Folder::new(&[(
        "sources/erp.yaml",
        "postgres: postgresql://h/d\ntables:\n  orders: { key: id, cursor: updated_at, lag: 5 minutes }\n  \
         items: { key: [a, b], cursor: number, lag: 1000 }\n",
    )])
    .project();
    let lag = |table: &str| match &stream(&project, table).read {
        ReadMode::Incremental { lag, .. } => *lag,
        other => panic!("{other:?}"),
    };
    assert_eq!(lag("bronze.erp_orders"), Some(Lag::Seconds(300)));
    assert_eq!(lag("bronze.erp_items"), Some(Lag::Values(1000)));
}

#[test]
fn environments_override_by_name() {
    let text = "name: shop\nhome: base\nvars: { days: 7, region: eu }\nconcurrency: 2\nmemory_limit: 1GB\n\
                default_namespace: mart\nenvironments:\n  dev:\n    vars: { days: 1 }\n    home: .dev\n    \
                sources: { shop: { postgres: 'postgres://dev/d' } }\n  prod: { memory_limit: 8GB }\n";
    let mut folder = Folder::new(&[
        ("polder.yaml", text),
        ("sources/shop.yaml", "postgres: postgres://prod/d\ntables: [orders]\n"),
        ("models/daily.sql", "select 1 as x"),
    ]);
    let base = folder.project();
    assert_eq!(base.settings.vars["days"], json!(7));
    assert_eq!((base.settings.concurrency, base.settings.memory_limit_bytes), (Some(2), Some(1 << 30)));
    assert_eq!(base.models[0].table.to_string(), "mart.daily");
    folder.environment = Some("dev".into());
    let dev = folder.project();
    assert_eq!((&dev.settings.vars["days"], &dev.settings.vars["region"]), (&json!(1), &json!("eu")));
    assert_eq!(dev.settings.home.as_deref(), Some(".dev"));
    assert_eq!(dev.settings.environment.as_deref(), Some("dev"));
    assert!(matches!(&dev.sources[0].connection, Connection::Postgres { url } if url == "postgres://dev/d"));
    folder.environment = Some("prod".into());
    assert_eq!(folder.project().settings.memory_limit_bytes, Some(8 << 30));
}

#[test]
fn all_kinds_of_checks() {
    let text = r"
- table: gold.daily
  checks:
    - accepted_values: { column: state, values: [new, 1, true, 2.5] }
      where: day > '2020-01-01'
      name: states
    - range: { column: amount, min: 0, max: 99.5 }
    - range: { column: day, min: 2020-01-01 }
    - regex: { column: email, pattern: '^[^@]+@[^@]+$' }
    - relationships: { column: customer_id, to: silver.customers, field: id }
    - relationships: { column: customer_id, to: ref('customers'), field: id }
    - row_count: { min: 1, max: 10 }
    - freshness: { column: day, max_age: 1d 12h }
    - unique: [day, region]
    - sql: select * from gold.daily where amount < 0
- table: customers
  checks: [{ not_null: id }]
- table: source('pay', 'pay')
  checks: [{ not_null: id }]
";
    let project = Folder::new(&[
        ("models/gold/daily.sql", "select 1"),
        ("models/silver/customers.sql", "select 1"),
        ("checks/all.yaml", text),
        ("sources/pay.yaml", "files: pay.csv"),
        ("checks/no_orphans.sql", "select 1 where false"),
    ])
    .project();
    let checks = &project.checks[0].checks;
    assert_eq!(checks.len(), 10);
    assert_eq!((checks[0].name.as_deref(), checks[0].filter.as_deref()), (Some("states"), Some("day > '2020-01-01'")));
    assert!(matches!(&checks[0].kind, CheckKind::AcceptedValues { values, .. }
        if values == &[json!("new"), json!(1), json!(true), json!(2.5)]));
    assert!(matches!(&checks[2].kind, CheckKind::Range { min, .. } if min == &Some(json!("2020-01-01"))));
    for at in [4, 5] {
        assert!(
            matches!(&checks[at].kind, CheckKind::Relationships { to, .. } if to.to_string() == "silver.customers")
        );
    }
    assert!(matches!(checks[7].kind, CheckKind::Freshness { max_age_seconds: 129_600, .. }));
    assert_eq!(project.checks[1].table.to_string(), "silver.customers");
    assert_eq!(project.checks[2].table.to_string(), "bronze.pay");
    assert_eq!(project.sql_checks[0].name, "no_orphans");
}

#[test]
fn models_are_described_in_the_form_of_dbt() {
    let text = r#"
version: 2
models:
  - name: daily
    description: What was sold
    config: { materialized: view, tags: [nightly] }
    meta: { owner: me }
    tests:
      - unique: { column_name: "day" }
    columns:
      - name: day
        description: The day
        data_tests: [not_null, unique]
      - name: state
        tests:
          - accepted_values: { values: [a, b], config: { severity: warn, where: "day > '2020'" } }
          - accepted_values: { arguments: { values: [c] }, name: cs }
      - name: customer_id
        data_type: bigint
        tests:
          - relationships: { to: ref('customers'), field: id }
          - relationships:
              to: source('shop', 'orders')
              field: id
            severity: warn
          - not_null: { config: { enabled: false } }
    checks:
      - row_count: { min: 1 }
"#;
    let project = Folder::new(&[
        ("sources/shop.yaml", "files: { orders: o.csv }\n"),
        ("models/gold/daily.sql", "select 1"),
        ("models/silver/customers.sql", "select 1"),
        ("models/gold/schema.yml", text),
    ])
    .project();
    let model = &project.models[0];
    assert_eq!(model.description.as_deref(), Some("What was sold"));
    assert_eq!(model.tags, ["nightly"]);
    assert_eq!(model.config["materialized"].value, json!("view"));
    assert_eq!(model.columns["day"].comment.as_deref(), Some("The day"));
    assert_eq!(model.columns["customer_id"].data_type.as_deref(), Some("bigint"));
    let checks = &project.checks[0].checks;
    let kinds: Vec<&str> = checks
        .iter()
        .map(|c| match &c.kind {
            CheckKind::RowCount { .. } => "row_count",
            CheckKind::Unique { .. } => "unique",
            CheckKind::NotNull { .. } => "not_null",
            CheckKind::AcceptedValues { .. } => "accepted_values",
            CheckKind::Relationships { .. } => "relationships",
            _ => "other",
        })
        .collect();
    let want = [
        "row_count",
        "unique",
        "not_null",
        "unique",
        "accepted_values",
        "accepted_values",
        "relationships",
        "relationships",
    ];
    assert_eq!(kinds, want);
    assert_eq!((checks[4].severity, checks[4].filter.as_deref()), (CheckSeverity::Warn, Some("day > '2020'")));
    assert_eq!(checks[5].name.as_deref(), Some("cs"));
    assert!(matches!(&checks[7].kind, CheckKind::Relationships { to, .. } if to.to_string() == "bronze.shop_orders"));
    assert_eq!(checks[7].severity, CheckSeverity::Warn);
}

#[test]
fn a_yml_of_the_same_name_is_about_that_model() {
    let project = Folder::new(&[
        ("models/gold/daily.sql", "select 1"),
        ("models/gold/daily.yml", "description: Sales\ntags: nightly\nchecks:\n  - not_null: day\n"),
        ("models/gold/more.yml", "table: gold.daily\nchecks:\n  - unique: day\n"),
    ])
    .project();
    assert_eq!(project.models[0].description.as_deref(), Some("Sales"));
    assert_eq!(project.models[0].tags, ["nightly"]);
    assert_eq!(project.checks.len(), 2);
    assert!(project.checks.iter().all(|c| c.table.to_string() == "gold.daily"));
}

#[test]
fn policies_filter_mask_and_deny() {
    let text = "table: gold.daily\nfor: [analyst, guest]\nexcept: root\nfilter: region = current_user()\n\
                mask: { email: hash, name: null, phone: partial, 'no': { sql: \"'x' || id\" } }\n";
    let project = Folder::new(&[
        ("models/gold/daily.sql", "select 1"),
        ("policies/daily.yaml", text),
        ("policies/hr/deep/p.yaml", "table: '*'\nfor: nobody\ndeny: true\n"),
        ("policies/all.yml", "- table: gold.*\n  deny: true\n  for: guest\n- table: system.queries\n  deny: true\n"),
    ])
    .project();
    let policy = &project.policies[2];
    assert_eq!((policy.principals.len(), policy.except.as_slice()), (2, ["root".to_owned()].as_slice()));
    assert_eq!(policy.row_filter.as_deref(), Some("region = current_user()"));
    assert_eq!(policy.masks["email"], Mask::Hash);
    assert_eq!(policy.masks["name"], Mask::Null);
    assert_eq!(policy.masks["phone"], Mask::Partial);
    assert_eq!(policy.masks["no"], Mask::Expression("'x' || id".into()));
    assert!(project.policies[0].deny && !project.policies_broken);
    assert_eq!(project.policies[1].principals, ["*"]);
    assert_eq!(project.policies[3].table, "*");
    let line = |span| project.files.line_col(span).unwrap().line;
    assert_eq!((line(&policy.span), line(policy.filter_span()), line(policy.mask_span("name"))), (1, 4, 5));
}

#[test]
fn macros_are_collected() {
    let project = Folder::new(&[
        ("macros/a.sql", "{% macro a() %}{% endmacro %}"),
        ("macros/deep/b.sql", "{% macro b() %}{% endmacro %}"),
        ("macros/schema.yml", "macros: [{ name: a }]"),
    ])
    .project();
    let paths: Vec<&str> = project.macros.iter().map(|m| &*m.path).collect();
    assert_eq!(paths, ["macros/a.sql", "macros/deep/b.sql"]);
}

#[test]
fn the_example_has_no_problems() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let (project, problems) = load(&root, &Options::default());
    assert_eq!(crate::folder::rendered(&problems, &project.files), "");
    assert!(!project.models.is_empty() && !project.sources.is_empty() && !project.checks.is_empty());
}

#[test]
fn storage_is_of_the_environment_and_of_the_source() {
    let text = "name: shop\nwarehouse: s3://lake/shop/\ns3: { endpoint: 'http://127.0.0.1:9000', timeout: 5s }\n\
        environments:\n  here: { home: .here, warehouse: local }\n  far: { home: .far, s3: { region: eu-west-1 } }\n";
    let mut folder = Folder::new(&[
        ("polder.yaml", text),
        ("sources/a.yaml", "files: s3://in/a/*.csv\n"),
        ("sources/b.yaml", "files: { x: 's3://out/b.jsonl', y: data/y.csv }\ns3: { anonymous: true }\n"),
        ("sources/c.yaml", "files: https://h/[x]/c.csv.gz?key=*#top\n"),
    ]);
    let project = folder.project();
    assert_eq!(project.settings.warehouse.as_deref(), Some("s3://lake/shop"));
    let own = &project.settings.s3;
    assert_eq!((own.endpoint.as_deref(), own.timeout_seconds), (Some("http://127.0.0.1:9000"), Some(5)));
    assert_eq!(&files(&project, "bronze.a").s3, own);
    assert!(files(&project, "bronze.b_x").s3.anonymous && files(&project, "bronze.b_x").s3.endpoint.is_none());
    assert!(!files(&project, "bronze.b_y").s3.anonymous, "it is on disk");
    assert_eq!(files(&project, "bronze.c").mode, FileMode::Replace, "one file, whatever is in its address");
    folder.environment = Some("here".to_owned());
    assert_eq!(folder.project().settings.warehouse, None);
    folder.environment = Some("far".to_owned());
    let far = folder.project();
    assert_eq!(far.settings.warehouse.as_deref(), Some("s3://lake/shop"));
    assert_eq!((far.settings.s3.region.as_deref(), far.settings.s3.endpoint.as_deref()), (Some("eu-west-1"), None));
}

#[test]
fn a_pipeline_with_all_keys() {
    let mut folder = Folder::new(&[(
        "pipelines/nightly.yaml",
        "run: [+gold.*]\nexclude: tag:slow\ncron: 0  6 * * 1-5\ntime_zone: Europe/Amsterdam\nref: staging\npublish: healthy\n\
         missed: skip\noverlap: queue\nretries: { times: 3, longest: 10m }\ntimeout: 2h\npaused: true\nfull_refresh: true\n\
         vars: { days: 3 }\nnotify:\n  - webhook: ${env:HOOK}\n    on: failure\n",
    )]);
    folder.variables.insert("HOOK".to_owned(), "https://chat/s3cret".to_owned());
    let project = folder.project();
    let pipeline = &project.pipelines[0];
    assert_eq!((pipeline.name.as_str(), pipeline.schedule.words().as_str()), ("nightly", "0 6 * * 1-5"));
    assert_eq!(pipeline.schedule.time_zone(), Some("Europe/Amsterdam"));
    assert_eq!((&*pipeline.select, &*pipeline.exclude), (&["+gold.*".to_owned()][..], &["tag:slow".to_owned()][..]));
    assert_eq!((pipeline.target.as_deref(), pipeline.publish), (Some("staging"), Some(Publish::Healthy)));
    assert_eq!((pipeline.missed, pipeline.overlap), (Missed::Skip, Overlap::Queue));
    assert_eq!(pipeline.retries, Retries { times: 3, wait_seconds: 60, longest_seconds: 600 });
    assert_eq!((pipeline.timeout_seconds, pipeline.paused, pipeline.full_refresh), (Some(7200), true, true));
    assert_eq!(pipeline.vars["days"], 3);
    let hook = &pipeline.notify[0];
    assert_eq!((hook.webhook.as_str(), hook.failure, hook.recovery), ("https://chat/s3cret", true, false));
    assert!(!format!("{project:?}").contains("s3cret"), "addresses are secrets");
}

#[test]
fn ends_of_patterns_may_be_alternatives() {
    let folder = Folder::new(&[
        ("sources/orders.yaml", "files: data/*.{csv,csv.gz}\n"),
        ("sources/events.yaml", "files: 'data/{new,old}/*.{jsonl,jsonl.zst,ndjson}'\n"),
    ]);
    let project = folder.project();
    let (orders, events) = (files(&project, "bronze.orders"), files(&project, "bronze.events"));
    assert!(matches!(orders.format, FileFormat::Csv) && matches!(events.format, FileFormat::JsonLines));
    assert!(matches!(orders.mode, FileMode::Append) && matches!(events.mode, FileMode::Append));
}
