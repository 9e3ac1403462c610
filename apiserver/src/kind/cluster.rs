//! Namespaces, nodes, ConfigMaps, Secrets, ServiceAccounts, Events, Leases, priority classes and what else is small.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::check::{At, Errors, label_key, same, selector};
use super::fill::{self, Fill::Int, Fill::Object, Fill::Str};
use super::pod::validated;
use super::podspec::check as podspec;
use super::{Behavior, GENERIC, NameRule, WITH_STATUS, WITH_STATUS_ALONE, format, workload};
use crate::field::FieldError;

pub(crate) const NAMESPACE: Behavior = Behavior {
    default: |namespace| {
        let name = fill::text(namespace, "metadata.name").to_owned();
        if !name.is_empty() {
            let metadata = fill::child(namespace, "metadata");
            fill::child(metadata, "labels")[NAMESPACE_LABEL] = name.into();
        }
    },
    prepare_create: |namespace| {
        namespace["status"] = json!({"phase": "Active"});
        let spec = fill::child(namespace, "spec");
        let mut finalizers = spec["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|name| name == "kubernetes") {
            finalizers.push("kubernetes".into());
        }
        spec["finalizers"] = finalizers.into();
    },
    prepare_update: |new, old| {
        super::keep_status(new, old);
        fill::child(new, "spec")["finalizers"] = old["spec"]["finalizers"].clone();
    },
    validate_create: |namespace| validated(namespace, |at, out| finalizers(&at.get("spec.finalizers"), out)),
    selectable_fields: &[("status.phase", |namespace| fill::text(namespace, "status.phase").to_owned())],
    name_rule: NameRule::Label,
    ..WITH_STATUS
};

/// The label that carries a namespace's name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// Names of finalizers.
pub(crate) fn finalizers(at: &At<'_>, out: &mut Errors) {
    for name in at.items() {
        for message in format::qualified_name(name.text()) {
            at.out_of(out, name.value, message);
        }
        if !name.text().contains('/') && !format::STANDARD_FINALIZERS.contains(&name.text()) {
            at.out_of(
                out,
                name.value,
                "name is neither a standard finalizer name nor is it fully qualified".to_owned(),
            );
        }
    }
}

pub(crate) const NODE: Behavior = Behavior {
    default: |node| {
        fill::child(node, "spec");
        if let (None, Some(capacity)) =
            (fill::find(node, "status.allocatable"), fill::find(node, "status.capacity").cloned())
        {
            node["status"]["allocatable"] = capacity;
        }
    },
    prepare_create: |_| {},
    validate_create: |object| validated(object, node),
    validate_update: |new, old| {
        validated(new, |at, out| {
            node(at, out);
            for field in ["podCIDRs", "providerID"] {
                let (now, was) = (at.get("spec").get(field), &old["spec"][field]);
                if !same(was, &Value::Null) && !same(now.value, was) {
                    now.forbidden(out, "node updates may not change podCIDR except from \"\" to valid");
                }
            }
        })
    },
    selectable_fields: &[("spec.unschedulable", |node| fill::flag(node, "spec.unschedulable").to_string())],
    ..WITH_STATUS
};

