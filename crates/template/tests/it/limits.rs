use crate::setup::Setup;

#[test]
fn endless_templates_stop() {
    let setup = Setup::with_macros("{% macro again() %}{{ again() }}{% endmacro %}");
    assert!(setup.problems("{{ again() }}").contains("M006"), "{}", setup.problems("{{ again() }}"));
    let loops = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    assert!(Setup::new().problems(loops).contains("M006"));
}

#[test]
fn deep_nesting_fits_a_small_stack() {
    let text = format!("{}1{}", "{% if true %}".repeat(2000), "{% endif %}".repeat(2000));
    let expression = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let setup = Setup::with_macros("{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}");
        setup.render(&text);
        setup.render(&expression);
        setup.render("{{ again(0) }}");
    });
    worker.unwrap().join().unwrap();
}

#[test]
fn the_same_template_gives_the_same_text() {
    let text = "{% for k in {'b': 1, 'a': 2, 'c': 3} %}{{ k }}{% endfor %}";
    let first = Setup::new().sql(text);
    for _ in 0..20 {
        assert_eq!(Setup::new().sql(text), first);
    }
}
