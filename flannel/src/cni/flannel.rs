//! The `flannel` plugin: reads which addresses the daemon got for this node and hands the work to another plugin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::{Call, Command};
use super::delegate;
use super::fault::Fault;
use super::result::Success;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    /// Where the daemon writes the node's addresses.
    #[serde(default = "subnet_file")]
    subnet_file: PathBuf,
    /// Where configurations wait for the DEL that undoes them.
    #[serde(default = "data_dir")]
    data_dir: PathBuf,
    /// What the other plugin shall get beside what we work out.
    #[serde(default)]
    delegate: Map<String, Value>,
    /// The same for address management.
    #[serde(default)]
    ipam: Map<String, Value>,
    #[serde(default)]
    runtime_config: Option<Value>,
}

fn subnet_file() -> PathBuf {
    "/run/flannel/subnet.env".into()
}

fn data_dir() -> PathBuf {
    "/var/lib/cni/flannel".into()
}

pub(super) async fn run(call: &Call) -> Result<Option<Success>, Fault> {
    let config: Config = call.config()?;
    let saved = config.data_dir.join(&call.container);
    match call.command {
        Command::Add => {
            let delegated = delegated(call, &config)?;
            save(&saved, &delegated)?;
            let plugin = plugin(&delegated);
            delegate::call(&plugin, &Call { config: delegated, ..call.clone() }).await
        }
        Command::Del => {
            let delegated = match std::fs::read(&saved) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                    Fault::undecodable(format!("{} cannot be read: {error}", saved.display()))
                })?,
                // Undone already, or never begun.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Fault::io(format!("could not read {}: {error}", saved.display()))),
            };
            delegate::call(&plugin(&delegated), &Call { config: delegated, ..call.clone() }).await?;
            // Only now: a DEL that failed is tried again.
            remove(&saved)?;
            Ok(None)
        }
        Command::Check => {
            let mut delegated = delegated(call, &config)?;
            if let Some(previous) = call.config.get("prevResult") {
                delegated.insert("prevResult".to_owned(), previous.clone());
            }
            delegate::call(&plugin(&delegated), &Call { config: delegated, ..call.clone() }).await
        }
        Command::Version => Ok(None),
    }
}

fn plugin(config: &Map<String, Value>) -> String {
    config.get("type").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The configuration for the other plugin.
fn delegated(call: &Call, config: &Config) -> Result<Map<String, Value>, Fault> {
    let text = std::fs::read_to_string(&config.subnet_file).map_err(|error| {
        Fault::io(format!(
            "could not read {}: {error}; the flannel daemon writes it once it knows the node's addresses",
            config.subnet_file.display()
        ))
    })?;
    let subnet = subnet(&config.subnet_file, &text)?;
    let mut out = config.delegate.clone();
    for taken in ["name", "ipam"] {
        if out.contains_key(taken) {
            return Err(Fault::unsupported(format!(
                "delegate.{taken} is worked out by flannel and must not be given"
            )));
        }
    }
    out.insert("name".to_owned(), call.network.clone().into());
    out.insert("cniVersion".to_owned(), call.version.clone().into());
    let mut put = |name: &str, value: Value| {
        out.entry(name.to_owned()).or_insert(value);
    };
    put("type", "bridge".into());
    put("ipMasq", (!subnet.masquerades).into());
    put("mtu", subnet.mtu.into());
    put("isGateway", true.into());
    if let Some(runtime) = &config.runtime_config {
        put("runtimeConfig", runtime.clone());
    }
    let mut ipam = config.ipam.clone();
    ipam.entry("type".to_owned()).or_insert("host-local".into());
    ipam.insert("ranges".to_owned(), json!([[{"subnet": subnet.subnet}]]));
    let mut routes = vec![json!({"dst": subnet.network})];
    if let Some(Value::Array(more)) = ipam.get("routes") {
        routes.extend(more.iter().cloned());
    }
    ipam.insert("routes".to_owned(), Value::Array(routes));
    out.insert("ipam".to_owned(), Value::Object(ipam));
    Ok(out)
}

/// What the daemon says about this node.
#[derive(Debug, PartialEq, Eq)]
struct Subnet {
    network: String,
    subnet: String,
    mtu: u32,
    masquerades: bool,
}

fn subnet(path: &Path, text: &str) -> Result<Subnet, Fault> {
    let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.trim().split_once('=')).collect();
    let get = |name: &str| {
        values
            .get(name)
            .map(|value| (*value).to_owned())
            .ok_or_else(|| Fault::configuration(format!("{} lacks {name}", path.display())))
    };
    let wrong = |name: &str| Fault::configuration(format!("{}: {name} has no usable value", path.display()));
    Ok(Subnet {
        network: get("FLANNEL_NETWORK")?,
        subnet: get("FLANNEL_SUBNET")?,
        mtu: get("FLANNEL_MTU")?.parse().map_err(|_| wrong("FLANNEL_MTU"))?,
        masquerades: get("FLANNEL_IPMASQ")?.parse().map_err(|_| wrong("FLANNEL_IPMASQ"))?,
    })
}

fn save(path: &Path, config: &Map<String, Value>) -> Result<(), Fault> {
    let text = Value::Object(config.clone()).to_string();
    let written =
        path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, text));
    written.map_err(|error| Fault::io(format!("could not write {}: {error}", path.display())))
}

fn remove(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::io(format!("could not remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}
