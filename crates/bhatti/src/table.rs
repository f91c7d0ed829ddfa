//! Text in columns.

/// Lays rows out in columns two blanks apart, the head first, without blanks at the ends of
/// lines. Ends with a newline.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut push = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(cell);
            // The width of format! counts characters too, but not in a way to be trimmed.
            let blanks = width.saturating_sub(cell.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', blanks));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    push(&mut head.iter().copied());
    for row in rows {
        push(&mut row.iter().map(String::as_str));
    }
    text
}

/// Lays out `name: value` lines with the values in one column.
pub(crate) fn details(lines: &[(&str, String)]) -> String {
    let width = lines
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or_default()
        + 1;
    let mut text = String::new();
    for (name, value) in lines {
        let name = format!("{name}:");
        text.push_str(format!("{name:width$}  {value}").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod test {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec![
                "dev".to_owned(),
                "running".to_owned(),
                "hot".to_owned(),
                String::new(),
            ],
            vec![
                "retry".to_owned(),
                "running".to_owned(),
                "hot".to_owned(),
                String::new(),
            ],
        ];
        assert_eq!(
            table(&["NAME", "STATUS", "THERMAL", "URL"], &rows),
            "NAME   STATUS   THERMAL  URL\n\
             dev    running  hot\n\
             retry  running  hot\n",
        );
    }
}
