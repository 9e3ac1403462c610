//! Limit ranges: what containers, pods and claims of a namespace ask for by default, at least and at most.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::fault::Fault;
use crate::kind::fill;
use crate::kind::quantity::Quantity;
use crate::server::Server;

/// Fills in what pods leave out, and refuses what is too small or too large.
#[derive(Debug)]
pub(super) struct LimitRanger;

/// Where a pod is told what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

#[async_trait::async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        let pod = attributes.group.is_empty()
            && attributes.resource == "pods"
            && (attributes.operation == Operation::Create && attributes.subresource.is_empty()
                || attributes.operation == Operation::Update && attributes.subresource == "resize");
        pod || written && attributes.is_for("", "persistentvolumeclaims")
    }

    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        server: &Server,
    ) -> Result<(), Fault> {
        if attributes.resource == "pods" {
            for range in server.list("", "limitranges", attributes.namespace) {
                fill_pod(object, &range.value());
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        server: &Server,
    ) -> Result<(), Fault> {
        for range in server.list("", "limitranges", attributes.namespace) {
            let range = range.value();
            let mut errors = match attributes.resource {
                "pods" => judge_pod(object, &range),
                _ => judge_claim(object, &range),
            };
            errors.dedup();
            match &errors[..] {
                [] => {}
                [one] => return Err(attributes.refused(object, one)),
                more => return Err(attributes.refused(object, &format!("[{}]", more.join(", ")))),
            }
        }
        Ok(())
    }
}

/// The limits of a range that are about one kind of thing.
fn limits<'a>(range: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    fill::list(range, "spec.limits").iter().filter(move |limit| fill::text(limit, "type") == kind)
}

/// The lists of containers that are filled in, as annotations call them.
const LISTS: [(&str, &str); 2] = [("containers", "container"), ("initContainers", "init container")];

