//! Label and field selectors of a request, checked against the kind and applied to entries of the cache.

use proto::selector::{FieldSelector, Labels, Selector};

use crate::cache::Entry;
use crate::fault::Fault;
use crate::field::quoted;
use crate::kind::Behavior;
use crate::request::RequestInfo;

/// What a list or a watch is narrowed to.
#[derive(Debug, Clone)]
pub struct Selection {
    labels: Selector,
    terms: Vec<Term>,
}

/// One condition on one field.
#[derive(Debug, Clone)]
struct Term {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Name,
    Namespace,
    /// The place among the kind's selectable fields.
    Own(usize),
}

impl Labels for Entry {
    fn label(&self, key: &str) -> Option<&str> {
        Self::label(self, key)
    }
}

impl Selection {
    /// Selects everything.
    pub fn everything() -> Self {
        Self { labels: Selector::everything(), terms: Vec::new() }
    }

    /// Reads `labelSelector` and `fieldSelector` of a request; a name in the path narrows, too.
    ///
    /// # Errors
    /// 400 where they cannot be read, or name a field that cannot be selected on.
    pub fn read(info: &RequestInfo, behavior: &Behavior) -> Result<Self, Fault> {
        let labels = match info.param("labelSelector") {
            Some(text) => Selector::parse(text).map_err(|error| Fault::bad_request(error.to_string()))?,
            None => Selector::everything(),
        };
        let fields = info.param("fieldSelector").unwrap_or_default();
        let fields = FieldSelector::parse(fields).map_err(|error| Fault::bad_request(error.to_string()))?;
        let mut terms = Vec::new();
        for term in fields.terms {
            terms.push(Term { field: field(&term.field, behavior)?, equal: term.equal, value: term.value });
        }
        Ok(Self { labels, terms })
    }

    /// Narrows to one name.
    pub fn named(mut self, name: &str) -> Self {
        self.terms.push(Term { field: Field::Name, equal: true, value: name.to_owned() });
        self
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty() && self.labels.is_everything()
    }

    /// The one name that is selected, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && matches!(term.field, Field::Name))
            .map(|term| term.value.as_str())
    }

    /// Whether an object is selected.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.terms.iter().all(|term| {
            let found = match term.field {
                Field::Name => &entry.name,
                Field::Namespace => &entry.namespace,
                Field::Own(place) => entry.fields.get(place).map_or("", |value| value),
            };
            (*found == *term.value) == term.equal
        }) && self.labels.matches(entry)
    }
}

fn field(name: &str, behavior: &Behavior) -> Result<Field, Fault> {
    match name {
        "metadata.name" => return Ok(Field::Name),
        "metadata.namespace" => return Ok(Field::Namespace),
        _ => {}
    }
    if let Some(place) = behavior.selectable_fields.iter().position(|(field, _)| *field == name) {
        return Ok(Field::Own(place));
    }
    // Kinds with fields of their own say it otherwise than those without.
    Err(Fault::bad_request(if behavior.selectable_fields.is_empty() {
        format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            quoted(name)
        )
    } else {
        format!("field label not supported: {name}")
    }))
}
