//! Pods and pod templates.

use serde_json::{Value, json};

use super::check::{At, Errors, same};
use super::podspec::{self, check};
use super::{Behavior, Grace, WITH_STATUS, fill};
use crate::field::FieldError;
use crate::kind::quantity::Quantity;
use crate::object::{meta_value, set_meta};

pub(crate) const POD: Behavior = Behavior {
    default,
    prepare_create,
    prepare_update,
    prepare_status,
    validate_create: |pod| {
        validated(pod, |at, out| {
            mirror(at, out);
            check::spec(&at.get("spec"), out);
        })
    },
    validate_update,
    validate_status,
    selectable_fields: &[
        ("spec.nodeName", |pod| fill::text(pod, "spec.nodeName").to_owned()),
        ("spec.restartPolicy", |pod| fill::text(pod, "spec.restartPolicy").to_owned()),
        ("spec.schedulerName", |pod| fill::text(pod, "spec.schedulerName").to_owned()),
        ("spec.serviceAccountName", |pod| fill::text(pod, "spec.serviceAccountName").to_owned()),
        ("spec.hostNetwork", |pod| fill::flag(pod, "spec.hostNetwork").to_string()),
        ("status.phase", |pod| fill::text(pod, "status.phase").to_owned()),
        ("status.podIP", |pod| fill::text(pod, "status.podIP").to_owned()),
        ("status.podIPs", pod_ips),
        ("status.nominatedNodeName", |pod| fill::text(pod, "status.nominatedNodeName").to_owned()),
    ],
    generation: true,
    grace,
    ..WITH_STATUS
};

pub(crate) const POD_TEMPLATE: Behavior = Behavior {
    default: |object| podspec::fill_template(object, "template"),
    validate_create: |object| validated(object, |at, out| check::template(&at.get("template"), out)),
    validate_update: |object, _| validated(object, |at, out| check::template(&at.get("template"), out)),
    generation: true,
    ..super::GENERIC
};

