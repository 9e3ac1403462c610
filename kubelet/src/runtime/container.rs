//! The configuration of a container: command, environment, mounts, security, resources.

use std::collections::BTreeMap;
use std::path::PathBuf;

use client::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext};
use proto::cri::v1::{self as cri, MountPropagation, NamespaceMode, Signal};

use super::sandbox::{Surroundings, groups, namespaces, seccomp};
use crate::pod::env::{Variables, expanded};
use crate::pod::name as label;
use crate::pod::{self, Member, Role, hash, spec};
use crate::quantity;

/// A mount with its place on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub host: PathBuf,
    pub container: String,
    pub readonly: bool,
    pub propagation: Option<String>,
}

/// All that a container's configuration depends on.
#[derive(Debug)]
pub struct Input<'a> {
    pub pod: &'a Pod,
    pub member: &'a Member<'a>,
    pub attempt: u32,
    /// The image as the runtime names it, and whom it runs as.
    pub image: &'a cri::Image,
    pub variables: &'a Variables,
    pub binds: &'a [Bind],
    pub around: &'a Surroundings,
    /// The container whose processes an ephemeral one sees.
    pub target: Option<&'a str>,
}

/// The container's configuration.
///
/// # Errors
/// Where its wishes contradict each other, in upstream's words.
pub fn config(input: &Input<'_>) -> Result<cri::ContainerConfig, String> {
    let container: &Container = &input.member.container;
    let spec = spec(input.pod);
    check_user(input, &spec)?;
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: container.name.clone(), attempt: input.attempt }),
        image: Some(cri::ImageSpec {
            image: input.image.id.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(container.command.as_ref(), input.variables),
        args: expanded(container.args.as_ref(), input.variables),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: input
            .variables
            .iter()
            .map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone().into_bytes().into() })
            .collect(),
        mounts: input.binds.iter().map(mount).collect(),
        devices: Vec::new(),
        labels: labels(input.pod, container),
        annotations: annotations(input.pod, container, input.attempt),
        log_path: label::log_path(&container.name, input.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources(&spec, container, input.around)),
            security_context: Some(security(input, &spec)),
        }),
        windows: None,
        cdi_devices: Vec::new(),
        stop_signal: stop_signal(container),
    })
}

fn stop_signal(container: &Container) -> i32 {
    let wanted = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    wanted.and_then(Signal::from_str_name).map_or(0, |signal| signal as i32)
}

