//! Persistent volumes that are a path of this node: hostPath and local.

use std::path::PathBuf;

use client::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use client::kube::Api;
use client::object::words;

use super::folder::check_host;
use crate::agent::Agent;
use crate::pod::namespace;

/// Where the volume that a claim is bound to is on this node.
///
/// # Errors
/// Where the claim is not bound, or to a kind of volume that needs a driver.
pub async fn place(agent: &Agent, pod: &Pod, claim: &str) -> Result<PathBuf, String> {
    let client = agent.client.clone().ok_or("static pods cannot use claims")?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace(pod));
    let found = claims
        .get(claim)
        .await
        .map_err(|error| format!("failed to fetch PVC from API server: {}", words(&error)))?;
    let bound = found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let name = found.spec.and_then(|spec| spec.volume_name).filter(|name| bound && !name.is_empty());
    let name = name.ok_or_else(|| format!("PVC {}/{claim} is not bound", namespace(pod)))?;
    let volumes: Api<PersistentVolume> = Api::all(client);
    let volume = volumes
        .get(&name)
        .await
        .map_err(|error| format!("failed to fetch PV {name} from API server: {}", words(&error)))?;
    let spec = volume.spec.unwrap_or_default();
    if let Some(host) = spec.host_path {
        let path = PathBuf::from(&host.path);
        check_host(&path, host.type_.as_deref().unwrap_or_default())?;
        return Ok(path);
    }
    if let Some(local) = spec.local {
        let path = PathBuf::from(&local.path);
        return if path.exists() { Ok(path) } else { Err(format!("path \"{}\" does not exist", local.path)) };
    }
    Err("no volume plugin matched: this kubelet mounts hostPath and local persistent volumes only".to_owned())
}
