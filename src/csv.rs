//! CSV as RFC 4180 has it: commas, lines that end in CRLF, quotes where a cell needs them.

/// A line of cells. A cell that is `None` is empty, a text that is empty is an empty text in quotes.
pub fn line<'a>(cells: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let mut line = String::new();
    for (nth, cell) in cells.into_iter().enumerate() {
        if nth > 0 {
            line.push(',');
        }
        match cell {
            None => {}
            Some(text) if text.is_empty() || text.contains(['"', ',', '\r', '\n']) => {
                line.push('"');
                line.push_str(&text.replace('"', "\"\""));
                line.push('"');
            }
            Some(text) => line.push_str(text),
        }
    }
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be() {
        let cells = [Some("plain"), None, Some(""), Some("a,b"), Some("say \"no\""), Some("two\nlines")];
        assert_eq!(line(cells), "plain,,\"\",\"a,b\",\"say \"\"no\"\"\",\"two\nlines\"\r\n");
        assert_eq!(line([]), "\r\n");
    }
}
