//! Deleting: what a deletion does to an object is decided by [`plan`]; the driver carries it out.

use jiff::{SignedDuration, Timestamp};
use proto::kind::Kind;
use serde_json::{Value, json};

use super::{Act, MOST_TRIES, Stored};
use crate::admission::{self, Operation};
use crate::fault::Fault;
use crate::field::FieldError;
use crate::kind::{Behavior, Grace};
use crate::object::{self, meta, meta_value, set_meta};
use crate::storage;

/// The finalizer that makes the garbage collector leave dependents alone.
const ORPHAN: &str = "orphan";

/// The finalizer that makes the garbage collector delete dependents first.
const FOREGROUND: &str = "foregroundDeletion";

/// Resources that orphan their dependents unless told otherwise.
const ORPHANING: &[(&str, &str)] = &[("", "replicationcontrollers"), ("batch", "jobs")];

/// The resources whose deletion answers with the object that is gone, by group.
const GIVEN_BACK: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ],
    ),
    ("resource.k8s.io", &["deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"]),
    (
        "storage.k8s.io",
        &["csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"],
    ),
];

/// Whether a deletion answers with the object.
pub(crate) fn gives_back(kind: &Kind) -> bool {
    GIVEN_BACK.iter().any(|(group, plurals)| *group == kind.group && plurals.contains(&kind.plural))
}

/// What the caller of a deletion may say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How long the object may take to go.
    pub grace: Option<i64>,
    /// The object must have this uid.
    pub uid: Option<String>,
    /// The object must have this resource version.
    pub revision: Option<String>,
    /// The old way of saying what happens to dependents.
    pub orphan: Option<bool>,
    /// What happens to dependents: `Orphan`, `Background`, `Foreground`.
    pub propagation: Option<String>,
    /// `All` means nothing is stored.
    pub dry_run: Vec<String>,
}

/// What a deletion does to an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// It is on its way out already; nothing changes.
    Pending,
    /// It stays, in this state.
    Keep(Value),
    /// It goes, in this state.
    Remove(Value),
}

/// What a deletion was answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// The object, which stays for now.
    Kept(Value),
    /// The object, which is gone.
    Gone(Value),
}

impl Options {
    /// Reads a `DeleteOptions` object.
    pub fn read(object: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let preconditions = object.get("preconditions");
        Self {
            grace: object.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text(preconditions.and_then(|p| p.get("uid"))),
            revision: text(preconditions.and_then(|p| p.get("resourceVersion"))),
            orphan: object.get("orphanDependents").and_then(Value::as_bool),
            propagation: text(object.get("propagationPolicy")),
            dry_run: object
                .get("dryRun")
                .and_then(Value::as_array)
                .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }

    /// Whether they make sense.
    ///
    /// # Errors
    /// 422 with upstream's texts.
    pub fn validate(&self) -> Result<(), Fault> {
        let mut errors = Vec::new();
        if let Some(policy) = &self.propagation {
            if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    policy.as_str(),
                    &["Foreground", "Background", "Orphan", "nil"],
                ));
            }
            if self.orphan.is_some() {
                errors.push(FieldError::invalid(
                    "propagationPolicy",
                    policy.as_str(),
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
            }
        }
        if self.dry_run.iter().any(|value| value != "All") {
            errors.push(FieldError::not_supported("dryRun", json!(self.dry_run), &["All"]));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Fault::invalid("meta.k8s.io", "DeleteOptions", "", &errors))
    }

    fn orphans(&self, finalizers: &[String], by_default: bool) -> bool {
        if let Some(orphan) = self.orphan {
            return orphan;
        }
        match self.propagation.as_deref() {
            Some("Orphan") => true,
            Some(_) => false,
            None if finalizers.iter().any(|f| f == ORPHAN) => true,
            None if finalizers.iter().any(|f| f == FOREGROUND) => false,
            None => by_default,
        }
    }

    fn in_foreground(&self, finalizers: &[String]) -> bool {
        if self.orphan.is_some() {
            return false;
        }
        match self.propagation.as_deref() {
            Some(policy) => policy == "Foreground",
            None => !finalizers.iter().any(|f| f == ORPHAN) && finalizers.iter().any(|f| f == FOREGROUND),
        }
    }
}

