//! In-tree admission: a table of plugins in upstream's order; first all mutate, then all validate.
//!
//! A plugin is a unit struct in a file of `admission/` that implements [`Plugin`], and one row in [`PLUGINS`].

mod account;
mod certificates;
mod defaults;
mod limits;
mod node;
mod pods;
mod runtime;
mod storage;

use serde_json::Value;

use crate::fault::Fault;
use crate::object::meta;
use crate::request::{User, Warnings};
use crate::server::Server;

/// What a request is about to do with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make it.
    Create,
    /// Change it.
    Update,
    /// Remove it.
    Delete,
    /// Connect to it: exec, attach, portforward, proxy.
    Connect,
}

/// What plugins know of a request.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// What is about to be done.
    pub operation: Operation,
    /// The group of the resource.
    pub group: &'a str,
    /// The version of the request.
    pub version: &'a str,
    /// The kind of the object in the request.
    pub kind: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// The subresource, or empty.
    pub subresource: &'a str,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name; may be empty on create.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// The object as it was, on update and delete.
    pub old: Option<&'a Value>,
    /// Whether nothing shall be stored.
    pub dry_run: bool,
    /// `DeleteOptions`, `CreateOptions` or `UpdateOptions`; `Null` where there are none.
    pub options: &'a Value,
    /// Collects texts for `Warning` headers.
    pub warnings: &'a Warnings,
}

impl Attributes<'_> {
    /// Whether this is about the resource itself, not a subresource.
    pub fn is_for(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource && self.subresource.is_empty()
    }

    /// The refusal of a plugin.
    pub fn refused(&self, object: &Value, why: &str) -> Fault {
        let own = [self.name, meta(object, "name"), meta(object, "generateName")];
        let name = own.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
        Fault::forbidden(self.group, self.resource, name, why)
    }
}

/// One admission plugin.
#[async_trait::async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// Whether it is on without being asked for by `--enable-admission-plugins`.
    fn is_default(&self) -> bool {
        true
    }

    /// Whether it wants to see such requests.
    fn handles(&self, attributes: &Attributes<'_>) -> bool;

    /// May change the object (`Null` on delete and connect), or refuse the request.
    async fn admit(
        &self,
        _attributes: &Attributes<'_>,
        _object: &mut Value,
        _server: &Server,
    ) -> Result<(), Fault> {
        Ok(())
    }

    /// May refuse the request.
    async fn validate(
        &self,
        _attributes: &Attributes<'_>,
        _object: &Value,
        _server: &Server,
    ) -> Result<(), Fault> {
        Ok(())
    }
}

/// All plugins, in upstream's order.
const PLUGINS: &[&dyn Plugin] = &[
    &limits::LimitRanger,
    &pods::ServiceAccount,
    &node::NodeRestriction,
    &pods::TaintNodesByCondition,
    &pods::Priority,
    &pods::DefaultTolerationSeconds,
    &defaults::DefaultStorageClass,
    &storage::ObjectInUseProtection,
    &storage::ClaimResize,
    &runtime::RuntimeClass,
    &certificates::Approval,
    &certificates::Signing,
    &certificates::SubjectRestriction,
    &defaults::DefaultIngressClass,
    &pods::Requester,
    &crate::authz::escalation::Escalation,
];

/// The plugins that are on by the flags.
fn plugins(server: &Server) -> impl Iterator<Item = &'static &'static dyn Plugin> {
    let settings = server.settings();
    PLUGINS.iter().filter(|plugin| {
        let named = |names: &[String]| names.iter().any(|name| name == plugin.name());
        (plugin.is_default() || named(&settings.enable_admission_plugins))
            && !named(&settings.disable_admission_plugins)
    })
}

/// Lets every plugin change the object.
///
/// # Errors
/// The first refusal.
pub async fn admit(attributes: &Attributes<'_>, object: &mut Value, server: &Server) -> Result<(), Fault> {
    for plugin in plugins(server).filter(|plugin| plugin.handles(attributes)) {
        plugin.admit(attributes, object, server).await?;
    }
    Ok(())
}

/// Lets every plugin judge the object.
///
/// # Errors
/// The first refusal.
pub async fn validate(attributes: &Attributes<'_>, object: &Value, server: &Server) -> Result<(), Fault> {
    for plugin in plugins(server).filter(|plugin| plugin.handles(attributes)) {
        plugin.validate(attributes, object, server).await?;
    }
    Ok(())
}
