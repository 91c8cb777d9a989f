//! On a terminal: bars below the lines, and the prompt.

use crate::fixture::Project;
use crate::screen::Terminal;

fn orders(rows: u32) -> Project {
    let project = Project::of(&[
        ("polder.yaml", "name: bars\n"),
        ("sources/orders.yaml", "files: data/orders.csv\n"),
        (
            "models/silver/orders_by_customer.sql",
            "select customer, sum(amount) as amount from bronze.orders group by 1\n",
        ),
        ("checks/orders.yaml", "table: bronze.orders\nchecks:\n  - unique: id\n"),
    ]);
    let mut text = "id,customer,amount\n".to_owned();
    (1..=rows).for_each(|id| text.push_str(&format!("{id},customer number {},{}.50\n", id % 997, id % 89)));
    project.write("data/orders.csv", &text);
    project
}

/// Lines without the times at their ends, which differ.
fn without_times(lines: &[String]) -> Vec<String> {
    let timeless = |line: &String| match line.rsplit_once(' ') {
        Some((before, time)) if time.ends_with('s') && time.contains('.') => before.trim_end().to_owned(),
        _ => line.clone(),
    };
    lines.iter().filter(|l| l.contains(' ')).map(timeless).collect()
}

#[test]
fn bars_leave_only_lines_behind() {
    for columns in [80, 40] {
        // So many that it takes a while.
        let project = orders(4_000_000);
        let mut terminal = Terminal::open(&project, columns, &["run"], &[]);
        terminal.until("bronze.orders");
        let raw = |t: &Terminal| t.raw();
        terminal.until("published");
        let (drawn, (code, lines)) = (raw(&terminal), terminal.end());
        assert_eq!(code, 0, "{lines:?}");
        assert!(drawn.contains('⠋') && drawn.contains('%') | drawn.contains('▰'), "there were bars: {drawn:?}");
        assert!(drawn.contains("\u{1b}[32m"), "and colours");
        let text = lines.join("\n");
        assert!(!text.contains('⠋') && !text.contains('▰'), "no bar stays: {text}");
        assert!(lines.iter().all(|l| l.chars().count() <= columns), "{text}");
        assert_eq!(text.matches("bronze.orders").count(), 2, "one line for each step: {text}");
        assert!(text.contains("+4,000,000"), "{text}");
        assert!(text.contains("published: run 1 is what main shows."), "{text}");
    }
}

#[test]
fn without_colours_or_a_terminal_the_words_are_the_same() {
    let project = orders(1_000);
    let terminal = Terminal::open(&project, 100, &["run"], &[("NO_COLOR", "1")]);
    let mut terminal = terminal;
    terminal.until("published");
    let raw = terminal.raw();
    let (_, shown) = terminal.end();
    assert!(!raw.contains("\u{1b}[3") && !raw.contains("\u{1b}[1m"), "no colours: {raw:?}");
    let plain = orders(1_000).polder(&["run"]).ends_with(0);
    assert!(!plain.out.contains('\u{1b}') && !plain.err.contains('\u{1b}'), "{plain:?}");
    let plain: Vec<String> = plain.out.lines().map(str::to_owned).collect();
    assert_eq!(without_times(&shown), without_times(&plain));
}

#[test]
fn ctrl_c_says_so_above_the_bars() {
    let project = Project::of(&[
        ("polder.yaml", "name: slow\n"),
        (
            "models/gold/slow.sql",
            "select sum(a.value * b.value) as n from generate_series(1, 1000000) a, generate_series(1, 1000000) b\n",
        ),
    ]);
    let mut terminal = Terminal::open(&project, 80, &["run"], &[]);
    terminal.until("gold.slow").send("\u{3}").until("CANCELLED");
    let (code, lines) = terminal.end();
    let text = lines.join("\n");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("cancelling … (once more to end at once)"), "{text}");
    assert_eq!(text.matches("gold.slow").count(), 1, "no bar stays: {text}");
}

/// A project with a few tables to ask.
fn tables() -> Project {
    let project = Project::of(&[
        ("polder.yaml", "name: ask\n"),
        ("models/gold/daily_orders.sql", "select 1 as id, 'one' as word union all select 2, 'two'\n"),
        ("models/gold/daily_sums.sql", "select 3 as three\n"),
    ]);
    project.polder(&["run"]).ends_with(0);
    project
}

