//! Changing an object: the new state is made from the latest one, judged, and swapped in.

use proto::kind::Kind;
use serde_json::Value;
use store::{Commit, Revision};

use super::{Act, MOST_TRIES, Stored, meta};
use crate::admission::{self, Operation};
use crate::fault::Fault;
use crate::field::FieldError;
use crate::object::{self, meta_value, set_meta};
use crate::storage;

/// How a subresource changes the part of an object that is its own.
#[derive(Debug)]
pub struct Rule {
    /// Puts back everything that is not its own.
    pub prepare: fn(new: &mut Value, old: &Value),
    /// What is wrong with the change.
    pub validate: fn(new: &Value, old: &Value) -> Vec<FieldError>,
}

/// The resources whose kinds leave metadata to the registry on update.
const JUDGED_ONCE: &[&str] = &[
    "csinodes",
    "endpointslices",
    "events",
    "flowschemas",
    "limitranges",
    "mutatingadmissionpolicies",
    "persistentvolumes",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "volumeattachments",
];

/// How often metadata is judged when objects of a kind change.
pub(crate) fn times_judged(kind: &Kind) -> usize {
    if JUDGED_ONCE.contains(&kind.plural) { 1 } else { 2 }
}

/// What part of an object an update may change.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// The object, as the kind's strategy has it.
    Whole,
    /// Its `status`.
    Status,
    /// What belongs to a subresource.
    Own(&'static Rule),
    /// Whatever `make` changes, by the rules of a subresource that has checked it itself.
    Free,
}

/// Makes the new state of an object out of the latest one (`None`: there is none, and the kind may make it).
pub type Make<'a> = &'a (dyn Fn(Option<&Value>) -> Result<Value, Fault> + Send + Sync);

/// What an update came to.
#[derive(Debug)]
pub struct Updated {
    /// The object after it.
    pub object: Value,
    /// Whether it did not exist before.
    pub created: bool,
}