/// Runs a check over an object.
pub(crate) fn validated(object: &Value, check: impl FnOnce(&At<'_>, &mut Errors)) -> Vec<FieldError> {
    let mut out = Errors::new();
    check(&At::root(object), &mut out);
    out
}

fn default(pod: &mut Value) {
    let spec = fill::child(pod, "spec");
    podspec::requests_from_limits(spec);
    podspec::fill(spec);
    fill::put(spec, "enableServiceLinks", true.into());
    podspec::host_ports(spec);
}

fn prepare_create(pod: &mut Value) {
    let class = qos_class(pod);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
}

/// A pod that shows what a node runs by itself is on that node.
fn mirror(at: &At<'_>, out: &mut Errors) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let annotations = at.get("metadata").get("annotations");
    let marked = annotations.entries().find(|(key, _)| *key == MIRROR);
    if let Some((_, mark)) = marked.filter(|_| !at.get("spec.nodeName").is_set()) {
        mark.invalid(out, "must set spec.nodeName if mirror pod annotation is set");
    }
}

/// An update of the pod itself leaves the status, and what only subresources may change.
fn prepare_update(new: &mut Value, old: &Value) {
    super::keep_status(new, old);
    if let Some(grace) = fill::int(new, "spec.terminationGracePeriodSeconds")
        && grace < 0
    {
        new["spec"]["terminationGracePeriodSeconds"] = 1.into();
    }
}

fn prepare_status(new: &mut Value, old: &Value) {
    super::keep_all_but_status_and_metadata(new, old);
    set_meta(new, "ownerReferences", meta_value(old, "ownerReferences").cloned());
    let class = fill::find(old, "status.qosClass").cloned().unwrap_or_else(|| qos_class(old).into());
    let status = fill::child(new, "status");
    fill::put(status, "qosClass", class);
    fill::put(status, "phase", "Pending".into());
    one_address(status);
}

/// Makes the one address and the first of all addresses say the same; whoever knows only the one sets that.
fn one_address(status: &mut Value) {
    let (one, first) = (fill::text(status, "podIP"), fill::list(status, "podIPs").first());
    let first = first.map_or("", |ip| fill::text(ip, "ip")).to_owned();
    if one.is_empty() && !first.is_empty() {
        status["podIP"] = first.into();
    } else if one != first {
        status["podIPs"] = json!([{"ip": one}]);
    }
}

fn pod_ips(pod: &Value) -> String {
    let ips: Vec<&str> = fill::list(pod, "status.podIPs").iter().map(|ip| fill::text(ip, "ip")).collect();
    ips.join(",")
}

/// The seconds a pod may take to end; one that never ran takes none.
fn grace(pod: &Value, requested: Option<i64>) -> Grace {
    let spec = fill::int(pod, "spec.terminationGracePeriodSeconds");
    let seconds = requested.or(spec).unwrap_or_default();
    let unscheduled = fill::text(pod, "spec.nodeName").is_empty();
    let ended = matches!(fill::text(pod, "status.phase"), "Failed" | "Succeeded");
    Grace::Seconds(match seconds {
        _ if unscheduled || ended => 0,
        negative if negative < 0 => 1,
        seconds => seconds,
    })
}

/// The resources that decide the class.
const QOS_RESOURCES: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`, by the requests and limits of all containers.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let whole = fill::find(pod, "spec.resources")
        .filter(|resources| resources.as_object().is_some_and(|r| !r.is_empty()));
    let holders: Vec<&Value> = match whole {
        Some(resources) => vec![resources],
        None => ["spec.containers", "spec.initContainers"]
            .iter()
            .flat_map(|list| fill::list(pod, list))
            .map(|container| container.get("resources").unwrap_or(&Value::Null))
            .collect(),
    };
    let amount = |holder: &Value, list: &str, name: &str| {
        fill::find(holder, list)
            .and_then(|amounts| amounts.get(name))
            .and_then(check::quantity)
            .filter(|quantity| !quantity.is_zero())
    };
    let any = holders.iter().any(|holder| {
        QOS_RESOURCES
            .iter()
            .any(|name| ["requests", "limits"].iter().any(|list| amount(holder, list, name).is_some()))
    });
    if !any {
        return "BestEffort";
    }
    let limited = holders
        .iter()
        .all(|holder| QOS_RESOURCES.iter().all(|name| amount(holder, "limits", name).is_some()));
    let total = |list: &str, name: &str| {
        holders.iter().filter_map(|holder| amount(holder, list, name)).fold(Quantity::ZERO, Quantity::plus)
    };
    let equal = QOS_RESOURCES.iter().all(|name| {
        total("requests", name).partial_cmp(&total("limits", name)) == Some(std::cmp::Ordering::Equal)
    });
    if limited && equal { "Guaranteed" } else { "Burstable" }
}

const FROZEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What a change of a running pod may touch: images, the deadline, more tolerations, fewer scheduling gates.
fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        let was = At::root(old);
        let (spec, before) = (at.get("spec"), was.get("spec"));
        for list in ["containers", "initContainers"] {
            if spec.get(list).len() != before.get(list).len() {
                spec.get(list).forbidden(out, "pod updates may not add or remove containers");
                return;
            }
        }
        check::spec(&spec, out);
        deadline(&spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds").int(), out);
        tolerations(&spec.get("tolerations"), &before.get("tolerations"), out);
        gates(&spec.get("schedulingGates"), &before.get("schedulingGates"), out);
        if !same(&thawed(spec.value, before.value), before.value) {
            spec.forbidden(out, FROZEN);
        }
    })
}

/// The new spec with everything that may change put back.
fn thawed(new: &Value, old: &Value) -> Value {
    let mut spec = new.clone();
    for list in ["containers", "initContainers"] {
        for (index, was) in fill::list(old, list).iter().enumerate() {
            if let Some(container) = spec[list].get_mut(index) {
                container["image"] = was["image"].clone();
            }
        }
    }
    let gated = !fill::list(old, "schedulingGates").is_empty();
    let thaw: &[&str] = if gated {
        &["activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeSelector", "affinity"]
    } else {
        &["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    };
    for field in thaw {
        spec[*field] = old.get(*field).cloned().unwrap_or_default();
    }
    if fill::int(old, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"].clone();
    }
    spec
}

fn deadline(at: &At<'_>, was: Option<i64>, out: &mut Errors) {
    match (at.int(), was) {
        (Some(now), _) if now < 0 => at.invalid(out, "must be greater than or equal to 0"),
        (Some(now), Some(was)) if now > was => {
            at.invalid(out, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            at.out_of(out, &Value::Null, "must not update from a positive integer to nil value".to_owned())
        }
        _ => {}
    }
}

fn tolerations(at: &At<'_>, was: &At<'_>, out: &mut Errors) {
    let kept = was.items().all(|old| {
        at.items().any(|new| {
            let mut a = new.value.clone();
            a["tolerationSeconds"] = old.value.get("tolerationSeconds").cloned().unwrap_or_default();
            same(&a, old.value)
        })
    });
    if !kept {
        at.forbidden(out, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(at: &At<'_>, was: &At<'_>, out: &mut Errors) {
    let added: Vec<&str> = at
        .items()
        .map(|gate| gate.get("name").text())
        .filter(|name| !was.items().any(|gate| gate.get("name").text() == *name))
        .collect();
    if !added.is_empty() {
        at.forbidden(
            out,
            format!("only deletion is allowed, but found new scheduling gates '{}'", added.join(" ")),
        );
    }
}

fn validate_status(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        let status = at.get("status");
        let class = status.get("qosClass");
        if class.text() != fill::text(old, "status.qosClass")
            && !fill::text(old, "status.qosClass").is_empty()
        {
            class.invalid(out, super::check::IMMUTABLE);
        }
        let ips = status.get("podIPs");
        for ip in ips.items() {
            let address = ip.get("ip");
            for message in super::format::ip(address.text()) {
                ip.out_of(out, address.value, message);
            }
        }
        let families: Vec<bool> = ips.items().map(|ip| ip.get("ip").text().contains(':')).collect();
        if families.len() > 1 && (families.len() > 2 || families[0] == families[1]) {
            let shown: Value = ips.items().map(|ip| json!({"IP": ip.get("ip").text()})).collect();
            ips.out_of(out, &shown, "may specify no more than one IP for each IP family".to_owned());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let limits = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, class) in [
            (json!({}), "BestEffort"),
            (json!({"limits": limits, "requests": limits}), "Guaranteed"),
            (json!({"limits": limits, "requests": {"cpu": "100m", "memory": "1Gi"}}), "Burstable"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
        ] {
            let pod = json!({"spec": {"containers": [{"resources": resources}]}});
            assert_eq!(qos_class(&pod), class);
        }
    }

    #[test]
    fn a_running_pod_is_frozen() {
        let mut old =
            json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        default(&mut old);
        type Case = (fn(&mut Value), usize);
        let cases: [Case; 4] = [
            (|pod| pod["spec"]["containers"][0]["image"] = "j".into(), 0),
            (|pod| pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]), 0),
            (|pod| pod["spec"]["nodeName"] = "n".into(), 1),
            (|pod| pod["spec"]["containers"][0]["command"] = json!(["x"]), 1),
        ];
        for (change, errors) in cases {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(validate_update(&new, &old).len(), errors, "{new}");
        }
    }
}
