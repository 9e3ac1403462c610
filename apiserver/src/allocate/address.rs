//! Cluster addresses: planned as values, taken as `IPAddress` objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::field::FieldError;
use crate::kind::fill;
use crate::server::Server;

const GROUP: &str = "networking.k8s.io";
const RESOURCE: &str = "ipaddresses";

/// Makes `clusterIP` and `clusterIPs` say the same where a client set only one of them.
pub(super) fn normalize(service: &mut Value, old: Option<&Value>) {
    let ip = fill::text(service, "spec.clusterIP").to_owned();
    let listed = !fill::list(service, "spec.clusterIPs").is_empty();
    let Some(old) = old else {
        if !ip.is_empty() && !listed {
            service["spec"]["clusterIPs"] = json!([ip]);
        }
        return;
    };
    let had = fill::text(old, "spec.clusterIP");
    let same_list = service["spec"]["clusterIPs"] == old["spec"]["clusterIPs"];
    if ip != had {
        if ip.is_empty() && same_list {
            if let Some(spec) = service["spec"].as_object_mut() {
                spec.remove("clusterIPs");
            }
        } else if !ip.is_empty() && (same_list || !listed) {
            service["spec"]["clusterIPs"] = json!([ip]);
        }
    } else if !listed && !ip.is_empty() && fill::list(old, "spec.clusterIPs").is_empty() {
        service["spec"]["clusterIPs"] = json!([ip]);
    }
}

fn family_of(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn range_family(range: &IpNet) -> &'static str {
    if matches!(range, IpNet::V4(_)) { "IPv4" } else { "IPv6" }
}

/// Fills in the families of a Service's addresses, by what the client says and the cluster has.
pub(super) fn plan(service: &mut Value, ranges: &[IpNet]) -> Result<(), Vec<FieldError>> {
    let configured: Vec<&str> = ranges.iter().map(range_family).collect();
    let headless = fill::text(service, "spec.clusterIP") == "None";
    let selectorless = headless
        && fill::find(service, "spec.selector")
            .is_none_or(|s| s.as_object().is_none_or(serde_json::Map::is_empty));
    let policy = fill::text(service, "spec.ipFamilyPolicy").to_owned();
    let mut families: Vec<String> =
        fill::list(service, "spec.ipFamilies").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let ips: Vec<IpAddr> =
        fill::list(service, "spec.clusterIPs").iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect();
    let mut errors = unconfigured(service, &configured, &families, &ips, selectorless);
    errors.extend(malformed(service));
    if !errors.is_empty() {
        return Err(errors);
    }
    if policy.is_empty() {
        let both = families.len() > 1 || ips.len() > 1;
        let value =
            if both || selectorless && families.is_empty() { "RequireDualStack" } else { "SingleStack" };
        service["spec"]["ipFamilyPolicy"] = value.into();
    }
    for ip in ips.iter().skip(families.len()) {
        families.push(family_of(*ip).to_owned());
    }
    if families.is_empty() {
        families.extend(configured.first().map(|family| (*family).to_owned()));
    }
    if fill::text(service, "spec.ipFamilyPolicy") != "SingleStack" {
        let wanted: Vec<&str> = if selectorless { vec!["IPv4", "IPv6"] } else { configured };
        for family in wanted {
            if families.len() < 2 && !families.iter().any(|have| have == family) {
                families.push(family.to_owned());
            }
        }
    }
    service["spec"]["ipFamilies"] = families.into();
    if headless {
        service["spec"]["clusterIPs"] = json!(["None"]);
    }
    Ok(())
}

/// What the client wants of families and the cluster does not have.
fn unconfigured(
    service: &Value,
    configured: &[&str],
    families: &[String],
    ips: &[IpAddr],
    selectorless: bool,
) -> Vec<FieldError> {
    let policy = fill::text(service, "spec.ipFamilyPolicy");
    let mut errors = Vec::new();
    for (index, family) in families.iter().enumerate() {
        if matches!(family.as_str(), "IPv4" | "IPv6")
            && !configured.contains(&family.as_str())
            && !selectorless
        {
            errors.push(FieldError::invalid(
                format!("spec.ipFamilies[{index}]"),
                family.as_str(),
                "not configured on this cluster",
            ));
        }
    }
    for (index, ip) in ips.iter().enumerate() {
        if !configured.contains(&family_of(*ip)) && families.get(index).is_none() {
            errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{index}]"),
                service["spec"]["clusterIPs"].clone(),
                format!("{} is not configured on this cluster", family_of(*ip)),
            ));
        }
    }
    if policy == "RequireDualStack" && configured.len() < 2 && !selectorless {
        errors.push(FieldError::invalid(
            "spec.ipFamilyPolicy",
            policy,
            "this cluster is not configured for dual-stack services",
        ));
    }
    if policy == "SingleStack" && (families.len() > 1 || ips.len() > 1) {
        errors.push(FieldError::invalid(
            "spec.ipFamilyPolicy",
            policy,
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ));
    }
    errors
}

