//! Reading folders as they are found in the wild.

use proptest::prelude::*;

use crate::folder::{Folder, headlines, problems};

#[test]
fn unsaved_text_takes_the_place_of_the_file() {
    let mut folder = Folder::new(&[("models/gold/a.sql", ""), ("models/gold/b.sql", "select 1")]);
    assert_eq!(folder.load().1.len(), 1);
    folder.overlay.insert("models/gold/a.sql".into(), "select 2".into());
    folder.overlay.insert("models/gold/new.sql".into(), "select 3".into());
    folder.overlay.insert("polder.yaml".into(), "name: other".into());
    let project = folder.project();
    assert_eq!(project.name, "other");
    let models: Vec<String> = project.models.iter().map(|m| format!("{} {}", m.table, m.sql)).collect();
    assert_eq!(models, ["gold.a select 2", "gold.b select 1", "gold.new select 3"]);
    // A broken file on the disk is no problem while its text is open.
    folder.write("checks/x.yaml", b"\xff\xfe\x00");
    assert_eq!(folder.load().1.len(), 1);
    folder.overlay.insert("checks/x.yaml".into(), "table: gold.a\nchecks: []\n".into());
    assert_eq!(folder.load().1, []);
}

#[test]
fn texts_alone_are_a_project() {
    let texts = [("polder.yaml", "name: x"), ("models/a.sql", "select 1"), ("data/x.csv", "1")];
    let (project, problems) = polder_project::load_texts(texts, &polder_project::Options::default());
    assert_eq!((project.name.as_str(), project.models.len(), problems.len()), ("x", 1, 0));
}

#[test]
fn the_environment_comes_from_the_process_and_then_from_dotenv() {
    let text = "postgres: postgres://${env:USER_}:${env:PASS}@h/d\ntables: [a]\n";
    let mut folder = Folder::new(&[("sources/s.yaml", text), (".env", "USER_=file\nPASS='p#'\n")]);
    folder.variables.insert("USER_".into(), "process".into());
    let project = folder.project();
    let polder_project::Connection::Postgres { url } = &project.sources[0].connection else { panic!() };
    assert_eq!(url, "postgres://process:p#@h/d");
    assert!(project.files.get(".env").is_none(), "secrets are not kept with a run");
}

#[test]
fn line_ends_byte_order_marks_and_hidden_files() {
    let folder = Folder::new(&[
        ("polder.yaml", "\u{feff}name: shop\r\nvars:\r\n  a: 1\r\n"),
        ("models/gold/a.sql", "\u{feff}select 1\r\n"),
        ("models/.hidden/x.sql", ""),
        ("models/gold/.a.sql.swp", ""),
        ("models/README.md", "hello"),
        (".polder/models/gold/b.sql", ""),
        ("data/models.sql", ""),
    ]);
    let project = folder.project();
    assert_eq!(project.models.len(), 1);
    assert_eq!(&*project.models[0].sql, "select 1\r\n");
}

#[test]
fn text_that_is_none_is_told_and_hides_nothing() {
    let folder =
        Folder::new(&[("models/gold/good.sql", "select 1"), ("checks/c.yaml", "table: gold.bad\nchecks: []\n")]);
    folder.write("models/gold/bad.sql", b"select 1,\n  'caf\xe9'\n");
    folder.write("models/gold/wide.sql", b"\xff\xfes\x00");
    let want = "\
error[P001]: `models/gold/bad.sql` is not UTF-8 text
 --> models/gold/bad.sql:2:7
  |
2 |   'caf\u{fffd}'
  |       ^ from here
  = hint: save it as UTF-8

error[P001]: `models/gold/wide.sql` is not UTF-8 text
 --> models/gold/wide.sql
  = hint: it looks like UTF-16: save it as UTF-8
";
    // That `gold.bad` is missing follows from the first problem, and is not told.
    assert_eq!(folder.problems(), want);
    assert_eq!(folder.load().0.models.len(), 1);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new(&[("models/gold/a.sql", "select 1"), ("elsewhere/b.sql", "select 2")]);
    symlink(folder.path().join("elsewhere"), folder.path().join("models/silver")).unwrap();
    symlink(folder.path().join("models"), folder.path().join("models/gold/round")).unwrap();
    symlink("nowhere.sql", folder.path().join("models/gold/lost.sql")).unwrap();
    let (project, problems) = folder.load();
    let tables: Vec<String> = project.models.iter().map(|m| m.table.to_string()).collect();
    assert_eq!(tables, ["gold.a", "silver.b"]);
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "error[P001]: `models/gold/lost.sql` cannot be read: there is no such file (or the link leads nowhere)",
            "warning[P001]: `models/gold/round/` is a link back into a folder above it, and was skipped",
        ]
    );
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_are_told() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new(&[("models/gold/a.sql", "select 1"), ("policies/README.md", "")]);
    for (place, name) in [("models/gold", &b"caf\xe9.sql"[..]), ("policies", b"caf\xe9.yaml"), ("policies", b"\xe9.md")]
    {
        std::fs::write(folder.path().join(place).join(OsStr::from_bytes(name)), "").unwrap();
    }
    let (project, problems) = folder.load();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "warning[P001]: `models/gold/caf\u{fffd}.sql` is not read: its name is not UTF-8",
            "error[P001]: `policies/caf\u{fffd}.yaml` is not read: its name is not UTF-8",
        ]
    );
    assert!(project.policies_broken);
}

