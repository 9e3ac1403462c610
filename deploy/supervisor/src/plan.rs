//! Which processes a node runs, what each needs first, and its whole command line: a table and one loop.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use crate::config::{Cluster, Etcd, Node, Server};
use crate::host::Host;
use crate::layout::Layout;
use crate::{containerd, images};

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The component's name.
    pub name: &'static str,
    /// Which program it is.
    pub program: Program,
    /// Its command line.
    pub arguments: Vec<String>,
    /// The units that must be ready before it starts.
    pub needs: Vec<&'static str>,
    /// When it is ready.
    pub ready: Ready,
}

/// Which program a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A daemon of ours, by its component's name.
    Component(&'static str),
    /// A program of the host's, by its name. Its children live on without it, and it without the supervisor.
    Host(&'static str),
    /// This program, for a task that ends.
    Task,
}

/// When a unit is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Once it says so: sd_notify(3).
    Said,
    /// Once it has ended well.
    Ended,
}

/// All that decides what a node runs.
#[derive(Debug, Clone)]
pub struct Scene {
    /// What the node was told.
    pub node: Node,
    /// What the cluster has in common.
    pub cluster: Cluster,
    /// The server's part, on a server.
    pub server: Option<Server>,
    /// The node's first address.
    pub address: IpAddr,
    /// Where its daemons reach the API.
    pub url: String,
    /// What its host can do.
    pub host: Host,
}

/// A component: when it runs and how.
struct Row {
    name: &'static str,
    program: Program,
    needs: &'static [&'static str],
    wanted: fn(&Scene) -> bool,
    arguments: fn(&Scene) -> Option<Vec<String>>,
}

/// The components, each after all that it needs.
const COMPONENTS: &[Row] = &[
    Row {
        name: "datastore",
        program: Program::Component("datastore"),
        needs: &[],
        wanted: |scene| scene.server.as_ref().is_some_and(|server| server.etcd.is_none()),
        arguments: datastore,
    },
    Row {
        name: "apiserver",
        program: Program::Component("apiserver"),
        needs: &["datastore"],
        wanted: |scene| scene.server.is_some(),
        arguments: apiserver,
    },
    Row {
        name: "controller-manager",
        program: Program::Component("controller-manager"),
        needs: &["apiserver"],
        wanted: |scene| scene.server.as_ref().is_some_and(|server| !server.disable_controller_manager),
        arguments: controller_manager,
    },
    Row {
        name: "scheduler",
        program: Program::Component("scheduler"),
        needs: &["apiserver"],
        wanted: |scene| scene.server.as_ref().is_some_and(|server| !server.disable_scheduler),
        arguments: scheduler,
    },
    Row {
        name: "containerd",
        program: Program::Host("containerd"),
        needs: &[],
        wanted: own_runtime,
        arguments: |scene| {
            let file = containerd::file(&scene.node.layout);
            Some(vec!["--config".to_owned(), file.display().to_string()])
        },
    },
    Row {
        name: "images",
        program: Program::Task,
        needs: &["containerd"],
        wanted: own_runtime,
        arguments: |scene| {
            let layout = &scene.node.layout;
            let (folder, known) = (layout.agent("images"), layout.agent("containerd/imported.json"));
            Some(images::arguments(&layout.containerd_socket(), &folder, &scene.node.snapshotter, &known))
        },
    },
    Row {
        name: "kubelet",
        program: Program::Component("kubelet"),
        needs: &["apiserver", "containerd", "images"],
        wanted: Scene::has_node,
        arguments: kubelet,
    },
    Row {
        name: "flannel",
        program: Program::Component("flannel"),
        needs: &["apiserver"],
        wanted: |scene| scene.has_node() && scene.cluster.flannel_backend != "none",
        arguments: flannel,
    },
    Row {
        name: "kubeproxy",
        program: Program::Component("kubeproxy"),
        needs: &["apiserver"],
        wanted: Scene::has_node,
        arguments: kubeproxy,
    },
    Row {
        name: "dns",
        program: Program::Component("dns"),
        needs: &["apiserver"],
        wanted: |scene| scene.server.is_some() && scene.has_node(),
        arguments: dns,
    },
    Row {
        name: "ingress",
        program: Program::Component("ingress"),
        needs: &["apiserver"],
        wanted: Scene::has_node,
        arguments: ingress,
    },
];

impl Scene {
    /// Whether pods run here.
    pub(crate) fn has_node(&self) -> bool {
        self.server.as_ref().is_none_or(|server| !server.disable_agent)
    }
}

fn own_runtime(scene: &Scene) -> bool {
    scene.has_node() && scene.node.runtime.is_none()
}

