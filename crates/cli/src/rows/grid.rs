//! Rows in aligned columns.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use polder_app::by_offset;

use crate::human;
use crate::terminal::{BOLD, DIM, Paint};
use crate::text::{LINE_END, fit, one_line, pad_left, pad_right, width};

#[derive(Debug, Clone, Copy)]
pub struct GridOptions {
    pub paint: Paint,
    /// Columns of the screen; `None`: as wide as the rows are.
    pub width: Option<usize>,
    /// Rows that are shown; 0: all.
    pub max_rows: usize,
}

/// The widest that one value gets where there are several columns.
const MAX_CELL: usize = 60;
/// No column gets narrower than this to make room for others.
const MIN_CELL: usize = 6;

/// Collects rows and lays them out.
#[derive(Debug)]
pub struct Grid {
    pub(super) options: GridOptions,
    pub(super) schema: SchemaRef,
    /// `None` is NULL.
    pub(super) rows: Vec<Vec<Option<String>>>,
    /// All rows that came, also those that are not shown.
    pub(super) total: u64,
}

impl Grid {
    pub fn new(schema: SchemaRef, options: GridOptions) -> Self {
        Self { options, schema, rows: Vec::new(), total: 0 }
    }

    /// The rows as wide as they are, whatever the screen.
    #[must_use]
    pub fn widened(mut self) -> Self {
        self.options.width = None;
        self
    }

    /// Takes rows in. Those beyond the limit are only counted.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.total += batch.num_rows() as u64;
        let limit = if self.options.max_rows == 0 { usize::MAX } else { self.options.max_rows };
        let take = batch.num_rows().min(limit.saturating_sub(self.rows.len()));
        let batch = by_offset(batch)?;
        let format = FormatOptions::default().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
        let format = format.with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &format)).collect::<Result<_, _>>()?;
        // Some kinds of columns know their NULLs in other ways than by a bitmap.
        let nulls: Vec<_> = batch.columns().iter().map(|c| c.logical_nulls()).collect();
        for row in 0..take {
            let cells = columns.iter().zip(&nulls).map(|(formatter, nulls)| {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    return Ok(None);
                }
                formatter.value(row).try_to_string().map(|text| Some(one_line(&text)))
            });
            self.rows.push(cells.collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    /// The table, with a note on what is not shown.
    pub fn render(&self) -> String {
        if self.schema.fields().is_empty() {
            return String::new();
        }
        if let Some(plans) = self.plans() {
            return plans;
        }
        let layout = Layout::new(self);
        let mut out = String::new();
        let names: Vec<String> = layout.columns.iter().map(|c| self.cell(c, &self.name(c.index), BOLD)).collect();
        push_row(&mut out, &names);
        let rules: Vec<String> = layout.columns.iter().map(|c| "─".repeat(c.width)).collect();
        out += &self.options.paint.style(DIM, &rules.join("──"));
        out.push('\n');
        for row in &self.rows {
            let cells: Vec<String> = layout
                .columns
                .iter()
                .map(|c| match row.get(c.index).and_then(Option::as_deref) {
                    Some(text) => self.cell(c, text, anstyle::Style::new()),
                    None => self.cell(c, "NULL", DIM),
                })
                .collect();
            push_row(&mut out, &cells);
        }
        out += &self.options.paint.style(DIM, &self.footer(&layout));
        out.push('\n');
        out
    }

    /// What EXPLAIN gives is text of many lines, and no table.
    fn plans(&self) -> Option<String> {
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        if names != ["plan_type", "plan"] {
            return None;
        }
        let blocks = self.rows.iter().map(|row| {
            let part = |i: usize| row.get(i).and_then(Option::as_deref).unwrap_or_default();
            let plan = part(1).replace(LINE_END, "\n");
            format!("{}\n{}\n", self.options.paint.style(BOLD, part(0)), plan.trim_end())
        });
        Some(blocks.collect::<Vec<_>>().join("\n"))
    }

    fn name(&self, index: usize) -> String {
        one_line(self.schema.field(index).name())
    }

    fn cell(&self, column: &Column, text: &str, style: anstyle::Style) -> String {
        let text = fit(text, column.width);
        let blanks = " ".repeat(column.width.saturating_sub(width(&text)));
        let text = self.options.paint.style(style, &text);
        if column.right { blanks + &text } else { text + &blanks }
    }

    fn footer(&self, layout: &Layout) -> String {
        let shown = self.rows.len() as u64;
        let mut parts = vec![human::counted(self.total, "row")];
        if shown < self.total {
            parts[0] += &format!(", {} shown", human::count(shown));
        }
        let hidden = self.schema.fields().len() - layout.columns.len();
        if hidden > 0 {
            parts.push(format!("{} did not fit", human::counted(hidden as u64, "column")));
        }
        if layout.cut {
            parts.push("… marks cut text".to_owned());
        }
        if hidden > 0 || layout.cut {
            parts.push("--format csv shows all".to_owned());
        }
        format!("({})", parts.join("; "))
    }
}

fn push_row(out: &mut String, cells: &[String]) {
    out.push_str(cells.join("  ").trim_end());
    out.push('\n');
}

struct Column {
    index: usize,
    width: usize,
    right: bool,
}

