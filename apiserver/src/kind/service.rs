//! Services: defaults and validation; addresses and ports are given out by `allocate`.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::check::{At, Errors, labels, same};
use super::fill::{self, Default, Fill::Bool, Fill::Int, Fill::Str};
use super::pod::validated;
use super::{Behavior, NameRule, WITH_STATUS, format};
use crate::field::FieldError;

pub(crate) const SERVICE: Behavior = Behavior {
    default,
    prepare_create: |service| {
        super::drop_status(service);
        drop_unused(service);
    },
    prepare_update: |new, old| {
        super::keep_status(new, old);
        patch_allocated(new, old);
        drop_unused(new);
    },
    validate_create: |service| validated(service, check),
    validate_update: update,
    validate_status: |new, _| validated(new, status),
    selectable_fields: &[
        ("spec.clusterIP", |service| fill::text(service, "spec.clusterIP").to_owned()),
        ("spec.type", |service| fill::text(service, "spec.type").to_owned()),
    ],
    name_rule: NameRule::DnsLabel1035,
    create_on_update: true,
    hooks: Some(&crate::allocate::Services),
    ..WITH_STATUS
};

const SPEC: &[Default] = &[
    ("spec.sessionAffinity", Str("None")),
    ("spec.type", Str("ClusterIP")),
    ("spec.ports[].protocol", Str("TCP")),
];

/// The seconds a client keeps its endpoint.
const AFFINITY_SECONDS: i64 = 10_800;

fn default(service: &mut Value) {
    fill::child(service, "spec");
    fill::apply(service, SPEC);
    let kind = kind(service).to_owned();
    if fill::text(service, "spec.sessionAffinity") == "ClientIP" {
        fill::apply(
            service,
            &[("spec.sessionAffinityConfig+.clientIP+.timeoutSeconds", Int(AFFINITY_SECONDS))],
        );
    } else if let Some(spec) = service["spec"].as_object_mut() {
        spec.remove("sessionAffinityConfig");
    }
    fill::each(service, "spec.ports[]", &mut |port| {
        if port.get("targetPort").is_none_or(|target| target == 0 || target == "")
            || port["targetPort"].is_null()
        {
            port["targetPort"] = port.get("port").cloned().unwrap_or_else(|| 0.into());
        }
    });
    if is_external(service) {
        fill::apply(service, &[("spec.externalTrafficPolicy", Str("Cluster"))]);
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        fill::apply(service, &[("spec.internalTrafficPolicy", Str("Cluster"))]);
    }
    if kind == "LoadBalancer" {
        fill::apply(service, &[("spec.allocateLoadBalancerNodePorts", Bool(true))]);
        fill::each(service, "status.loadBalancer.ingress[]", &mut |ingress| {
            if !fill::text(ingress, "ip").is_empty() {
                fill::put(ingress, "ipMode", "VIP".into());
            }
        });
    }
}

/// `spec.type`.
pub(crate) fn kind(service: &Value) -> &str {
    fill::text(service, "spec.type")
}

/// Whether a service has a cluster address that is not `None`, or should get one.
pub(crate) fn wants_address(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
        && fill::text(service, "spec.clusterIP") != "None"
}

