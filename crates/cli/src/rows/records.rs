//! Rows one below the other: a line for each column.

use super::Grid;
use crate::human;
use crate::terminal::{DIM, NAME};
use crate::text::{fit, one_line, pad_right, width};

/// The narrowest that a value gets on a narrow screen.
const MIN_VALUE: usize = 10;

impl Grid {
    /// The rows that [`Grid::render`] shows as a table, each as a block of its own.
    pub fn render_records(&self) -> String {
        let paint = self.options.paint;
        let names: Vec<String> = self.schema.fields().iter().map(|field| one_line(field.name())).collect();
        if names.is_empty() {
            return String::new();
        }
        let column = names.iter().map(|name| width(name)).max().unwrap_or(0);
        let room = self.options.width.map(|screen| screen.saturating_sub(column + 2).max(MIN_VALUE));
        let mut cut = false;
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            out += &paint.style(DIM, &format!("── row {} ──", human::count(number as u64 + 1)));
            out.push('\n');
            for (name, value) in names.iter().zip(row) {
                let shown = match (value, room) {
                    (Some(value), Some(room)) => fit(value, room),
                    (Some(value), None) => value.clone(),
                    (None, _) => paint.style(DIM, "NULL"),
                };
                cut |= value.as_ref().is_some_and(|value| *value != shown);
                out += &paint.style(NAME, &pad_right(name, column));
                out += &format!("  {shown}\n");
            }
        }
        let shown = self.rows.len() as u64;
        let mut footer = human::counted(self.total, "row");
        if shown < self.total {
            footer += &format!(", {} shown", human::count(shown));
        }
        if cut {
            footer += "; … marks cut text; \\format csv shows all";
        }
        out + &paint.style(DIM, &format!("({footer})")) + "\n"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::*;
    use crate::rows::GridOptions;
    use crate::terminal::Paint;

    #[test]
    fn a_line_for_each_column() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("rather a long one"), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("word", words, true)]).unwrap();
        let options = |width| GridOptions { paint: Paint(false), width, max_rows: 0 };
        let mut grid = Grid::new(batch.schema(), options(None));
        grid.push(&batch).unwrap();
        let want = "── row 1 ──\nid    1\nword  rather a long one\n── row 2 ──\nid    2\nword  NULL\n(2 rows)\n";
        assert_eq!(grid.render_records(), want);
        let mut narrow = Grid::new(batch.schema(), options(Some(18)));
        narrow.push(&batch).unwrap();
        let text = narrow.render_records();
        assert!(text.contains("word  rather a lo…\n") && text.contains("… marks cut text"), "{text}");
    }
}
