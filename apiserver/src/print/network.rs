//! The columns of services and what leads to them.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Table, show, text};
use crate::kind::fill;

pub(super) const TABLE: Table = &[
    ("", "Endpoints", ENDPOINTS),
    ("", "Service", SERVICE),
    ("discovery.k8s.io", "EndpointSlice", ENDPOINT_SLICE),
    ("networking.k8s.io", "IPAddress", IP_ADDRESS),
    ("networking.k8s.io", "Ingress", INGRESS),
    ("networking.k8s.io", "IngressClass", INGRESS_CLASS),
    ("networking.k8s.io", "NetworkPolicy", NETWORK_POLICY),
    ("networking.k8s.io", "ServiceCIDR", SERVICE_CIDR),
];

const SERVICE: &[Column] = &[
    NAME,
    text("Type", Cell::Text("spec.type")),
    text("Cluster-IP", Cell::Made(cluster_ip)),
    text("External-IP", Cell::Made(external_ip)),
    text("Port(s)", Cell::Made(ports)),
    AGE,
    text("Selector", Cell::Made(|object| show::labels(object, "spec.selector"))).wide(),
];

const ENDPOINTS: &[Column] = &[NAME, text("Endpoints", Cell::Made(endpoints)), AGE];

const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text("AddressType", Cell::Text("addressType")),
    text("Ports", Cell::Made(slice_ports)),
    text("Endpoints", Cell::Made(slice_endpoints)),
    AGE,
];

const INGRESS: &[Column] = &[
    NAME,
    text("Class", Cell::TextOr("spec.ingressClassName", "<none>")),
    text("Hosts", Cell::Made(hosts)),
    text("Address", Cell::Made(|object| show::load_balancer(object).join(","))),
    text(
        "Ports",
        Cell::Made(|object| if show::count(object, "spec.tls") > 0 { "80, 443" } else { "80" }.to_owned()),
    ),
    AGE,
];

const INGRESS_CLASS: &[Column] = &[
    Column { cell: Cell::Made(class_name), ..NAME },
    text("Controller", Cell::Text("spec.controller")),
    text("Parameters", Cell::Made(parameters)),
    AGE,
];

const NETWORK_POLICY: &[Column] = &[
    NAME,
    text("Pod-Selector", Cell::Made(|object| show::selector_or_none(object, "spec.podSelector"))),
    AGE,
];

const SERVICE_CIDR: &[Column] =
    &[NAME, text("CIDRs", Cell::Made(|object| show::texts(object, "spec.cidrs").join(","))), AGE];

const IP_ADDRESS: &[Column] = &[NAME, text("ParentRef", Cell::Made(parent)), Column { headed: false, ..AGE }];

fn cluster_ip(service: &Value) -> String {
    show::or_none(show::texts(service, "spec.clusterIPs").first().copied().unwrap_or_default())
}

fn external_ip(service: &Value) -> String {
    let own = show::texts(service, "spec.externalIPs");
    match fill::text(service, "spec.type") {
        "ClusterIP" | "NodePort" => show::or_none(&own.join(",")),
        "LoadBalancer" => {
            let all = [show::load_balancer(service), own].concat().join(",");
            if all.is_empty() { "<pending>".to_owned() } else { all }
        }
        "ExternalName" => fill::text(service, "spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let shown = |port: &Value| {
        let number = |field| fill::int(port, field).unwrap_or(0);
        let (own, node, protocol) = (number("port"), number("nodePort"), fill::text(port, "protocol"));
        if node > 0 { format!("{own}:{node}/{protocol}") } else { format!("{own}/{protocol}") }
    };
    let all: Vec<String> = fill::list(service, "spec.ports").iter().map(shown).collect();
    show::or_none(&all.join(","))
}

/// An address with a port, as URLs have them.
fn socket(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn endpoints(object: &Value) -> String {
    let subsets = fill::list(object, "subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = || show::each(subset, "addresses", "ip");
        let ports = fill::list(subset, "ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = fill::int(port, "port").unwrap_or(0);
            all.extend(addresses().map(|address| socket(address, port)));
        }
    }
    show::some(&all)
}

fn or_unset(text: String) -> String {
    if text.is_empty() { "<unset>".to_owned() } else { text }
}

fn slice_ports(slice: &Value) -> String {
    let shown = |port: &Value| match (fill::int(port, "port"), fill::find(port, "name")) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.as_str().unwrap_or_default().to_owned(),
        (None, None) => "*".to_owned(),
    };
    let all: Vec<String> = fill::list(slice, "ports").iter().map(shown).collect();
    or_unset(show::some(&all))
}

fn slice_endpoints(slice: &Value) -> String {
    let all: Vec<String> = fill::list(slice, "endpoints")
        .iter()
        .flat_map(|endpoint| show::texts(endpoint, "addresses"))
        .map(str::to_owned)
        .collect();
    or_unset(show::some(&all))
}

/// How many hosts of an Ingress are shown.
const HOSTS_SHOWN: usize = 3;

fn hosts(ingress: &Value) -> String {
    let rules = fill::list(ingress, "spec.rules");
    let (mut shown, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= shown.len() == HOSTS_SHOWN;
        let host = fill::text(rule, "host");
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", shown.join(","), rules.len() - HOSTS_SHOWN),
        (false, false) => shown.join(","),
    }
}

fn class_name(class: &Value) -> String {
    let name = fill::text(class, "metadata.name");
    let default = show::annotation(class, "ingressclass.kubernetes.io/is-default-class") == "true";
    if default { format!("{name} (default)") } else { name.to_owned() }
}

fn parameters(class: &Value) -> String {
    let Some(found) = fill::find(class, "spec.parameters") else { return "<none>".to_owned() };
    let kind = crate::fault::qualified(fill::text(found, "apiGroup"), fill::text(found, "kind"));
    format!("{kind}/{}", fill::text(found, "name"))
}

fn parent(address: &Value) -> String {
    let Some(found) = fill::find(address, "spec.parentRef") else { return "<none>".to_owned() };
    let field = |name| fill::text(found, name);
    let resource = crate::fault::qualified(field("group"), field("resource")).to_lowercase();
    [resource.as_str(), field("namespace"), field("name")]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}