/// What is wrong with the addresses' texts; without them nothing can be given out.
fn malformed(service: &Value) -> Vec<FieldError> {
    let (single, list) = (fill::text(service, "spec.clusterIP"), fill::list(service, "spec.clusterIPs"));
    let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let field = "spec.clusterIPs";
    let mut errors = Vec::new();
    if single.is_empty() && !texts.is_empty() {
        errors.push(FieldError::invalid(
            field,
            list.to_vec(),
            "must be empty when `clusterIP` is not specified",
        ));
    } else if texts.first().is_some_and(|first| *first != single) {
        errors.push(FieldError::invalid(field, list.to_vec(), "first value must match `clusterIP`"));
    }
    let parsed: Vec<IpAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    for (index, text) in texts.iter().enumerate().filter(|(_, text)| **text != "None") {
        for message in crate::kind::format::ip(text) {
            errors.push(FieldError::invalid(format!("{field}[{index}]"), *text, message));
        }
    }
    if parsed.len() == 2 && parsed[0].is_ipv4() == parsed[1].is_ipv4() {
        errors.push(FieldError::invalid(
            field,
            list.to_vec(),
            "may specify no more than one IP for each IP family",
        ));
    }
    errors
}

/// Takes an address of each family that has none yet, and those the client names.
pub(super) async fn allocate(
    server: &Server,
    service: &mut Value,
    had: &[String],
    dry_run: bool,
    claimed: &mut Vec<String>,
) -> Result<(), Vec<FieldError>> {
    let families: Vec<String> =
        fill::list(service, "spec.ipFamilies").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut ips: Vec<String> =
        fill::list(service, "spec.clusterIPs").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for (index, family) in families.iter().enumerate() {
        let range =
            server.settings().service_cluster_ip_range.iter().find(|range| range_family(range) == family);
        let Some(range) = range else { continue };
        match ips.get(index).filter(|ip| !ip.is_empty()).cloned() {
            Some(ip) if had.contains(&ip) => {}
            Some(ip) => {
                let given = Value::from(ips.clone());
                let refuse = |why: &str| {
                    vec![FieldError::invalid(
                        "spec.clusterIPs",
                        given.clone(),
                        format!("failed to allocate IP {ip}: {why}"),
                    )]
                };
                let inside = ip.parse().is_ok_and(|ip| is_host(range, ip));
                if !inside {
                    return Err(refuse("the provided network does not match the current range"));
                }
                let taken =
                    take(server, &ip, service, dry_run).await.map_err(|fault| refuse(&fault.message))?;
                if !taken {
                    return Err(refuse("provided IP is already allocated"));
                }
                claimed.push(ip);
            }
            None => {
                let ip = take_any(server, range, service, dry_run).await.map_err(|why| {
                    vec![FieldError::internal(
                        "spec.clusterIPs",
                        format!("failed to allocate a serviceIP: {why}"),
                    )]
                })?;
                claimed.push(ip.clone());
                ips.push(ip);
            }
        }
    }
    service["spec"]["clusterIP"] = ips.first().cloned().unwrap_or_default().into();
    service["spec"]["clusterIPs"] = ips.into();
    Ok(())
}

/// Whether an address is one of the range's hosts: neither its network nor its broadcast address.
fn is_host(range: &IpNet, ip: IpAddr) -> bool {
    range.contains(&ip) && ip != range.network() && !(ip.is_ipv4() && ip == range.broadcast())
}

/// Of a range of addresses, the lower part is left to those who ask for a certain one: one in so many.
const STEP: u128 = 16;
/// That part is at least so large (in addresses),
const LEAST: u128 = 16;
/// and at most so large.
const MOST: u128 = 256;
/// IPv6 ranges are used only so far: more addresses are not needed.
const USED: u128 = 1 << 64;

/// How many addresses the range gives out, and how many of them are left to those who ask for a certain one.
fn bands(range: &IpNet) -> (u128, u128) {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len());
    let all = if bits >= 64 { USED } else { 1_u128 << bits };
    let hosts = all.saturating_sub(if matches!(range, IpNet::V4(_)) { 2 } else { 1 });
    let reserved = if all <= LEAST { 0 } else { (all / STEP).clamp(LEAST, MOST) };
    (hosts, reserved.min(hosts))
}

