//! The shared state of the server, and what plugins, allocators and handlers may do with it.
//!
//! Resources are named by group and plural name (`"apps", "deployments"`); the namespace is empty for kinds without.
//! [`Server::get`] and [`Server::list`] answer from the cache, at once and a little late; [`Server::read`] asks the
//! store. The writes are made on the server's own behalf: kind behaviour and validation apply, admission and
//! authorization do not.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use store::{LeaseId, Revision, Store};
use tokio::time::Instant;

use crate::allocate::NodePorts;
use crate::authn::Authenticators;
use crate::authz::Rbac;
use crate::backend::Backends;
use crate::cache::{Cache, Entry};
use crate::config::Settings;
use crate::fault::Fault;
use crate::openapi;
use crate::registry::delete::Options;
use crate::registry::update::Part;
use crate::registry::{Act, Stored};
use crate::request::{User, Warnings};
use crate::resource::{Resource, Resources};
use crate::token::Tokens;

/// How long a reader waits for the cache to reach a revision (upstream's figure).
const CATCH_UP: Duration = Duration::from_secs(3);

/// How long one lease is given to new events: they may live this much longer than asked, for far fewer leases.
const LEASE_SHARED_FOR: Duration = Duration::from_secs(60);

/// The shared state of the server. Handlers and plugins get it by reference.
pub struct Server {
    settings: Settings,
    context: daemon::Context,
    store: Arc<dyn Store>,
    resources: Arc<Resources>,
    cache: Arc<Cache>,
    system: User,
    authenticators: Authenticators,
    tokens: Tokens,
    rbac: Rbac,
    backends: Backends,
    lease: Mutex<Option<(LeaseId, Instant)>>,
    node_ports: NodePorts,
    openapi: openapi::State,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("revision", &self.cache.revision()).finish_non_exhaustive()
    }
}

/// A change of an object, applied to its latest state; may be called several times.
pub type Change<'a> = &'a (dyn Fn(&mut Value) -> Result<(), Fault> + Send + Sync);

impl Server {
    /// A server whose cache is empty still: [`crate::source::follow`] fills it.
    ///
    /// # Errors
    /// Where a file that a flag names cannot be used; the message names it.
    pub fn new(settings: Settings, context: daemon::Context, store: Arc<dyn Store>) -> anyhow::Result<Self> {
        let authenticators = Authenticators::read(&settings)?;
        let backends = Backends::read(&settings)?;
        let tokens = Tokens::read(&settings)?;
        let resources = Arc::new(Resources::new(&settings.etcd_prefix));
        let cache = Arc::new(Cache::new(resources.all().len()));
        let system = User {
            name: "system:apiserver".to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            ..User::default()
        };
        let lease = Mutex::new(None);
        let node_ports = NodePorts::new(settings.service_node_port_range);
        let rbac = Rbac::default();
        Ok(Self {
            settings,
            context,
            store,
            resources,
            cache,
            system,
            authenticators,
            tokens,
            rbac,
            backends,
            lease,
            node_ports,
            openapi: openapi::State::default(),
        })
    }

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

    /// What tells users apart.
    pub fn authenticators(&self) -> &Authenticators {
        &self.authenticators
    }

    /// What service account tokens are made and checked with.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who may do what by roles.
    pub(crate) fn rbac(&self) -> &Rbac {
        &self.rbac
    }

    /// Whom we call ourselves: kubelets, pods, services.
    pub(crate) fn backends(&self) -> &Backends {
        &self.backends
    }

    /// The stored resources.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The cache itself; mostly [`Server::get`] and [`Server::list`] are what is wanted.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// The node ports that Services hold.
    pub(crate) fn node_ports(&self) -> &NodePorts {
        &self.node_ports
    }

    /// What is kept of the OpenAPI documents.
    pub(crate) fn openapi(&self) -> &openapi::State {
        &self.openapi
    }

