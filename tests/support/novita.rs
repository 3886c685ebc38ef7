//! The matrix of 39 nouns and five roles: `policies/presets/novita/matrix.csv`, written down from the seed document
//! and from what was decided where that contradicts itself, never from the policies. It is the one table that every
//! test asks.

use muster::model::{action::Verb, team::Role};

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    /// The kind of noun.
    pub(crate) kind: &'static str,
    /// The role.
    pub(crate) role: Role,
    write: bool,
    view: bool,
    everybodys: bool,
}

impl Cell {
    /// Whether the role may do this with what is its own, or with what is another's.
    pub(crate) fn says(self, verb: Verb, own: bool) -> bool {
        let may = if verb == Verb::View { self.view } else { self.write };
        may && (own || self.everybodys)
    }
}

/// All cells, noun by noun.
pub(crate) fn cells() -> Vec<Cell> {
    let mut lines = include_str!("../../policies/presets/novita/matrix.csv").lines();
    assert_eq!(lines.next(), Some("resource,role,access,scope"));
    let cells: Vec<Cell> = lines.map(cell).collect();
    assert_eq!(cells.len(), 39 * 5);
    cells
}

fn cell(line: &'static str) -> Cell {
    let [kind, role, access, scope] = *line.split(',').collect::<Vec<_>>() else {
        panic!("not a cell: {line}")
    };
    let (view, write) = match access {
        "write" => (true, true),
        "view" => (true, false),
        "none" => (false, false),
        _ => panic!("no access: {line}"),
    };
    let everybodys = match scope {
        "all" => true,
        "self" => false,
        "" if !view => false,
        _ => panic!("no scope: {line}"),
    };
    Cell { kind, role: role.parse().unwrap(), write, view, everybodys }
}
