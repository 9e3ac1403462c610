//! What is wrong with a pod spec.

use std::collections::HashSet;

use super::{container, volume};
use crate::kind::check::{At, Errors, annotations, label_key, labels, selector};
use crate::kind::format;

pub(crate) use super::container::quantity;

/// The template of a workload; `spec.template` and the like.
pub(crate) fn template(at: &At<'_>, out: &mut Errors) {
    labels(&at.get("metadata.labels"), out);
    annotations(&at.get("metadata.annotations"), out);
    spec(&at.get("spec"), out);
    let ephemeral = at.get("spec.ephemeralContainers");
    if ephemeral.len() > 0 {
        ephemeral.forbidden(out, "ephemeral containers not allowed in pod template");
    }
}

/// A template of a kind whose pods run for ever.
pub(crate) fn lasting_template(at: &At<'_>, kind: &str, out: &mut Errors) {
    let restart = at.get("spec.restartPolicy");
    if restart.text() != "Always" {
        restart.not_supported(out, &["Always"]);
    }
    let deadline = at.get("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(out, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// The spec itself.
pub(crate) fn spec(at: &At<'_>, out: &mut Errors) {
    let volumes = volume::all(&at.get("volumes"), out);
    container::all(at, &volumes, out);
    restart_policy(&at.get("restartPolicy"), out);
    dns(at, out);
    let grace = at.get("terminationGracePeriodSeconds");
    grace.not_negative(out);
    let deadline = at.get("activeDeadlineSeconds");
    if deadline.int().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        deadline.invalid(out, "must be between 1 and 2147483647, inclusive");
    }
    for (name, rule) in NAMES {
        let field = at.get(name);
        if field.is_set() {
            field.each(out, rule(field.text()));
        }
    }
    labels(&at.get("nodeSelector"), out);
    security(at, out);
    for secret in at.get("imagePullSecrets").items() {
        if !secret.get("name").is_set() {
            secret.get("name").required(out, "");
        }
    }
    host_aliases(&at.get("hostAliases"), out);
    affinity(&at.get("affinity"), out);
    at.get("tolerations").items().for_each(|toleration| self::toleration(&toleration, out));
    readiness_gates(&at.get("readinessGates"), out);
    scheduling_gates(&at.get("schedulingGates"), out);
    spread(&at.get("topologySpreadConstraints"), out);
    at.get("preemptionPolicy").one_of_if_set(out, &["Never", "PreemptLowerPriority"]);
    os(at, out);
}

type Rule = fn(&str) -> Vec<String>;

/// The fields of a spec that are names of other things.
const NAMES: [(&str, Rule); 7] = [
    ("serviceAccountName", format::subdomain),
    ("nodeName", format::subdomain),
    ("runtimeClassName", format::subdomain),
    ("priorityClassName", format::subdomain),
    ("schedulerName", format::qualified_name),
    ("hostname", format::label),
    ("subdomain", format::label),
];

fn restart_policy(at: &At<'_>, out: &mut Errors) {
    if at.must(out) {
        at.one_of(out, &["Always", "OnFailure", "Never"]);
    }
}

/// How many name servers a pod may have.
const NAMESERVERS: usize = 3;
/// How many search domains a pod may have.
const SEARCHES: usize = 32;

fn dns(at: &At<'_>, out: &mut Errors) {
    let policy = at.get("dnsPolicy");
    if policy.must(out) {
        policy.one_of(out, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    }
    let config = at.get("dnsConfig");
    let servers = config.get("nameservers");
    if policy.text() == "None" {
        if config.value.is_null() {
            config.required(out, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.len() == 0 {
            servers.required(out, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.len() > NAMESERVERS {
        servers.invalid(out, format!("must not have more than {NAMESERVERS} nameservers"));
    }
    servers.items().for_each(|server| server.each(out, format::ip(server.text())));
    let searches = config.get("searches");
    if searches.len() > SEARCHES {
        searches.invalid(out, format!("must not have more than {SEARCHES} search paths"));
    }
    for search in searches.items() {
        if search.text() != "." {
            let relaxed = search.text().trim_end_matches('.').replace('_', "-");
            search.each(out, format::subdomain(&relaxed));
        }
    }
    for option in config.get("options").items() {
        if !option.get("name").is_set() {
            option.required(out, "must not be empty");
        }
    }
}

/// The largest id of a user or group.
const MAX_ID: i64 = i32::MAX as i64;

fn security(at: &At<'_>, out: &mut Errors) {
    let context = at.get("securityContext");
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        let id = context.get(field);
        if id.int().is_some_and(|id| !(0..=MAX_ID).contains(&id)) {
            id.invalid(out, "must be between 0 and 2147483647, inclusive");
        }
    }
    if at.get("shareProcessNamespace").flag() && at.get("hostPID").flag() {
        at.get("shareProcessNamespace")
            .invalid(out, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    context.get("fsGroupChangePolicy").one_of_if_set(out, &["Always", "OnRootMismatch"]);
    seccomp(&context.get("seccompProfile"), out);
    let mut seen = HashSet::new();
    for sysctl in context.get("sysctls").items() {
        let name = sysctl.get("name");
        if !name.is_set() {
            name.required(out, "");
        } else if !seen.insert(name.text()) {
            name.duplicate(out);
        }
    }
}

/// A seccomp profile, of a pod or a container.
pub(crate) fn seccomp(at: &At<'_>, out: &mut Errors) {
    if at.value.is_null() {
        return;
    }
    let kind = at.get("type");
    let local = at.get("localhostProfile");
    if !kind.is_set() {
        kind.required(out, "type is required when seccompProfile is set");
        return;
    }
    match kind.text() {
        "Localhost" if !local.is_set() => {
            local.required(out, "must be set when seccomp type is Localhost");
        }
        "Localhost" => {}
        "RuntimeDefault" | "Unconfined" if !local.value.is_null() => {
            local.invalid(out, "can only be set when seccomp type is Localhost");
        }
        "RuntimeDefault" | "Unconfined" => {}
        _ => kind.not_supported(out, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

fn host_aliases(at: &At<'_>, out: &mut Errors) {
    for alias in at.items() {
        let ip = alias.get("ip");
        ip.each(out, format::ip(ip.text()));
        for name in alias.get("hostnames").items() {
            name.each(out, format::subdomain(name.text()));
        }
    }
}

/// A toleration.
pub(crate) fn toleration(at: &At<'_>, out: &mut Errors) {
    let (key, operator, value) = (at.get("key"), at.get("operator"), at.get("value"));
    if key.is_set() {
        label_key(&key, out);
    }
    if !key.is_set() && operator.text() != "Exists" {
        operator.invalid(
            out,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    if at.get("tolerationSeconds").is_set() && at.get("effect").text() != "NoExecute" {
        at.get("effect").invalid(out, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    match operator.text() {
        "Equal" | "" => {
            if let Some(message) = format::label_value(value.text()).into_iter().next() {
                operator.out_of(out, value.value, message);
            }
        }
        "Exists" => {
            if value.is_set() {
                operator.out_of(out, at.value, "value must be empty when `operator` is 'Exists'".to_owned());
            }
        }
        _ => operator.not_supported(out, &["Equal", "Exists"]),
    }
    at.get("effect").one_of_if_set(out, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

fn readiness_gates(at: &At<'_>, out: &mut Errors) {
    for gate in at.items() {
        label_key(&gate.get("conditionType"), out);
    }
}

fn scheduling_gates(at: &At<'_>, out: &mut Errors) {
    let mut seen = HashSet::new();
    for gate in at.items() {
        let name = gate.get("name");
        for message in format::qualified_name(name.text()) {
            gate.out_of(out, name.value, message);
        }
        if !seen.insert(name.text()) {
            name.duplicate(out);
        }
    }
}

fn spread(at: &At<'_>, out: &mut Errors) {
    let mut seen = HashSet::new();
    for constraint in at.items() {
        let skew = constraint.get("maxSkew");
        if skew.int().unwrap_or_default() <= 0 {
            skew.invalid(out, "must be greater than zero");
        }
        let key = constraint.get("topologyKey");
        if key.is_set() {
            label_key(&key, out);
        } else {
            key.required(out, "can not be empty");
        }
        let action = constraint.get("whenUnsatisfiable");
        action.one_of(out, &["DoNotSchedule", "ScheduleAnyway"]);
        if !seen.insert((key.text(), action.text())) {
            let pair = format!("{{{}, {}}}", key.text(), action.text());
            constraint.out_duplicate(out, pair);
        }
        selector(&constraint.get("labelSelector"), out);
    }
}

fn os(at: &At<'_>, out: &mut Errors) {
    let os = at.get("os");
    if !os.value.is_null() && os.get("name").must(out) {
        os.get("name").one_of(out, &["linux", "windows"]);
    }
}

fn affinity(at: &At<'_>, out: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = at.get("nodeAffinity");
    let required = node.get(REQUIRED);
    if !required.value.is_null() {
        node_selector(&required, out);
    }
    for term in node.get(PREFERRED).items() {
        weight(&term.get("weight"), out);
        node_term(&term.get("preference"), out);
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        let pods = at.get(name);
        pods.get(REQUIRED).items().for_each(|term| pod_term(&term, out));
        for term in pods.get(PREFERRED).items() {
            weight(&term.get("weight"), out);
            pod_term(&term.get("podAffinityTerm"), out);
        }
    }
}

fn weight(at: &At<'_>, out: &mut Errors) {
    if !at.int().is_some_and(|weight| (1..=100).contains(&weight)) {
        at.invalid(out, "must be in the range 1-100");
    }
}

/// A node selector with its terms.
pub(crate) fn node_selector(at: &At<'_>, out: &mut Errors) {
    let terms = at.get("nodeSelectorTerms");
    if terms.len() == 0 {
        terms.required(out, "must have at least one node selector term");
    }
    terms.items().for_each(|term| node_term(&term, out));
}

fn node_term(at: &At<'_>, out: &mut Errors) {
    for requirement in at.get("matchExpressions").items() {
        let values = requirement.get("values");
        match requirement.get("operator").text() {
            "In" | "NotIn" if values.len() == 0 => {
                values.required(out, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if values.len() > 0 => {
                values.forbidden(out, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                values.required(out, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => requirement.get("operator").invalid(out, "not a valid selector operator"),
        }
        label_key(&requirement.get("key"), out);
    }
    for requirement in at.get("matchFields").items() {
        let (operator, values) = (requirement.get("operator"), requirement.get("values"));
        if !matches!(operator.text(), "In" | "NotIn") {
            operator.invalid(out, "not a valid selector operator");
        } else if values.len() != 1 {
            values.required(
                out,
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            );
        }
        let key = requirement.get("key");
        if key.text() != "metadata.name" {
            key.invalid(out, "not a valid field selector key");
        }
    }
}

fn pod_term(at: &At<'_>, out: &mut Errors) {
    selector(&at.get("labelSelector"), out);
    selector(&at.get("namespaceSelector"), out);
    for namespace in at.get("namespaces").items() {
        namespace.each(out, format::label(namespace.text()));
    }
    let key = at.get("topologyKey");
    if key.is_set() {
        label_key(&key, out);
    } else {
        key.required(out, "can not be empty");
    }
}