/// Whether traffic from outside of the cluster can reach it.
fn is_external(service: &Value) -> bool {
    match kind(service) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !fill::list(service, "spec.externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether it needs a port for health checks of its nodes.
pub(crate) fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && fill::text(service, "spec.externalTrafficPolicy") == "Local"
}

/// Whether it needs ports on the nodes.
pub(crate) fn needs_node_ports(service: &Value) -> bool {
    kind(service) == "NodePort"
        || kind(service) == "LoadBalancer"
            && fill::find(service, "spec.allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
}

/// The type of a service decides which fields it has; those of the type before go with the change.
fn drop_unused(service: &mut Value) {
    let kind = kind(service).to_owned();
    let health = needs_health_port(service);
    let external = is_external(service);
    let Some(spec) = service["spec"].as_object_mut() else { return };
    let mut drop = |field: &str| {
        spec.remove(field);
    };
    if kind != "LoadBalancer" {
        drop("allocateLoadBalancerNodePorts");
    }
    if !health && kind == "ExternalName" {
        drop("healthCheckNodePort");
    }
    if kind == "ExternalName" && !external {
        drop("internalTrafficPolicy");
    }
}

/// A client that does not name what was allocated means to keep it; one that changes the type lets it go.
fn patch_allocated(new: &mut Value, old: &Value) {
    let (was, now) = (kind(old).to_owned(), kind(new).to_owned());
    let wanted = |kind: &str| matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer");
    if wanted(&was) && wanted(&now) {
        let unset =
            fill::text(new, "spec.clusterIP").is_empty() && fill::list(new, "spec.clusterIPs").is_empty();
        if unset
            || fill::text(new, "spec.clusterIP").is_empty()
                && same(&new["spec"]["clusterIPs"], &old["spec"]["clusterIPs"])
        {
            copy(new, old, "clusterIP");
            copy(new, old, "clusterIPs");
        } else if fill::list(new, "spec.clusterIPs").is_empty()
            && new["spec"]["clusterIP"] == old["spec"]["clusterIP"]
        {
            copy(new, old, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if fill::find(new, &format!("spec.{field}")).is_none() {
                copy(new, old, field);
            }
        }
    } else if wanted(&was) && was != now {
        release(new, old);
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        keep_node_ports(new, old);
    } else if needs_node_ports(old) && !needs_node_ports(new) {
        drop_node_ports(new, old);
    }
    if needs_health_port(old) && needs_health_port(new) {
        if fill::int(new, "spec.healthCheckNodePort").unwrap_or_default() == 0 {
            copy(new, old, "healthCheckNodePort");
        }
    } else if needs_health_port(old)
        && new["spec"]["healthCheckNodePort"] == old["spec"]["healthCheckNodePort"]
        && let Some(spec) = new["spec"].as_object_mut()
    {
        spec.remove("healthCheckNodePort");
    }
    leave_load_balancer(new, old);
}

/// A service that is no load balancer any more loses what only load balancers have, unless the client changed it.
fn leave_load_balancer(new: &mut Value, old: &Value) {
    if kind(old) == "LoadBalancer"
        && kind(new) != "LoadBalancer"
        && new["spec"].get("loadBalancerClass") == old["spec"].get("loadBalancerClass")
        && let Some(spec) = new["spec"].as_object_mut()
    {
        spec.remove("loadBalancerClass");
    }
    if is_external(old)
        && !is_external(new)
        && new["spec"].get("externalTrafficPolicy") == old["spec"].get("externalTrafficPolicy")
        && let Some(spec) = new["spec"].as_object_mut()
    {
        spec.remove("externalTrafficPolicy");
    }
}

fn copy(new: &mut Value, old: &Value, field: &str) {
    if let Some(value) = old["spec"].get(field) {
        new["spec"][field] = value.clone();
    }
}

fn release(new: &mut Value, old: &Value) {
    let Some(spec) = new["spec"].as_object_mut() else { return };
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if spec.get(field) == old["spec"].get(field) {
            spec.remove(field);
        }
    }
}

/// Ports that stay the same keep their node ports.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let taken: HashSet<i64> =
        fill::list(new, "spec.ports").iter().filter_map(|p| fill::int(p, "nodePort")).collect();
    let previous: Vec<(String, i64, i64)> = fill::list(old, "spec.ports")
        .iter()
        .filter_map(|port| {
            Some((
                fill::text(port, "protocol").to_owned(),
                fill::int(port, "port")?,
                fill::int(port, "nodePort")?,
            ))
        })
        .collect();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if fill::int(port, "nodePort").unwrap_or_default() != 0 {
            continue;
        }
        let kept = previous
            .iter()
            .find(|(protocol, number, _)| {
                protocol == fill::text(port, "protocol") && Some(*number) == fill::int(port, "port")
            })
            .filter(|(_, _, node)| *node != 0 && !taken.contains(node));
        if let Some((_, _, node)) = kept {
            port["nodePort"] = (*node).into();
        }
    }
}