#[test]
fn the_prompt_answers_and_leaves() {
    let project = tables();
    let mut terminal = Terminal::open(&project, 100, &["sql"], &[]);
    terminal.until("main> ").send("select word\r");
    // Enter in the middle of a statement begins a new line.
    terminal.send("from gold.daily_orders where id = 2;\r").until("two").until("(1 row)").until("main> ");
    terminal.send("\\timing\r").until("timing is on").until("main> ");
    terminal.send("select 1 as x;\r").until(" ms").until("main> ");
    terminal.send("\\d\r").until("gold.daily_orders").until("gold.daily_sums").until("main> ");
    terminal.send("\\d gold.daily_orders\r").until("word").until("text").until("declared in").until("main> ");
    terminal.send("\\ref main~1\r").until("main~1> ");
    terminal.send("select * from gold.daily_orders;\r").until("no table is called").until("main~1> ");
    terminal.send("\\ref nowhere\r").until("there is no ref `nowhere`").until("main~1> ");
    terminal.send("\\ref main\r").until("main> ");
    terminal.send("\\?\r").until("\\d TABLE").until("main> ");
    terminal.send("\\nope\r").until("there is no command \\nope").until("main> ");
    terminal.send("selec 1;\r").until("error[S001]").until("main> ");
    // Ctrl-C drops the line, Ctrl-D leaves; where there is no line to drop, Ctrl-C says so.
    terminal.send("\u{3}").until("Ctrl-D or \\q leaves").until("main> ");
    terminal.send("select 'dropped'\u{3}").until("main> ").send("select 'kept' as k;\r").until("kept").until("(1 row)");
    terminal.until("main> ").send("\u{4}");
    let (code, lines) = terminal.end();
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.join("\n").matches("Ctrl-D or \\q leaves").count(), 1, "{lines:?}");
}

