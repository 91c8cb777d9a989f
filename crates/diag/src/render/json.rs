//! One JSON object for each diagnostic.

use serde_json::{Value, json};

use crate::{Diagnostic, Label, Sources};

/// The diagnostic as one JSON object: `code`, `severity`, `message`, `file`, `line`, `column`, `end_line`,
/// `end_column`, `label`, `hints` and `related` (a list of places).
///
/// Lines and columns count from 1, columns in characters; the end is exclusive. Without a place in a known file they
/// are null.
pub fn render_json(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("code".into(), json!(diagnostic.code));
    object.insert("severity".into(), json!(diagnostic.severity));
    object.insert("message".into(), json!(diagnostic.message));
    place(&mut object, diagnostic.label.as_ref(), sources);
    object.insert("hints".into(), json!(diagnostic.hints));
    let related = diagnostic.related.iter().map(|label| {
        let mut object = serde_json::Map::new();
        place(&mut object, Some(label), sources);
        Value::Object(object)
    });
    object.insert("related".into(), related.collect());
    Value::Object(object)
}

fn place(object: &mut serde_json::Map<String, Value>, label: Option<&Label>, sources: &Sources) {
    let file = label.and_then(|l| sources.get(&l.span.file));
    let start = file.zip(label).map(|(f, l)| f.line_col(l.span.start));
    let end = file.zip(label).map(|(f, l)| f.line_col(l.span.end.max(l.span.start)));
    object.insert("file".into(), json!(label.map(|l| &*l.span.file)));
    object.insert("line".into(), json!(start.map(|p| p.line)));
    object.insert("column".into(), json!(start.map(|p| p.column)));
    object.insert("end_line".into(), json!(end.map(|p| p.line)));
    object.insert("end_column".into(), json!(end.map(|p| p.column)));
    object.insert("label".into(), json!(label.map(|l| &l.text).filter(|t| !t.is_empty())));
}
