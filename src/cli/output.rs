//! Answers on standard output: a table for people, JSON for programs, and nothing else.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::problem::Failure;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// Columns for people; which ones may change.
    Table,
    /// The server's own JSON.
    Json,
}

/// A column: its head, and the dotted path of its value in an item.
pub(crate) type Column = (&'static str, &'static str);

/// What a command answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing to show but a sentence, which JSON leaves out.
    Done(String),
    /// One thing.
    One(Value),
    /// A list and its columns.
    List(Value, &'static [Column]),
    /// One thing that has a page of its own for people.
    Page(Value, String),
    /// Text as it is: logs, settings.
    Text(String),
    /// Nothing more: the answer was written as it came.
    Written,
    /// An answer that says that something is wrong, for the exit code.
    Alarm(Box<Answer>),
}

impl Answer {
    /// Prints the answer. A reader that goes away early, such as `head`, is no failure.
    pub(crate) fn print(&self, form: Form) -> Result<(), Failure> {
        let text = match (self, form) {
            (Self::Alarm(answer), form) => return answer.print(form),
            (Self::Written, _) => return Ok(()),
            (Self::Done(sentence), Form::Table) => format!("{sentence}\n"),
            (Self::Done(_), Form::Json) => "{}\n".to_owned(),
            (Self::Text(text) | Self::Page(_, text), Form::Table) => text.clone(),
            (Self::Text(text), Form::Json) => pretty(&serde_json::json!({ "text": text })),
            (Self::One(value) | Self::List(value, _) | Self::Page(value, _), Form::Json) => pretty(value),
            (Self::One(value), Form::Table) => fields(value),
            (Self::List(value, columns), Form::Table) => list(value, columns),
        };
        write(&text)
    }
}

/// Writes to standard output.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    write_bytes(text.as_bytes())
}

/// Writes bytes to standard output.
pub(crate) fn write_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::here("standard output", error))
        }
        _ => Ok(()),
    }
}

/// Writes a line for people to standard error; that it cannot be read is nobody's failure.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", line.trim_end());
}

/// A table without lines.
pub(crate) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The items of a list under those columns that any of them has.
fn list(value: &Value, columns: &[Column]) -> String {
    let none = Vec::new();
    let items = value.get("items").or(Some(value)).and_then(Value::as_array).unwrap_or(&none);
    if items.is_empty() {
        return "(none)\n".to_owned();
    }
    let present: Vec<&Column> =
        columns.iter().filter(|(_, path)| items.iter().any(|item| at(item, path).is_some())).collect();
    let heads: Vec<&str> = present.iter().map(|(head, _)| *head).collect();
    let rows = items
        .iter()
        .map(|item| present.iter().map(|(_, path)| at(item, path).map_or_else(|| "-".into(), cell)).collect())
        .collect();
    format!("{}\n", table(&heads, rows))
}

/// One thing as lines of name and value; a list inside gets a table of its own.
fn fields(value: &Value) -> String {
    let mut rows = Vec::new();
    let mut lists = String::new();
    flatten(value, "", &mut rows, &mut lists);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: String = rows.iter().map(|(name, shown)| format!("{name:width$}  {shown}\n")).collect();
    lines + &lists
}

fn flatten(value: &Value, name: &str, rows: &mut Vec<(String, String)>, lists: &mut String) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(inner, &name, rows, lists);
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            let mut heads: Vec<&str> = Vec::new();
            for key in items.iter().filter_map(Value::as_object).flat_map(|item| item.keys()) {
                if !heads.contains(&key.as_str()) {
                    heads.push(key);
                }
            }
            let row = |item: &Value| {
                heads.iter().map(|head| item.get(*head).map_or_else(String::new, cell)).collect()
            };
            let shouted: Vec<String> =
                heads.iter().map(|head| head.to_uppercase().replace('_', " ")).collect();
            let shouted: Vec<&str> = shouted.iter().map(String::as_str).collect();
            *lists += &format!("\n{name}:\n{}\n", table(&shouted, items.iter().map(row).collect()));
        }
        other => rows.push((name.to_owned(), cell(other))),
    }
}

/// The value at a dotted path, unless it is null.
fn at<'v>(item: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(item, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// One value in one cell. Control characters would let a name rewrite the terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_shows_the_columns_that_it_has_and_cannot_steer_the_terminal() {
        let value =
            json!({"items": [{"id": "a", "inner": {"n": 1}}, {"id": "b\u{1b}[2J", "inner": {"n": null}}]});
        let shown = list(&value, &[("ID", "id"), ("N", "inner.n"), ("ABSENT", "absent")]);
        assert_eq!(shown, "ID     N\na      1\nb [2J  -\n");
    }

    #[test]
    fn one_thing_is_names_and_values_and_inner_lists_are_tables() {
        let value =
            json!({"id": "a", "state": null, "limits": {"gpus": 4}, "ports": [{"host": 1, "container": 22}]});
        let lines = [
            "id           a",
            "state        -",
            "limits.gpus  4",
            "",
            "ports:",
            "HOST  CONTAINER",
            "1     22",
            "",
        ];
        assert_eq!(fields(&value), lines.join("\n"));
    }
}