impl Act<'_> {
    /// Changes an object; gives it back as stored. Tried again while others are faster.
    ///
    /// # Errors
    /// Where it does not exist, has changed since the caller read it, is not valid or not allowed.
    pub async fn update(&self, part: Part, make: Make<'_>) -> Result<Updated, Fault> {
        for _ in 0..MOST_TRIES {
            let Some(current) = self.current().await? else {
                if matches!(part, Part::Whole) && self.resource.behavior.create_on_update {
                    let object = self.create(make(None)?).await?;
                    return Ok(Updated { object, created: true });
                }
                return Err(self.not_found());
            };
            let new = make(Some(&current.object))?;
            if let Some(object) = self.swap(part, &current, new).await? {
                return Ok(Updated { object, created: false });
            }
        }
        Err(Fault::modified(self.kind.group, self.kind.plural, self.name))
    }

    /// One try. `None`: somebody was faster.
    async fn swap(&self, part: Part, current: &Stored, mut new: Value) -> Result<Option<Value>, Fault> {
        let old = &current.object;
        self.typed(&mut new);
        self.owned_once(&mut new);
        self.same_object(&new, current)?;
        if self.admission {
            let attributes = self.attributes(Operation::Update, Some(old));
            admission::admit(&attributes, &mut new, self.server).await?;
        }
        meta::keep(&mut new, old);
        let behavior = self.resource.behavior;
        match part {
            Part::Whole => (behavior.prepare_update)(&mut new, old),
            Part::Status => (behavior.prepare_status)(&mut new, old),
            Part::Own(rule) => (rule.prepare)(&mut new, old),
            Part::Free => {}
        }
        set_meta(&mut new, "resourceVersion", meta_value(old, "resourceVersion").cloned());
        let counts = || {
            let differs = |field: &&str| meta_value(&new, field) != meta_value(old, field);
            spec_differs(&new, old) || behavior.counted_metadata.iter().any(differs)
        };
        if behavior.generation && !matches!(part, Part::Status) && counts() {
            let generation = meta_value(old, "generation").and_then(Value::as_i64).unwrap_or(0);
            set_meta(&mut new, "generation", Some((generation + 1).into()));
        }
        let finish = match behavior.hooks {
            Some(hooks) if matches!(part, Part::Whole) => {
                hooks.begin_update(self.server, &mut new, old, self.dry_run).await?
            }
            _ => None,
        };
        let result = self.swap_prepared(part, current, new).await;
        if let Some(finish) = finish {
            finish(self.server, matches!(result, Ok(Some(_)))).await;
        }
        result
    }

    async fn swap_prepared(&self, part: Part, current: &Stored, new: Value) -> Result<Option<Value>, Fault> {
        let old = &current.object;
        let behavior = self.resource.behavior;
        let mut errors = meta::validate_update(&new, old);
        // Upstream's registry and most of its kinds both judge metadata, so each mistake is among the causes twice.
        if times_judged(self.kind) > 1 {
            errors.extend_from_within(..);
        }
        errors.extend(match part {
            Part::Whole => (behavior.validate_update)(&new, old),
            Part::Status => (behavior.validate_status)(&new, old),
            Part::Own(rule) => (rule.validate)(&new, old),
            Part::Free => Vec::new(),
        });
        if !errors.is_empty() {
            return Err(Fault::invalid(self.kind.group, self.kind.kind, self.name, &errors));
        }
        for warning in (behavior.warnings)(&new, Some(old)) {
            self.warnings.add(warning);
        }
        if self.admission {
            let attributes = self.attributes(Operation::Update, Some(old));
            admission::validate(&attributes, &new, self.server).await?;
        }
        if super::delete::is_finished(&new, old) {
            return self.finish_deletion(current.revision, new).await;
        }
        if self.dry_run || new == *old {
            return Ok(Some(new));
        }
        self.put(current.revision, new).await
    }

    /// Swaps in a new state. `None`: somebody was faster.
    pub(super) async fn put(&self, revision: Revision, new: Value) -> Result<Option<Value>, Fault> {
        let key = self.resource.key(self.namespace, self.name);
        let value = object::to_stored(&new, self.resource.kind)?;
        let lease = self.server.lease_for(self.resource).await?;
        match self.server.store().put(key.as_bytes(), value, revision, lease).await? {
            Commit::Made(revision) => {
                let mut new = object::as_stored(new, self.resource.kind)?;
                storage::set_revision(&mut new, revision);
                Ok(Some(new))
            }
            Commit::Refused(_) => Ok(None),
        }
    }

    async fn finish_deletion(&self, revision: Revision, last: Value) -> Result<Option<Value>, Fault> {
        if self.dry_run || self.remove(revision, &last).await?.is_some() {
            return Ok(Some(last));
        }
        Ok(None)
    }

    /// Whether the caller means the object that is there, in the state that it has.
    fn same_object(&self, new: &Value, current: &Stored) -> Result<(), Fault> {
        let uid = object::meta(new, "uid");
        let own = object::meta(&current.object, "uid");
        if !uid.is_empty() && uid != own {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
                 failed: UID in precondition: {uid}, UID in object meta: {own}",
                self.resource.key(self.namespace, self.name)
            );
            return Err(self.conflict(self.name, &why));
        }
        let version = object::meta(new, "resourceVersion");
        if version.is_empty() {
            if self.resource.behavior.unconditional_update {
                return Ok(());
            }
            let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            return Err(Fault::invalid(self.kind.group, self.kind.plural, self.name, &[error]));
        }
        match version.parse::<Revision>() {
            Ok(0) if self.resource.behavior.unconditional_update => Ok(()),
            Ok(revision) if revision == current.revision => Ok(()),
            Ok(_) => Err(Fault::modified(self.kind.group, self.kind.plural, self.name)),
            Err(_) => {
                Err(Fault::new(500, "", format!("strconv.ParseUint: parsing {version:?}: invalid syntax")))
            }
        }
    }
}

/// Whether anything but `metadata` and `status` differs.
fn spec_differs(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new != old };
    let counts = |key: &str| !matches!(key, "metadata" | "status" | "kind" | "apiVersion");
    new.iter().any(|(key, value)| counts(key) && old.get(key) != Some(value))
        || old.keys().any(|key| counts(key) && !new.contains_key(key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_counts_as_a_change_of_the_spec() {
        let old = json!({"metadata": {"a": 1}, "status": 1, "spec": {"x": 1}});
        let cases = [
            (json!({"metadata": {"a": 2}, "status": 2, "spec": {"x": 1}}), false),
            (json!({"spec": {"x": 2}}), true),
            (json!({"metadata": {}}), true),
            (json!({"spec": {"x": 1}, "data": 1}), true),
        ];
        for (new, expected) in cases {
            assert_eq!(spec_differs(&new, &old), expected, "{new}");
        }
    }
}