    /// An object out of the cache.
    pub fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let resource = self.resources.of(group, resource)?;
        self.cache.get(resource.index, &resource.path(namespace, name))
    }

    /// All objects of a resource out of the cache, by key; of one namespace, or (empty) of all.
    pub fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Entry>> {
        let Some(resource) = self.resources.of(group, resource) else { return Vec::new() };
        self.cache.list(resource.index, &resource.path_prefix(namespace), "").entries
    }

    /// An object as the store has it now.
    pub async fn read(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Fault> {
        let warnings = Warnings::default();
        let act = self.act(group, resource, namespace, name, &warnings)?;
        Ok(act.current().await?.map(|stored: Stored| stored.object))
    }

    /// Makes an object; gives it back as stored.
    ///
    /// # Errors
    /// As the API would.
    pub async fn create(&self, group: &str, resource: &str, object: Value) -> Result<Value, Fault> {
        let warnings = Warnings::default();
        let namespace = crate::object::meta(&object, "namespace").to_owned();
        self.act(group, resource, &namespace, "", &warnings)?.create(object).await
    }

    /// Changes an object's latest state, again if somebody else was faster; gives it back as stored. Both `status` and
    /// the rest may be changed.
    ///
    /// # Errors
    /// As the API would, and what `change` says.
    pub async fn update(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        change: Change<'_>,
    ) -> Result<Value, Fault> {
        let warnings = Warnings::default();
        let act = self.act(group, resource, namespace, name, &warnings)?;
        let make = |old: Option<&Value>| {
            let mut new = old.cloned().unwrap_or_default();
            change(&mut new)?;
            Ok(new)
        };
        Ok(act.update(Part::Free, &make).await?.object)
    }

    /// Deletes an object, at once unless finalizers hold it.
    ///
    /// # Errors
    /// As the API would.
    pub async fn delete(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), Fault> {
        let warnings = Warnings::default();
        let act = self.act(group, resource, namespace, name, &warnings)?;
        act.delete(&Options { grace: Some(0), ..Options::default() }).await.map(drop)
    }

    fn act<'a>(
        &'a self,
        group: &str,
        resource: &str,
        namespace: &'a str,
        name: &'a str,
        warnings: &'a Warnings,
    ) -> Result<Act<'a>, Fault> {
        let resource: &Resource = self.resources.of(group, resource).ok_or_else(Fault::no_such_path)?;
        Ok(Act {
            server: self,
            resource,
            kind: resource.kind,
            namespace,
            name,
            subresource: "",
            user: &self.system,
            dry_run: false,
            admission: false,
            options: &Value::Null,
            warnings,
        })
    }

    /// Waits until the cache holds all that the store held when this was called; says up to which revision.
    ///
    /// # Errors
    /// Where the store does not answer, or the cache does not get there in time.
    pub async fn fresh(&self) -> Result<Revision, Fault> {
        let (_, revision) = self.store.get(self.settings.etcd_prefix.as_bytes()).await?;
        self.reached(revision).await?;
        Ok(revision)
    }

    /// Waits until the cache holds a revision.
    ///
    /// # Errors
    /// Where that takes too long, which may mean the revision is from another store.
    pub async fn reached(&self, revision: Revision) -> Result<(), Fault> {
        if self.cache.revision() >= revision {
            return Ok(());
        }
        let mut revisions = self.cache.revisions();
        self.store.request_progress().await?;
        let waited = tokio::time::timeout(CATCH_UP, revisions.wait_for(|known| *known >= revision)).await;
        if matches!(waited, Ok(Ok(_))) {
            return Ok(());
        }
        let known = self.cache.revision();
        let text = format!("Too large resource version: {revision}, current: {known}");
        Err(Fault::timeout(text, 1).cause("ResourceVersionTooLarge", "Too large resource version", ""))
    }

    /// The lease that new values of a resource get: events expire, the rest stays.
    pub(crate) async fn lease_for(&self, resource: &Resource) -> Result<LeaseId, Fault> {
        if !(resource.kind.group.is_empty() && resource.kind.plural == "events") {
            return Ok(0);
        }
        let now = Instant::now();
        if let Some((lease, since)) = *self.lease.lock()
            && now.duration_since(since) < LEASE_SHARED_FOR
        {
            return Ok(lease);
        }
        let lease = self.store.grant(self.settings.event_ttl + LEASE_SHARED_FOR).await?;
        *self.lease.lock() = Some((lease, now));
        Ok(lease)
    }
}
