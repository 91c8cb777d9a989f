//! What a project must survive, or say clearly.

use polder_app::AppError;

use crate::support::{ORDERS_SOURCE, Project, orders, row, told};

fn shop() -> Project {
    let project = Project::new(&[ORDERS_SOURCE]);
    project.write("data/orders/a.csv", &orders(1..=3));
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_for_a_newer_polder_is_refused() {
    let project = shop();
    project.write("polder.yaml", "name: test\nformat: 99\n");
    let error = project.try_open().await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(told(&error).contains("error[P010]"), "{}", told(&error));
    assert!(!project.file(".polder").exists(), "and nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_damaged_is_named() {
    let project = shop();
    project.publish().await;
    // The connections of the run that was close in their own time, and write until then.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let state = project.file(".polder/state.db");
    for name in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(project.file(&format!(".polder/{name}")));
    }
    std::fs::write(&state, vec![0x5a_u8; 64 * 1024]).unwrap();
    let error = project.try_open().await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error:?}");
    assert!(error.to_string().contains("state.db") && error.to_string().contains("damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_stops_a_run_and_not_a_look() {
    let project = shop();
    project.publish().await;
    project.write("models/gold/broken.sql", "select {{ nothing }} as x\n");
    let app = project.open().await;
    assert_eq!(row(&app, "main", "select count(*) from bronze.orders").await, "3");
    let error = crate::support::run(&app, &polder_app::RunRequest::default()).await.unwrap_err();
    assert!(matches!(error, AppError::Project(_)), "{error:?}");
    project.remove("models/gold/broken.sql");
    project.write("policies/x.yaml", "table: bronze.orders\nprincipal: [\n");
    let app = project.open().await;
    let error = crate::support::try_rows(&app, "main", "select 1").await.unwrap_err();
    assert_eq!(error.exit_code(), 2, "nobody knows what the broken policy would hide");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_leaves_the_data_alone() {
    let project = shop();
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").arg("-C").arg(project.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "--quiet"]);
    project.publish().await;
    assert!(!git(&["status", "--porcelain"]).contains(".polder"), "the folder ignores itself");
    git(&["clean", "-fdxq"]);
    assert!(project.file(".polder/state.db").exists());
    git(&["add", "--all"]);
    assert!(!git(&["ls-files"]).contains(".polder"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_over_the_environment_says_so() {
    let project = shop();
    project.write("sources/pg.yaml", "postgres: postgres://nobody@127.0.0.1:1/none\ntables: [orders]\n");
    let summary = project.run().await;
    assert_eq!(summary.exit_code(), 3, "{:?}", summary.record.reason);
    assert!(summary.record.reason.unwrap().contains("run/1 stays to look at"));
}
