//! How each kind behaves beyond what all kinds have in common: defaults, strategy, validation, selectable fields.
//!
//! `behavior(group, resource)` finds the row. A kind with behaviour of its own has a file in `kind/` with one
//! `pub(crate) const BEHAVIOR: Behavior = Behavior { default: ..., ..GENERIC };` and one row in [`BEHAVIORS`].
//! Objects are JSON values in the version of the request; everything here is pure. What needs the store, the
//! caches or an allocator goes into [`Hooks`].

pub(crate) mod check;
mod cluster;
pub(crate) mod fill;
pub(crate) mod format;
mod job;
mod network;
pub(crate) mod pod;
pub(crate) mod podspec;
pub(crate) mod quantity;
mod rbac;
pub(crate) mod service;
pub(crate) mod signing;
mod storage;
mod workload;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::fault::Fault;
use crate::field::FieldError;
use crate::server::Server;

/// What names of a kind's objects must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, 253 characters at most.
    Subdomain,
    /// RFC 1123 label, 63 characters at most.
    Label,
    /// RFC 1035 label: begins with a letter.
    DnsLabel1035,
    /// Anything that can be a path segment: not `.`, `..`, no `/`, no `%`.
    PathSegment,
    /// A rule that the kind's own `validate_create` holds.
    Own,
}

/// How the deletion of one object shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// It goes at once (unless finalizers hold it).
    None,
    /// It stays for so many seconds with `deletionTimestamp` set, until somebody deletes it with 0.
    Seconds(i64),
}

/// The text of a field of an object.
pub type FieldText = fn(&Value) -> String;

/// What is particular to a kind. All functions get and give whole objects.
#[derive(Clone, Copy)]
pub struct Behavior {
    /// Fills in defaults: after decoding each request body and each stored value.
    pub default: fn(&mut Value),
    /// Before validation on create: drops what clients may not set (`status`), sets what they must not choose.
    pub prepare_create: fn(&mut Value),
    /// Before validation on update of the object: keeps `status` of `old` and other fields clients may not change.
    /// `metadata.generation` is counted by the caller (see [`Behavior::generation`]).
    pub prepare_update: fn(new: &mut Value, old: &Value),
    /// Before validation on update of the `status` subresource: keeps all but `status` of `old`.
    pub prepare_status: fn(new: &mut Value, old: &Value),
    /// What is wrong with a new object (metadata is checked by the caller).
    pub validate_create: fn(&Value) -> Vec<FieldError>,
    /// What is wrong with a change (metadata is checked by the caller).
    pub validate_update: fn(new: &Value, old: &Value) -> Vec<FieldError>,
    /// What is wrong with a change of `status`.
    pub validate_status: fn(new: &Value, old: &Value) -> Vec<FieldError>,
    /// Texts for `Warning` headers; `old` is there on update.
    pub warnings: fn(new: &Value, old: Option<&Value>) -> Vec<String>,
    /// Fields that field selectors may name besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: &'static [(&'static str, FieldText)],
    /// What names must look like.
    pub name_rule: NameRule,
    /// Whether `metadata.generation` is kept: 1 on create, plus one with each change outside `metadata` and `status`.
    pub generation: bool,
    /// Metadata whose change counts for the generation, too.
    pub counted_metadata: &'static [&'static str],
    /// Whether PUT of an object that does not exist creates it.
    pub create_on_update: bool,
    /// Whether PUT without `metadata.resourceVersion` is allowed.
    pub unconditional_update: bool,
    /// How a deletion goes; `requested` is `gracePeriodSeconds` of the request.
    pub grace: fn(object: &Value, requested: Option<i64>) -> Grace,
    /// What must be done with help of the store and caches; mostly nothing.
    pub hooks: Option<&'static dyn Hooks>,
}

impl std::fmt::Debug for Behavior {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Behavior").field("name_rule", &self.name_rule).finish_non_exhaustive()
    }
}

/// Called with whether the write that a hook prepared was made; gives back what the hook had reserved if not.
pub type Finish = Box<dyn for<'a> FnOnce(&'a Server, bool) -> BoxFuture<'a, ()> + Send>;

/// What a kind does around writes with help of the server. Errors refuse the request.
#[async_trait::async_trait]
pub trait Hooks: Send + Sync {
    /// After validation's preparation and before validation of a create: allocate addresses, ports.
    async fn begin_create(
        &self,
        _server: &Server,
        _object: &mut Value,
        _dry_run: bool,
    ) -> Result<Option<Finish>, Fault> {
        Ok(None)
    }

