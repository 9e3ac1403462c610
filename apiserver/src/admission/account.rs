//! What a pod may name of other objects, given its service account: pure.

use serde_json::Value;

use crate::authz::node::named_by;
use crate::field::quoted;
use crate::kind::fill;

/// Pods of files on a node have this annotation. What they named, the node would get to see.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// With this annotation an account's pods may name only the secrets that it lists.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The lists of containers, and what messages call one of each.
const CONTAINERS: &[(&str, &str)] = &[
    ("initContainers", "init container"),
    ("containers", "container"),
    ("ephemeralContainers", "ephemeral container"),
];

/// Whether a pod shows what a node runs by itself.
pub(super) fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// Why a mirror pod is refused, in upstream's words.
pub(super) fn mirror_refusal(pod: &Value) -> Option<&'static str> {
    match named_by(pod)? {
        "serviceaccounts" => Some("a mirror pod may not reference service accounts"),
        text if text.starts_with("secrets") => Some("a mirror pod may not reference secrets"),
        _ => {
            let sources = fill::list(pod, "spec.volumes")
                .iter()
                .flat_map(|volume| fill::list(volume, "projected.sources"))
                .any(|source| source.get("serviceAccountToken").is_some());
            sources.then_some("a mirror pod may not use service account token volume projections")
        }
    }
}

/// The names in a list of references.
fn names<'a>(account: &'a Value, list: &str) -> Vec<&'a str> {
    fill::list(account, list).iter().map(|reference| fill::text(reference, "name")).collect()
}

/// Why a pod may not name a secret that it names, in upstream's words; mostly accounts do not mind.
pub(super) fn secret_refusal(pod: &Value, account: &Value) -> Option<String> {
    if account["metadata"]["annotations"][ENFORCE] != "true" {
        return None;
    }
    let (mountable, pullable) = (names(account, "secrets"), names(account, "imagePullSecrets"));
    let owner = crate::object::meta(account, "name");
    let refused = |what: String, kind: &str| {
        Some(format!("{what} is not allowed because service account {owner} does not reference that {kind}"))
    };
    let bad = |name: &str| !name.is_empty() && !mountable.contains(&name);
    for volume in fill::list(pod, "spec.volumes") {
        let name = fill::text(volume, "secret.secretName");
        if bad(name) {
            return refused(format!("volume with secret.secretName={}", quoted(name)), "secret");
        }
    }
    for (list, kind) in CONTAINERS {
        for container in fill::list(&pod["spec"], list) {
            let label = fill::text(container, "name");
            for variable in fill::list(container, "env") {
                let name = fill::text(variable, "valueFrom.secretKeyRef.name");
                if bad(name) {
                    let env = fill::text(variable, "name");
                    let what = format!(
                        "{kind} {label} with envVar {env} referencing secret.secretName={}",
                        quoted(name)
                    );
                    return refused(what, "secret");
                }
            }
            for source in fill::list(container, "envFrom") {
                let name = fill::text(source, "secretRef.name");
                if bad(name) {
                    let what =
                        format!("{kind} {label} with envFrom referencing secret.secretName={}", quoted(name));
                    return refused(what, "secret");
                }
            }
        }
    }
    let pulls = names(&pod["spec"], "imagePullSecrets");
    let (place, name) = pulls.iter().enumerate().find(|(_, name)| !pullable.contains(name))?;
    refused(format!("imagePullSecrets[{place}].name={}", quoted(name)), "imagePullSecret")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accounts_that_list_their_secrets() {
        let account = json!({
            "metadata": {"name": "robot", "annotations": {ENFORCE: "true"}},
            "secrets": [{"name": "ok"}],
            "imagePullSecrets": [{"name": "pull"}],
        });
        let volume = |name: &str| json!({"spec": {"volumes": [{"secret": {"secretName": name}}]}});
        assert_eq!(secret_refusal(&volume("ok"), &account), None);
        assert_eq!(
            secret_refusal(&volume("bad"), &account).unwrap(),
            "volume with secret.secretName=\"bad\" is not allowed because service account robot does not reference \
             that secret"
        );
        let pulling = json!({"spec": {"imagePullSecrets": [{"name": "pull"}, {"name": "bad"}]}});
        assert!(secret_refusal(&pulling, &account).unwrap().starts_with("imagePullSecrets[1].name=\"bad\""));
        assert_eq!(secret_refusal(&pulling, &json!({"metadata": {"name": "easy"}})), None);
    }

    #[test]
    fn mirrors_name_nothing() {
        for (spec, refused) in [
            (json!({}), false),
            (json!({"serviceAccountName": "a"}), true),
            (json!({"volumes": [{"secret": {"secretName": "s"}}]}), true),
            (json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}), true),
            (json!({"volumes": [{"configMap": {"name": "c"}}]}), false),
        ] {
            assert_eq!(mirror_refusal(&json!({"spec": spec})).is_some(), refused, "{spec}");
        }
    }
}