/// The address at a place in the range; the first host is at 0.
fn address_at(range: &IpNet, at: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(v4) => {
            Ipv4Addr::from(u32::from(v4).wrapping_add(u32::try_from(at + 1).unwrap_or_default())).into()
        }
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(at + 1)).into(),
    }
}

/// How many addresses are tried in one part before it counts as full; known ones are skipped without a try.
const TRIES: u128 = 1 << 17;

/// Takes any address: one of the upper part while there is one, from a random place on.
async fn take_any(server: &Server, range: &IpNet, service: &Value, dry_run: bool) -> Result<String, String> {
    let (hosts, reserved) = bands(range);
    for (first, size) in [(reserved, hosts - reserved), (0, reserved)] {
        if size == 0 {
            continue;
        }
        let start = rand::random_range(0..size);
        for step in 0..size.min(TRIES) {
            let ip = address_at(range, first + (start + step) % size).to_string();
            if server.get(GROUP, RESOURCE, "", &ip).is_some() {
                continue;
            }
            if take(server, &ip, service, dry_run).await.map_err(|fault| fault.message)? {
                return Ok(ip);
            }
        }
    }
    Err("range is full".to_owned())
}

/// Takes an address; `false` where somebody has it.
async fn take(server: &Server, ip: &str, service: &Value, dry_run: bool) -> Result<bool, Fault> {
    if dry_run {
        return Ok(server.read(GROUP, RESOURCE, "", ip).await?.is_none());
    }
    let family = ip.parse().map_or("IPv4", family_of);
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": ip, "labels": {
            "ipaddress.kubernetes.io/ip-family": family,
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }},
        "spec": {"parentRef": {
            "resource": "services",
            "namespace": fill::text(service, "metadata.namespace"),
            "name": fill::text(service, "metadata.name"),
        }},
    });
    match server.create(GROUP, RESOURCE, object).await {
        Ok(_) => Ok(true),
        Err(fault) if fault.reason == "AlreadyExists" => adopt(server, ip, service).await,
        Err(fault) => Err(fault),
    }
}

/// An address whose Service is gone, or is this one, is free: a server that was killed left it behind.
async fn adopt(server: &Server, ip: &str, service: &Value) -> Result<bool, Fault> {
    let Some(object) = server.read(GROUP, RESOURCE, "", ip).await? else { return Ok(false) };
    let parent = |field: &str| fill::text(&object["spec"]["parentRef"], field);
    let same = parent("namespace") == fill::text(service, "metadata.namespace")
        && parent("name") == fill::text(service, "metadata.name");
    let exists = server.read("", "services", parent("namespace"), parent("name")).await?.is_some();
    Ok(same && !exists)
}

/// Gives an address back.
pub(super) async fn release(server: &Server, ip: &str) {
    match server.delete(GROUP, RESOURCE, "", ip).await {
        Ok(()) => {}
        Err(fault) if fault.code == 404 => {}
        Err(fault) => tracing::warn!(ip, %fault, "could not give a service address back"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_follow_the_size() {
        for (range, expected) in [
            ("10.43.0.0/16", (65534, 256)),
            ("10.43.0.0/24", (254, 16)),
            ("10.43.0.0/28", (14, 0)),
            ("fd00::/108", ((1 << 20) - 1, 256)),
        ] {
            assert_eq!(bands(&range.parse().unwrap()), expected, "{range}");
        }
    }

    #[test]
    fn plans() {
        let ranges = ["10.43.0.0/16".parse().unwrap()];
        for (spec, families, policy) in [
            (json!({}), json!(["IPv4"]), "SingleStack"),
            (json!({"clusterIP": "None"}), json!(["IPv4", "IPv6"]), "RequireDualStack"),
            (json!({"clusterIP": "None", "selector": {"a": "b"}}), json!(["IPv4"]), "SingleStack"),
            (json!({"ipFamilyPolicy": "PreferDualStack"}), json!(["IPv4"]), "PreferDualStack"),
        ] {
            let mut service = json!({"spec": spec});
            assert_eq!(plan(&mut service, &ranges), Ok(()));
            assert_eq!(service["spec"]["ipFamilies"], families);
            assert_eq!(service["spec"]["ipFamilyPolicy"], policy);
        }
        for spec in [json!({"ipFamilies": ["IPv6"]}), json!({"clusterIPs": ["10.43.0.5"]})] {
            assert!(plan(&mut json!({"spec": spec}), &ranges).is_err());
        }
    }
}