    /// The same on update.
    async fn begin_update(
        &self,
        _server: &Server,
        _new: &mut Value,
        _old: &Value,
        _dry_run: bool,
    ) -> Result<Option<Finish>, Fault> {
        Ok(None)
    }

    /// After an object is really gone: release what it held.
    async fn after_delete(&self, _server: &Server, _object: &Value) {}
}

/// What a kind without a row does: `status` belongs to the status subresource, the rest to the object.
pub const GENERIC: Behavior = Behavior {
    default: |_| {},
    prepare_create: |_| {},
    prepare_update: |_, _| {},
    prepare_status: keep_all_but_status,
    validate_create: |_| Vec::new(),
    validate_update: |_, _| Vec::new(),
    validate_status: |_, _| Vec::new(),
    warnings: |_, _| Vec::new(),
    selectable_fields: &[],
    name_rule: NameRule::Subdomain,
    generation: false,
    counted_metadata: &[],
    create_on_update: false,
    unconditional_update: true,
    grace: |_, _| Grace::None,
    hooks: None,
};

/// [`GENERIC`] for kinds with a `status` subresource: clients set `status` only there.
pub const WITH_STATUS: Behavior = Behavior {
    prepare_create: drop_status,
    prepare_update: keep_status,
    prepare_status: keep_all_but_status_and_metadata,
    ..GENERIC
};

/// [`WITH_STATUS`] for kinds whose `status` subresource leaves metadata alone.
const WITH_STATUS_ALONE: Behavior = Behavior { prepare_status: keep_all_but_status, ..WITH_STATUS };

/// [`GENERIC`] with a generation.
const WITH_GENERATION: Behavior = Behavior { generation: true, ..GENERIC };

/// [`WITH_STATUS_ALONE`] with a generation.
const WITH_STATUS_AND_GENERATION: Behavior = Behavior { generation: true, ..WITH_STATUS_ALONE };

/// Drops `status`.
pub fn drop_status(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
}

/// Keeps `status` as it was.
pub fn keep_status(new: &mut Value, old: &Value) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get("status") {
        Some(status) => new.insert("status".to_owned(), status.clone()),
        None => new.remove("status"),
    };
}

/// Keeps everything but `status` and metadata; what the server alone sets there is kept elsewhere.
pub fn keep_all_but_status_and_metadata(new: &mut Value, old: &Value) {
    let (Some(fresh), Some(was)) = (new.as_object_mut(), old.as_object()) else { return };
    let mut kept = was.clone();
    for field in ["status", "metadata"] {
        match fresh.remove(field) {
            Some(value) => kept.insert(field.to_owned(), value),
            None => kept.remove(field),
        };
    }
    *fresh = kept;
}

/// Keeps everything but `status` and what metadata a status update may change (`managedFields`, `resourceVersion`).
pub fn keep_all_but_status(new: &mut Value, old: &Value) {
    let Some(fresh) = new.as_object_mut() else { return };
    let Some(was) = old.as_object() else { return };
    let status = fresh.remove("status");
    let mut kept = was.clone();
    match status {
        Some(status) => kept.insert("status".to_owned(), status),
        None => kept.remove("status"),
    };
    if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "resourceVersion"] {
            if let Some(value) = fresh.get("metadata").and_then(|metadata| metadata.get(key)) {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
    }
    *fresh = kept;
}

