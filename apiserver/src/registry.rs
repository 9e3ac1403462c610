//! The generic registry: what every stored resource does on create, update and delete, over the store.
//!
//! `plan` functions decide on values; this module and its drivers read, call them, and write back with
//! compare-and-swap. Admission runs only for requests that came from outside ([`Act::admission`]).

use std::sync::Arc;

use proto::kind::Kind;
use serde_json::Value;
use store::{KeyValue, Revision};

use crate::admission::{Attributes, Operation};
use crate::fault::Fault;
use crate::object;
use crate::request::{User, Warnings};
use crate::resource::Resource;
use crate::server::Server;
use crate::storage;

pub mod create;
pub mod delete;
pub mod meta;
pub mod namespace;
pub mod update;

/// How often a compare-and-swap is tried again before the caller is told of a conflict. Each try loses only to another
/// write of the same object, so this many mean a fight that trying will not end.
const MOST_TRIES: usize = 64;

/// Who does what to which object, and how.
#[derive(Debug)]
pub struct Act<'a> {
    /// The server.
    pub server: &'a Server,
    /// Where the objects are.
    pub resource: &'a Resource,
    /// The row of the version of the request.
    pub kind: &'static Kind,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name; empty on create.
    pub name: &'a str,
    /// The subresource, or empty.
    pub subresource: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// Whether nothing shall be stored.
    pub dry_run: bool,
    /// Whether admission has a say.
    pub admission: bool,
    /// The options of the request, for admission.
    pub options: &'a Value,
    /// Collects warnings.
    pub warnings: &'a Warnings,
}

/// An object as stored, and its encoded bytes where they are at hand.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The store's revision of it.
    pub revision: Revision,
    /// The object.
    pub object: Value,
}

impl<'a> Act<'a> {
    /// What admission is told.
    pub fn attributes(&'a self, operation: Operation, old: Option<&'a Value>) -> Attributes<'a> {
        Attributes {
            operation,
            group: self.kind.group,
            version: self.kind.version,
            kind: self.kind.kind,
            resource: self.kind.plural,
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            user: self.user,
            old,
            dry_run: self.dry_run,
            options: self.options,
            warnings: self.warnings,
        }
    }

    /// There is no such object.
    pub fn not_found(&self) -> Fault {
        Fault::not_found(self.kind.group, self.kind.plural, self.name)
    }

    /// Something else was faster, or a precondition does not hold.
    pub fn conflict(&self, name: &str, why: &str) -> Fault {
        Fault::conflict(self.kind.group, self.kind.plural, name, why)
    }

    /// The object as the store has it now.
    ///
    /// # Errors
    /// Where the store fails or holds something unreadable.
    pub async fn current(&self) -> Result<Option<Stored>, Fault> {
        let (item, _) =
            self.server.store().get(self.resource.key(self.namespace, self.name).as_bytes()).await?;
        item.map(|item| self.stored(&item)).transpose()
    }

    /// A stored value as an object; out of the cache where the cache has this very revision.
    pub fn stored(&self, item: &KeyValue) -> Result<Stored, Fault> {
        let path = self.resource.path(self.namespace, self.name);
        let cached = self.server.cache().get(self.resource.index, &path);
        let object = match cached.filter(|entry| entry.revision == item.mod_revision) {
            Some(entry) => entry.value(),
            None => storage::decode(self.resource, item)?,
        };
        Ok(Stored { revision: item.mod_revision, object })
    }

    /// Drops owners that are named more than once, with a warning.
    fn owned_once(&self, object: &mut Value) {
        let repeated = meta::drop_repeated_owners(object);
        if !repeated.is_empty() {
            self.warnings.add(format!(
                ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and \
                 may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
                repeated.join(", ")
            ));
        }
    }

    /// Kind and version of the stored form, put in.
    fn typed(&self, object: &mut Value) {
        let row = self.resource.kind;
        object::set_type(object, &row.api_version(), row.kind);
    }

    /// Removes the object at a revision. `None`: somebody was faster.
    async fn remove(&self, revision: Revision, last: &Value) -> Result<Option<Revision>, Fault> {
        let key = self.resource.key(self.namespace, self.name);
        match self.server.store().delete(key.as_bytes(), revision).await? {
            store::Commit::Made(at) => {
                if let Some(hooks) = self.resource.behavior.hooks {
                    hooks.after_delete(self.server, last).await;
                }
                Ok(Some(at))
            }
            store::Commit::Refused(_) => Ok(None),
        }
    }
}

/// A shared server, as handlers of upgraded connections need it.
pub type Shared = Arc<Server>;
