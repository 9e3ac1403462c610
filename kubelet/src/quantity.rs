//! Amounts of resources as numbers, and what follows from them: quality of service, shares, quotas, scores.

use std::collections::BTreeMap;

use client::k8s_openapi::api::core::v1::{Container, PodSpec};
use client::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The suffixes of quantities: what each multiplies by, as a fraction.
const SUFFIXES: &[(&str, i128, i128)] = &[
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
];

/// A quantity in billionths, rounded up.
fn nanos(text: &str) -> Option<i128> {
    const UNIT: i128 = 1_000_000_000;
    let (number, times, by) = match SUFFIXES
        .iter()
        .find_map(|(suffix, times, by)| text.strip_suffix(suffix).map(|number| (number, *times, *by)))
    {
        Some(found) => found,
        None => match text.split_once(['e', 'E']) {
            Some((number, power)) => {
                let power: i32 = power.parse().ok()?;
                let ten = 10_i128.checked_pow(power.unsigned_abs().min(18))?;
                if power < 0 { (number, 1, ten) } else { (number, ten, 1) }
            }
            None => (text, 1, 1),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let whole: i128 = if whole.is_empty() || whole == "-" { 0 } else { whole.parse().ok()? };
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let fraction: i128 = fraction.parse().ok()?;
    let base = whole.checked_mul(UNIT)? + if negative { -fraction } else { fraction };
    let scaled = base.checked_mul(times)?;
    Some(scaled.div_euclid(by) + i128::from(scaled.rem_euclid(by) != 0))
}

fn scaled(quantity: &Quantity, unit: i128) -> i64 {
    let nanos = nanos(&quantity.0).unwrap_or(0);
    let value = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// In whole units, rounded up: bytes, pods.
pub fn value(quantity: &Quantity) -> i64 {
    scaled(quantity, 1_000_000_000)
}

/// In thousandths, rounded up: millicores.
pub fn milli(quantity: &Quantity) -> i64 {
    scaled(quantity, 1_000_000)
}

/// A quantity divided and rounded up, as `resourceFieldRef` with a divisor prints it.
pub fn divided(quantity: &Quantity, divisor: Option<&Quantity>) -> String {
    let amount = nanos(&quantity.0).unwrap_or(0);
    let divisor = divisor.and_then(|divisor| nanos(&divisor.0)).filter(|divisor| *divisor > 0);
    let divisor = divisor.unwrap_or(1_000_000_000);
    (amount.div_euclid(divisor) + i128::from(amount.rem_euclid(divisor) != 0)).to_string()
}

/// The quality of service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The amount of a resource in one of a container's lists; zero counts as absent.
fn amount<'a>(list: Option<&'a BTreeMap<String, Quantity>>, resource: &str) -> Option<&'a Quantity> {
    list?.get(resource).filter(|quantity| nanos(&quantity.0).is_some_and(|nanos| nanos > 0))
}

/// The limit of a container.
pub fn limit<'a>(container: &'a Container, resource: &str) -> Option<&'a Quantity> {
    amount(container.resources.as_ref().and_then(|resources| resources.limits.as_ref()), resource)
}

/// The request of a container.
pub fn request<'a>(container: &'a Container, resource: &str) -> Option<&'a Quantity> {
    amount(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()), resource)
}

/// The class of a pod: guaranteed where every container's limits equal its requests, best effort where there is none.
pub fn qos(spec: &PodSpec) -> Qos {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let has = |container: &Container| {
        COUNTED.iter().any(|name| limit(container, name).is_some() || request(container, name).is_some())
    };
    let equal = |container: &Container| {
        COUNTED.iter().all(|name| match (limit(container, name), request(container, name)) {
            (Some(limit), Some(request)) => nanos(&limit.0) == nanos(&request.0),
            (Some(_), None) => true,
            (None, _) => false,
        })
    };
    if !all().any(has) {
        Qos::BestEffort
    } else if all().all(equal) {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

/// The scheduler's weight for a CPU request: 1024 a core, two at least.
pub fn cpu_shares(millicores: i64) -> i64 {
    const LEAST: i64 = 2;
    const MOST: i64 = 262_144;
    if millicores == 0 { LEAST } else { (millicores * 1024 / 1000).clamp(LEAST, MOST) }
}

/// CPU time a period of 100 ms for a CPU limit, one millisecond at least; none for no limit.
pub fn cpu_quota(millicores: i64) -> i64 {
    const LEAST: i64 = 1000;
    if millicores == 0 { 0 } else { (millicores * 100).max(LEAST) }
}

/// How soon the kernel kills a container when memory runs out, as upstream scores it.
pub fn oom_score(spec: &PodSpec, container: &Container, capacity: i64) -> i64 {
    /// From here on pods are what a node cannot be without.
    const CRITICAL_PRIORITY: i32 = 2_000_000_000;
    if spec.priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY) {
        return -997;
    }
    match qos(spec) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let asked = request(container, "memory").map_or(0, value);
            let share = if capacity > 0 { i128::from(asked) * 1000 / i128::from(capacity) } else { 0 };
            let score = 1000 - i64::try_from(share).unwrap_or(1000);
            score.clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_round_up() {
        let cases = [
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1.5", 2, 1500),
            ("2Ki", 2048, 2_048_000),
            ("1e3", 1000, 1_000_000),
            ("1E", 1_000_000_000_000_000_000, i64::MAX),
            ("0.5Gi", 536_870_912, 536_870_912_000),
            ("nonsense", 0, 0),
        ];
        for (text, whole, thousandths) in cases {
            let quantity = Quantity(text.to_owned());
            assert_eq!((value(&quantity), milli(&quantity)), (whole, thousandths), "{text}");
        }
    }

    #[test]
    fn classes() {
        let pod = |resources: serde_json::Value| -> PodSpec {
            serde_json::from_value(json!({"containers": [{"name": "a", "resources": resources}]})).unwrap()
        };
        let cases = [
            (json!({}), Qos::BestEffort),
            (json!({"requests": {"cpu": "1"}}), Qos::Burstable),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), Qos::Guaranteed),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
                Qos::Guaranteed,
            ),
            (json!({"limits": {"cpu": "1"}}), Qos::Burstable),
        ];
        for (resources, expected) in cases {
            assert_eq!(qos(&pod(resources.clone())), expected, "{resources}");
        }
    }
}
