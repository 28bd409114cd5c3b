//! Plain aligned columns, two spaces apart: no frames and no wrapping, so that `grep`, `awk` and `sort` work on
//! them. All cells are ASCII (the configuration sees to it), so a width is a number of characters.

/// On which side of its column a cell stands.
#[derive(Clone, Copy)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table with a heading of `N` columns.
pub(super) struct Columns<const N: usize> {
    align: [Align; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Columns<N> {
    pub(super) fn new(heading: [(&str, Align); N]) -> Self {
        Self { align: heading.map(|(_, align)| align), rows: vec![heading.map(|(name, _)| name.to_owned())] }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// One line a row, without spaces at the end.
    pub(super) fn render(&self) -> String {
        let widths: [usize; N] = std::array::from_fn(|column| self.width(column));
        self.rows.iter().map(|row| self.line(row, &widths) + "\n").collect()
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    }

    fn line(&self, row: &[String; N], widths: &[usize; N]) -> String {
        let cells = row.iter().zip(widths).zip(self.align).map(|((cell, &width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_left_and_numbers_right() {
        let mut columns =
            Columns::new([("NAME", Align::Left), ("COUNT", Align::Right), ("REMARK", Align::Left)]);
        columns.row(["a".to_owned(), "1,000,000".to_owned(), String::new()]);
        columns.row(["longer".to_owned(), "7".to_owned(), "b c".to_owned()]);
        assert_eq!(
            columns.render(),
            "NAME        COUNT  REMARK\na       1,000,000\nlonger          7  b c\n"
        );
    }
}
