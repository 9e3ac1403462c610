//! Tables as kubectl prints them: the columns of each kind, and their cells.
//!
//! A kind with columns of its own has a constant in a file of `print/` and one row in [`TABLES`]. Cells are made from the
//! object as it is stored, whatever version was asked for. What columns mean is told in `print/help.json`.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::fill;

mod access;
mod cluster;
mod network;
mod pod;
mod show;
mod storage;
mod workload;

/// What a cell is made of.
#[derive(Debug, Clone, Copy)]
pub enum Cell {
    /// The value at a path, as it is.
    Value(&'static str),
    /// The text at a path, or nothing.
    Text(&'static str),
    /// The text at a path, or another one where there is none.
    TextOr(&'static str, &'static str),
    /// The number at a path, 0 where there is none.
    Number(&'static str),
    /// How many items are at a path.
    Count(&'static str),
    /// Whether something is so, and whether it is where the object does not say.
    Flag(&'static str, bool),
    /// How long ago the time at a path is.
    Since(&'static str),
    /// What the function makes of the object.
    Made(fn(&Value) -> String),
    /// What the function makes of the object at this time.
    Timed(fn(&Value, Timestamp) -> String),
    /// What the function makes of the object, number or text.
    Any(fn(&Value) -> Value),
}

/// One column of a table.
#[derive(Clone, Copy)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column of names, else empty.
    pub format: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: i32,
    /// Whether the table tells of it; of one column upstream sends the cells only.
    pub headed: bool,
    /// The cell of an object.
    pub cell: Cell,
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A column of text.
const fn text(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", format: "", priority: 0, headed: true, cell }
}

/// A column of whole numbers.
const fn integer(name: &'static str, cell: Cell) -> Column {
    Column { kind: "integer", ..text(name, cell) }
}

/// A column of yes and no.
const fn boolean(name: &'static str, cell: Cell) -> Column {
    Column { kind: "boolean", ..text(name, cell) }
}

impl Column {
    /// The same, shown with `-o wide` only.
    const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The cell of an object.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match self.cell {
            Cell::Value(path) => fill::find(object, path).cloned().unwrap_or_default(),
            Cell::Text(path) => fill::text(object, path).into(),
            Cell::TextOr(path, other) => match fill::text(object, path) {
                "" => other.into(),
                text => text.into(),
            },
            Cell::Number(path) => fill::int(object, path).unwrap_or(0).into(),
            Cell::Count(path) => show::count(object, path).into(),
            Cell::Flag(path, other) => {
                fill::find(object, path).and_then(Value::as_bool).unwrap_or(other).into()
            }
            Cell::Since(path) => show::since(fill::text(object, path), now).into(),
            Cell::Made(make) => make(object).into(),
            Cell::Timed(make) => make(object, now).into(),
            Cell::Any(make) => make(object),
        }
    }
}

/// What upstream says of the column of names, everywhere.
const NAME_HELP: &str = "Name must be unique within a namespace. Is required when creating resources, although \
    some resources may allow a client to request the generation of an appropriate name automatically. Name is \
    primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// What upstream says of the column of creation times, everywhere.
const CREATED_HELP: &str = "CreationTimestamp is a timestamp representing the server time when this object was \
    created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set \
    this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for \
    lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// What the other columns mean, by kind (with its group) and heading.
static HELP: LazyLock<HashMap<String, HashMap<String, String>>> =
    LazyLock::new(|| serde_json::from_str(include_str!("print/help.json")).unwrap_or_default());

/// The column of names.
pub const NAME: Column = Column { format: "name", ..text("Name", Cell::Value("metadata.name")) };

/// The column of ages.
const AGE: Column = text("Age", Cell::Since("metadata.creationTimestamp"));

/// What a kind without columns of its own shows.
pub const GENERIC: &[Column] =
    &[NAME, Column { kind: "date", ..text("Created At", Cell::Value("metadata.creationTimestamp")) }];

/// The kinds of one file with columns of their own: group, kind, columns.
type Table = &'static [(&'static str, &'static str, &'static [Column])];

/// The tables of all files.
const TABLES: &[Table] =
    &[access::TABLE, cluster::TABLE, network::TABLE, pod::TABLE, storage::TABLE, workload::TABLE];

/// The columns of a kind, by the group and kind it is stored as.
pub fn columns(group: &str, kind: &str) -> &'static [Column] {
    TABLES
        .iter()
        .copied()
        .flatten()
        .find(|(g, k, _)| *g == group && *k == kind)
        .map_or(GENERIC, |(_, _, columns)| *columns)
}

/// The columns of a kind as a table tells of them.
pub fn definitions(group: &str, kind: &str) -> Value {
    let qualified = crate::fault::qualified(group, kind);
    let own = HELP.get(&qualified);
    let help = |name: &str| match name {
        "Name" => NAME_HELP,
        "Age" | "Created At" => CREATED_HELP,
        _ => own.and_then(|columns| columns.get(name)).map_or("", String::as_str),
    };
    let headed = columns(group, kind).iter().filter(|column| column.headed);
    headed
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": help(column.name),
                "priority": column.priority,
            })
        })
        .collect()
}

/// What a row says of its object besides the cells: that it is over, which printers may leave out.
pub fn conditions(group: &str, kind: &str, object: &Value) -> Option<Value> {
    if !(group.is_empty() && kind == "Pod") {
        return None;
    }
    let (reason, message) = match fill::text(object, "status.phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

#[cfg(test)]
mod tests;