/// The units of a node, each after all that it needs.
pub fn plan(scene: &Scene) -> Vec<Unit> {
    let rows = COMPONENTS.iter().filter(|row| (row.wanted)(scene));
    let rows = rows.filter(|row| !scene.node.disabled.iter().any(|name| name == row.name));
    let there: BTreeSet<&str> = rows.clone().map(|row| row.name).collect();
    let unit = |row: &Row| {
        let mut arguments = (row.arguments)(scene)?;
        if scene.node.debug && matches!(row.program, Program::Component(_)) {
            arguments.push("--v=4".to_owned());
        }
        Some(Unit {
            name: row.name,
            program: row.program,
            ready: if row.program == Program::Task { Ready::Ended } else { Ready::Said },
            arguments: laid_over(arguments, further(scene, row.name)),
            // What this node does not run runs elsewhere, or its place is taken by something else.
            needs: row.needs.iter().copied().filter(|need| there.contains(need)).collect(),
        })
    };
    rows.filter_map(unit).collect()
}

/// The flags that the user adds for a component.
fn further(scene: &Scene, name: &str) -> Vec<String> {
    let control = scene.server.iter().flat_map(|server| &server.more);
    let named = scene.node.more.iter().chain(control).filter(move |(component, _)| *component == name);
    named.flat_map(|(_, flags)| flags.clone()).collect()
}

/// The user's flags take the place of ours of the same name.
fn laid_over(ours: Vec<String>, theirs: Vec<String>) -> Vec<String> {
    let name = |flag: &str| flag.split_once('=').map_or(flag, |(name, _)| name).to_owned();
    let replaced: BTreeSet<String> = theirs.iter().map(|flag| name(flag)).collect();
    let mut all: Vec<String> = ours.into_iter().filter(|flag| !replaced.contains(&name(flag))).collect();
    all.extend(theirs);
    all
}

/// A command line in the making.
#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn with(mut self, flag: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(format!("--{flag}={value}"));
        self
    }

    fn path(self, flag: &str, value: &Path) -> Self {
        self.with(flag, value.display())
    }

    fn perhaps(self, flag: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(flag, value),
            None => self,
        }
    }

    fn done(self) -> Option<Vec<String>> {
        Some(self.0)
    }
}

fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn datastore(scene: &Scene) -> Option<Vec<String>> {
    let layout = &scene.node.layout;
    Line::default()
        .path("data-dir", &layout.server("db"))
        .with("listen-client-urls", format_args!("unix://{}", layout.datastore().display()))
        .done()
}