/// Node ports that were allocated go with the type; such as the client asks for stay, to be refused.
fn drop_node_ports(new: &mut Value, old: &Value) {
    let previous: HashSet<i64> =
        fill::list(old, "spec.ports").iter().filter_map(|p| fill::int(p, "nodePort")).collect();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if fill::int(port, "nodePort").is_some_and(|node| previous.contains(&node))
            && let Some(port) = port.as_object_mut()
        {
            port.remove("nodePort");
        }
    }
}

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

fn check(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let kind = spec.get("type").text();
    let headless = spec.get("clusterIP").text() == "None";
    if spec.get("ports").len() == 0 && !headless && kind != "ExternalName" {
        spec.get("ports").required(out, "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let ips = spec.get("clusterIPs");
            let first = ips
                .items()
                .next()
                .unwrap_or_else(|| At { value: spec.get("clusterIP").value, path: ips.path.index(0) });
            first.invalid(out, format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => external_name(&spec, out),
        _ => {}
    }
    ports(&spec, out);
    labels(&spec.get("selector"), out);
    let affinity = spec.get("sessionAffinity");
    if affinity.must(out) {
        affinity.one_of(out, &["ClientIP", "None"]);
    }
    let seconds = spec.get("sessionAffinityConfig.clientIP.timeoutSeconds");
    if seconds.int().is_some_and(|seconds| seconds <= 0 || seconds > 86_400) {
        seconds.invalid(out, "must be greater than 0 and less than 86400");
    }
    external_ips(&spec.get("externalIPs"), out);
    let kind_at = spec.get("type");
    if kind_at.must(out) {
        kind_at.one_of(out, &TYPES);
    }
    node_port_use(&spec, out);
    source_ranges(&spec.get("loadBalancerSourceRanges"), &spec, out);
    let class = spec.get("loadBalancerClass");
    if class.is_set() && kind != "LoadBalancer" {
        class.forbidden(out, "may only be used when `type` is 'LoadBalancer'");
    } else if class.is_set() {
        class.each(out, format::qualified_name(class.text()));
    }
    traffic(at.value, &spec, out);
    addresses(&spec, out);
}

fn external_name(spec: &At<'_>, out: &mut Errors) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let field_at = spec.get(field);
        if field_at.len() > 0 || field_at.is_set() && field == "ipFamilyPolicy" {
            field_at.forbidden(out, "may not be set for ExternalName services");
        }
    }
    let name = spec.get("externalName");
    let text = name.text().strip_suffix('.').unwrap_or_else(|| name.text());
    if text.is_empty() {
        name.required(out, "");
    } else {
        for message in format::subdomain(text) {
            name.invalid(out, message);
        }
    }
}

fn ports(spec: &At<'_>, out: &mut Errors) {
    let list = spec.get("ports");
    let many = list.len() > 1;
    let mut names = HashSet::new();
    for port in list.items() {
        let name = port.get("name");
        if many && !name.is_set() {
            name.required(out, "");
        } else if name.is_set() {
            name.each(out, format::label(name.text()));
            if !names.insert(name.text()) {
                name.duplicate(out);
            }
        }
        let number = port.get("port");
        for message in format::port(number.int().unwrap_or_default()) {
            number.out_of(out, &number.int().unwrap_or_default().into(), message);
        }
        let protocol = port.get("protocol");
        if protocol.must(out) {
            protocol.one_of(out, &["SCTP", "TCP", "UDP"]);
        }
        port.get("targetPort").port_or_name(out);
        let app = port.get("appProtocol");
        if !app.value.is_null() {
            app.each(out, format::qualified_name(app.text()));
        }
    }
    let mut seen = HashSet::new();
    for port in list.items() {
        let key = (port.get("port").int(), port.get("protocol").text());
        if !seen.insert(key) {
            port.out_duplicate(
                out,
                json!({"Name": "", "Protocol": key.1, "AppProtocol": null, "Port": key.0.unwrap_or_default(),
                    "TargetPort": 0, "NodePort": 0}),
            );
        }
    }
}

fn external_ips(list: &At<'_>, out: &mut Errors) {
    for ip in list.items() {
        let messages = format::ip(ip.text());
        if messages.is_empty() {
            not_special(&ip, out);
        }
        ip.each(out, messages);
    }
}

/// An address that others can reach.
pub(crate) fn not_special(at: &At<'_>, out: &mut Errors) {
    let Ok(ip) = at.text().parse::<IpAddr>() else { return };
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] == 0xff02),
    };
    for (wrong, message) in [
        (ip.is_unspecified(), format!("may not be unspecified ({ip})")),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (link_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ] {
        if wrong {
            at.invalid(out, message);
        }
    }
}

