//! A branch for a change, and which change broke something: the commands of `docs/changes.md`.

use crate::fixture::Project;

fn project() -> Project {
    let project = Project::of(&[
        ("polder.yaml", "name: changes\n"),
        ("sources/orders.yaml", "files: orders/*.csv\n"),
        ("models/gold/daily.sql", "select day, sum(amount) as revenue from bronze.orders group by day\n"),
        ("checks/daily.yaml", "table: gold.daily\nchecks:\n  - unique: day\n"),
        ("orders/a.csv", "id,day,amount\n1,2026-11-19,10.5\n2,2026-11-20,40\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    project
}

#[test]
fn a_change_goes_from_its_branch_to_main() {
    let project = project();
    project.polder(&["branch", "fix"]).ends_with(0);
    project.write("models/gold/daily.sql", "select day, sum(amount) * 2 as revenue from bronze.orders group by day\n");
    project.polder(&["run", "--ref", "fix"]).ends_with(0).says(" = ingest  bronze.orders");
    let want = "\
~ table  gold.daily  2 rows, other content
    2 changed  by day
    revenue in 2 rows
      ~ day 2026-11-19  revenue 10.5 → 21.0
      ~ day 2026-11-20  revenue 40.0 → 80.0
";
    assert_eq!(project.polder(&["diff", "main..fix", "--rows"]).ends_with(0).out, want);
    assert_eq!(project.polder(&["diff", "..fix", "--rows"]).ends_with(0).out, want, "from the current ref");
    let json = project.polder(&["diff", "main..fix", "--rows", "--format", "json"]).ends_with(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["rows"]["changed"], 2);
    assert_eq!(json[0]["rows"]["sample"][0]["after"][0], serde_json::json!(["revenue", "21.0"]));
    project.polder(&["diff", "main...fix"]).ends_with(2).complains("`A...B` is not known here");
    project.polder(&["merge", "fix"]).ends_with(0);
    project.polder(&["run"]).ends_with(0).says("nothing new");
}

#[test]
fn the_commit_that_broke_a_statement_is_found() {
    let project = project();
    project.write("orders/b.csv", "id,day,amount\n3,2026-11-20,-35\n");
    project.polder(&["run"]).ends_with(0);
    project.write("orders/c.csv", "id,day,amount\n4,2026-11-21,1\n");
    project.polder(&["run"]).ends_with(0);
    let statement = "select revenue > 20 from gold.daily where day = '2026-11-20'";
    let found = project.polder(&["bisect", statement]).ends_with(0);
    for text in [
        "  run 2  ",
        "  source    orders.orders brought rows\n",
        "      ~ day 2026-11-20  revenue 40.0 → 5.0\n",
        "  look      polder diff ",
        " queries over 4 commits of main\n",
    ] {
        assert!(found.out.contains(text), "{text}\n{}", found.out);
    }
    let json = project.polder(&["bisect", statement, "--format", "json", "--good", "main~2"]).ends_with(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["outcome"], &json["culprit"]["run"]), (&"found".into(), &2.into()), "{json:#}");
    project.polder(&["bisect", "select revenue > 0 from gold.daily"]).ends_with(1).says("nothing to find");
    let never = "select revenue > 100 from gold.daily where day = '2026-11-19'";
    project.polder(&["bisect", never]).ends_with(1).says("it never held");
    project.polder(&["bisect", "selec 1"]).ends_with(2);
}