/// What a deletion does to an object.
pub fn plan(
    object: &Value,
    options: &Options,
    behavior: &Behavior,
    orphan_by_default: bool,
    now: Timestamp,
) -> Plan {
    let mut new = object.clone();
    let grace = match (behavior.grace)(object, options.grace) {
        Grace::None => None,
        Grace::Seconds(seconds) => match begin_grace(&mut new, seconds, options.grace, now) {
            Begun::Pending => return Plan::Pending,
            Begun::AtOnce => None,
            Begun::For(seconds) => Some(seconds),
        },
    };
    let before = object::finalizers(object);
    let mut finalizers: Vec<String> =
        before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    let (orphans, foreground) = (options.orphans(&before, orphan_by_default), options.in_foreground(&before));
    for (name, wanted) in [(ORPHAN, orphans), (FOREGROUND, foreground)] {
        if wanted {
            // One that was there keeps its place.
            let place = before.iter().take_while(|f| *f != name).filter(|f| finalizers.contains(f)).count();
            let place = if before.iter().any(|f| f == name) { place } else { finalizers.len() };
            finalizers.insert(place, name.to_owned());
        }
    }
    if finalizers != before {
        set_meta(&mut new, "finalizers", (!finalizers.is_empty()).then(|| finalizers.clone().into()));
    }
    match (finalizers.is_empty(), grace) {
        (false, None) => {
            mark(&mut new, object, now);
            Plan::Keep(new)
        }
        (false, Some(_)) => Plan::Keep(new),
        (true, Some(seconds)) if seconds > 0 => Plan::Keep(new),
        (true, _) => Plan::Remove(new),
    }
}

enum Begun {
    Pending,
    AtOnce,
    For(i64),
}

/// Sets the time at which an object that goes gracefully shall be gone.
fn begin_grace(new: &mut Value, seconds: i64, requested: Option<i64>, now: Timestamp) -> Begun {
    let Some(deadline) = meta_value(new, "deletionTimestamp").and_then(Value::as_str).map(str::to_owned)
    else {
        let deadline = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
        set_meta(new, "deletionTimestamp", Some(object::time(deadline).into()));
        set_meta(new, "deletionGracePeriodSeconds", Some(seconds.into()));
        raise_generation(new);
        return Begun::For(seconds);
    };
    let Some(running) = meta_value(new, "deletionGracePeriodSeconds").and_then(Value::as_i64) else {
        return Begun::AtOnce;
    };
    // A grace period that runs can only be shortened.
    let Some(shorter) = requested.filter(|requested| *requested < running) else { return Begun::Pending };
    if let Ok(deadline) = deadline.parse::<Timestamp>() {
        let moved = deadline.checked_sub(SignedDuration::from_secs(running - shorter)).unwrap_or(deadline);
        set_meta(new, "deletionTimestamp", Some(object::time(moved).into()));
    }
    set_meta(new, "deletionGracePeriodSeconds", Some(shorter.into()));
    Begun::For(shorter)
}

/// Marks an object that only its finalizers hold.
fn mark(new: &mut Value, old: &Value, now: Timestamp) {
    if meta_value(old, "deletionTimestamp").is_none() {
        set_meta(new, "deletionTimestamp", Some(object::time(now).into()));
        raise_generation(new);
    }
    set_meta(new, "deletionGracePeriodSeconds", Some(0.into()));
}

fn raise_generation(object: &mut Value) {
    if let Some(generation) = meta_value(object, "generation").and_then(Value::as_i64).filter(|g| *g > 0) {
        set_meta(object, "generation", Some((generation + 1).into()));
    }
}