#[test]
fn files_in_the_wrong_place_are_told() {
    let told = headlines(&[
        ("model/gold/x.sql", ""),
        ("model/x.sql", ""),
        ("daily.sql", ""),
        ("polder.yml", ""),
        ("sources/deep/x.yaml", ""),
        ("sources/x.json", ""),
        ("models/x.py", ""),
        ("streams/s.sql", ""),
        ("pipelines/deep/p.yaml", ""),
        ("notebooks/n.sql", ""),
        ("docker-compose.yaml", ""),
    ]);
    assert_eq!(
        told,
        [
            "warning[P014]: `daily.sql` is not read",
            "warning[P014]: folder `model/` is not read",
            "warning[P014]: `models/x.py` is not read",
            "warning[P014]: `pipelines/deep/p.yaml` is not read",
            "warning[P014]: `polder.yml` is not read",
            "warning[P014]: `sources/deep/x.yaml` is not read",
            "warning[P014]: `sources/x.json` is not read",
            "warning[P018]: folder `streams/` is not read",
        ]
    );
}

#[test]
fn misspelt_folders_are_told_however_deep_their_files_lie() {
    let told = |path: &str| -> Vec<String> {
        let (_, problems) = Folder::new(&[(path, "")]).load();
        problems.into_iter().map(|d| format!("{d} {}", d.hints.join(", "))).collect()
    };
    for (path, folder, meant) in [
        ("model/gold/x.sql", "model", "models"),
        ("Models/gold/finance/eu/x.sql", "Models", "models"),
        ("modles/gold/_schema.yml", "modles", "models"),
        ("marts/gold/x.sql", "marts", "models"),
        ("macro/dates/x.sql", "macro", "macros"),
        ("check/a.yaml", "check", "checks"),
        ("source/x.yaml", "source", "sources"),
    ] {
        assert_eq!(
            told(path),
            [format!("warning[P014]: folder `{folder}/` is not read did you mean `{meant}/`?")],
            "{path}"
        );
    }
    for other in ["model/gold/x.py", "tests/fixtures/x.yaml", "data/gold/x.sql", "model/.git/x.sql", "source/x.c"] {
        assert_eq!(told(other), [""; 0], "{other}");
    }
}

#[test]
fn a_folder_without_a_project() {
    let dir = tempfile::tempdir().unwrap();
    let (_, told) = polder_project::load(dir.path(), &polder_project::Options::default());
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].code, told[0].hints[0].as_str()), ("P009", "`polder init` makes one"));
    let (_, told) = polder_project::load(&dir.path().join("nope"), &polder_project::Options::default());
    assert_eq!((told.len(), told[0].code), (1, "P009"));
}

#[test]
fn empty_files_are_told_once() {
    let want = "\
warning[P019]: `checks/a.yaml` is empty
 --> checks/a.yaml

error[P019]: model `gold.a` is empty
 --> models/gold/a.sql
  = note: a `select` is missing

error[P004]: the file has no key `name`
 --> polder.yaml
  = note: `name` is required
";
    assert_eq!(
        problems(&[("polder.yaml", "# later\n"), ("checks/a.yaml", "\n"), ("models/gold/a.sql", "-- later")]),
        want
    );
}

/// YAML-like text: keys and values that the loader knows, in any order and broken in any way.
fn scraps() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("name"),
        Just("table"),
        Just("checks"),
        Just("files"),
        Just("postgres"),
        Just("tables"),
        Just("unique"),
        Just("models"),
        Just("columns"),
        Just("tests"),
        Just("${env:X}"),
        Just("${secret:y}"),
        Just("a.csv"),
        Just("full"),
        Just("gold.a"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("&a"),
        Just("*a"),
        Just("<<"),
        Just("|"),
        Just("'"),
        Just("~"),
        Just("1"),
        Just("!!str"),
        Just("?"),
        Just("é"),
        Just("---"),
        Just("environments"),
        Just("mask"),
        Just("for"),
    ];
    let glue = prop_oneof![Just(": "), Just("\n"), Just("\n  "), Just("\n- "), Just("\n    - "), Just(", "), Just(" ")];
    prop::collection::vec((word, glue), 0..24)
        .prop_map(|parts| parts.into_iter().flat_map(|(word, glue)| [word, glue]).collect())
}

const PLACES: [&str; 8] = [
    "polder.yaml",
    "sources/s.yaml",
    "models/gold/a.sql",
    "models/gold/a.yml",
    "checks/c.yaml",
    "checks/c.sql",
    "policies/p.yaml",
    "macros/m.sql",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_in_any_file_makes_it_panic(texts in prop::collection::vec(prop_oneof![scraps(), ".{0,80}"], PLACES.len())) {
        let files = PLACES.iter().copied().zip(texts.iter().map(String::as_str));
        let options = polder_project::Options { variables: &|_| None, ..polder_project::Options::default() };
        let (project, problems) = polder_project::load_texts(files, &options);
        crate::folder::rendered(&problems, &project.files);
    }

    #[test]
    fn no_bytes_on_the_disk_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), place in 0..PLACES.len()) {
        let folder = Folder::new(&[]);
        folder.write(PLACES[place], &bytes);
        folder.write(".env", &bytes);
        folder.problems();
    }
}
