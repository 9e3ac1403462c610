//! What a node may write: only what is about itself and its pods, and nothing by which it would draw work to itself.

use base64::Engine;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::account::{MIRROR, is_mirror};
use super::{Attributes, Operation, Plugin};
use crate::authz::node::{name_of, named_by};
use crate::fault::Fault;
use crate::kind::fill;
use crate::object;
use crate::server::Server;

/// Keeps nodes from writing what is not theirs.
#[derive(Debug)]
pub(super) struct NodeRestriction;

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// Labels of Kubernetes' own that nodes give themselves.
const OWN_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Whose labels nodes may set besides: these domains, and what is below them.
const OWN_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The domain of labels by which others keep nodes apart, which no node may touch.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// The signers of nodes' certificates.
const SIGNERS: &[&str] = &["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

#[async_trait::async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn is_default(&self) -> bool {
        false
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        name_of(attributes.user).is_some()
    }

    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        server: &Server,
    ) -> Result<(), Fault> {
        let node = name_of(attributes.user).unwrap_or_default();
        if node.is_empty() {
            let user = crate::field::quoted(&attributes.user.name);
            return Err(refuse(attributes, &format!("could not determine node from user {user}")));
        }
        // What is asked of the store is asked first, so that the judgement is a matter of values alone.
        let other = other(attributes, object, node, server).await?;
        judge(attributes, object, node, other.as_ref()).map_err(|why| refuse(attributes, &why))
    }
}

fn refuse(attributes: &Attributes<'_>, why: &str) -> Fault {
    Fault::forbidden(attributes.group, attributes.resource, attributes.name, why)
}

/// The object besides the written one that a judgement needs: the pod of a token or an eviction, the node of a mirror.
async fn other(
    attributes: &Attributes<'_>,
    object: &Value,
    node: &str,
    server: &Server,
) -> Result<Option<Value>, Fault> {
    let create = attributes.operation == Operation::Create;
    let (resource, namespace, name) = match (attributes.resource, attributes.subresource) {
        ("serviceaccounts", "token") if create => {
            ("pods", attributes.namespace, fill::text(object, "spec.boundObjectRef.name"))
        }
        ("pods", "eviction") => ("pods", attributes.namespace, attributes.name),
        ("pods", "") if create => ("nodes", "", node),
        _ => return Ok(None),
    };
    if name.is_empty() {
        return Ok(None);
    }
    let found = server.read("", resource, namespace, name).await?;
    found.map(Some).ok_or_else(|| Fault::not_found("", resource, name))
}