fn node_port_use(spec: &At<'_>, out: &mut Errors) {
    let kind = spec.get("type").text();
    let mut seen = HashSet::new();
    for port in spec.get("ports").items() {
        let node = port.get("nodePort");
        let Some(number) = node.int().filter(|number| *number != 0) else { continue };
        if kind == "ClusterIP" {
            node.forbidden(out, "may not be used when `type` is 'ClusterIP'");
        }
        if !seen.insert((number, port.get("protocol").text())) {
            node.duplicate(out);
        }
    }
}

fn source_ranges(list: &At<'_>, spec: &At<'_>, out: &mut Errors) {
    if list.len() == 0 {
        return;
    }
    let path = spec.path.child("LoadBalancerSourceRanges");
    if spec.get("type").text() != "LoadBalancer" {
        out.push(FieldError::forbidden(&path, "may only be used when `type` is 'LoadBalancer'"));
    }
    for (index, range) in list.items().enumerate() {
        for message in format::cidr(range.text().trim()) {
            out.push(FieldError::invalid(&path.index(index), range.text(), message));
        }
    }
}

fn traffic(service: &Value, spec: &At<'_>, out: &mut Errors) {
    let internal = spec.get("internalTrafficPolicy");
    internal.one_of_if_set(out, &["Cluster", "Local"]);
    let external = spec.get("externalTrafficPolicy");
    if is_external(service) {
        if external.must(out) {
            external.one_of(out, &["Cluster", "Local"]);
        }
    } else if external.is_set() {
        external.invalid(out, "may only be set for externally-accessible services");
    }
    let health = spec.get("healthCheckNodePort");
    if !needs_health_port(service) && health.int().unwrap_or_default() != 0 {
        health.invalid(
            out,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
}

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

fn addresses(spec: &At<'_>, out: &mut Errors) {
    if spec.get("type").text() == "ExternalName" {
        return;
    }
    let (ip, ips, families, policy) =
        (spec.get("clusterIP"), spec.get("clusterIPs"), spec.get("ipFamilies"), spec.get("ipFamilyPolicy"));
    if !ip.is_set() && ips.len() > 0 {
        ips.invalid(out, "must be empty when `clusterIP` is not specified");
    } else if ip.is_set() && ips.items().next().is_some_and(|first| first.text() != ip.text()) {
        ips.invalid(out, "first value must match `clusterIP`");
    }
    let mut seen = HashSet::new();
    for family in families.items() {
        family.one_of(out, &FAMILIES);
        if !seen.insert(family.text()) {
            family.duplicate(out);
        }
    }
    policy.one_of_if_set(out, &POLICIES);
    let mut given: Vec<IpAddr> = Vec::new();
    for address in ips.items() {
        if address.text() == "None" {
            if ips.len() > 1 {
                address.invalid(out, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            }
            continue;
        }
        address.each(out, format::ip(address.text()));
        given.extend(address.text().parse::<IpAddr>());
    }
    if ips.len() > 2 {
        ips.invalid(out, "may only hold up to 2 values");
    }
    if given.len() == 2 && given[0].is_ipv4() == given[1].is_ipv4() {
        ips.invalid(out, "may specify no more than one IP for each IP family");
    }
    for (index, (address, family)) in ips.items().zip(families.items()).enumerate() {
        let wrong = match (address.text().parse::<IpAddr>(), family.text()) {
            (Ok(ip), "IPv4") => ip.is_ipv6(),
            (Ok(ip), "IPv6") => ip.is_ipv4(),
            _ => false,
        };
        if wrong {
            let article = family.text();
            address
                .invalid(out, format!("expected an {article} value as indicated by `ipFamilies[{index}]`"));
        }
    }
}

fn update(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        let spec = at.get("spec");
        let wanted = |service: &Value| matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer");
        if wanted(old) && wanted(new) {
            let was = fill::list(old, "spec.clusterIPs");
            for (index, (now, before)) in spec.get("clusterIPs").items().zip(was).enumerate() {
                if now.value != before {
                    out.push(FieldError::invalid(
                        &spec.get("clusterIPs").path.index(index),
                        spec.get("clusterIPs").value.clone(),
                        "may not change once set",
                    ));
                }
            }
        }
        let class = spec.get("loadBalancerClass");
        if kind(old) == "LoadBalancer"
            && kind(new) == "LoadBalancer"
            && class.value != old["spec"].get("loadBalancerClass").unwrap_or(&Value::Null)
        {
            class.invalid(out, "may not change once set");
        }
        let health = spec.get("healthCheckNodePort");
        if needs_health_port(old)
            && needs_health_port(new)
            && health.int() != fill::int(old, "spec.healthCheckNodePort")
        {
            health.forbidden(out, super::check::IMMUTABLE);
        }
        check(at, out);
    })
}

fn status(at: &At<'_>, out: &mut Errors) {
    let ingress = at.get("status.loadBalancer.ingress");
    if kind(at.value) != "LoadBalancer" && ingress.len() > 0 {
        ingress.forbidden(out, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for entry in ingress.items() {
        load_balancer_entry(&entry, out);
    }
}

/// An address or a name that a load balancer gave.
pub(crate) fn load_balancer_entry(entry: &At<'_>, out: &mut Errors) {
    let (ip, hostname) = (entry.get("ip"), entry.get("hostname"));
    if ip.is_set() {
        ip.each(out, format::ip(ip.text()));
    }
    entry.get("ipMode").one_of_if_set(out, &["Proxy", "VIP"]);
    if hostname.is_set() {
        if hostname.text().parse::<IpAddr>().is_ok() {
            hostname.invalid(out, "must be a DNS name, not an IP address");
        } else {
            hostname.each(out, format::subdomain(hostname.text()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_service_is_filled() {
        let mut service = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
        default(&mut service);
        assert_eq!(
            service["spec"],
            json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None",
                "type": "ClusterIP", "internalTrafficPolicy": "Cluster"})
        );
        assert_eq!(validated(&service, check), []);
    }

    #[test]
    fn wrong_services() {
        for (spec, field) in [
            (json!({}), "spec.ports"),
            (json!({"ports": [{"port": 0}]}), "spec.ports[0].port"),
            (json!({"ports": [{"port": 1}], "type": "X"}), "spec.type"),
            (json!({"ports": [{"port": 1}, {"port": 2}]}), "spec.ports[0].name"),
            (json!({"type": "ExternalName"}), "spec.externalName"),
        ] {
            let mut service = json!({"spec": spec});
            default(&mut service);
            let errors = validated(&service, check);
            assert_eq!(errors.first().map(|error| error.field.as_str()), Some(field));
        }
    }
}