struct Layout {
    columns: Vec<Column>,
    /// Some text was cut.
    cut: bool,
}

impl Layout {
    fn new(grid: &Grid) -> Self {
        let fields = grid.schema.fields();
        let natural: Vec<usize> = (0..fields.len())
            .map(|i| {
                let cells = grid.rows.iter().map(|r| r.get(i).and_then(Option::as_deref).map_or(4, width));
                cells.max().unwrap_or(0).max(width(&grid.name(i))).max(1)
            })
            .collect();
        let mut widths = natural.clone();
        if let Some(room) = grid.options.width {
            if fields.len() > 1 {
                widths.iter_mut().for_each(|w| *w = (*w).min(MAX_CELL));
            }
            shrink(&mut widths, room);
        }
        let cut = widths.iter().zip(&natural).any(|(w, n)| w < n);
        let columns = widths
            .into_iter()
            .enumerate()
            .map(|(index, width)| Column { index, width, right: is_number(fields[index].data_type()) })
            .collect();
        Self { columns, cut }
    }
}

/// Takes from the widest columns until all fit; when they are all narrow, the last columns go.
fn shrink(widths: &mut Vec<usize>, room: usize) {
    loop {
        let needed = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let Some(over) = needed.checked_sub(room).filter(|n| *n > 0) else { return };
        let mut sorted = widths.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let widest = sorted[0];
        if widest <= MIN_CELL || widths.len() == 1 {
            if widths.len() == 1 {
                widths[0] = room.max(1);
                return;
            }
            widths.pop();
            continue;
        }
        // Down to the next narrower column, and no further than is needed.
        let next = sorted.iter().copied().find(|w| *w < widest).unwrap_or(MIN_CELL).max(MIN_CELL);
        let same = sorted.iter().filter(|w| **w == widest).count();
        let down = (widest - next).min(over.div_ceil(same)).max(1);
        widths.iter_mut().filter(|w| **w == widest).for_each(|w| *w -= down);
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// A table of texts, the first row the names: for what is no result of a statement.
pub fn texts(paint: Paint, names: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let widths: Vec<usize> = (0..names.len())
        .map(|i| rows.iter().map(|r| width(&r[i])).chain([width(names[i])]).max().unwrap_or(0))
        .collect();
    let layout = |row: &[String]| {
        let cells = row
            .iter()
            .enumerate()
            .map(|(i, cell)| if right.contains(&i) { pad_left(cell, widths[i]) } else { pad_right(cell, widths[i]) });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut out = paint.style(DIM, &layout(&head)) + "\n";
    for row in rows {
        out += &layout(row);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema, TimeUnit};

    use super::*;

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![Some(1), None, Some(12_345)]))),
            ("name", Arc::new(StringArray::from(vec![Some("Zoë"), Some("two\nlines"), None]))),
            ("amount", Arc::new(Decimal128Array::from(vec![150, -5, 0]).with_precision_and_scale(12, 2).unwrap())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    fn render(batch: &RecordBatch, width: Option<usize>, max_rows: usize) -> String {
        let mut grid = Grid::new(batch.schema(), GridOptions { paint: Paint(false), width, max_rows });
        grid.push(batch).unwrap();
        grid.render()
    }

    #[test]
    fn numbers_are_right_aligned_and_null_is_visible() {
        let want = "   id  name       amount
────────────────────────
    1  Zoë          1.50
 NULL  two⏎lines   -0.05
12345  NULL         0.00
(3 rows)
";
        assert_eq!(render(&batch(), Some(80), 0), want);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said() {
        let text = render(&batch(), Some(21), 0);
        assert!(text.lines().all(|l| width(l) <= 21 || l.starts_with('(')), "{text}");
        assert!(text.contains("two⏎l…"), "{text}");
        assert!(text.ends_with("(3 rows; … marks cut text; --format csv shows all)\n"), "{text}");
        let narrow = render(&batch(), Some(14), 0);
        assert!(narrow.contains("1 column did not fit"), "{narrow}");
    }

    #[test]
    fn rows_beyond_the_limit_are_counted() {
        assert!(render(&batch(), None, 2).ends_with("(3 rows, 2 shown)\n"));
        assert!(render(&batch().slice(0, 1), None, 2).ends_with("(1 row)\n"));
    }

    #[test]
    fn null_is_visible_in_every_kind_of_column() {
        let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(1));
        let batch = RecordBatch::try_from_iter_with_nullable([("x", nothing, true)]).unwrap();
        assert!(render(&batch, None, 0).contains("NULL"));
    }

    #[test]
    fn a_plan_keeps_its_lines() {
        let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let columns = [("plan_type", text("logical_plan"), true), ("plan", text("Filter: a\n  TableScan: t\n"), true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        assert_eq!(render(&batch, Some(10), 0), "logical_plan\nFilter: a\n  TableScan: t\n");
    }

    #[test]
    fn times_read_as_people_write_them() {
        let times = TimestampMicrosecondArray::from(vec![1_763_626_502_000_000]).with_timezone("UTC");
        let schema =
            Schema::new(vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(times)]).unwrap();
        assert!(render(&batch, None, 0).contains("2025-11-20 08:15:02+00:00"));
    }
}