/// Whether an update took away the last thing that held an object which is being deleted.
pub(super) fn is_finished(new: &Value, old: &Value) -> bool {
    let held_by_spec = new.get("kind").and_then(Value::as_str) == Some("Namespace")
        && new["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    !held_by_spec
        && object::finalizers(new).is_empty()
        && meta_value(old, "deletionTimestamp").is_some()
        && meta_value(old, "deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) == 0
}

impl Act<'_> {
    /// Deletes the object, or begins to.
    ///
    /// # Errors
    /// Where it does not exist, a precondition does not hold, or it is not allowed.
    pub async fn delete(&self, options: &Options) -> Result<Deleted, Fault> {
        options.validate()?;
        for _ in 0..MOST_TRIES {
            let current = self.current().await?.ok_or_else(|| self.not_found())?;
            if let Some(deleted) = self.delete_once(options, &current).await? {
                return Ok(deleted);
            }
        }
        Err(Fault::modified(self.kind.group, self.kind.plural, self.name))
    }

    async fn delete_once(&self, options: &Options, current: &Stored) -> Result<Option<Deleted>, Fault> {
        let old = &current.object;
        if self.admission {
            self.may_be_deleted()?;
            let attributes = self.attributes(Operation::Delete, Some(old));
            let mut none = Value::Null;
            admission::admit(&attributes, &mut none, self.server).await?;
            admission::validate(&attributes, &none, self.server).await?;
        }
        self.preconditions(options, old)?;
        let plan = if self.kind.group.is_empty() && self.kind.plural == "namespaces" {
            super::namespace::plan(old, options, self.resource.behavior, object::now())
        } else {
            let orphans = ORPHANING.contains(&(self.kind.group, self.kind.plural));
            plan(old, options, self.resource.behavior, orphans, object::now())
        };
        match plan {
            Plan::Pending => Ok(Some(Deleted::Kept(old.clone()))),
            Plan::Keep(new) if self.dry_run || new == *old => Ok(Some(Deleted::Kept(new))),
            Plan::Keep(new) => Ok(self.put(current.revision, new).await?.map(Deleted::Kept)),
            Plan::Remove(last) if self.dry_run => Ok(Some(Deleted::Gone(last))),
            Plan::Remove(mut last) => {
                let removed = self.remove(current.revision, &last).await?;
                Ok(removed.map(|revision| {
                    storage::set_revision(&mut last, revision);
                    Deleted::Gone(last)
                }))
            }
        }
    }

    fn preconditions(&self, options: &Options, object: &Value) -> Result<(), Fault> {
        let check = |wanted: &Option<String>, found: &str, what: &str, hint: &str| match wanted {
            Some(wanted) if wanted != found => Err(Fault::conflict(
                self.kind.group,
                self.kind.kind,
                self.name,
                &format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). \
                     The object might have been {hint}"
                ),
            )),
            _ => Ok(()),
        };
        check(&options.uid, meta(object, "uid"), "UID", "deleted and then recreated")?;
        check(&options.revision, meta(object, "resourceVersion"), "ResourceVersion", "modified")
    }

    /// What the caller of a deletion is told.
    pub fn deletion_answer(&self, deleted: Deleted) -> Value {
        match deleted {
            Deleted::Kept(object) => object,
            Deleted::Gone(object) if gives_back(self.kind) => object,
            Deleted::Gone(object) => {
                let mut details =
                    json!({"name": self.name, "kind": self.kind.plural, "uid": meta(&object, "uid")});
                if !self.kind.group.is_empty() {
                    details["group"] = self.kind.group.into();
                }
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::GENERIC;

    const GRACEFUL: Behavior =
        Behavior { grace: |_, requested| Grace::Seconds(requested.unwrap_or(30)), ..GENERIC };

    fn planned(metadata: Value, options: Value, behavior: &Behavior) -> Plan {
        let now = Timestamp::from_second(100).unwrap();
        plan(&json!({"metadata": metadata}), &Options::read(&options), behavior, false, now)
    }

    #[test]
    fn finalizers_hold_an_object() {
        let dead = json!({"deletionTimestamp": "1970-01-01T00:01:40Z", "deletionGracePeriodSeconds": 0});
        let with = |finalizers: Value| {
            let mut metadata = dead.clone();
            metadata["finalizers"] = finalizers;
            Plan::Keep(json!({"metadata": metadata}))
        };
        let cases = [
            (json!({}), json!({}), Plan::Remove(json!({"metadata": {}}))),
            (json!({"finalizers": ["x.y/1"]}), json!({}), with(json!(["x.y/1"]))),
            (json!({}), json!({"propagationPolicy": "Orphan"}), with(json!(["orphan"]))),
            (json!({}), json!({"propagationPolicy": "Foreground"}), with(json!(["foregroundDeletion"]))),
            (
                json!({"finalizers": ["orphan", "x.y/1"]}),
                json!({"propagationPolicy": "Background"}),
                with(json!(["x.y/1"])),
            ),
        ];
        for (metadata, options, expected) in cases {
            assert_eq!(planned(metadata.clone(), options, &GENERIC), expected, "{metadata}");
        }
    }

    #[test]
    fn grace_periods_run_and_can_be_shortened() {
        let running = |at: &str, seconds: i64| json!({"deletionTimestamp": format!("1970-01-01T00:{at}Z"), "deletionGracePeriodSeconds": seconds});
        let cases = [
            (json!({}), json!({}), Plan::Keep(json!({"metadata": running("02:10", 30)}))),
            (
                json!({}),
                json!({"gracePeriodSeconds": 0}),
                Plan::Remove(json!({"metadata": running("01:40", 0)})),
            ),
            (running("02:10", 30), json!({}), Plan::Pending),
            (running("02:10", 30), json!({"gracePeriodSeconds": 40}), Plan::Pending),
            (
                running("02:10", 30),
                json!({"gracePeriodSeconds": 10}),
                Plan::Keep(json!({"metadata": running("01:50", 10)})),
            ),
            (
                running("02:10", 30),
                json!({"gracePeriodSeconds": 0}),
                Plan::Remove(json!({"metadata": running("01:40", 0)})),
            ),
        ];
        for (metadata, options, expected) in cases {
            assert_eq!(
                planned(metadata.clone(), options.clone(), &GRACEFUL),
                expected,
                "{metadata} {options}"
            );
        }
    }
}
