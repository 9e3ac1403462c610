//! The two files that the plugins and the container runtime read, written whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use ipnet::Ipv4Net;
use serde_json::json;

/// The configuration's name in its folder; runtimes take the first in the order of names.
pub const CONFLIST: &str = "10-flannel.conflist";

/// What `subnet.env` says.
pub fn subnet_env(pods: Ipv4Net, subnet: Ipv4Net, mtu: u32, masquerade: bool) -> String {
    // The first host of the subnet is the bridge; it stands for the subnet as upstream writes it.
    let gateway = subnet.hosts().next().unwrap_or_else(|| subnet.network());
    let length = subnet.prefix_len();
    format!(
        "FLANNEL_NETWORK={pods}\nFLANNEL_SUBNET={gateway}/{length}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ={masquerade}\n"
    )
}

/// What the runtime is told: the chain of plugins that joins a pod to the network.
pub fn conflist(subnet_file: &Path, data_dir: &Path) -> String {
    let value = json!({
        "name": "cbr0",
        "cniVersion": "1.0.0",
        "plugins": [
            {
                "type": "flannel",
                "subnetFile": subnet_file,
                "dataDir": data_dir.join("flannel"),
                "ipam": {"dataDir": data_dir.join("networks")},
                "delegate": {"hairpinMode": true, "forceAddress": true, "isDefaultGateway": true},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{value:#}\n")
}

/// Writes a file in one step; one that says the same already is left alone.
///
/// # Errors
/// Where the folder cannot be made or written to; the message names the file.
pub fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    let written = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Beside the file, so that the rename stays within one file system; the dot keeps runtimes from reading it.
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = path.with_file_name(format!(".{name}.new"));
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/subnet.env");
        let text = subnet_env("10.42.0.0/16".parse().unwrap(), "10.42.3.0/24".parse().unwrap(), 1450, true);
        put(&path, &text).unwrap();
        let first = std::fs::metadata(&path).unwrap().modified().unwrap();
        put(&path, &text).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), first);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