fn node(at: &At<'_>, out: &mut Errors) {
    let cidrs = at.get("spec.podCIDRs");
    for cidr in cidrs.items() {
        cidr.each(out, format::cidr(cidr.text()));
    }
    let families: Vec<bool> = cidrs.items().map(|cidr| cidr.text().contains(':')).collect();
    if families.len() > 2 || families.len() == 2 && families[0] == families[1] {
        cidrs.invalid(out, "may specify no more than one CIDR for each IP family");
    }
    let mut seen = std::collections::HashSet::new();
    for taint in at.get("spec.taints").items() {
        label_key(&taint.get("key"), out);
        let value = taint.get("value");
        value.each(out, format::label_value(value.text()));
        let effect = taint.get("effect");
        if effect.must(out) {
            effect.one_of(out, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
        if !seen.insert((taint.get("key").text(), effect.text())) {
            taint.duplicate(out);
        }
    }
}

pub(crate) const CONFIG_MAP: Behavior = Behavior {
    validate_create: |object| validated(object, config_map),
    validate_update: |new, old| {
        validated(new, |at, out| {
            frozen(at, old, out);
            config_map(at, out);
        })
    },
    ..GENERIC
};

pub(crate) const SECRET: Behavior = Behavior {
    default: |secret| {
        merge_string_data(secret);
        fill::put(secret, "type", "Opaque".into());
    },
    validate_create: |object| validated(object, secret),
    validate_update: |new, old| {
        validated(new, |at, out| {
            at.get("type").immutable(out, &old["type"]);
            frozen(at, old, out);
            secret(at, out);
        })
    },
    selectable_fields: &[("type", |secret| fill::text(secret, "type").to_owned())],
    ..GENERIC
};

/// What `data` and `binaryData` may hold together.
const DATA_LIMIT: usize = 1024 * 1024;

fn config_map(at: &At<'_>, out: &mut Errors) {
    let mut size = 0;
    let binary = at.get("binaryData");
    for (key, value) in at.get("data").entries() {
        for message in format::config_key(key) {
            value.out_of(out, &key.into(), message);
        }
        if binary.value.get(key).is_some() {
            value.out_of(out, &key.into(), "duplicate of key present in binaryData".to_owned());
        }
        size += value.text().len();
    }
    for (key, value) in binary.entries() {
        for message in format::config_key(key) {
            value.out_of(out, &key.into(), message);
        }
        size += decoded_len(value.text());
    }
    if size > DATA_LIMIT {
        out.push(FieldError::too_long("", DATA_LIMIT));
    }
}

fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

/// An immutable ConfigMap or Secret stays so, and stays as it is.
fn frozen(at: &At<'_>, old: &Value, out: &mut Errors) {
    if !fill::flag(old, "immutable") {
        return;
    }
    if !at.get("immutable").flag() {
        at.get("immutable").forbidden(out, "field is immutable when `immutable` is set");
    }
    for field in ["data", "binaryData"] {
        if !same(at.get(field).value, old.get(field).unwrap_or(&Value::Null)) {
            at.get(field).forbidden(out, "field is immutable when `immutable` is set");
        }
    }
}

/// `stringData` is written only: it goes into `data`.
fn merge_string_data(secret: &mut Value) {
    let Some(map) = secret.as_object_mut() else { return };
    let Some(Value::Object(plain)) = map.remove("stringData") else { return };
    let data = fill::child(secret, "data");
    for (key, value) in plain {
        data[&key] = BASE64.encode(value.as_str().unwrap_or_default()).into();
    }
}

/// The types of Secrets that must have certain keys.
const REQUIRED_KEYS: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

fn secret(at: &At<'_>, out: &mut Errors) {
    let data = at.get("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        for message in format::config_key(key) {
            value.out_of(out, &key.into(), message);
        }
        size += decoded_len(value.text());
    }
    if size > DATA_LIMIT {
        out.push(FieldError::too_long(&data.path, DATA_LIMIT));
    }
    let kind = at.get("type").text();
    for key in REQUIRED_KEYS.iter().filter(|(name, _)| *name == kind).flat_map(|(_, keys)| *keys) {
        let at = At { value: data.value.get(*key).unwrap_or(&Value::Null), path: data.path.key(key) };
        if at.value.is_null() {
            at.required(out, "");
        } else if key.starts_with(".docker") {
            let parsed =
                BASE64.decode(at.text()).is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok());
            if !parsed {
                at.out_of(out, &"<secret contents redacted>".into(), "invalid character".to_owned());
            }
        }
    }
    let account = "metadata.annotations";
    if kind == "kubernetes.io/service-account-token"
        && at.get(account).value.get("kubernetes.io/service-account.name").is_none_or(|name| name == "")
    {
        out.push(FieldError::required(&at.get(account).path.key("kubernetes.io/service-account.name"), ""));
    }
    if kind == "kubernetes.io/basic-auth"
        && data.value.get("username").is_none()
        && data.value.get("password").is_none()
    {
        out.push(FieldError::required(&data.path.key("username"), ""));
        out.push(FieldError::required(&data.path.key("password"), ""));
    }
}

