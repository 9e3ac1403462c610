//! The environment of a container: services, objects, fields, and `$(NAME)` references, all resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use super::downward::{self, Facts};
use super::{namespace, spec};

/// The objects that a pod refers to, as they are now; absent ones are not in the maps.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

impl Objects {
    /// A value of a ConfigMap, in bytes.
    fn config_value(&self, name: &str, key: &str) -> Option<Vec<u8>> {
        let map = self.config_maps.get(name)?;
        let text = map.data.as_ref().and_then(|data| data.get(key)).map(|text| text.clone().into_bytes());
        text.or_else(|| map.binary_data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone()))
    }

    fn secret_value(&self, name: &str, key: &str) -> Option<Vec<u8>> {
        self.secrets.get(name)?.data.as_ref()?.get(key).map(|bytes| bytes.0.clone())
    }
}

/// Variables in the order in which they are set.
pub type Variables = Vec<(String, String)>;

/// The variables of a container.
///
/// # Errors
/// What is missing, in upstream's words.
pub fn variables(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    objects: &Objects,
    services: &[Arc<Service>],
) -> Result<Variables, String> {
    let linked = spec(pod).enable_service_links != Some(false);
    let from_services = service_variables(namespace(pod), linked, services);
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut set = |known: &mut BTreeMap<String, String>, name: String, value: String| {
        if known.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    };
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(from) = &source.config_map_ref {
            match objects.config_maps.get(&from.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        set(&mut known, format!("{prefix}{key}"), value.clone());
                    }
                }
                None if from.optional == Some(true) => {}
                None => return Err(format!("configmap \"{}\" not found", from.name)),
            }
        }
        if let Some(from) = &source.secret_ref {
            match objects.secrets.get(&from.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        set(
                            &mut known,
                            format!("{prefix}{key}"),
                            String::from_utf8_lossy(&value.0).into_owned(),
                        );
                    }
                }
                None if from.optional == Some(true) => {}
                None => return Err(format!("secret \"{}\" not found", from.name)),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => {
                let raw = variable.value.as_deref().unwrap_or_default();
                Some(expand(raw, &|name| known.get(name).or_else(|| from_services.get(name)).cloned()))
            }
            Some(source) => sourced(pod, container, facts, objects, source)?,
        };
        if let Some(value) = value {
            set(&mut known, variable.name.clone(), value);
        }
    }
    let mut out: Variables =
        order.iter().filter_map(|name| known.get(name).map(|value| (name.clone(), value.clone()))).collect();
    out.extend(from_services.into_iter().filter(|(name, _)| !known.contains_key(name)));
    Ok(out)
}

/// The value a variable takes from elsewhere; none where the source is optional and absent.
fn sourced(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    objects: &Objects,
    source: &EnvVarSource,
) -> Result<Option<String>, String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if let Some(from) = &source.field_ref {
        return downward::field(pod, facts, &from.field_path).map(Some);
    }
    if let Some(from) = &source.resource_field_ref {
        return downward::resource(pod, Some(container), facts, from).map(Some);
    }
    if let Some(from) = &source.config_map_key_ref {
        return match objects.config_value(&from.name, &from.key) {
            Some(value) => Ok(Some(text(value))),
            None if from.optional == Some(true) => Ok(None),
            None if !objects.config_maps.contains_key(&from.name) => {
                Err(format!("configmap \"{}\" not found", from.name))
            }
            None => {
                Err(format!("couldn't find key {} in ConfigMap {}/{}", from.key, namespace(pod), from.name))
            }
        };
    }
    if let Some(from) = &source.secret_key_ref {
        return match objects.secret_value(&from.name, &from.key) {
            Some(value) => Ok(Some(text(value))),
            None if from.optional == Some(true) => Ok(None),
            None if !objects.secrets.contains_key(&from.name) => {
                Err(format!("secret \"{}\" not found", from.name))
            }
            None => Err(format!("couldn't find key {} in Secret {}/{}", from.key, namespace(pod), from.name)),
        };
    }
    Err("the kubelet does not support this source of an environment variable".to_owned())
}

