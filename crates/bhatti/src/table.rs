//! Text in columns.

/// Blanks between two columns.
const GAP: usize = 2;
/// Blanks, to be put in many at a time.
const BLANKS: &str = "                                ";

/// Lays rows out in columns two blanks apart, the head first, without blanks at the ends of
/// lines. Ends with a newline.
pub(crate) fn table<R, C>(head: &[&str], rows: &[R]) -> String
where
    R: AsRef<[C]>,
    C: AsRef<str>,
{
    let mut widths: Vec<usize> = head.iter().map(|cell| width_of(cell)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(width_of(cell.as_ref()));
        }
    }
    let line = widths.iter().map(|width| width + GAP).sum::<usize>() + 1;
    let mut text = String::with_capacity(line * (rows.len() + 1));
    push(&mut text, &widths, head);
    for row in rows {
        push(&mut text, &widths, row.as_ref());
    }
    text
}

/// How many characters there are in a cell.
fn width_of(cell: &str) -> usize {
    // Nearly all are; counting characters takes several times as long.
    if cell.is_ascii() {
        cell.len()
    } else {
        cell.chars().count()
    }
}

/// Adds a line.
fn push<C: AsRef<str>>(text: &mut String, widths: &[usize], cells: &[C]) {
    let start = text.len();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = cell.as_ref();
        text.push_str(cell);
        let mut blanks = width.saturating_sub(width_of(cell)) + GAP;
        while blanks > 0 {
            let some = blanks.min(BLANKS.len());
            text.push_str(&BLANKS[..some]);
            blanks -= some;
        }
    }
    let line = text.get(start..).unwrap_or_default().trim_end().len();
    text.truncate(start + line);
    text.push('\n');
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
