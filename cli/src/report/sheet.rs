//! Tables, as HTML that can be sorted and as Markdown.

use std::fmt::Write as _;

use super::svg::escape;

/// A cell: what is read, and by what it is sorted if that is a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    text: String,
    value: Option<f64>,
}

impl Cell {
    /// A number, in words that a person reads.
    pub fn number(value: f64, text: impl Into<String>) -> Self {
        Self { text: text.into(), value: Some(value) }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), value: None }
    }
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub struct Sheet {
    headings: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Sheet {
    /// An empty table.
    pub fn new(headings: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { headings: headings.into_iter().map(Into::into).collect(), rows: vec![] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.headings.len(), "cells against headings");
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a column is one of numbers: any cell has one.
    fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|row| row.get(column).is_some_and(|cell| cell.value.is_some()))
    }

    fn columns(&self) -> impl Iterator<Item = (&String, bool)> {
        self.headings.iter().enumerate().map(|(at, heading)| (heading, self.is_numeric(at)))
    }

    /// A table whose columns sort it when they are clicked.
    pub fn html(&self) -> String {
        let mut text = String::from("<div class=\"wide\"><table>\n<thead><tr>");
        for (heading, numeric) in self.columns() {
            let class = if numeric { " class=\"number\"" } else { "" };
            let _ = write!(
                text,
                "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>",
                escape(heading)
            );
        }
        text += "</tr></thead>\n<tbody>\n";
        for row in &self.rows {
            text += "<tr>";
            for (cell, (_, numeric)) in row.iter().zip(self.columns()) {
                let class = if numeric { " class=\"number\"" } else { "" };
                let value = cell.value.map(|value| format!(" data-value=\"{value:e}\"")).unwrap_or_default();
                let _ = write!(text, "<td{class}{value}>{}</td>", escape(&cell.text));
            }
            text += "</tr>\n";
        }
        text + "</tbody>\n</table></div>\n"
    }

    /// A table of Markdown as GitHub has it.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = self.columns().map(|(_, numeric)| if numeric { "---:" } else { "---" }.to_owned());
        let mut text = line(self.headings.iter().map(|heading| plain(heading)).collect());
        text += &line(rule.collect());
        self.rows.iter().for_each(|row| text += &line(row.iter().map(|cell| plain(&cell.text)).collect()));
        text
    }
}

/// A text from a file as Markdown that says just that.
pub fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!' => {
                safe.extend(['\\', character]);
            }
            '&' => safe.push_str("&amp;"),
            '\n' | '\r' => safe.push(' '),
            _ => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_say_what_is_in_them_and_nothing_else() {
        let mut sheet = Sheet::new(["case", "ms"]);
        sheet.row(["a | <b>".into(), Cell::number(1.5, "1.50")]);
        let markdown = sheet.markdown();
        assert_eq!(markdown, "| case | ms |\n| --- | ---: |\n| a \\| \\<b\\> | 1.50 |\n");
        let html = sheet.html();
        assert!(
            html.contains("<td>a | &lt;b&gt;</td><td class=\"number\" data-value=\"1.5e0\">1.50</td>"),
            "{html}"
        );
    }
}