pub(crate) const SERVICE_ACCOUNT: Behavior = Behavior {
    validate_create: |object| {
        validated(object, |at, out| {
            for secret in at.get("secrets").items() {
                let name = secret.get("name");
                if name.is_set() {
                    name.each(out, format::subdomain(name.text()));
                }
            }
        })
    },
    warnings: |account, old| {
        const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
        let says = |account: &Value| account["metadata"]["annotations"].get(ENFORCE).is_some();
        let fresh = says(account) && !old.is_some_and(says);
        let text = format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to \
             mounted secrets"
        );
        if fresh { vec![text] } else { Vec::new() }
    },
    ..GENERIC
};

pub(crate) const LEASE: Behavior = Behavior {
    validate_create: |object| validated(object, lease),
    validate_update: |new, _| validated(new, lease),
    create_on_update: true,
    unconditional_update: false,
    ..GENERIC
};

fn lease(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let seconds = spec.get("leaseDurationSeconds");
    if seconds.int().is_some_and(|seconds| seconds <= 0) {
        seconds.invalid(out, "must be greater than 0");
    }
    spec.get("leaseTransitions").not_negative(out);
    let holder = spec.get("holderIdentity");
    if !holder.value.is_null() && holder.text().is_empty() {
        holder.invalid(out, "must not be empty");
    }
}

pub(crate) const PRIORITY_CLASS: Behavior = Behavior {
    default: |class| fill::apply(class, &[("preemptionPolicy", Str("PreemptLowerPriority"))]),
    prepare_create: |class| keep_value(class),
    validate_create: |object| validated(object, priority_class),
    validate_update: |new, old| {
        validated(new, |at, out| {
            let value = |class: &Value| fill::int(class, "value").unwrap_or_default();
            if value(new) != value(old) {
                at.get("value").forbidden(out, "may not be changed in an update.");
            }
            at.get("preemptionPolicy").immutable(out, &old["preemptionPolicy"]);
        })
    },
    generation: true,
    ..GENERIC
};

fn keep_value(class: &mut Value) {
    if class["value"].is_null() {
        class["value"] = 0.into();
    }
}

/// The highest priority a user's class may have.
const USER_PRIORITY: i64 = 1_000_000_000;
/// The classes that a server makes by itself.
pub(crate) const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

fn priority_class(at: &At<'_>, out: &mut Errors) {
    let name = at.get("metadata.name");
    if name.text().starts_with("system-") {
        let known = SYSTEM_CLASSES
            .iter()
            .any(|(known, value)| *known == name.text() && at.get("value").int() == Some(*value));
        if !known {
            name.forbidden(
                out,
                format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {} is not a known \
                     system priority class",
                    name.text()
                ),
            );
        }
    } else if at.get("value").int().is_some_and(|value| value > USER_PRIORITY) {
        at.get("value")
            .forbidden(out, format!("maximum allowed value of a user defined priority is {USER_PRIORITY}"));
    }
    at.get("preemptionPolicy").one_of_if_set(out, &["Never", "PreemptLowerPriority"]);
}

pub(crate) const DISRUPTION_BUDGET: Behavior = Behavior {
    validate_create: |object| validated(object, budget),
    validate_update: |new, _| validated(new, budget),
    generation: true,
    ..WITH_STATUS
};

fn budget(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if !least.value.is_null() && !most.value.is_null() {
        let shown = json!({"MinAvailable": least.value, "Selector": spec.get("selector").value,
            "MaxUnavailable": most.value, "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy").value});
        spec.out_of(out, &shown, "minAvailable and maxUnavailable cannot be both set".to_owned());
    }
    for limit in [&least, &most] {
        workload::share(limit, out);
        workload::not_over_hundred(limit, out);
    }
    selector(&spec.get("selector"), out);
    spec.get("unhealthyPodEvictionPolicy").one_of_if_set(out, &["AlwaysAllow", "IfHealthyBudget"]);
}