/// The kinds with behaviour of their own: group, resource, behaviour.
const BEHAVIORS: &[(&str, &str, &Behavior)] = &[
    ("", "configmaps", &cluster::CONFIG_MAP),
    ("", "endpoints", &network::ENDPOINTS),
    ("", "events", &cluster::CORE_EVENT),
    ("", "limitranges", &cluster::LIMIT_RANGE),
    ("", "namespaces", &cluster::NAMESPACE),
    ("", "nodes", &cluster::NODE),
    ("", "persistentvolumeclaims", &storage::CLAIM),
    ("", "persistentvolumes", &storage::VOLUME),
    ("", "pods", &pod::POD),
    ("", "podtemplates", &pod::POD_TEMPLATE),
    ("", "replicationcontrollers", &workload::REPLICATION_CONTROLLER),
    ("", "resourcequotas", &WITH_STATUS),
    ("", "secrets", &cluster::SECRET),
    ("", "serviceaccounts", &cluster::SERVICE_ACCOUNT),
    ("", "services", &service::SERVICE),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", &cluster::ADMISSION_POLICY),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", &cluster::POLICY_BINDING),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", &cluster::WEBHOOKS),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", &cluster::ADMISSION_POLICY),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", &cluster::POLICY_BINDING),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", &cluster::WEBHOOKS),
    ("apiextensions.k8s.io", "customresourcedefinitions", &WITH_STATUS_AND_GENERATION),
    ("apiregistration.k8s.io", "apiservices", &cluster::API_SERVICE),
    ("apps", "controllerrevisions", &workload::CONTROLLER_REVISION),
    ("apps", "daemonsets", &workload::DAEMON_SET),
    ("apps", "deployments", &workload::DEPLOYMENT),
    ("apps", "replicasets", &workload::REPLICA_SET),
    ("apps", "statefulsets", &workload::STATEFUL_SET),
    ("autoscaling", "horizontalpodautoscalers", &cluster::AUTOSCALER),
    ("batch", "cronjobs", &job::CRON_JOB),
    ("batch", "jobs", &job::JOB),
    ("certificates.k8s.io", "certificatesigningrequests", &cluster::SIGNING_REQUEST),
    ("coordination.k8s.io", "leases", &cluster::LEASE),
    ("discovery.k8s.io", "endpointslices", &network::ENDPOINT_SLICE),
    ("events.k8s.io", "events", &cluster::CORE_EVENT),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &cluster::FLOW_SCHEMA),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &cluster::PRIORITY_LEVEL),
    ("networking.k8s.io", "ingressclasses", &network::INGRESS_CLASS),
    ("networking.k8s.io", "ingresses", &network::INGRESS),
    ("networking.k8s.io", "ipaddresses", &network::IP_ADDRESS),
    ("networking.k8s.io", "networkpolicies", &network::NETWORK_POLICY),
    ("networking.k8s.io", "servicecidrs", &WITH_STATUS_ALONE),
    ("node.k8s.io", "runtimeclasses", &cluster::RUNTIME_CLASS),
    ("policy", "poddisruptionbudgets", &cluster::DISRUPTION_BUDGET),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &rbac::BINDING),
    ("rbac.authorization.k8s.io", "clusterroles", &rbac::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "rolebindings", &rbac::BINDING),
    ("rbac.authorization.k8s.io", "roles", &rbac::ROLE),
    ("resource.k8s.io", "deviceclasses", &WITH_GENERATION),
    ("resource.k8s.io", "resourceclaims", &WITH_STATUS_ALONE),
    ("resource.k8s.io", "resourceslices", &WITH_GENERATION),
    ("scheduling.k8s.io", "priorityclasses", &cluster::PRIORITY_CLASS),
    ("storage.k8s.io", "csidrivers", &storage::CSI_DRIVER),
    ("storage.k8s.io", "csinodes", &storage::CSI_NODE),
    ("storage.k8s.io", "storageclasses", &storage::CLASS),
    ("storage.k8s.io", "volumeattachments", &storage::ATTACHMENT),
];

/// How the objects of a resource behave.
pub fn behavior(group: &str, resource: &str) -> &'static Behavior {
    BEHAVIORS
        .iter()
        .find(|(g, r, _)| *g == group && *r == resource)
        .map_or(&GENERIC, |(_, _, behavior)| *behavior)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_update_of_the_status_changes() {
        let old =
            json!({"metadata": {"name": "a", "labels": {"a": "b"}}, "spec": {"x": 1}, "status": {"y": 1}});
        let change = json!({"metadata": {"name": "a", "annotations": {"c": "d"}, "ownerReferences": [{}]},
            "spec": {"x": 2}, "status": {"y": 2}});
        // Resource, then whether labels, annotations and owners change.
        let cases = [
            (("", "nodes"), [true, true, true]),
            (("", "pods"), [true, true, false]),
            (("apps", "deployments"), [false, true, true]),
            (("storage.k8s.io", "volumeattachments"), [false, false, false]),
        ];
        for ((group, resource), expected) in cases {
            let mut new = change.clone();
            (behavior(group, resource).prepare_status)(&mut new, &old);
            assert_eq!((&new["spec"]["x"], &new["status"]["y"]), (&json!(1), &json!(2)), "{resource}");
            let meta = &new["metadata"];
            let found = ["labels", "annotations", "ownerReferences"]
                .map(|field| meta.get(field) != old["metadata"].get(field));
            assert_eq!(found, expected, "{resource}");
        }
    }
}
