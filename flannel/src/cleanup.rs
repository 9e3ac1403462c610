//! Takes the pod network off a node: links, rules and files.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use nft::{Family, Nft};

use crate::config::Settings;
use crate::file::CONFLIST;
use crate::netlink::Netlink;
use crate::{cni, device, masquerade};

/// Removes all there is, and nothing of others. Pods that still run lose their network.
///
/// # Errors
/// Where the kernel refuses or a file cannot be removed; what is gone already is no reason.
pub async fn cleanup(settings: &Settings) -> anyhow::Result<()> {
    // First, so that the runtime joins no further pod.
    remove(&settings.conf_dir.join(CONFLIST))?;
    remove(&settings.subnet_file)?;
    let netlink = Netlink::here()?;
    for name in [cni::BRIDGE.to_owned(), device::name(settings.vni)] {
        if let Some(link) = netlink.link(&name).await? {
            for port in netlink.links().await?.iter().filter(|port| port.master == Some(link.index)) {
                netlink.delete_link(port).await?;
            }
            netlink.delete_link(&link).await?;
        }
    }
    let mut rules = nft::remove(Family::Ip, masquerade::TABLE);
    rules.append(nft::remove(Family::Ip, cni::TABLE));
    Nft::default().apply(&rules).await.context("could not remove the rules")?;
    for folder in ["flannel", "networks"] {
        let path = settings.data_dir.join(folder);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("could not remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
