//! Plain aligned tables.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// One column: its heading, and the side to which its cells are aligned.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// One cell, with the colour of what it says.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Something that is as it should be.
    pub fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: AnsiColor::Green.on_default() }
    }

    /// Something that is wrong.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: AnsiColor::Red.on_default().bold() }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), style: Style::new() }
    }
}

/// Rows under headings, two spaces between columns. Prints with colours; [`print`](crate::output::print) drops them
/// where they are not wanted.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: vec![] }
    }

    /// Adds a row. Cells beyond the columns are not shown, missing ones are empty.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "cells against columns");
        self.rows.push(cells.into());
    }
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }

    fn align(self, text: &str, width: usize) -> String {
        match self {
            Self::Left(_) => format!("{text:<width$}"),
            Self::Right(_) => format!("{text:>width$}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |(i, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(i));
            cells.map(|cell| cell.text.chars().count()).fold(column.heading().chars().count(), usize::max)
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(width).collect();
        let heading =
            self.columns.iter().map(|c| Cell { text: c.heading().to_owned(), style: Style::new().bold() });
        for row in std::iter::once(&heading.collect::<Vec<_>>()).chain(&self.rows) {
            let cells = self.columns.iter().zip(&widths).zip(row).map(|((column, width), cell)| {
                let text = column.align(&cell.text, *width);
                let words = text.trim_end();
                // What pads a cell is not styled, and is not written at all at the end of a line.
                format!("{}{words}{}{}", cell.style, cell.style.render_reset(), &text[words.len()..])
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[Column::Left("op"), Column::Right("ms"), Column::Left("note")]);
        table.row(["attention".into(), 1.5.into(), Cell::good("ok")]);
        table.row(["scan".into(), 120.into(), "".into()]);
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, "op          ms  note\nattention  1.5  ok\nscan       120\n");
    }
}