#[test]
fn tab_completes_and_history_stays() {
    let project = tables();
    let mut terminal = Terminal::open(&project, 100, &["sql"], &[]);
    terminal.until("main> ").send("select three from gold.daily_s").tab_until("gold.daily_sums");
    terminal.send(";\r").until("(1 row)");
    terminal.until("main> ").send("select id\rfrom gold.daily_o").tab_until("gold.daily_orders");
    terminal.send(" order by id;\r").until("(2 rows)").until("main> ");
    terminal.send("\\q\r");
    assert_eq!(terminal.end().0, 0);
    // Another session: up comes the last statement, both of its lines, and up again the one before.
    let mut terminal = Terminal::open(&project, 100, &["sql"], &[]);
    terminal.until("main> ").send("\u{1b}[A").until("order by id").send("\r").until("(2 rows)").until("main> ");
    terminal.send("\u{1b}[A\u{1b}[A\u{1b}[A").until("three").send("\r").until("(1 row)").until("main> ");
    terminal.send("exit\r");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn ctrl_c_cancels_a_statement_and_the_prompt_stays() {
    let project = tables();
    let mut terminal = Terminal::open(&project, 100, &["sql"], &[]);
    let long = "select sum(a.value * b.value) from generate_series(1, 1000000) a, generate_series(1, 1000000) b;\r";
    terminal.until("main> ").send(long);
    std::thread::sleep(std::time::Duration::from_millis(800));
    terminal.send("\u{3}").until("cancelled").until("main> ");
    // It can be had back, mended and asked again.
    terminal.send("\u{1b}[A").until("1000000) b;").send("\u{3}").until("main> ");
    terminal.send("select 42 as answer;\r").until("(1 row)").until("main> ").send("\u{4}");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn tab_knows_what_may_stand_there() {
    let project = tables();
    let mut terminal = Terminal::open(&project, 120, &["sql"], &[]);
    let mut typed = |text: &str, want: &str| {
        terminal.until("main> ").send(text).tab_until(want);
        terminal.send("\u{3}");
    };
    typed("select * from gold.daily_orders where wo", "where word");
    typed("select * from gold.daily_orders as o where o.w", "where o.word");
    typed("select * from sys", "from system.");
    typed("select * from system.pip", "from system.pipelines");
    typed("select coales", "select coalesce(");
    typed("select * from daily_sums at branch ma", "at branch main");
    typed("\\ref ma", "\\ref main");
    // A ref that comes to be while the prompt is open.
    project.polder(&["branch", "later"]).ends_with(0);
    terminal.until("main> ").send("\\refresh\r").until("main> ").send("\\ref la").tab_until("\\ref later");
    terminal.send("\r").until("later> ").send("\\q\r");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn what_a_policy_denies_is_neither_listed_nor_completed() {
    let project = tables();
    project.write("policies/sums.yaml", "table: gold.daily_sums\nfor: [clerk]\ndeny: true\n");
    project.write("policies/runs.yaml", "table: system.runs\nfor: [clerk]\ndeny: true\n");
    let mut terminal = Terminal::open(&project, 100, &["sql", "--as", "clerk"], &[]);
    // The one that is left is the only one that it can be.
    terminal.until("main> ").send("select * from gold.").tab_until("gold.daily_orders").send("\u{3}");
    terminal.until("main> ").send("select * from system.r").tab_until("system.refs").send("\u{3}");
    terminal.until("main> ").send("\\d\r").until("gold.daily_orders").until("(1 row)").until("main> ");
    terminal.send("\\d gold.daily_orders\r").until("word").until("(2 rows)").until("main> ");
    terminal.send("\\d gold.daily_sums\r").until("error").until("main> ").send("\u{4}");
    let (code, lines) = terminal.end();
    assert_eq!(code, 0, "{lines:?}");
    assert!(!lines.join("\n").contains("three"), "{lines:?}");
}

#[test]
fn commands_are_those_of_psql() {
    let project = tables();
    project.write("models/gold/words.sql", "{{ config(materialized='view') }}\nselect word from gold.daily_orders\n");
    project.polder(&["run"]).ends_with(0);
    let mut terminal = Terminal::open(&project, 120, &["sql"], &[]);
    terminal.until("main> ").send("\\dv\r").until("gold.words").until("(1 row)").until("main> ");
    terminal.send("\\dt\r").until("gold.daily_orders").until("gold.daily_sums").until("(2 rows)").until("main> ");
    terminal.send("\\dt *sums\r").until("gold.daily_sums").until("(1 row)").until("main> ");
    terminal.send("\\d daily_sums\r").until("three").until("declared in").until("main> ");
    terminal.send("\\d system.refs\r").until("expires").until("main> ");
    terminal.send("\\d nowhere\r").until("no table is called `nowhere`").until("main> ");
    terminal.send("\\df coalesc*\r").until("coalesce").until("scalar").until("(1 row)").until("main> ");
    terminal.send("\\l\r").until("main").until("branch").until("main> ");
    terminal.send("\\x\r").until("a line for each column is on").until("main> ");
    terminal.send("select * from daily_orders order by id;\r").until("── row 2 ──").until("word").until("two");
    terminal.until("(2 rows)").until("main> ").send("\\x off\r").until("is off").until("main> ");
    terminal.send("\\timing off\r").until("timing is off").until("main> ");
    terminal.send("\\timing perhaps\r").until("neither `on` nor `off`").until("main> ").send("\\q\r");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn long_answers_are_read_in_the_pager() {
    let project = tables();
    let long = "select value from generate_series(1, 100) order by 1;\r";
    let mut terminal = Terminal::open(&project, 80, &["sql"], &[("PAGER", "sed 's/^/paged /'"), ("NO_COLOR", "1")]);
    terminal.until("main> ").send(long).until("paged value").until("paged (100 rows)").until("main> ");
    terminal.send("select 7 as seven;\r").until("(1 row)").until("main> ");
    terminal.send("\\df\r").until("paged abs").until("main> ");
    terminal.send("\\pset pager off\r").until("the pager is off").until("main> ");
    terminal.send(long).until("\n(100 rows)").until("main> ").send("\\q\r");
    let (code, lines) = terminal.end();
    assert_eq!(code, 0, "{lines:?}");
    assert!(!lines.iter().any(|line| line == "paged (1 row)"), "{lines:?}");
    // A pager that is not there loses nothing; an empty one is none.
    for pager in ["no-such-pager", ""] {
        let mut terminal = Terminal::open(&project, 80, &["sql"], &[("PAGER", pager), ("NO_COLOR", "1")]);
        terminal.until("main> ").send(long).until("\n(100 rows)").until("main> ").send("\\q\r");
        assert_eq!(terminal.end().0, 0);
    }
}