pub(crate) const CORE_EVENT: Behavior = Behavior {
    default: |_| {},
    validate_create: |object| validated(object, event),
    selectable_fields: EVENT_FIELDS,
    create_on_update: true,
    ..GENERIC
};

type Field = (&'static str, fn(&Value) -> String);

const EVENT_FIELDS: &[Field] = &[
    ("involvedObject.kind", |event| event_text(event, "involvedObject.kind", "regarding.kind")),
    ("involvedObject.namespace", |event| {
        event_text(event, "involvedObject.namespace", "regarding.namespace")
    }),
    ("involvedObject.name", |event| event_text(event, "involvedObject.name", "regarding.name")),
    ("involvedObject.uid", |event| event_text(event, "involvedObject.uid", "regarding.uid")),
    ("involvedObject.apiVersion", |event| {
        event_text(event, "involvedObject.apiVersion", "regarding.apiVersion")
    }),
    ("involvedObject.resourceVersion", |event| {
        event_text(event, "involvedObject.resourceVersion", "regarding.resourceVersion")
    }),
    ("involvedObject.fieldPath", |event| {
        event_text(event, "involvedObject.fieldPath", "regarding.fieldPath")
    }),
    ("reason", |event| fill::text(event, "reason").to_owned()),
    ("reportingComponent", |event| event_text(event, "reportingComponent", "reportingController")),
    ("source", |event| {
        let source = event_text(event, "source.component", "deprecatedSource.component");
        if source.is_empty() {
            event_text(event, "reportingComponent", "reportingController")
        } else {
            source
        }
    }),
    ("type", |event| fill::text(event, "type").to_owned()),
];

fn event_text(event: &Value, core: &str, new: &str) -> String {
    let text = fill::text(event, core);
    if text.is_empty() { fill::text(event, new).to_owned() } else { text.to_owned() }
}

fn event(at: &At<'_>, out: &mut Errors) {
    let modern = at.get("eventTime").is_set();
    let object = at.get("involvedObject.namespace");
    let namespace = at.get("metadata.namespace").text();
    if at.get("involvedObject").value.is_null() {
        return;
    }
    let matching = object.text() == namespace || object.text().is_empty() && namespace == "default";
    if !matching {
        object.out_of(out, &"".into(), "does not match event.namespace".to_owned());
    }
    if !modern {
        return;
    }
    let controller = at.get("reportingComponent");
    let path = at.path.child("reportingController");
    if controller.is_set() {
        for message in format::qualified_name(controller.text()) {
            out.push(FieldError::invalid(&path, controller.text(), message));
        }
    } else {
        out.push(FieldError::required(&path, ""));
    }
    for (field, most) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
        let text = at.get(field);
        if !text.is_set() {
            text.required(out, "");
        } else if text.text().len() > most {
            text.out_of(out, &"".into(), format!("can have at most {most} characters"));
        }
    }
    if at.get("message").text().len() > 1024 {
        at.get("message").out_of(out, &"".into(), "can have at most 1024 characters".to_owned());
    }
}