/// Replaces `$(NAME)` by what `find` has for it; unknown names stay as they are and `$$` stands for `$`.
pub fn expand(text: &str, find: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match find(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The command and arguments with their references resolved.
pub fn expanded(words: Option<&Vec<String>>, variables: &Variables) -> Vec<String> {
    let find = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    words.into_iter().flatten().map(|word| expand(word, &find)).collect()
}

/// The variables that tell of services: those of the pod's namespace if it wants links, and always the API's own.
fn service_variables(namespace: &str, linked: bool, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for service in services {
        let meta = &service.metadata;
        let (name, place) =
            (meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default());
        let is_api = place == "default" && name == "kubernetes";
        let is_linked = linked && place == namespace;
        if !(is_api || is_linked) {
            continue;
        }
        let spec = service.spec.clone().unwrap_or_default();
        let Some(ip) = spec.cluster_ip.filter(|ip| !ip.is_empty() && ip != "None") else { continue };
        let upper = name.replace('-', "_").to_uppercase();
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
            if index == 0 {
                out.insert(format!("{upper}_SERVICE_HOST"), ip.clone());
                out.insert(format!("{upper}_SERVICE_PORT"), port.port.to_string());
                out.insert(format!("{upper}_PORT"), url.clone());
            }
            if let Some(label) = port.name.as_deref().filter(|label| !label.is_empty()) {
                let label = label.replace('-', "_").to_uppercase();
                out.insert(format!("{upper}_SERVICE_PORT_{label}"), port.port.to_string());
            }
            let base = format!("{upper}_PORT_{}_{}", port.port, protocol.to_uppercase());
            out.insert(format!("{base}_PROTO"), protocol.to_lowercase());
            out.insert(format!("{base}_PORT"), port.port.to_string());
            out.insert(format!("{base}_ADDR"), ip.clone());
            out.insert(base, url);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Objects {
        let map = json!({"metadata": {"name": "cm"}, "data": {"k": "v", "n": "1"}});
        let secret = json!({"metadata": {"name": "se"}, "data": {"p": "cHc="}});
        Objects {
            config_maps: [("cm".to_owned(), Arc::new(serde_json::from_value(map).unwrap()))].into(),
            secrets: [("se".to_owned(), Arc::new(serde_json::from_value(secret).unwrap()))].into(),
        }
    }

    fn service(namespace: &str, name: &str, ip: &str) -> Arc<Service> {
        let value = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn references() {
        let find = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expected) in [
            ("$(A)b", "1b"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("a$", "a$"),
            ("$(A", "$(A"),
            ("$x$(A)", "$x1"),
        ] {
            assert_eq!(expand(text, &find), expected, "{text}");
        }
    }

    #[test]
    fn every_source() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "d"},
            "spec": {"containers": [], "enableServiceLinks": false},
        }))
        .unwrap();
        let services = [service("default", "kubernetes", "10.43.0.1"), service("d", "web", "10.43.0.9")];
        let check = |container: serde_json::Value, expected: Result<&str, &str>| {
            let container: Container = serde_json::from_value(container).unwrap();
            let found =
                variables(&pod, &container, &Facts::default(), &objects(), &services).map(|variables| {
                    let own = variables.iter().filter(|(name, _)| !name.starts_with("KUBERNETES_"));
                    assert_eq!(
                        variables.len() - own.clone().count(),
                        8,
                        "the API's own service is always there"
                    );
                    own.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
                });
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
        };
        let from = |kind: &str, value: serde_json::Value| json!({"name": "c", "env": [{"name": "X", "valueFrom": {kind: value}}]});
        check(
            json!({"name": "c", "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
                "env": [{"name": "P_n", "value": "2"}, {"name": "Y", "value": "$(P_k)$(KUBERNETES_SERVICE_PORT)$(no)"}]}),
            Ok("P_k=v P_n=2 Y=v443$(no)"),
        );
        check(from("fieldRef", json!({"fieldPath": "metadata.name"})), Ok("X=p"));
        check(from("secretKeyRef", json!({"name": "se", "key": "p"})), Ok("X=pw"));
        check(from("configMapKeyRef", json!({"name": "no", "key": "p"})), Err("configmap \"no\" not found"));
        check(
            from("configMapKeyRef", json!({"name": "cm", "key": "p"})),
            Err("couldn't find key p in ConfigMap d/cm"),
        );
        check(from("secretKeyRef", json!({"name": "no", "key": "p", "optional": true})), Ok(""));
    }
}