fn fill_pod(pod: &mut Value, range: &Value) {
    let mut told: Vec<String> = Vec::new();
    for (list, called) in LISTS {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = fill::text(container, "name").to_owned();
            for (from, kind, what) in
                [("defaultRequest", "requests", "request"), ("default", "limits", "limit")]
            {
                let mut set: Vec<&str> = Vec::new();
                for limit in limits(range, "Container") {
                    for (resource, amount) in limit.get(from).and_then(Value::as_object).into_iter().flatten()
                    {
                        let slot = &mut fill::child(fill::child(container, "resources"), kind)[resource];
                        if slot.is_null() {
                            *slot = amount.clone();
                            set.push(resource);
                        }
                    }
                }
                if !set.is_empty() {
                    set.sort_unstable();
                    told.push(format!("{} {what} for {called} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        fill::child(fill::child(pod, "metadata"), "annotations")[ANNOTATION] = text.into();
    }
}

/// Amounts by resource: the text they were given as, and the amount.
type Amounts = BTreeMap<String, (String, Quantity)>;

fn amounts(holder: &Value, path: &str) -> Amounts {
    let map = fill::find(holder, path).and_then(Value::as_object);
    let read = |(name, value): (&String, &Value)| {
        let text = value.as_str()?;
        Some((name.clone(), (text.to_owned(), Quantity::parse(text)?)))
    };
    map.into_iter().flatten().filter_map(read).collect()
}

/// What is asked for and what is allowed at most.
struct Usage {
    requests: Amounts,
    limits: Amounts,
}

impl Usage {
    fn of(container: &Value) -> Self {
        Self {
            requests: amounts(container, "resources.requests"),
            limits: amounts(container, "resources.limits"),
        }
    }

    /// What all containers of a pod use together, at its worst moment.
    fn of_pod(pod: &Value) -> Self {
        Self { requests: total(pod, "requests"), limits: total(pod, "limits") }
    }

    fn judge(&self, kind: &str, limit: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        for (resource, enforced) in amounts(limit, "min") {
            errors.extend(self.too_little(kind, &resource, &enforced));
        }
        for (resource, enforced) in amounts(limit, "max") {
            errors.extend(self.too_much(kind, &resource, &enforced));
        }
        for (resource, enforced) in amounts(limit, "maxLimitRequestRatio") {
            errors.extend(self.too_wide(kind, &resource, &enforced));
        }
        errors
    }

    fn too_little(&self, kind: &str, resource: &str, (shown, least): &(String, Quantity)) -> Option<String> {
        let text = format!("minimum {resource} usage per {kind} is {shown}");
        match (self.requests.get(resource), self.limits.get(resource)) {
            (None, _) => Some(format!("{text}.  No request is specified")),
            (Some((request, amount)), _) if amount < least => {
                Some(format!("{text}, but request is {request}"))
            }
            (_, Some((limit, amount))) if amount < least => Some(format!("{text}, but limit is {limit}")),
            _ => None,
        }
    }

    fn too_much(&self, kind: &str, resource: &str, (shown, most): &(String, Quantity)) -> Option<String> {
        let text = format!("maximum {resource} usage per {kind} is {shown}");
        match (self.requests.get(resource), self.limits.get(resource)) {
            (_, None) => Some(format!("{text}.  No limit is specified")),
            (_, Some((limit, amount))) if amount > most => Some(format!("{text}, but limit is {limit}")),
            (Some((request, amount)), _) if amount > most => {
                Some(format!("{text}, but request is {request}"))
            }
            _ => None,
        }
    }

    fn too_wide(&self, kind: &str, resource: &str, (shown, most): &(String, Quantity)) -> Option<String> {
        let text = format!("{resource} max limit to request ratio per {kind} is {shown}, but");
        let amount = |amounts: &Amounts| {
            amounts.get(resource).map(|(_, amount)| *amount).filter(|amount| !amount.is_zero())
        };
        let Some(request) = amount(&self.requests) else {
            return Some(format!("{text} no request is specified or request is 0"));
        };
        let Some(limit) = amount(&self.limits) else {
            return Some(format!("{text} no limit is specified or limit is 0"));
        };
        let ratio = limit.over(request);
        let one = Quantity::parse("1").unwrap_or(Quantity::ZERO);
        (ratio > most.over(one)).then(|| format!("{text} provided ratio is {ratio:.6}"))
    }
}

/// What a pod's containers need at once: all of them with the sidecars, or an init container with the sidecars before it.
fn total(pod: &Value, kind: &str) -> Amounts {
    let of = |container: &Value| amounts(container, &format!("resources.{kind}"));
    let mut all = Amounts::new();
    for container in fill::list(pod, "spec.containers") {
        add(&mut all, &of(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in fill::list(pod, "spec.initContainers") {
        let mut now = of(container);
        if fill::text(container, "restartPolicy") == "Always" {
            add(&mut all, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, now);
    }
    raise(&mut all, peak);
    for (resource, amount) in amounts(pod, &format!("spec.resources.{kind}")) {
        all.insert(resource, amount);
    }
    all
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (resource, (text, amount)) in more {
        match to.get_mut(resource) {
            Some(sum) => {
                let total = sum.1.plus(*amount);
                *sum = (total.canonical(), total);
            }
            None => {
                to.insert(resource.clone(), (text.clone(), *amount));
            }
        }
    }
}

fn raise(to: &mut Amounts, other: Amounts) {
    for (resource, amount) in other {
        if to.get(&resource).is_none_or(|own| own.1 < amount.1) {
            to.insert(resource, amount);
        }
    }
}

fn judge_pod(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in limits(range, "Container") {
        for (list, _) in LISTS {
            for container in fill::list(&pod["spec"], list) {
                errors.extend(Usage::of(container).judge("Container", limit));
            }
        }
    }
    for limit in limits(range, "Pod") {
        errors.extend(Usage::of_pod(pod).judge("Pod", limit));
    }
    errors
}

fn judge_claim(claim: &Value, range: &Value) -> Vec<String> {
    let kind = "PersistentVolumeClaim";
    let requests = amounts(claim, "spec.resources.requests");
    let usage = Usage { requests: requests.clone(), limits: Amounts::new() };
    let mut errors = Vec::new();
    for limit in limits(range, kind) {
        for (resource, enforced) in amounts(limit, "min") {
            errors.extend(usage.too_little(kind, &resource, &enforced));
        }
        for (resource, (shown, most)) in amounts(limit, "max") {
            let text = format!("maximum {resource} usage per {kind} is {shown}");
            match requests.get(&resource) {
                None => errors.push(format!("{text}.  No request is specified")),
                Some((request, amount)) if *amount > most => {
                    errors.push(format!("{text}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(kind: &str, limit: Value) -> Value {
        let mut limit = limit;
        limit["type"] = kind.into();
        json!({"spec": {"limits": [limit]}})
    }

    fn pod(requests: Value, limits: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let range = range(
            "Container",
            json!({"default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}),
        );
        let mut found = pod(json!({}), json!({"memory": "2Gi"}));
        fill_pod(&mut found, &range);
        let resources = &found["spec"]["containers"][0]["resources"];
        assert_eq!(resources, &json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "2Gi"}}));
        let told = "LimitRanger plugin set: cpu request for container c; cpu limit for container c";
        assert_eq!(found["metadata"]["annotations"][ANNOTATION], told);
    }

    #[test]
    fn what_is_too_little_and_too_much() {
        let cpu = |amount: &str| json!({"cpu": amount});
        let cases = [
            (json!({"min": cpu("100m")}), cpu("100m"), json!({}), ""),
            (
                json!({"min": cpu("100m")}),
                cpu("50m"),
                json!({}),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                json!({"min": cpu("100m")}),
                json!({}),
                json!({}),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                json!({"max": cpu("1")}),
                cpu("100m"),
                cpu("2"),
                "maximum cpu usage per Container is 1, but limit is 2",
            ),
            (
                json!({"max": cpu("1")}),
                cpu("100m"),
                json!({}),
                "maximum cpu usage per Container is 1.  No limit is specified",
            ),
            (json!({"maxLimitRequestRatio": cpu("2")}), cpu("500m"), cpu("1"), ""),
            (
                json!({"maxLimitRequestRatio": cpu("2")}),
                cpu("400m"),
                cpu("1"),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000",
            ),
        ];
        for (limit, requests, limits, expected) in cases {
            let found = judge_pod(&pod(requests, limits), &range("Container", limit.clone()));
            assert_eq!(found.join(", "), expected, "{limit}");
        }
    }

    #[test]
    fn pods_as_a_whole_and_claims() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}});
        let mut sidecar = container("200m");
        sidecar["restartPolicy"] = "Always".into();
        let pod = json!({"spec": {"containers": [container("300m"), container("300m")],
            "initContainers": [sidecar, container("700m")]}});
        let found = judge_pod(&pod, &range("Pod", json!({"max": {"cpu": "800m"}})));
        assert_eq!(found, ["maximum cpu usage per Pod is 800m, but limit is 900m"]);
        let claim = json!({"spec": {"resources": {"requests": {"storage": "5Gi"}}}});
        let kind = "PersistentVolumeClaim";
        let found =
            judge_claim(&claim, &range(kind, json!({"max": {"storage": "1Gi"}, "min": {"storage": "1Gi"}})));
        assert_eq!(found, ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 5Gi"]);
    }
}
