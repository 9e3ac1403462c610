//! What each signer accepts, and how long requests are kept.

use std::time::Duration;

use client::k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use jiff::Timestamp;

pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub(super) const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// The group of nodes in certificates.
const NODES: &str = "system:nodes";
/// The beginning of a node's name in certificates.
const NODE: &str = "system:node:";

/// The shortest life a request may ask for (the API's own limit).
const SHORTEST: Duration = Duration::from_secs(600);

/// How long what was signed, denied or failed stays (upstream's figure).
const SETTLED: Duration = Duration::from_secs(3600);
/// How long what nobody decided on stays (upstream's figure).
const PENDING: Duration = Duration::from_secs(24 * 3600);

/// What a request for a certificate asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns: usize,
    pub(super) addresses: usize,
    /// Alternative names of other kinds: mail, URI.
    pub(super) others: usize,
}

/// Whether a request has a condition.
pub(super) fn is(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == kind && condition.status != "False")
}

/// Whether a certificate was issued.
pub(super) fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

/// Whether a signer may sign: an error says why not.
pub(super) fn check(signer: &str, wish: &Wish, usages: &[String]) -> Result<(), String> {
    match signer {
        CLIENT => check_usages(usages, &["client auth"], &["digital signature", "key encipherment"]),
        KUBELET_CLIENT => check_kubelet_client(wish, usages),
        KUBELET_SERVING => check_kubelet_serving(wish, usages),
        LEGACY => Ok(()),
        other => Err(format!("unrecognized signer {other:?}")),
    }
}

fn check_usages(usages: &[String], required: &[&str], also: &[&str]) -> Result<(), String> {
    let allowed = |usage: &str| required.contains(&usage) || also.contains(&usage);
    if let Some(usage) = usages.iter().find(|usage| !allowed(usage)) {
        return Err(format!("usage {usage:?} is not allowed for this signer"));
    }
    match required.iter().find(|wanted| !usages.iter().any(|usage| usage == *wanted)) {
        Some(missing) => Err(format!("usage {missing:?} is required")),
        None => Ok(()),
    }
}

fn check_node(wish: &Wish) -> Result<(), String> {
    if wish.organizations != [NODES] {
        return Err(format!("subject organization is not {NODES}"));
    }
    if !wish.name.starts_with(NODE) {
        return Err(format!("subject common name does not begin with {NODE}"));
    }
    Ok(())
}

pub(super) fn check_kubelet_client(wish: &Wish, usages: &[String]) -> Result<(), String> {
    check_node(wish)?;
    if wish.dns + wish.addresses + wish.others > 0 {
        return Err("subject alternative names are not allowed".to_owned());
    }
    check_usages(usages, &["digital signature", "client auth"], &["key encipherment"])
}

fn check_kubelet_serving(wish: &Wish, usages: &[String]) -> Result<(), String> {
    check_node(wish)?;
    if wish.dns + wish.addresses == 0 {
        return Err("at least one DNS or IP subjectAltName is required".to_owned());
    }
    if wish.others > 0 {
        return Err("email and URI subjectAltNames are not allowed".to_owned());
    }
    check_usages(usages, &["digital signature", "server auth"], &["key encipherment"])
}

/// How long a certificate lives: as long as asked for, within the signer's limit.
pub(super) fn lifetime(asked: Option<i32>, limit: Duration) -> Duration {
    match asked.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => Duration::from_secs(seconds).max(SHORTEST).min(limit),
        None => limit,
    }
}

/// How much longer a request stays. `expires`: when the certificate issued for it does.
pub(super) fn left(
    request: &CertificateSigningRequest,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Duration {
    let until = |since: Timestamp, keep: Duration| {
        let end = since.saturating_add(keep).unwrap_or(Timestamp::MAX);
        Duration::try_from(end.duration_since(now)).unwrap_or_default()
    };
    if let Some(expires) = expires
        && expires <= now
    {
        return Duration::ZERO;
    }
    let created = request.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    let settled = |kind: &str| matches!(kind, "Approved" | "Denied" | "Failed");
    let decided =
        conditions.into_iter().flatten().filter(|condition| settled(&condition.type_)).map(|condition| {
            condition
                .last_update_time
                .as_ref()
                .or(condition.last_transition_time.as_ref())
                .map_or(created, |time| time.0)
        });
    match decided.max() {
        // Approved and not signed: somebody else may be asked to sign it, which takes its time.
        Some(_) if is(request, "Approved") && !is_issued(request) && !is(request, "Failed") => {
            until(created, PENDING)
        }
        Some(since) => until(since, SETTLED),
        None => until(created, PENDING),
    }
}
