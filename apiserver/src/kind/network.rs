//! Endpoints, EndpointSlices, Ingresses, IngressClasses, NetworkPolicies, IPAddresses and ServiceCIDRs.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::check::{At, Errors, same, selector};
use super::fill::{self, Fill::Object, Fill::Str};
use super::pod::validated;
use super::service::{load_balancer_entry, not_special};
use super::{Behavior, GENERIC, NameRule, WITH_STATUS, format};
use crate::field::FieldError;

pub(crate) const ENDPOINTS: Behavior = Behavior {
    default: |object| fill::apply(object, &[("subsets[].ports[].protocol", Str("TCP"))]),
    validate_create: |object| validated(object, endpoints),
    validate_update: |new, _| validated(new, endpoints),
    create_on_update: true,
    ..GENERIC
};

fn endpoints(at: &At<'_>, out: &mut Errors) {
    for subset in at.get("subsets").items() {
        let (ready, waiting) = (subset.get("addresses"), subset.get("notReadyAddresses"));
        if ready.len() == 0 && waiting.len() == 0 {
            subset.required(out, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.items().chain(waiting.items()) {
            let ip = address.get("ip");
            for message in format::ip(ip.text()) {
                ip.out_of(out, &ip.text().into(), message);
            }
            if address.get("hostname").is_set() {
                address.get("hostname").each(out, format::label(address.get("hostname").text()));
            }
            not_special(&ip, out);
        }
        let ports = subset.get("ports");
        for port in ports.items() {
            let name = port.get("name");
            if ports.len() > 1 && !name.is_set() {
                name.required(out, "");
            } else if name.is_set() {
                name.each(out, format::label(name.text()));
            }
            let number = port.get("port");
            for message in format::port(number.int().unwrap_or_default()) {
                number.out_of(out, &number.int().unwrap_or_default().into(), message);
            }
            port.get("protocol").one_of(out, &["SCTP", "TCP", "UDP"]);
        }
    }
}

pub(crate) const ENDPOINT_SLICE: Behavior = Behavior {
    default: |object| {
        fill::each(object, "ports[]", &mut |port| {
            if let Some(port) = port.as_object_mut() {
                port.entry("name").or_insert_with(|| "".into());
            }
        });
        fill::apply(object, &[("ports[].protocol", Str("TCP"))]);
        if let Some(object) = object.as_object_mut() {
            object.entry("endpoints").or_insert(Value::Null);
            object.entry("ports").or_insert(Value::Null);
        }
    },
    validate_create: |object| validated(object, slice),
    validate_update: |new, old| {
        validated(new, |at, out| {
            at.get("addressType").immutable(out, &old["addressType"]);
            slice(at, out);
        })
    },
    generation: true,
    counted_metadata: &["labels"],
    ..GENERIC
};

fn slice(at: &At<'_>, out: &mut Errors) {
    let kind = at.get("addressType");
    if kind.must(out) {
        kind.one_of(out, &["FQDN", "IPv4", "IPv6"]);
    }
    for endpoint in at.get("endpoints").items() {
        let addresses = endpoint.get("addresses");
        if addresses.len() == 0 {
            addresses.required(out, "must contain at least 1 address");
        }
        for address in addresses.items() {
            match kind.text() {
                "IPv4" | "IPv6" => slice_address(&address, &addresses, kind.text(), out),
                _ => address.each(out, format::subdomain(address.text())),
            }
        }
        let hostname = endpoint.get("hostname");
        if !hostname.value.is_null() {
            hostname.each(out, format::label(hostname.text()));
        }
    }
    let mut names = HashSet::new();
    for port in at.get("ports").items() {
        let name = port.get("name");
        if !name.text().is_empty() {
            name.each(out, format::label(name.text()));
        }
        if !names.insert(name.text()) {
            name.duplicate(out);
        }
        port.get("protocol").one_of(out, &["SCTP", "TCP", "UDP"]);
    }
}

fn slice_address(address: &At<'_>, list: &At<'_>, family: &str, out: &mut Errors) {
    match address.text().parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() != (family == "IPv4") => {
            list.out_of(out, address.value, format!("must be an {family} address"));
        }
        _ => address.each(out, format::ip(address.text())),
    }
    not_special(address, out);
}

pub(crate) const INGRESS: Behavior = Behavior {
    validate_create: |object| {
        validated(object, |at, out| {
            let class = at.get("metadata.annotations").value.get(CLASS_ANNOTATION).and_then(Value::as_str);
            let field = at.get("spec.ingressClassName");
            if let Some(class) = class
                && field.is_set()
                && class != field.text()
            {
                out.push(FieldError::invalid(
                    format!("annotations.{CLASS_ANNOTATION}"),
                    class,
                    "must match `ingressClassName` when both are specified",
                ));
            }
            ingress(at, out);
        })
    },
    validate_update: |new, _| validated(new, ingress),
    validate_status: |new, _| {
        validated(new, |at, out| {
            at.get("status.loadBalancer.ingress").items().for_each(|entry| load_balancer_entry(&entry, out));
        })
    },
    generation: true,
    ..WITH_STATUS
};

/// How the class of an Ingress was named before there was a field.
pub(crate) const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

fn ingress(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let backend = spec.get("defaultBackend");
    let rules = spec.get("rules");
    if rules.len() == 0 && backend.value.is_null() {
        out.push(FieldError::invalid(
            &spec.path,
            Value::Null,
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if !backend.value.is_null() {
        ingress_backend(&backend, out);
    }
    for rule in rules.items() {
        host(&rule.get("host"), out);
        let http = rule.get("http");
        if http.value.is_null() {
            continue;
        }
        let paths = http.get("paths");
        if paths.len() == 0 {
            paths.required(out, "");
        }
        paths.items().for_each(|path| ingress_path(&path, out));
    }
    for tls in spec.get("tls").items() {
        for name in tls.get("hosts").items() {
            host(&name, out);
        }
    }
    let class = spec.get("ingressClassName");
    if !class.value.is_null() {
        class.each(out, format::subdomain(class.text()));
    }
}

fn host(at: &At<'_>, out: &mut Errors) {
    let text = at.text();
    if text.is_empty() {
        return;
    }
    if text.parse::<IpAddr>().is_ok() {
        at.invalid(out, "must be a DNS name, not an IP address");
    } else if text.contains('*') {
        at.each(out, format::wildcard(text));
    } else {
        at.each(out, format::subdomain(text));
    }
}

/// What a path must not have, where it is no implementation's own matter.
const BAD_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];

fn ingress_path(at: &At<'_>, out: &mut Errors) {
    let (kind, path) = (at.get("pathType"), at.get("path"));
    match kind.text() {
        "" if kind.value.is_null() => {
            kind.required(out, "pathType must be specified");
        }
        "Exact" | "Prefix" => {
            if !path.text().starts_with('/') {
                path.out_of(out, &path.text().into(), "must be an absolute path".to_owned());
            }
            if path.is_set() {
                for bad in BAD_PATHS {
                    if path.text().contains(bad) {
                        path.invalid(out, format!("must not contain '{bad}'"));
                    }
                }
                for bad in ["/..", "/."] {
                    if path.text().ends_with(bad) {
                        path.invalid(out, format!("cannot end with '{bad}'"));
                    }
                }
            }
        }
        "ImplementationSpecific" => {
            if path.is_set() && !path.text().starts_with('/') {
                path.invalid(out, "must be an absolute path");
            }
        }
        _ => kind.not_supported(out, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    ingress_backend(&at.get("backend"), out);
}

fn ingress_backend(at: &At<'_>, out: &mut Errors) {
    let (service, resource) = (at.get("service"), at.get("resource"));
    match (service.value.is_null(), resource.value.is_null()) {
        (false, false) => {
            at.out_of(out, &"".into(), "cannot set both resource and service backends".to_owned());
        }
        (true, false) => {
            for field in ["kind", "name"] {
                resource.get(field).must(out);
            }
        }
        (true, true) => at.required(out, "resource or service backend is required"),
        (false, true) => {
            let name = service.get("name");
            if name.must(out) {
                name.each(out, format::label_1035(name.text()));
            }
            let (port_name, number) = (service.get("port.name"), service.get("port.number"));
            let numbered = number.int().unwrap_or_default() != 0;
            match (port_name.is_set(), numbered) {
                (true, true) => {
                    at.out_of(out, &"".into(), "cannot set both port name & port number".to_owned())
                }
                (true, false) => port_name.each(out, format::port_name(port_name.text())),
                (false, true) => number.port(out),
                (false, false) => at.required(out, "port name or number is required"),
            }
        }
    }
}

pub(crate) const INGRESS_CLASS: Behavior = Behavior {
    default: |object| fill::apply(object, &[("spec.parameters.scope", Str("Cluster"))]),
    validate_create: |object| validated(object, ingress_class),
    validate_update: |new, old| {
        validated(new, |at, out| {
            at.get("spec.controller").immutable(out, &old["spec"]["controller"]);
            ingress_class(at, out);
        })
    },
    generation: true,
    ..GENERIC
};

/// The longest name of a controller.
const CONTROLLER: usize = 250;

fn ingress_class(at: &At<'_>, out: &mut Errors) {
    let controller = at.get("spec.controller");
    if controller.text().len() > CONTROLLER {
        out.push(FieldError::too_long(&controller.path, CONTROLLER));
    }
    if !controller.is_set() {
        controller.required(out, "");
        return;
    }
    controller.each(out, format::domain_prefixed(controller.text()));
}

pub(crate) const NETWORK_POLICY: Behavior = Behavior {
    default: |object| {
        fill::apply(
            object,
            &[
                ("spec+.podSelector", Object),
                ("spec.ingress[].ports[].protocol", Str("TCP")),
                ("spec.egress[].ports[].protocol", Str("TCP")),
            ],
        );
        if fill::list(object, "spec.policyTypes").is_empty() {
            let mut types = vec!["Ingress"];
            if !fill::list(object, "spec.egress").is_empty() {
                types.push("Egress");
            }
            object["spec"]["policyTypes"] = types.into();
        }
    },
    validate_create: |object| validated(object, policy),
    validate_update: |new, _| validated(new, policy),
    generation: true,
    ..GENERIC
};

fn policy(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    selector(&spec.get("podSelector"), out);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(direction).items() {
            rule.get("ports").items().for_each(|port| policy_port(&port, out));
            rule.get(peers).items().for_each(|peer| policy_peer(&peer, out));
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        types.invalid(out, "may not specify more than two policyTypes");
        return;
    }
    for kind in types.items() {
        kind.one_of(out, &["Ingress", "Egress"]);
    }
}

fn policy_port(at: &At<'_>, out: &mut Errors) {
    at.get("protocol").one_of_if_set(out, &["SCTP", "TCP", "UDP"]);
    let (port, end) = (at.get("port"), at.get("endPort"));
    if port.value.is_null() {
        if end.is_set() {
            end.invalid(out, "must specify port when `endPort` is set");
        }
        return;
    }
    port.port_or_name(out);
    let Some(last) = end.int() else { return };
    match port.int() {
        Some(first) if last < first => end.invalid(out, "must be greater than or equal to `port`"),
        Some(_) => end.port(out),
        None => end.invalid(out, "may not be specified when `port` is non-numeric"),
    }
}

fn policy_peer(at: &At<'_>, out: &mut Errors) {
    let (pods, namespaces, block) = (at.get("podSelector"), at.get("namespaceSelector"), at.get("ipBlock"));
    let selects = !pods.value.is_null() || !namespaces.value.is_null();
    selector(&pods, out);
    selector(&namespaces, out);
    if block.value.is_null() {
        if !selects {
            at.required(out, "must specify a peer");
        }
        return;
    }
    ip_block(&block, out);
    if selects {
        at.forbidden(out, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(at: &At<'_>, out: &mut Errors) {
    let cidr = at.get("cidr");
    if !cidr.is_set() {
        cidr.required(out, "");
        return;
    }
    cidr.each(out, format::cidr(cidr.text()));
    let whole = cidr.text().parse::<IpNet>();
    for except in at.get("except").items() {
        except.each(out, format::cidr(except.text()));
        if let (Ok(whole), Ok(part)) = (&whole, except.text().parse::<IpNet>())
            && (!whole.contains(&part) || whole.prefix_len() >= part.prefix_len())
        {
            except.invalid(out, "must be a strict subset of `cidr`");
        }
    }
}

pub(crate) const IP_ADDRESS: Behavior = Behavior {
    validate_create: |object| {
        validated(object, |at, out| {
            let parent = at.get("spec.parentRef");
            if parent.value.is_null() {
                parent.required(out, "");
                return;
            }
            for field in ["resource", "name"] {
                parent.get(field).must(out);
            }
        })
    },
    validate_update: |new, old| {
        validated(new, |at, out| {
            let parent = at.get("spec.parentRef");
            if !same(parent.value, &old["spec"]["parentRef"]) {
                let field = |name: &str| parent.get(name).text().to_owned();
                let shown = serde_json::json!({"Group": field("group"), "Resource": field("resource"),
                    "Namespace": field("namespace"), "Name": field("name")});
                parent.out_of(out, &shown, super::check::IMMUTABLE.to_owned());
            }
        })
    },
    selectable_fields: &[],
    name_rule: NameRule::PathSegment,
    ..GENERIC
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_say_what_they_are_about() {
        for (spec, types) in [
            (json!({}), json!(["Ingress"])),
            (json!({"egress": [{}]}), json!(["Ingress", "Egress"])),
            (json!({"policyTypes": ["Egress"]}), json!(["Egress"])),
        ] {
            let mut object = json!({"spec": spec});
            (NETWORK_POLICY.default)(&mut object);
            assert_eq!(object["spec"]["policyTypes"], types);
        }
    }

    #[test]
    fn wrong_ingresses() {
        for (spec, field) in [
            (json!({}), "spec"),
            (json!({"rules": [{"host": "1.2.3.4"}]}), "spec.rules[0].host"),
            (json!({"defaultBackend": {"service": {"name": "a"}}}), "spec.defaultBackend"),
            (
                json!({"rules": [{"http": {"paths": [{"path": "x", "pathType": "Exact",
                    "backend": {"service": {"name": "a", "port": {"number": 1}}}}]}}]}),
                "spec.rules[0].http.paths[0].path",
            ),
        ] {
            let errors = (INGRESS.validate_create)(&json!({"spec": spec}));
            assert_eq!(errors.first().map(|error| error.field.as_str()), Some(field));
        }
    }
}
