//! The approval of certificate signing requests, which changes nothing but their conditions.

use crate::kind::signing;
use crate::registry::update::Rule;

pub(super) const APPROVAL: Rule =
    Rule { prepare: signing::prepare_approval, validate: signing::validate_approval };
