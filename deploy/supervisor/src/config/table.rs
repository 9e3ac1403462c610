//! The tables of flags, under K3s' names.

use daemon::Flag;

use crate::layout::DATA;
use crate::pause::IMAGE as PAUSE;

/// The usual configuration file.
pub(super) const FILE: &str = "/etc/isopod/config.yaml";

/// Components that can be left out by `--disable`, under our names and K3s'.
pub(super) const DISABLED: &[(&str, &str)] = &[
    ("dns", "dns"),
    ("coredns", "dns"),
    ("ingress", "ingress"),
    ("traefik", "ingress"),
    ("flannel", "flannel"),
    ("kubeproxy", "kubeproxy"),
    ("kube-proxy", "kubeproxy"),
    // Not built yet, so always disabled.
    ("servicelb", ""),
    ("local-storage", ""),
    ("metrics-server", ""),
    ("runtimes", ""),
];

const NODE: [Flag; 25] = [
    Flag::one(
        "config",
        FILE,
        "Read flags from this YAML file, and from *.yaml in the folder of its name and .d",
    ),
    Flag::switch("debug", false, "Log in detail, here and in every component"),
    Flag::one("data-dir", DATA, "The folder of everything that outlives a reboot"),
    Flag::one("run-dir", "/run/isopod", "The folder of sockets and the like"),
    Flag::one("token", "", "The secret with which nodes join; a server makes one where none is given"),
    Flag::one("token-file", "", "A file that holds the token"),
    Flag::one("node-name", "", "The name of the node; the host's name where absent"),
    Flag::many("node-ip", "", "The addresses of the node; that of the default route where absent"),
    Flag::many("node-external-ip", "", "Addresses at which the node is reached from outside"),
    Flag::many("node-label", "", "Labels, key=value, with which the node registers"),
    Flag::many("node-taint", "", "Taints, key=value:effect, with which the node registers"),
    Flag::many(
        "disable",
        "",
        "Components to leave out: dns, ingress, flannel, kubeproxy (and K3s' names of them)",
    ),
    Flag::switch("disable-kube-proxy", false, "Leave the service proxy out"),
    Flag::one("flannel-iface", "", "The interface towards the other nodes"),
    Flag::one("container-runtime-endpoint", "", "Use the container runtime at this CRI socket, start none"),
    Flag::one("pause-image", PAUSE, "The image of the container that holds a pod's namespaces"),
    Flag::one("snapshotter", "overlayfs", "How containerd lays layers over each other: overlayfs or native"),
    Flag::one("resolv-conf", "", "The resolver's configuration that pods inherit"),
    Flag::one(
        "cgroup-root",
        "",
        "The cgroup below which the pods' cgroups are; the tree's root where absent",
    ),
    Flag::many("kubelet-arg", "", "A further flag of the kubelet, name=value"),
    Flag::many("kube-proxy-arg", "", "A further flag of the service proxy, name=value"),
    Flag::many("flannel-arg", "", "A further flag of flannel, name=value"),
    Flag::many("ingress-arg", "", "A further flag of the ingress, name=value"),
    Flag::many("dns-arg", "", "A further flag of the DNS, name=value"),
    Flag::one("bind-address", "", "Where to listen; everywhere where absent"),
];

const CONTROL: [Flag; 28] = [
    Flag::one("https-listen-port", "6443", "The port of the API"),
    Flag::one(
        "advertise-address",
        "",
        "Where members of the cluster reach the API; the node's address where absent",
    ),
    Flag::many("tls-san", "", "Further names and addresses of the API server"),
    Flag::many("cluster-cidr", "10.42.0.0/16", "The addresses of pods"),
    Flag::many("service-cidr", "10.43.0.0/16", "The addresses of services"),
    Flag::one("service-node-port-range", "30000-32767", "The ports of services on nodes"),
    Flag::many("cluster-dns", "", "The address of the cluster's DNS; the tenth of the services where absent"),
    Flag::one("cluster-domain", "cluster.local", "The domain of the cluster"),
    Flag::one("flannel-backend", "vxlan", "How packets get to other nodes: vxlan, host-gw or none"),
    Flag::one(
        "write-kubeconfig",
        "",
        "Where the administrator's kubeconfig goes; /etc/isopod/isopod.yaml where absent",
    ),
    Flag::one("write-kubeconfig-mode", "600", "Its mode, in octal digits"),
    Flag::one("write-kubeconfig-name", "default", "The name of its cluster, user and context"),
    Flag::one("agent-token", "", "A secret that joins agents only; the server's where absent"),
    Flag::one("agent-token-file", "", "A file that holds the agents' token"),
    Flag::one("datastore-endpoint", "", "The URLs of an etcd to use; our own datastore runs where absent"),
    Flag::one("datastore-cafile", "", "The authority of the etcd's certificates"),
    Flag::one("datastore-certfile", "", "The certificate to show to the etcd"),
    Flag::one("datastore-keyfile", "", "The key of that certificate"),
    Flag::switch("disable-agent", false, "Run the control plane only, and no node"),
    Flag::switch("disable-scheduler", false, "Leave the scheduler out"),
    Flag::switch("disable-controller-manager", false, "Leave the controller manager out"),
    Flag::many("kube-apiserver-arg", "", "A further flag of the API server, name=value"),
    Flag::many("kube-controller-manager-arg", "", "A further flag of the controller manager, name=value"),
    Flag::many("kube-scheduler-arg", "", "A further flag of the scheduler, name=value"),
    Flag::many("datastore-arg", "", "A further flag of the datastore, name=value"),
    Flag::many("etcd-arg", "", "The same, under K3s' name"),
    Flag::switch("disable-cloud-controller", true, "There is no cloud controller to run"),
    Flag::switch("disable-helm-controller", true, "There is no Helm controller to run"),
];

const fn both<const N: usize>(first: &[Flag], second: &[Flag]) -> [Flag; N] {
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

const JOIN: [Flag; 1] = [Flag::one("server", "", "The server to join, as https://address:6443")];

pub(super) const AGENT: &[Flag] = &both::<{ NODE.len() + JOIN.len() }>(&NODE, &JOIN);

pub(super) const SERVER: &[Flag] = &both::<{ NODE.len() + CONTROL.len() }>(&NODE, &CONTROL);

/// Flags of K3s that mean nothing here, or nothing yet that could do harm.
pub(super) const INERT: &[&str] = &[
    "alsologtostderr",
    "default-local-storage-path",
    "disable-apiserver-lb",
    "disable-default-registry-endpoint",
    "disable-network-policy",
    "egress-selector-mode",
    "enable-pprof",
    "etcd-disable-snapshots",
    "etcd-expose-metrics",
    "etcd-snapshot-retention",
    "etcd-snapshot-schedule-cron",
    "helm-controller-arg",
    "helm-job-image",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "kine-tls",
    "kube-cloud-controller-manager-arg",
    "lb-server-port",
    "log",
    "prefer-bundled-bin",
    "protect-kernel-defaults",
    "selinux",
    "servicelb-namespace",
    "supervisor-metrics",
    "tls-san-security",
    "vmodule",
    "write-kubeconfig-group",
];
