//! A pod that names its node goes there or nowhere.

use super::{Refusal, Room, Wanted};

pub(super) fn filter(wanted: &Wanted<'_>, room: &Room) -> Result<(), Refusal> {
    match wanted.spec.node_name.as_deref() {
        None | Some("") => Ok(()),
        Some(name) if name == room.name() => Ok(()),
        Some(_) => Err(Refusal::lasting("node(s) didn't match the requested node name")),
    }
}
