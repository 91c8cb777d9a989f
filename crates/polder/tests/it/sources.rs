//! `polder add`, `polder lock`, and what follows from `polder.lock`.

use std::os::unix::fs::PermissionsExt;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::fixture::{Project, skipped};

fn execute(url: &str, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

fn read(project: &Project, path: &str) -> String {
    std::fs::read_to_string(project.path(path)).unwrap_or_default()
}

#[test]
fn files_are_added_locked_and_held_against() {
    let project = Project::of(&[
        ("polder.yaml", "name: shop\n"),
        ("data/payments/a.csv", "Payment ID,Amount,Paid at\n1,19.90,2026-01-05 09:15\n2,40.00,2026-01-06 11:30\n"),
    ]);
    let added = project.polder(&["add", "payments", "data/payments/*.csv"]).ends_with(0);
    let text = "# Made by `polder add`. Lands in bronze.payments; new files are added, and changed ones read again.\n\
                files: 'data/payments/*.csv'\n\
                # If no two rows have the same, a row that comes again replaces the earlier one:\n# key: payment_id\n";
    assert_eq!(read(&project, "sources/payments.yaml"), text);
    added.says(text).says("polder.lock has the columns of bronze.payments\nnext: polder run bronze.payments\n");
    let lock = read(&project, "polder.lock");
    let columns = "format 1\n\nbronze.payments\ncolumn amount decimal(18, 2)\ncolumn paid_at timestamp\ncolumn payment_id bigint\n";
    assert!(lock.ends_with(columns), "{lock}");
    // Nothing is written over.
    project.polder(&["add", "payments", "data/x.csv"]).ends_with(1).complains("sources/payments.yaml is there already");
    project.polder(&["add", "Pay", "data/payments/*.csv"]).ends_with(2).complains("P011");
    project.polder(&["add", "more", "data/more/*.csv"]).ends_with(2).complains("I001");
    assert!(!project.path("sources/more.yaml").exists());
    project.polder(&["lock", "--check"]).ends_with(0).says("polder.lock is as the sources are: 1 table");

    // A model is held against it, before any run.
    project.write("models/gold/total.sql", "select sum(p.amuont) as total\nfrom bronze.payments p\n");
    let wrong = project.polder(&["validate"]).ends_with(2);
    let wrong =
        wrong.complains("error[M024]: bronze.payments has no column `amuont`\n --> models/gold/total.sql:1:14\n");
    wrong.complains("not in polder.lock").complains("did you mean `amount`?");
    project.write("models/gold/total.sql", "select sum(p.amount) as total\nfrom bronze.payments p where p._run > 0\n");
    project.polder(&["validate"]).ends_with(0);

    // What changed in the source is a diff, and told by the run; only a person writes it down.
    project.write("data/payments/b.csv", "Payment ID,Amount,Note\n3,1.00,late\n");
    let drift = "bronze.payments\n+ column note text\n";
    project.polder(&["lock"]).ends_with(0).says(drift);
    project.polder(&["lock", "--check"]).ends_with(1).says(drift);
    project.polder(&["run"]).ends_with(0).says("not as polder.lock has it: 1 column more (note)");
    assert_eq!(read(&project, "polder.lock"), lock);
    project.polder(&["lock", "--update", "payment"]).ends_with(1).complains("did you mean `payments`?");
    project.polder(&["lock", "--update", "payments"]).ends_with(0).says(drift).says("wrote polder.lock");
    assert!(read(&project, "polder.lock").contains("column note text\n"));

    project.write("polder.lock", "<<<<<<< HEAD\n");
    project.polder(&["validate"]).ends_with(2).complains("error[P022]: this is no line of `polder.lock`");
}

#[test]
fn a_database_is_added_without_its_password() {
    let Ok(url) = std::env::var("POLDER_TEST_PG") else {
        return skipped("POLDER_TEST_PG names no PostgreSQL (tools/pg.py run -- … starts one)");
    };
    let schema = format!("adding_{}", std::process::id());
    execute(
        &url,
        &format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.orders (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
             CREATE TABLE {schema}.regions (id int PRIMARY KEY, name text); INSERT INTO {schema}.orders VALUES (1, now())"
        ),
    );
    let project = Project::of(&[("polder.yaml", "name: shop\n"), (".gitignore", ".polder/")]);
    let (orders, regions) = (format!("{schema}.orders"), format!("{schema}.regions"));
    let wrong = project.polder(&["add", "erp", &url, "--tables", &format!("{schema}.order")]).ends_with(1);
    wrong.complains(&format!("did you mean `{orders}`?"));
    let added = project.polder(&["add", "erp", &url, "--tables", &format!("{orders},{regions}")]).ends_with(0);
    added.says("the address is ERP_PG in .env, which is not for git: .gitignore says so now");
    let text = read(&project, "sources/erp.yaml");
    assert!(text.contains("postgres: ${env:ERP_PG}\n"), "{text}");
    assert!(text.contains(&format!("  {orders}: {{ key: id, cursor: updated_at }}\n")), "{text}");
    assert!(text.contains(&format!("  {regions}: full\n")), "{text}");
    assert_eq!(read(&project, ".gitignore"), ".polder/\n# Secrets.\n.env\n");
    assert_eq!(read(&project, ".env"), format!("ERP_PG='{url}'\n"));
    let mode = std::fs::metadata(project.path(".env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        read(&project, "polder.lock")
            .contains("\nkey id\ncolumn id bigint not null\ncolumn updated_at timestamptz not null\n")
    );
    project.polder(&["run"]).ends_with(0);
    project.polder(&["lock", "--check"]).ends_with(0);
    execute(&url, &format!("ALTER TABLE {orders} ADD note text, DROP CONSTRAINT orders_pkey"));
    project.polder(&["lock", "--check"]).ends_with(1).says("- key id\n+ column note text\n");
    execute(&url, &format!("DROP SCHEMA {schema} CASCADE"));
    project.polder(&["lock"]).ends_with(2).complains("I022");
}
