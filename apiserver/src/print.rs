//! Tables as kubectl prints them: the columns of each kind, and their cells.
//!
//! A kind with columns of its own has a file in `print/` with one `pub(crate) const COLUMNS: &[Column]` and one row
//! in [`TABLES`]. The first column is the name and has `format: "name"`.

use jiff::Timestamp;
use serde_json::Value;

/// One column of a table.
#[derive(Clone, Copy)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column of names, else empty.
    pub format: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: i32,
    /// The cell of an object.
    pub cell: fn(object: &Value, now: Timestamp) -> Value,
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column").field("name", &self.name).finish_non_exhaustive()
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

/// The column of names.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: NAME_HELP,
    priority: 0,
    cell: |object, _| object["metadata"]["name"].clone(),
};

/// What a kind without columns of its own shows.
pub const GENERIC: &[Column] = &[
    NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        description: CREATED_HELP,
        priority: 0,
        cell: |object, _| object["metadata"]["creationTimestamp"].clone(),
    },
];

/// The kinds with columns of their own: group, kind, columns.
const TABLES: &[(&str, &str, &[Column])] = &[];

/// The columns of a kind.
pub fn columns(group: &str, _version: &str, kind: &str) -> &'static [Column] {
    TABLES.iter().find(|(g, k, _)| *g == group && *k == kind).map_or(GENERIC, |(_, _, columns)| *columns)
}
