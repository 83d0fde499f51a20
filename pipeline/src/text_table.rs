//! Tables with named columns, written as text, CSV, JSON or Markdown.

use crate::humanize;
use crate::markdown::plain;
use crate::printable::printable;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Map, Value};
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Table for terminals
    #[default]
    Text,
    /// Comma-separated values, numbers in full
    Csv,
    /// JSON, numbers in full
    Json,
    /// Markdown table
    Markdown,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Empty,
    Text(String),
    /// Measured or computed value.
    Number(f64),
    /// Mean and standard deviation, shown as "0.8743 ± 0.0512"; elsewhere the mean.
    Spread {
        mean: f64,
        sd: Option<f64>,
    },
    /// Difference, shown with its sign.
    Change(f64),
    Count(u64),
    /// Bytes, shown with units in text and Markdown, as plain integers elsewhere.
    Bytes(u64),
}

impl Cell {
    /// Text cell; empty text gives [`Cell::Empty`].
    pub fn text(words: impl Into<String>) -> Cell {
        let words = words.into();
        if words.is_empty() { Cell::Empty } else { Cell::Text(words) }
    }

    /// Rounded form for reading.
    pub fn for_people(&self) -> String {
        match self {
            Cell::Empty => "–".to_string(),
            Cell::Text(words) => words.clone(),
            Cell::Number(number) => short(*number),
            Cell::Spread { mean, sd: None } => short(*mean),
            Cell::Spread { mean, sd: Some(sd) } => format!("{} ± {}", short(*mean), short(*sd)),
            Cell::Change(number) if *number == 0.0 => "=".to_string(),
            Cell::Change(number) if *number > 0.0 => format!("+{}", short(*number)),
            Cell::Change(number) => short(*number),
            Cell::Count(count) => count.to_string(),
            Cell::Bytes(bytes) => humanize::bytes(*bytes),
        }
    }

    /// Full precision; empty cells give an empty string.
    pub fn in_full(&self) -> String {
        match self {
            Cell::Empty => String::new(),
            Cell::Text(words) => words.clone(),
            Cell::Number(number) | Cell::Change(number) | Cell::Spread { mean: number, .. } => {
                number.to_string()
            }
            Cell::Count(count) | Cell::Bytes(count) => count.to_string(),
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Cell::Empty | Cell::Text(_) => None,
            Cell::Number(number) | Cell::Change(number) | Cell::Spread { mean: number, .. } => {
                Some(*number)
            }
            Cell::Count(count) | Cell::Bytes(count) => Some(*count as f64),
        }
    }

    pub fn count(&self) -> Option<u64> {
        match self {
            Cell::Count(count) | Cell::Bytes(count) => Some(*count),
            _ => None,
        }
    }

