//! Where everything is below the data directory and the run directory.

use std::path::{Path, PathBuf};

/// The usual data directory, as `--data-dir` defaults to.
pub(crate) const DATA: &str = "/var/lib/isopod";

/// The two directories that a node has for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What outlives a reboot.
    pub data: PathBuf,
    /// Sockets and the like.
    pub run: PathBuf,
}

impl Layout {
    /// A file of the server's certificates and keys.
    pub fn tls(&self, file: &str) -> PathBuf {
        self.server("tls").join(file)
    }

    /// A kubeconfig of the server's.
    pub fn cred(&self, file: &str) -> PathBuf {
        self.server("cred").join(file)
    }

    /// Something of the server's.
    pub fn server(&self, file: &str) -> PathBuf {
        self.data.join("server").join(file)
    }

    /// Something of the node's.
    pub fn agent(&self, file: &str) -> PathBuf {
        self.data.join("agent").join(file)
    }

    /// The socket of the datastore.
    pub fn datastore(&self) -> PathBuf {
        self.server("db").join("datastore.sock")
    }

    /// The log of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// The folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.data.join("log")
    }

    /// The supervisor's own socket, to which the API server passes what is the supervisor's.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.run.join("supervisor.sock")
    }

    /// Where a component says that it is ready.
    pub fn notify_socket(&self, component: &str) -> PathBuf {
        self.run.join("notify").join(format!("{component}.sock"))
    }

    /// Which process a component is.
    pub fn pid_file(&self, component: &str) -> PathBuf {
        self.run.join("pid").join(component)
    }

    /// The socket of the containerd that the supervisor starts.
    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd").join("containerd.sock")
    }

    /// The kubelet's folder: where drivers and agents look for it on an installed node, else among our own.
    pub fn kubelet_root(&self) -> PathBuf {
        self.usual("/var/lib/kubelet", "kubelet")
    }

    /// The folder of the logs of pods; see [`Layout::kubelet_root`].
    pub fn pod_logs(&self) -> PathBuf {
        self.usual("/var/log/pods", "pod-logs")
    }

    /// The secret by which this host keeps its name in the cluster; on an installed node it outlives the data.
    pub fn node_password(&self) -> PathBuf {
        self.usual("/etc/isopod/node/password", "node-password")
    }

    fn usual(&self, installed: &str, own: &str) -> PathBuf {
        if self.data == Path::new(DATA) { PathBuf::from(installed) } else { self.agent(own) }
    }
}
