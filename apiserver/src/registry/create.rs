//! Making an object: names, metadata, preparation, validation, and the write.

use rand::Rng;
use serde_json::Value;
use store::Commit;

use super::{Act, meta};
use crate::admission::{self, Operation};
use crate::fault::Fault;
use crate::object::{self, meta_value, set_meta};
use crate::storage;

/// The characters of generated names: no vowels, so that no words come out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many characters are appended to `generateName`.
const SUFFIX: usize = 5;

/// The longest base of a generated name: 63 less the suffix.
const LONGEST_BASE: usize = 58;

/// How often a generated name is tried that turns out to be taken.
const NAME_TRIES: usize = 8;

/// Metadata that is not taken from clients. Who owns which field is not told yet, so what a client says of it is void.
const UNTAKEN: [&str; 5] =
    ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "managedFields"];

/// A name made out of a prefix.
pub fn generated(prefix: &str) -> String {
    let mut random = rand::rng();
    let base: String = prefix.chars().take(LONGEST_BASE).collect();
    let suffix = (0..SUFFIX).map(|_| ALPHABET[random.random_range(0..ALPHABET.len())] as char);
    base.chars().chain(suffix).collect()
}

impl Act<'_> {
    /// Makes an object; gives it back as stored.
    ///
    /// # Errors
    /// Where it is not valid, not allowed, or there already.
    pub async fn create(&self, object: Value) -> Result<Value, Fault> {
        let prefix = object::meta(&object, "generateName").to_owned();
        if !object::meta(&object, "name").is_empty() || prefix.is_empty() {
            return self.create_once(object).await;
        }
        let mut taken = String::new();
        for _ in 0..NAME_TRIES {
            let mut named = object.clone();
            taken = generated(&prefix);
            set_meta(&mut named, "name", Some(taken.clone().into()));
            match self.create_once(named).await {
                Err(fault) if fault.reason == "AlreadyExists" => {}
                result => return result,
            }
        }
        Err(Fault::generate_name_conflict(self.kind.group, self.kind.plural, &taken))
    }

    async fn create_once(&self, mut object: Value) -> Result<Value, Fault> {
        let behavior = self.resource.behavior;
        let version = object::meta(&object, "resourceVersion").to_owned();
        if !version.is_empty() && !self.dry_run {
            return Err(Fault::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        fill(&mut object, self.namespace, self.resource.kind.namespaced);
        let name = object::meta(&object, "name").to_owned();
        let act = Act { name: &name, ..*self };
        act.typed(&mut object);
        act.owned_once(&mut object);
        if act.admission {
            act.namespace_accepts().await?;
            let attributes = act.attributes(Operation::Create, None);
            admission::admit(&attributes, &mut object, act.server).await?;
        }
        (behavior.prepare_create)(&mut object);
        if !version.is_empty() {
            // Only what is stored must have none.
            set_meta(&mut object, "resourceVersion", Some(version.into()));
        }
        set_meta(&mut object, "generation", behavior.generation.then(|| 1.into()));
        let finish = match behavior.hooks {
            Some(hooks) => hooks.begin_create(act.server, &mut object, act.dry_run).await?,
            None => None,
        };
        let result = act.create_prepared(object).await;
        if let Some(finish) = finish {
            finish(act.server, result.is_ok()).await;
        }
        result
    }

    async fn create_prepared(&self, object: Value) -> Result<Value, Fault> {
        let behavior = self.resource.behavior;
        let mut errors = meta::validate(&object, behavior.name_rule, self.resource.kind.namespaced);
        errors.extend((behavior.validate_create)(&object));
        if !errors.is_empty() {
            return Err(Fault::invalid(self.kind.group, self.kind.kind, self.name, &errors));
        }
        for warning in (behavior.warnings)(&object, None) {
            self.warnings.add(warning);
        }
        if self.admission {
            let attributes = self.attributes(Operation::Create, None);
            admission::validate(&attributes, &object, self.server).await?;
        }
        let key = self.resource.key(self.namespace, self.name);
        let exists = || Fault::already_exists(self.kind.group, self.kind.plural, self.name);
        if self.dry_run {
            let (item, _) = self.server.store().get(key.as_bytes()).await?;
            return if item.is_some() {
                Err(exists())
            } else {
                object::as_stored(object, self.resource.kind)
            };
        }
        let lease = self.server.lease_for(self.resource).await?;
        let value = object::to_stored(&object, self.resource.kind)?;
        match self.server.store().put(key.as_bytes(), value, 0, lease).await? {
            Commit::Made(revision) => {
                let mut object = object::as_stored(object, self.resource.kind)?;
                storage::set_revision(&mut object, revision);
                Ok(object)
            }
            Commit::Refused(Some(item)) => {
                let dying = meta_value(&self.stored(&item)?.object, "deletionTimestamp").is_some();
                let fault = exists();
                let message = format!("object is being deleted: {}", fault.message);
                Err(if dying { fault.with_message(message) } else { fault })
            }
            Commit::Refused(None) => Err(exists()),
        }
    }
}

/// Sets what the server alone sets on a new object, and drops what it does not take from clients.
fn fill(object: &mut Value, namespace: &str, namespaced: bool) {
    for field in UNTAKEN {
        set_meta(object, field, None);
    }
    set_meta(object, "creationTimestamp", Some(object::time(object::now()).into()));
    set_meta(object, "uid", Some(uuid::Uuid::new_v4().to_string().into()));
    if namespaced {
        set_meta(object, "namespace", Some(namespace.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names() {
        let name = generated("web-");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_eq!(generated(&"x".repeat(80)).len(), 63);
    }
}