fn labels(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    [
        (label::POD_NAME, pod::name(pod).to_owned()),
        (label::POD_NAMESPACE, pod::namespace(pod).to_owned()),
        (label::POD_UID, pod::uid(pod).to_string()),
        (label::CONTAINER_NAME, container.name.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The path of the termination message where the container names none.
pub const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";

fn annotations(pod: &Pod, container: &Container, attempt: u32) -> BTreeMap<String, String> {
    let path = container.termination_message_path.as_deref().unwrap_or(DEFAULT_MESSAGE_PATH);
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let mut out: BTreeMap<String, String> = [
        (label::CONTAINER_HASH, format!("{:x}", hash(container))),
        (label::RESTART_COUNT, attempt.to_string()),
        (label::MESSAGE_PATH, path.to_owned()),
        (label::MESSAGE_POLICY, policy.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Some(grace) = spec(pod).termination_grace_period_seconds {
        out.insert(label::POD_GRACE.to_owned(), grace.to_string());
    }
    out
}

fn mount(bind: &Bind) -> cri::Mount {
    let propagation = match bind.propagation.as_deref() {
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        _ => MountPropagation::PropagationPrivate,
    };
    cri::Mount {
        container_path: bind.container.clone(),
        host_path: bind.host.display().to_string(),
        readonly: bind.readonly,
        propagation: propagation as i32,
        ..Default::default()
    }
}

/// What the container may use of the node.
pub fn resources(
    spec: &PodSpec,
    container: &Container,
    around: &Surroundings,
) -> cri::LinuxContainerResources {
    /// The period over which a CPU limit holds (upstream's figure).
    const PERIOD_MICROSECONDS: i64 = 100_000;
    let limit = quantity::limit(container, "cpu").map_or(0, quantity::milli);
    let request = quantity::request(container, "cpu").map_or(limit, quantity::milli);
    cri::LinuxContainerResources {
        cpu_period: PERIOD_MICROSECONDS,
        cpu_quota: quantity::cpu_quota(limit),
        cpu_shares: quantity::cpu_shares(request),
        memory_limit_in_bytes: quantity::limit(container, "memory").map_or(0, quantity::value),
        oom_score_adj: quantity::oom_score(spec, container, around.memory),
        ..Default::default()
    }
}

/// A container's own word, else the pod's.
fn user(spec: &PodSpec, own: &SecurityContext) -> (Option<i64>, Option<i64>, Option<bool>) {
    let pods = spec.security_context.clone().unwrap_or_default();
    (
        own.run_as_user.or(pods.run_as_user),
        own.run_as_group.or(pods.run_as_group),
        own.run_as_non_root.or(pods.run_as_non_root),
    )
}

fn check_user(input: &Input<'_>, spec: &PodSpec) -> Result<(), String> {
    let own = input.member.container.security_context.clone().unwrap_or_default();
    let (wanted, _, non_root) = user(spec, &own);
    if non_root != Some(true) {
        return Ok(());
    }
    let place = || format!("pod: \"{}\", container: {}", pod::long_name(input.pod), input.member.name());
    let image = input.image;
    match (wanted, image.uid.as_ref().map(|uid| uid.value)) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy ({})", place())),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => {
            Err(format!("container has runAsNonRoot and image will run as root ({})", place()))
        }
        (None, None) if !image.username.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root ({})",
            image.username,
            place()
        )),
        (None, None) => Err(format!("container has runAsNonRoot and image will run as root ({})", place())),
        (None, Some(_)) => Ok(()),
    }
}

/// What of /proc a container may not see, or not write (as container runtimes agree).
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
const MASKED_FIRMWARE: &str = "/sys/firmware";
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn security(input: &Input<'_>, spec: &PodSpec) -> cri::LinuxContainerSecurityContext {
    let own = input.member.container.security_context.clone().unwrap_or_default();
    let pods = spec.security_context.clone().unwrap_or_default();
    let (wanted, group, _) = user(spec, &own);
    // A group needs a user beside it in CRI: the image's, where nobody else names one.
    let wanted = wanted.or_else(|| input.image.uid.as_ref().map(|uid| uid.value));
    let number = |value: Option<i64>| value.map(|value| cri::Int64Value { value });
    let privileged = own.privileged == Some(true);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let mut namespaces = namespaces(spec);
    if let Some(target) = input.target.filter(|_| input.member.role == Role::Ephemeral) {
        namespaces.pid = NamespaceMode::Target as i32;
        namespaces.target_id = target.to_owned();
    }
    let masked = MASKED.iter().copied().chain([MASKED_FIRMWARE]);
    let paths =
        |list: Vec<&str>| if unmasked { Vec::new() } else { list.into_iter().map(str::to_owned).collect() };
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let profile = own.seccomp_profile.as_ref().or(pods.seccomp_profile.as_ref());
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces),
        run_as_user: number(wanted),
        run_as_group: number(group.filter(|_| wanted.is_some())),
        run_as_username: if wanted.is_none() { input.image.username.clone() } else { String::new() },
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&pods),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(masked.collect()),
        readonly_paths: paths(READ_ONLY.to_vec()),
        seccomp: (!privileged).then(|| seccomp(profile, input.around)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn configured(container: serde_json::Value, image: &cri::Image) -> Result<cri::ContainerConfig, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "d", "uid": "u"},
            "spec": {"containers": [container]},
        }))
        .unwrap();
        let member = pod::member(pod.spec.as_ref().unwrap(), "c").unwrap();
        config(&Input {
            pod: &pod,
            member: &member,
            attempt: 2,
            image,
            variables: &vec![("A".to_owned(), "1".to_owned())],
            binds: &[],
            around: &Surroundings { memory: 1 << 30, ..Surroundings::default() },
            target: None,
        })
    }

    #[test]
    fn commands_resources_and_marks() {
        let image = cri::Image { id: "sha256:1".to_owned(), ..Default::default() };
        let container = json!({
            "name": "c", "image": "x", "command": ["echo", "$(A)"],
            "resources": {"requests": {"memory": "256Mi"}, "limits": {"cpu": "500m"}},
        });
        let config = configured(container, &image).unwrap();
        assert_eq!(config.command, ["echo", "1"]);
        assert_eq!(config.log_path, "c/2.log");
        assert_eq!(config.annotations[label::RESTART_COUNT], "2");
        let resources = config.linux.unwrap().resources.unwrap();
        assert_eq!((resources.cpu_quota, resources.cpu_shares, resources.oom_score_adj), (50_000, 512, 750));
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let root = cri::Image { uid: Some(cri::Int64Value { value: 0 }), ..Default::default() };
        let named = cri::Image { username: "web".to_owned(), ..Default::default() };
        let place = "(pod: \"p_d(u)\", container: c)";
        let cases = [
            (
                json!({"runAsNonRoot": true}),
                &root,
                format!("container has runAsNonRoot and image will run as root {place}"),
            ),
            (
                json!({"runAsNonRoot": true, "runAsUser": 0}),
                &named,
                format!("container's runAsUser breaks non-root policy {place}"),
            ),
            (
                json!({"runAsNonRoot": true}),
                &named,
                format!(
                    "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root {place}"
                ),
            ),
        ];
        for (context, image, expected) in cases {
            assert_eq!(
                configured(json!({"name": "c", "securityContext": context}), image).unwrap_err(),
                expected
            );
        }
        assert!(
            configured(
                json!({"name": "c", "securityContext": {"runAsNonRoot": true, "runAsUser": 5}}),
                &root
            )
            .is_ok()
        );
    }
}