pub(crate) const AUTOSCALER: Behavior = Behavior {
    default: |object| {
        fill::apply(object, &[("spec.minReplicas", Int(1))]);
        if fill::list(object, "spec.metrics").is_empty()
            && fill::text(object, "apiVersion") == "autoscaling/v2"
        {
            object["spec"]["metrics"] = json!([{"type": "Resource", "resource":
                {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        }
        fill::each(object, "spec.behavior", &mut default_scaling);
    },
    validate_create: |object| validated(object, autoscaler),
    validate_update: |new, _| validated(new, autoscaler),
    ..WITH_STATUS
};

/// How fast an autoscaler may go where its owner only says a part.
fn default_scaling(behavior: &mut Value) {
    let up = fill::child(behavior, "scaleUp");
    fill::put(up, "stabilizationWindowSeconds", 0.into());
    fill::put(up, "selectPolicy", "Max".into());
    fill::put(
        up,
        "policies",
        json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
    );
    let down = fill::child(behavior, "scaleDown");
    fill::put(down, "selectPolicy", "Max".into());
    fill::put(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}

fn autoscaler(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    if least.int().is_some_and(|least| least < 1) {
        least.invalid(out, "must be greater than or equal to 1");
    }
    let count = most.int().unwrap_or_default();
    if count < 1 {
        most.required(out, "must be set and greater than 0");
    }
    if least.int().is_some_and(|least| count < least) {
        most.out_of(out, &count.into(), "must be greater than or equal to `minReplicas`".to_owned());
    }
    let target = spec.get("scaleTargetRef");
    for field in ["kind", "name"] {
        let field = target.get(field);
        if field.must(out) {
            field.each(out, format::path_segment(field.text()));
        }
    }
    let window = spec.get("behavior.scaleDown.stabilizationWindowSeconds");
    if window.int().is_some_and(|seconds| seconds > 3600) {
        window.invalid(out, "must be less than or equal to 3600");
    }
}

pub(crate) const SIGNING_REQUEST: Behavior = Behavior {
    prepare_create: super::drop_status,
    prepare_update: |new, old| {
        super::keep_status(new, old);
        new["spec"] = old["spec"].clone();
    },
    prepare_status: super::signing::prepare_status,
    validate_create: |object| validated(object, signing_request),
    validate_status: super::signing::validate_status,
    selectable_fields: &[("spec.signerName", |object| fill::text(object, "spec.signerName").to_owned())],
    name_rule: NameRule::PathSegment,
    ..WITH_STATUS
};

fn signing_request(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let request = BASE64.decode(spec.get("request").text()).unwrap_or_default();
    let parsed = x509_parser::pem::parse_x509_pem(&request).is_ok_and(|(_, pem)| {
        use x509_parser::prelude::FromDer;
        pem.label == "CERTIFICATE REQUEST"
            && x509_parser::certification_request::X509CertificationRequest::from_der(&pem.contents).is_ok()
    });
    if !parsed {
        spec.get("request").out_of(
            out,
            spec.get("request").value,
            "PEM block type must be CERTIFICATE REQUEST".to_owned(),
        );
    }
    if spec.get("usages").len() == 0 {
        spec.get("usages").required(out, "usages must be specified and not empty");
    }
    let signer = spec.get("signerName");
    if signer.must(out) {
        match signer.text().split_once('/') {
            Some((domain, path)) if domain.contains('.') && !path.is_empty() && !path.contains('/') => {
                signer.each(out, format::subdomain(domain));
            }
            _ => signer.invalid(
                out,
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ),
        }
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|seconds| seconds < 600) {
        seconds.invalid(out, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

pub(crate) const RUNTIME_CLASS: Behavior = Behavior {
    validate_create: |object| {
        validated(object, |at, out| {
            let handler = at.get("handler");
            handler.each(out, format::label(handler.text()));
            for toleration in at.get("scheduling.tolerations").items() {
                podspec::toleration(&toleration, out);
            }
        })
    },
    validate_update: |new, old| validated(new, |at, out| at.get("handler").immutable(out, &old["handler"])),
    unconditional_update: false,
    ..GENERIC
};

pub(crate) const API_SERVICE: Behavior = Behavior {
    default: |object| fill::apply(object, &[("spec.service.port", Int(443))]),
    name_rule: NameRule::PathSegment,
    unconditional_update: false,
    ..WITH_STATUS_ALONE
};

pub(crate) const WEBHOOKS: Behavior = Behavior {
    default: |object| {
        fill::apply(
            object,
            &[
                ("webhooks[].failurePolicy", Str("Fail")),
                ("webhooks[].matchPolicy", Str("Equivalent")),
                ("webhooks[].namespaceSelector", Object),
                ("webhooks[].objectSelector", Object),
                ("webhooks[].timeoutSeconds", Int(10)),
                ("webhooks[].rules[].scope", Str("*")),
                ("webhooks[].clientConfig.service.port", Int(443)),
            ],
        );
        if fill::text(object, "kind") == "MutatingWebhookConfiguration" {
            fill::apply(object, &[("webhooks[].reinvocationPolicy", Str("Never"))]);
        }
    },
    generation: true,
    unconditional_update: false,
    ..GENERIC
};

pub(crate) const ADMISSION_POLICY: Behavior = Behavior {
    default: |object| {
        fill::apply(
            object,
            &[
                ("spec.failurePolicy", Str("Fail")),
                ("spec.matchConstraints.matchPolicy", Str("Equivalent")),
                ("spec.matchConstraints.namespaceSelector", Object),
                ("spec.matchConstraints.objectSelector", Object),
                ("spec.matchConstraints.resourceRules[].scope", Str("*")),
                ("spec.matchConstraints.excludeResourceRules[].scope", Str("*")),
            ],
        );
    },
    generation: true,
    unconditional_update: false,
    ..WITH_STATUS_ALONE
};

pub(crate) const POLICY_BINDING: Behavior = Behavior {
    default: |object| {
        fill::apply(
            object,
            &[
                ("spec.matchResources.matchPolicy", Str("Equivalent")),
                ("spec.matchResources.namespaceSelector", Object),
                ("spec.matchResources.objectSelector", Object),
                ("spec.matchResources.resourceRules[].scope", Str("*")),
                ("spec.matchResources.excludeResourceRules[].scope", Str("*")),
                ("spec.paramRef.parameterNotFoundAction", Str("Deny")),
            ],
        );
    },
    generation: true,
    unconditional_update: false,
    ..GENERIC
};

pub(crate) const FLOW_SCHEMA: Behavior = Behavior {
    default: |object| {
        fill::apply(object, &[("spec.matchingPrecedence", Int(1000))]);
    },
    generation: true,
    ..WITH_STATUS_ALONE
};

pub(crate) const PRIORITY_LEVEL: Behavior = Behavior {
    default: |object| {
        fill::apply(
            object,
            &[
                ("spec.exempt.nominalConcurrencyShares", Int(0)),
                ("spec.exempt.lendablePercent", Int(0)),
                ("spec.limited.nominalConcurrencyShares", Int(30)),
                ("spec.limited.lendablePercent", Int(0)),
                ("spec.limited.limitResponse.queuing.queues", Int(64)),
                ("spec.limited.limitResponse.queuing.handSize", Int(8)),
                ("spec.limited.limitResponse.queuing.queueLengthLimit", Int(50)),
            ],
        );
    },
    generation: true,
    ..WITH_STATUS_ALONE
};

pub(crate) const LIMIT_RANGE: Behavior =
    Behavior { default: default_limit_range, create_on_update: true, ..GENERIC };

/// For containers, the default limit is the maximum, and the default request the default limit or the minimum.
fn default_limit_range(object: &mut Value) {
    fill::each(object, "spec.limits[]", &mut |item| {
        if fill::text(item, "type") != "Container" {
            return;
        }
        let get = |item: &Value, field: &str| {
            item.get(field).and_then(Value::as_object).cloned().unwrap_or_default()
        };
        let (most, least) = (get(item, "max"), get(item, "min"));
        for (name, amount) in most {
            fill::put(fill::child(item, "default"), &name, amount);
        }
        let standard = get(item, "default");
        for (name, amount) in least.into_iter().chain(standard) {
            fill::put(fill::child(item, "defaultRequest"), &name, amount);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"stringData": {"a": "x"}, "data": {"b": "eQ=="}});
        (SECRET.default)(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "eA==", "b": "eQ=="}, "type": "Opaque"}));
    }

    #[test]
    fn an_immutable_config_map_stays() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let new = json!({"immutable": true, "data": {"a": "2"}});
        assert_eq!((CONFIG_MAP.validate_update)(&new, &old).len(), 1);
        assert_eq!((CONFIG_MAP.validate_update)(&old, &old).len(), 0);
    }
}
