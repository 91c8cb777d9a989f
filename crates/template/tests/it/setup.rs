//! A small project to render in.

use std::collections::BTreeMap;
use std::sync::Arc;

use polder_base::TableName;
use polder_diag::{Sources, render_text};
use polder_template::{Names, Rendered, Template, Templates};
use serde_json::{Value, json};

/// Knows `orders` and `customers` in `silver`, and `shop.orders`.
pub struct Shop;

impl Names for Shop {
    fn reference(&self, namespace: Option<&str>, name: &str) -> Option<String> {
        let known = ["orders", "customers"].contains(&name) && namespace.is_none_or(|n| n == "silver");
        known.then(|| format!("silver.{name}"))
    }

    fn source(&self, source: &str, stream: &str) -> Option<String> {
        ((source, stream) == ("shop", "orders")).then(|| "bronze.shop_orders".to_owned())
    }
}

pub struct Setup {
    pub macros: Vec<(Arc<str>, String)>,
    pub vars: BTreeMap<String, Value>,
    pub incremental: bool,
}

impl Setup {
    pub fn new() -> Self {
        let vars = [("days".to_owned(), json!(7)), ("regions".to_owned(), json!(["eu", "us"]))];
        Self { macros: Vec::new(), vars: vars.into(), incremental: false }
    }

    pub fn with_macros(text: &str) -> Self {
        Self { macros: vec![("macros/all.sql".into(), text.to_owned())], ..Self::new() }
    }

    pub fn templates(&self) -> Templates {
        Templates::new(self.macros.iter().map(|(file, text)| (file, text.as_str())))
    }

    pub fn render(&self, text: &str) -> Rendered {
        let file: Arc<str> = "models/gold/daily.sql".into();
        let this = TableName::new("gold", "daily");
        let template = Template {
            file: &file,
            text,
            this: Some(&this),
            incremental: self.incremental,
            vars: &self.vars,
            environment: Some("dev"),
        };
        self.templates().render(&template, &Shop)
    }

    /// The SQL of a template without problems.
    pub fn sql(&self, text: &str) -> String {
        let rendered = self.render(text);
        assert!(rendered.problems.is_empty(), "{:#?}", rendered.problems);
        rendered.sql
    }

    /// The problems of a template as a terminal shows them, those of the macros first.
    pub fn problems(&self, text: &str) -> String {
        let mut files = Sources::default();
        files.add("models/gold/daily.sql", text);
        for (file, text) in &self.macros {
            files.add(Arc::clone(file), text.as_str());
        }
        let templates = self.templates();
        let rendered = self.render(text);
        let all = templates.problems().iter().chain(&rendered.problems);
        all.map(|p| render_text(p, &files, false)).collect::<Vec<_>>().join("\n")
    }
}
