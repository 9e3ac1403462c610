//! A container runtime as far as plugins see one: their names in a folder, calls by environment and standard input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use testkit::netns::Namespace;

/// A host's runtime: where its plugins and their data are.
pub(crate) struct Runtime {
    folder: TempDir,
}

/// What a plugin left: its exit code's verdict and what it wrote.
pub(crate) type Outcome = Result<Value, Value>;

impl Runtime {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        for plugin in flannel::cni::PLUGINS {
            std::os::unix::fs::symlink(
                env!("CARGO_BIN_EXE_isopod-cni"),
                folder.path().join("bin").join(plugin),
            )
            .unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What lies in one of its folders, locks and notes left out.
    pub(crate) fn files(&self, name: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(name)) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter(|name| name != "lock" && !name.starts_with("last_reserved_ip")).collect();
        names.sort();
        names
    }

    /// Calls the plugin that the configuration is for, on `host`, for the container whose namespace is `pod`.
    pub(crate) fn call(&self, host: &Namespace, command: &str, pod: &Namespace, config: &Value) -> Outcome {
        self.call_at(host, command, pod.name(), &pod.path(), config)
    }

    /// The same for a namespace that may be gone.
    pub(crate) fn call_at(
        &self,
        host: &Namespace,
        command: &str,
        id: &str,
        netns: &Path,
        config: &Value,
    ) -> Outcome {
        let plugin = self.path("bin").join(config["type"].as_str().unwrap());
        let mut child = host
            .command(plugin.to_str().unwrap())
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", if config["type"] == "loopback" { "lo" } else { "eth0" })
            .env("CNI_PATH", self.path("bin"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() { Ok(value) } else { Err(value) }
    }

    /// Joins a pod to the network that a conflist describes, plugin after plugin, and gives its address.
    pub(crate) fn join(&self, host: &Namespace, pod: &Namespace, conflist: &Path) -> String {
        let list: Value = serde_json::from_slice(&std::fs::read(conflist).unwrap()).unwrap();
        let mut previous = Value::Null;
        for plugin in list["plugins"].as_array().unwrap() {
            let mut config: Map<String, Value> = plugin.as_object().unwrap().clone();
            config.insert("name".to_owned(), list["name"].clone());
            config.insert("cniVersion".to_owned(), list["cniVersion"].clone());
            config.insert("prevResult".to_owned(), previous);
            config.insert("runtimeConfig".to_owned(), json!({"portMappings": []}));
            previous = self.call(host, "ADD", pod, &Value::Object(config)).unwrap();
        }
        let address = previous["ips"][0]["address"].as_str().unwrap();
        address.split('/').next().unwrap().to_owned()
    }
}