    fn as_json(&self) -> Value {
        match self {
            Cell::Empty => Value::Null,
            Cell::Text(words) => words.as_str().into(),
            Cell::Number(number) | Cell::Change(number) | Cell::Spread { mean: number, .. } => {
                (*number).into()
            }
            Cell::Count(count) | Cell::Bytes(count) => (*count).into(),
        }
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Cell {
        number.map_or(Cell::Empty, Cell::Number)
    }
}

impl From<Option<&str>> for Cell {
    fn from(words: Option<&str>) -> Cell {
        words.map_or(Cell::Empty, Cell::text)
    }
}

/// Four significant digits; whole numbers without decimals: "0.8743", "12.35", "1260", "2.0e-5".
pub fn short(number: f64) -> String {
    let size = number.abs();
    match number {
        _ if !number.is_finite() => number.to_string(),
        _ if number.fract() == 0.0 && size < 1e15 => format!("{number:.0}"),
        _ if size < 1e-3 => format!("{number:.1e}"),
        _ if size < 1.0 => format!("{number:.4}"),
        _ if size < 10.0 => format!("{number:.3}"),
        _ if size < 100.0 => format!("{number:.2}"),
        _ => format!("{number:.1}"),
    }
}

/// Columns and rows; every row has one cell per column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextTable {
    /// May be empty.
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl TextTable {
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        columns: impl IntoIterator<Item = S>,
    ) -> TextTable {
        TextTable {
            title: title.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: vec![],
        }
    }

    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for every column");
        self.rows.push(row);
    }

    /// Drops columns without values, except the first `keep`.
    pub fn without_empty_columns(mut self, keep: usize) -> TextTable {
        let used: Vec<bool> = (0..self.columns.len())
            .map(|at| at < keep || self.rows.iter().any(|row| row[at] != Cell::Empty))
            .collect();
        let mut used_of = used.iter();
        self.columns.retain(|_| *used_of.next().unwrap_or(&true));
        for row in &mut self.rows {
            let mut used_of = used.iter();
            row.retain(|_| *used_of.next().unwrap_or(&true));
        }
        self
    }

    /// Renders in a format; `width` limits text tables to the terminal's width.
    pub fn write(&self, format: TableFormat, width: Option<u16>) -> String {
        match format {
            TableFormat::Text => self.text(width),
            TableFormat::Csv => self.csv(),
            TableFormat::Json => pretty(&self.json()),
            TableFormat::Markdown => self.markdown(),
        }
    }

    /// Title and text table, ending with a line break.
    pub fn text(&self, width: Option<u16>) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_header(self.columns.iter().map(|name| in_line(name)));
        table.set_style(comfy_table::TableComponent::HeaderLines, '─');
        table.set_style(comfy_table::TableComponent::MiddleHeaderIntersections, '─');
        table.set_content_arrangement(ContentArrangement::Disabled);
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        let rows = self.rows.iter().map(|row| row.iter().map(Cell::for_people).collect::<Vec<_>>());
        table.add_rows(rows.map(|row| row.into_iter().map(|cell| in_line(&cell))));
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 1));
            if self.is_numeric(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let title = if self.title.is_empty() { String::new() } else { format!("{}\n", self.title) };
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_string()).collect();
        format!("{title}{}\n", lines.join("\n"))
    }

    /// CSV with header (RFC 4180, but LF line ends). Text resembling a spreadsheet formula gets a
    /// leading single quote, following OWASP.
    pub fn csv(&self) -> String {
        let header: Vec<String> = self.columns.iter().map(|name| quoted(&inert(name))).collect();
        let rows = self.rows.iter().map(|row| {
            row.iter()
                .map(|cell| match cell {
                    Cell::Text(words) => quoted(&inert(words)),
                    other => other.in_full(),
                })
                .collect()
        });
        std::iter::once(header).chain(rows).map(|cells| cells.join(",") + "\n").collect()
    }

    /// List with one object per row.
    pub fn json(&self) -> Value {
        Value::Array(
            self.rows
                .iter()
                .map(|row: &Vec<Cell>| -> Value {
                    let fields: Map<String, Value> =
                        self.columns.iter().cloned().zip(row.iter().map(Cell::as_json)).collect();
                    Value::Object(fields)
                })
                .collect(),
        )
    }

    /// Markdown table, its title in bold.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        if !self.title.is_empty() {
            out += &format!("**{}**\n\n", plain(&self.title));
        }
        let numeric = (0..self.columns.len()).map(|at| self.is_numeric(at));
        let rules = numeric.map(|is_numeric| if is_numeric { "---:" } else { "---" });
        out += &markdown_row(self.columns.iter().map(|name| plain(name)));
        out += &markdown_row(rules.map(String::from));
        for row in &self.rows {
            out += &markdown_row(row.iter().map(|cell| plain(&cell.for_people())));
        }
        out
    }

    /// True if a column contains only numbers.
    pub fn is_numeric(&self, at: usize) -> bool {
        let mut cells =
            self.rows.iter().map(|row| &row[at]).filter(|cell| **cell != Cell::Empty).peekable();
        cells.peek().is_some() && cells.all(|cell| !matches!(cell, Cell::Text(_)))
    }
}

fn markdown_row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// Indented JSON with a final line break.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Guards text against being read as a spreadsheet formula. Numbers stay numbers.
fn inert(words: &str) -> Cow<'_, str> {
    let is_formula = words.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']);
    match is_formula && words.parse::<f64>().is_err() {
        true => Cow::Owned(format!("'{words}")),
        false => Cow::Borrowed(words),
    }
}

/// Text on a single terminal line.
fn in_line(words: &str) -> String {
    printable(words).replace('\n', " ")
}

fn quoted(words: &str) -> String {
    if words.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", words.replace('"', "\"\""))
    } else {
        words.into()
    }
}

