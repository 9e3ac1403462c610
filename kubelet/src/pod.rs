//! A pod as the kubelet reads it: its members and their roles, its policies, and where it came from.

use std::borrow::Cow;
use std::sync::Arc;

use client::k8s_openapi::api::core::v1::{Container, EphemeralContainer, ObjectReference, Pod, PodSpec};

pub mod backoff;
pub mod downward;
pub mod env;
pub mod manager;
pub mod name;
pub mod observed;
pub mod plan;
pub mod report;
pub mod start;
pub mod status;
pub mod stop;
pub mod worker;

/// Where a pod came from: `api`, or `file` for the static ones.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// The hash of a static pod's manifest, which tells one version from the next.
pub const HASH: &str = "kubernetes.io/config.hash";
/// On the API's picture of a static pod: the hash of what it pictures.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The grace period where a pod names none.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// What a container is to its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that keeps running beside the others.
    Sidecar,
    /// What the pod is for.
    Regular,
    /// Added to a running pod for a look inside.
    Ephemeral,
}

/// A container of a pod and its role.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    pub role: Role,
    pub container: Cow<'a, Container>,
}

impl Member<'_> {
    pub fn name(&self) -> &str {
        &self.container.name
    }

    /// The path of the container inside its pod, as events name it.
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Regular => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.container.name)
    }
}

/// All containers of a pod in the order in which they start.
pub fn members(spec: &PodSpec) -> impl Iterator<Item = Member<'_>> {
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        let role = if sidecar { Role::Sidecar } else { Role::Init };
        Member { role, container: Cow::Borrowed(container) }
    });
    let regular = spec
        .containers
        .iter()
        .map(|container| Member { role: Role::Regular, container: Cow::Borrowed(container) });
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|container| Member { role: Role::Ephemeral, container: Cow::Owned(plain(container.clone())) });
    init.chain(regular).chain(ephemeral)
}

/// The container with this name, whatever its role.
pub fn member<'a>(spec: &'a PodSpec, name: &str) -> Option<Member<'a>> {
    members(spec).find(|member| member.name() == name)
}

/// An ephemeral container without what makes it one.
fn plain(container: EphemeralContainer) -> Container {
    Container {
        args: container.args,
        command: container.command,
        env: container.env,
        env_from: container.env_from,
        image: container.image,
        image_pull_policy: container.image_pull_policy,
        name: container.name,
        resources: container.resources,
        security_context: container.security_context,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        termination_message_path: container.termination_message_path,
        termination_message_policy: container.termination_message_policy,
        tty: container.tty,
        volume_devices: container.volume_devices,
        volume_mounts: container.volume_mounts,
        working_dir: container.working_dir,
        ..Container::default()
    }
}

/// The pod's spec; a pod from the API always has one.
pub fn spec(pod: &Pod) -> Cow<'_, PodSpec> {
    pod.spec.as_ref().map_or_else(|| Cow::Owned(PodSpec::default()), Cow::Borrowed)
}

pub fn uid(pod: &Pod) -> Arc<str> {
    pod.metadata.uid.as_deref().unwrap_or_default().into()
}

/// The uid by which the runtime knows the pod: a static pod has that of its manifest, its picture another.
pub fn runtime_uid(pod: &Pod) -> Arc<str> {
    annotation(pod, MIRROR).map_or_else(|| uid(pod), Arc::from)
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `name_namespace(uid)`, the form of upstream's messages.
pub fn long_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the pod is defined by a file on this node.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE).is_some_and(|source| source != "api")
}

/// Whether the object is only the API's picture of a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

pub fn is_host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true)
}

/// The time between asking and killing, in seconds: what the deletion says, else what the spec says.
pub fn grace_seconds(pod: &Pod) -> i64 {
    let asked = pod.metadata.deletion_timestamp.as_ref().and(pod.metadata.deletion_grace_period_seconds);
    let own = || pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    asked.or_else(own).unwrap_or(DEFAULT_GRACE_SECONDS)
}

/// Refers to a pod, or to one of its containers, in an event.
pub fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    // People look for the events of a static pod on its picture, whose uid is not the static pod's own.
    let uid =
        if is_static(pod) { annotation(pod, HASH).map(str::to_owned) } else { pod.metadata.uid.clone() };
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid,
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

/// What tells one version of a container from the next: upstream hashes its name and image.
pub fn hash(container: &Container) -> u32 {
    let image = container.image.as_deref().unwrap_or_default();
    fnv(format!("{}\0{image}", container.name).as_bytes())
}

/// The 32 bit Fowler-Noll-Vo hash, variant 1a.
pub fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