fn apiserver(scene: &Scene) -> Option<Vec<String>> {
    let server = scene.server.as_ref()?;
    let (layout, cluster) = (&scene.node.layout, &scene.cluster);
    let issuer = format!("https://kubernetes.default.svc.{}", cluster.domain);
    let line = etcd(Line::default(), server.etcd.as_ref(), layout);
    line.perhaps("bind-address", server.bind_address)
        .with("secure-port", cluster.port)
        .with("advertise-address", server.advertise_address.unwrap_or(scene.address))
        .path("tls-cert-file", &layout.tls("serving-kube-apiserver.crt"))
        .path("tls-private-key-file", &layout.tls("serving-kube-apiserver.key"))
        .path("client-ca-file", &layout.tls("client-ca.crt"))
        .path("kubelet-client-certificate", &layout.tls("client-kube-apiserver.crt"))
        .path("kubelet-client-key", &layout.tls("client-kube-apiserver.key"))
        .path("kubelet-certificate-authority", &layout.tls("server-ca.crt"))
        .with("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname")
        .path("requestheader-client-ca-file", &layout.tls("request-header-ca.crt"))
        .with("requestheader-allowed-names", "system:auth-proxy")
        .with("requestheader-username-headers", "X-Remote-User")
        .with("requestheader-group-headers", "X-Remote-Group")
        .with("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .path("proxy-client-cert-file", &layout.tls("client-auth-proxy.crt"))
        .path("proxy-client-key-file", &layout.tls("client-auth-proxy.key"))
        .path("service-account-signing-key-file", &layout.tls("service.key"))
        .path("service-account-key-file", &layout.tls("service.key"))
        .with("service-account-issuer", &issuer)
        .with("api-audiences", format_args!("{issuer},isopod"))
        .with("service-cluster-ip-range", list(&cluster.service_cidr))
        .with("service-node-port-range", &cluster.node_ports)
        .with("authorization-mode", "Node,RBAC")
        .with("enable-admission-plugins", "NodeRestriction")
        .with("anonymous-auth", true)
        .with("allow-privileged", true)
        .with("enable-bootstrap-token-auth", true)
        .path("supervisor-socket", &layout.supervisor_socket())
        .done()
}

fn etcd(line: Line, etcd: Option<&Etcd>, layout: &Layout) -> Line {
    let Some(etcd) = etcd else {
        return line.with("etcd-servers", format_args!("unix://{}", layout.datastore().display()));
    };
    line.with("etcd-servers", &etcd.endpoints)
        .perhaps("etcd-cafile", etcd.authority.as_deref().map(Path::display))
        .perhaps("etcd-certfile", etcd.certificate.as_deref().map(Path::display))
        .perhaps("etcd-keyfile", etcd.key.as_deref().map(Path::display))
}

fn controller_manager(scene: &Scene) -> Option<Vec<String>> {
    let (layout, cluster) = (&scene.node.layout, &scene.cluster);
    Line::default()
        .path("kubeconfig", &layout.cred("controller.kubeconfig"))
        .with("allocate-node-cidrs", true)
        .with("cluster-cidr", list(&cluster.cluster_cidr))
        .with("service-cluster-ip-range", list(&cluster.service_cidr))
        .path("root-ca-file", &layout.tls("server-ca.crt"))
        .path("cluster-signing-cert-file", &layout.tls("client-ca.crt"))
        .path("cluster-signing-key-file", &layout.tls("client-ca.key"))
        .done()
}

fn scheduler(scene: &Scene) -> Option<Vec<String>> {
    Line::default().path("kubeconfig", &scene.node.layout.cred("scheduler.kubeconfig")).done()
}

fn kubelet(scene: &Scene) -> Option<Vec<String>> {
    let (node, cluster, layout) = (&scene.node, &scene.cluster, &scene.node.layout);
    let ours = || format!("unix://{}", layout.containerd_socket().display());
    let addresses = if node.ips.is_empty() { scene.address.to_string() } else { list(&node.ips) };
    Line::default()
        .path("kubeconfig", &layout.agent("kubelet.kubeconfig"))
        .with("container-runtime-endpoint", node.runtime.clone().unwrap_or_else(ours))
        .path("root-dir", &layout.kubelet_root())
        .path("pod-log-dir", &layout.pod_logs())
        .with("hostname-override", &node.name)
        .with("node-ip", addresses)
        .perhaps("node-labels", some_list(&node.labels))
        .perhaps("register-with-taints", some_list(&node.taints))
        .with("cluster-dns", list(&cluster.dns))
        .with("cluster-domain", &cluster.domain)
        .perhaps("resolv-conf", node.resolv_conf.as_deref().map(Path::display))
        .path("pod-manifest-path", &layout.agent("pod-manifests"))
        .perhaps("cgroup-root", node.cgroup_root.as_ref())
        .path("client-ca-file", &layout.agent("client-ca.crt"))
        .path("tls-cert-file", &layout.agent("serving-kubelet.crt"))
        .path("tls-private-key-file", &layout.agent("serving-kubelet.key"))
        .done()
}

fn some_list(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

fn flannel(scene: &Scene) -> Option<Vec<String>> {
    let (node, cluster, layout) = (&scene.node, &scene.cluster, &scene.node.layout);
    let interface = node.flannel_iface.clone().unwrap_or_else(|| scene.address.to_string());
    Line::default()
        .path("kubeconfig", &layout.agent("flannel.kubeconfig"))
        .with("node-name", &node.name)
        .with("backend", &cluster.flannel_backend)
        .with("cluster-cidr", list(&cluster.cluster_cidr))
        .with("iface", interface)
        .path("subnet-file", &layout.run.join("flannel/subnet.env"))
        .path("cni-conf-dir", &containerd::networks(layout))
        .path("cni-data-dir", &layout.agent("cni/data"))
        .done()
}

fn kubeproxy(scene: &Scene) -> Option<Vec<String>> {
    let (node, cluster) = (&scene.node, &scene.cluster);
    Line::default()
        .path("kubeconfig", &node.layout.agent("kubeproxy.kubeconfig"))
        .with("hostname-override", &node.name)
        .with("cluster-cidr", list(&cluster.cluster_cidr))
        .with("service-cluster-ip-range", list(&cluster.service_cidr))
        .done()
}

fn dns(scene: &Scene) -> Option<Vec<String>> {
    let (node, cluster) = (&scene.node, &scene.cluster);
    Line::default()
        .path("kubeconfig", &node.layout.cred("dns.kubeconfig"))
        .with("node-name", &node.name)
        .with("bind-address", scene.address)
        .with("cluster-dns", list(&cluster.dns))
        .with("cluster-domain", &cluster.domain)
        .with("cluster-cidr", list(&cluster.cluster_cidr))
        .with("service-cluster-ip-range", list(&cluster.service_cidr))
        .perhaps("resolv-conf", node.resolv_conf.as_deref().map(Path::display))
        .done()
}

fn ingress(scene: &Scene) -> Option<Vec<String>> {
    let node = &scene.node;
    Line::default()
        .path("kubeconfig", &node.layout.agent("ingress.kubeconfig"))
        .with("node-name", &node.name)
        .with("node-ip", scene.address)
        .done()
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