/// Escapes text for a Markdown table cell.
pub fn escaped(words: &str) -> String {
    words.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> TextTable {
        let mut sheet = TextTable::new("scores", ["label", "dice", "change", "n"]);
        sheet.push(vec![
            Cell::text("spleen"),
            Cell::Number(0.87431),
            Cell::Change(0.01234),
            Cell::Count(6),
        ]);
        sheet.push(vec![
            Cell::text("a, \"b\" | c"),
            Cell::Empty,
            Cell::Change(0.0),
            Cell::Count(12),
        ]);
        sheet
    }

    #[test]
    fn numbers_stand_to_the_right_and_missing_values_are_dashes() {
        let expected = "\
scores
label         dice   change   n
────────────────────────────────
spleen      0.8743  +0.0123   6
a, \"b\" | c       –        =  12
";
        let text = scores().text(None);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn csv_keeps_numbers_in_full_and_quotes_what_needs_it() {
        assert_eq!(
            scores().csv(),
            "label,dice,change,n\nspleen,0.87431,0.01234,6\n\"a, \"\"b\"\" | c\",,0,12\n"
        );
    }

    /// OWASP's "CSV injection": cells that begin with =, +, -, @, tab or carriage return.
    #[test]
    fn csv_holds_no_formulas_and_numbers_stay_numbers() {
        let mut sheet = TextTable::new("", ["=label", "dice"]);
        for (words, number) in [
            ("=HYPERLINK(\"http://x\",\"y\")", -0.5),
            ("+1+cmd|' /C calc'!A0", 1e-7),
            ("-a", 1.0),
            ("@SUM(A1)", 2.0),
            ("\t=1", 3.0),
            ("a=b", 4.0),
        ] {
            sheet.push(vec![Cell::text(words), Cell::Change(number)]);
        }
        sheet.push(vec![Cell::text("-57"), Cell::text("+1e-3")]);
        assert_eq!(
            sheet.csv(),
            "'=label,dice\n\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\",-0.5\n\
             '+1+cmd|' /C calc'!A0,0.0000001\n'-a,1\n'@SUM(A1),2\n'\t=1,3\na=b,4\n-57,+1e-3\n"
        );
    }

    #[test]
    fn a_table_obeys_no_control_characters() {
        let mut sheet = TextTable::new("", ["case"]);
        sheet.push(vec![Cell::text("a\u{1b}[2Jb\nc")]);
        assert!(sheet.text(None).ends_with("a\\u001b[2Jb c\n"), "{}", sheet.text(None));
    }

    #[test]
    fn markdown_escapes_bars() {
        assert_eq!(
            scores().markdown(),
            "**scores**\n\n| label | dice | change | n |\n| --- | ---: | ---: | ---: |\n\
             | spleen | 0.8743 | +0.0123 | 6 |\n| a, \"b\" \\| c | – | = | 12 |\n"
        );
    }

    #[test]
    fn json_has_one_object_a_row() {
        assert_eq!(
            scores().json()[0],
            serde_json::json!({"label": "spleen", "dice": 0.87431, "change": 0.01234, "n": 6})
        );
        assert_eq!(scores().json()[1]["dice"], Value::Null);
    }

    #[test]
    fn a_narrow_terminal_is_not_overrun() {
        let mut sheet = scores();
        sheet.push(vec![
            Cell::text("a label of many many words in one row"),
            Cell::Empty,
            Cell::Empty,
            Cell::Empty,
        ]);
        let text = sheet.text(Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
    }

    #[test]
    fn numbers_have_four_digits() {
        let shown: Vec<String> =
            [0.87431, 12.3456, 1260.0, 1234.56, 0.00002, -0.5].map(short).into();
        assert_eq!(shown, ["0.8743", "12.35", "1260", "1234.6", "2.0e-5", "-0.5000"]);
    }

    #[test]
    fn a_mean_is_shown_with_its_deviation_and_counts_as_a_number() {
        let mut sheet = TextTable::new("", ["dice"]);
        sheet.push(vec![Cell::Spread { mean: 0.8743, sd: Some(0.0512) }]);
        sheet.push(vec![Cell::Spread { mean: 0.5, sd: None }]);
        assert!(sheet.text(None).contains("0.8743 ± 0.0512"), "{}", sheet.text(None));
        assert_eq!(sheet.csv(), "dice\n0.8743\n0.5\n");
        assert!(sheet.is_numeric(0) && sheet.json()[1]["dice"] == 0.5);
    }

    #[test]
    fn a_column_without_values_can_be_left_out() {
        let mut sheet = TextTable::new("", ["a", "b", "c"]);
        sheet.push(vec![Cell::Empty, Cell::Empty, Cell::Count(1)]);
        let sheet = sheet.without_empty_columns(1);
        assert_eq!(sheet.columns, ["a", "c"]);
        assert_eq!(sheet.rows, vec![vec![Cell::Empty, Cell::Count(1)]]);
    }
}