/// Whether the node may write this.
fn judge(
    attributes: &Attributes<'_>,
    object: &Value,
    node: &str,
    other: Option<&Value>,
) -> Result<(), String> {
    let (old, operation) = (attributes.old.unwrap_or(&Value::Null), attributes.operation);
    let create = operation == Operation::Create;
    match (attributes.group, attributes.resource, attributes.subresource) {
        ("", "pods", "") if create => mirror(object, node, other),
        ("", "pods", "") if operation == Operation::Delete => bound(old, node)
            .map_err(|()| format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        ("", "pods", "") => Err(format!(
            "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
        )),
        ("", "pods", "status") => pod_status(object, old, node),
        ("", "pods", "eviction") => bound(other.unwrap_or(&Value::Null), node)
            .map_err(|()| format!("node {node} can only evict pods with spec.nodeName set to itself")),
        ("", "pods", other) => {
            Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => own_node(attributes, object, old, node),
        ("", "persistentvolumeclaims", "status") => claim_status(object, old, node),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("", "serviceaccounts", "token") if create => token(object, node, other),
        ("coordination.k8s.io", "leases", _) => match attributes.namespace {
            LEASES if attributes.name == node => Ok(()),
            LEASES => Err("can only access node lease with the same name as the requesting node".to_owned()),
            _ => Err(format!("can only access leases in the {LEASES:?} system namespace")),
        },
        ("storage.k8s.io", "csinodes", _) if attributes.name != node => {
            Err("can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("resource.k8s.io", "resourceslices", _) => slice(object, old, operation, node),
        ("certificates.k8s.io", "certificatesigningrequests", "") if create => request(object, node),
        _ => Ok(()),
    }
}

fn bound(pod: &Value, node: &str) -> Result<(), ()> {
    if fill::text(pod, "spec.nodeName") == node { Ok(()) } else { Err(()) }
}

/// A pod that shows what a node runs from its own files.
fn mirror(pod: &Value, node: &str, own: Option<&Value>) -> Result<(), String> {
    if !is_mirror(pod) {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    bound(pod, node)
        .map_err(|()| format!("node {node:?} can only create pods with spec.nodeName set to itself"))?;
    let only = || format!("node {node:?} can only create pods with an owner reference set to itself");
    let owner = match fill::list(pod, "metadata.ownerReferences") {
        [owner] => owner,
        [] => return Err(only()),
        _ => {
            return Err(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Err(only());
    }
    if !fill::flag(owner, "controller") {
        return Err(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if fill::flag(owner, "blockOwnerDeletion") {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let (given, uid) = (fill::text(owner, "uid"), own.map_or("", |own| object::meta(own, "uid")));
    if given != uid {
        return Err(format!("node {node} UID mismatch: expected {given} got {uid}"));
    }
    match named_by(pod) {
        Some(resource) => Err(format!("node {node:?} can not create pods that reference {resource}")),
        None => Ok(()),
    }
}

fn pod_status(new: &Value, old: &Value, node: &str) -> Result<(), String> {
    bound(old, node).map_err(|()| {
        format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
    })?;
    if modified_labels(new, old).next().is_some() {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    for (field, what) in [
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ] {
        if new["status"][field] != old["status"][field] {
            return Err(format!("node {node:?} cannot update {what}"));
        }
    }
    Ok(())
}

fn own_node(attributes: &Attributes<'_>, new: &Value, old: &Value, node: &str) -> Result<(), String> {
    if attributes.name != node {
        return Err(format!("node {node:?} is not allowed to modify node {:?}", attributes.name));
    }
    let create = attributes.operation == Operation::Create;
    if attributes.operation == Operation::Update {
        if fill::list(new, "spec.taints") != fill::list(old, "spec.taints") {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        if fill::list(new, "metadata.ownerReferences") != fill::list(old, "metadata.ownerReferences") {
            return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
        }
    } else if !create {
        return Ok(());
    }
    let mut forbidden: Vec<&str> = modified_labels(new, old).filter(|label| is_forbidden(label)).collect();
    forbidden.sort_unstable();
    forbidden.dedup();
    match forbidden.join(", ") {
        none if none.is_empty() => Ok(()),
        labels if create => {
            Err(format!("node {node:?} is not allowed to set the following labels: {labels}"))
        }
        labels => Err(format!("is not allowed to modify labels: {labels}")),
    }
}

/// The labels that are not the same in both.
fn modified_labels<'a>(new: &'a Value, old: &'a Value) -> impl Iterator<Item = &'a str> {
    let labels = |object: &'a Value| object["metadata"]["labels"].as_object().into_iter().flatten();
    let differs = |(key, value): (&'a String, &'a Value), than: &'a Value| {
        (than["metadata"]["labels"].get(key) != Some(value)).then_some(key.as_str())
    };
    labels(new)
        .filter_map(move |pair| differs(pair, old))
        .chain(labels(old).filter_map(move |pair| differs(pair, new)))
}

/// Whether a node must not give itself a label.
fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    let own = OWN_LABELS.contains(&label) || OWN_DOMAINS.iter().any(|of| within(of));
    within(RESTRICTED) || (within("kubernetes.io") || within("k8s.io")) && !own
}

/// Of a claim, a node tells only how large it is and how it fares.
fn claim_status(new: &Value, old: &Value, node: &str) -> Result<(), String> {
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for field in ["resourceVersion", "managedFields"] {
            object::set_meta(&mut claim, field, None);
        }
        if let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) {
            for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
                status.remove(field);
            }
        }
        claim
    };
    if crate::kind::check::same(&rest(new), &rest(old)) {
        return Ok(());
    }
    Err(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
    ))
}

/// A token is for a pod that runs on the node, and for whom that pod asks.
fn token(request: &Value, node: &str, pod: Option<&Value>) -> Result<(), String> {
    let wanted = &request["spec"]["boundObjectRef"];
    let Some(pod) = pod.filter(|_| wanted["apiVersion"] == "v1" && wanted["kind"] == "Pod") else {
        return Err("node requested token not bound to a pod".to_owned());
    };
    let uid = fill::text(wanted, "uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    if uid != object::meta(pod, "uid") {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        ));
    }
    bound(pod, node)
        .map_err(|()| "node requested token bound to a pod scheduled on a different node".to_owned())?;
    let audience = match fill::list(request, "spec.audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    let sources =
        fill::list(pod, "spec.volumes").iter().flat_map(|volume| fill::list(volume, "projected.sources"));
    let mut asked = sources.filter_map(|source| source.get("serviceAccountToken"));
    if asked.any(|token| fill::text(token, "audience") == audience) {
        return Ok(());
    }
    Err(format!(
        "audience {audience:?} not found in pod spec volume, system:node:{node} is not authorized to request tokens \
         for this audience"
    ))
}

fn slice(new: &Value, old: &Value, operation: Operation, node: &str) -> Result<(), String> {
    let slice = match operation {
        Operation::Create => new,
        Operation::Delete => old,
        _ => return Ok(()),
    };
    if fill::text(slice, "spec.nodeName") == node {
        return Ok(());
    }
    let verb = if operation == Operation::Create { "create" } else { "delete" };
    Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
}

/// A node asks for certificates with its own name.
fn request(request: &Value, node: &str) -> Result<(), String> {
    if !SIGNERS.contains(&fill::text(request, "spec.signerName")) {
        return Ok(());
    }
    let text = fill::text(request, "spec.request");
    let malformed = || "unable to parse csr: PEM block type must be CERTIFICATE REQUEST".to_owned();
    let pem = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| malformed())?;
    let block =
        x509_parser::pem::Pem::iter_from_buffer(&pem).next().and_then(Result::ok).ok_or_else(malformed)?;
    let (_, parsed) = X509CertificationRequest::from_der(&block.contents).map_err(|_| malformed())?;
    let subject = &parsed.certification_request_info.subject;
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    if name == Some(format!("system:node:{node}").as_str()) {
        return Ok(());
    }
    Err(format!("can only create a node CSR with CN=system:node:{node}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_of_nodes() {
        for (label, forbidden) in [
            ("kubernetes.io/hostname", false),
            ("node.kubernetes.io/anything", false),
            ("a.kubelet.kubernetes.io/x", false),
            ("example.com/x", false),
            ("x", false),
            ("node-role.kubernetes.io/control-plane", true),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("k8s.io/x", true),
            ("notk8s.io/x", false),
        ] {
            assert_eq!(is_forbidden(label), forbidden, "{label}");
        }
    }

    #[test]
    fn mirror_pods_name_nothing() {
        let own = json!({"metadata": {"uid": "u"}});
        let pod = |change: fn(&mut Value)| {
            let mut pod = json!({
                "metadata": {
                    "annotations": {MIRROR: "x"},
                    "ownerReferences": [
                        {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true},
                    ],
                },
                "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
            });
            change(&mut pod);
            mirror(&pod, "n", Some(&own))
        };
        assert_eq!(pod(|_| {}), Ok(()));
        let changes: [fn(&mut Value); 5] = [
            |pod| pod["metadata"]["annotations"] = json!({}),
            |pod| pod["spec"]["nodeName"] = "m".into(),
            |pod| pod["metadata"]["ownerReferences"] = json!([]),
            |pod| pod["metadata"]["ownerReferences"][0]["uid"] = "other".into(),
            |pod| pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]),
        ];
        for change in changes {
            assert!(pod(change).is_err());
        }
    }

    #[test]
    fn tokens_are_for_pods_of_the_node() {
        let pod = json!({"metadata": {"uid": "u"}, "spec": {"nodeName": "n", "volumes": [
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"audience": "a"}}]}},
        ]}});
        let ask = |uid: &str, audiences: Value, node: &str| {
            let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid});
            token(&json!({"spec": {"boundObjectRef": reference, "audiences": audiences}}), node, Some(&pod))
        };
        assert_eq!(ask("u", json!([]), "n"), Ok(()));
        assert_eq!(ask("u", json!(["a"]), "n"), Ok(()));
        for (uid, audiences, node) in
            [("", json!([]), "n"), ("v", json!([]), "n"), ("u", json!(["b"]), "n"), ("u", json!([]), "m")]
        {
            assert!(ask(uid, audiences, node).is_err());
        }
    }
}
