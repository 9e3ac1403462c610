//! What the runtime has of one pod: sandboxes and containers as values, free of the CRI's types.

use std::net::IpAddr;

use jiff::Timestamp;

/// The pod's sandboxes and containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The newest first.
    pub sandboxes: Vec<Sandbox>,
    /// The newest first.
    pub containers: Vec<Seen>,
}

/// A sandbox of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created: Timestamp,
    /// None where the pod is on the host's network.
    pub ips: Vec<IpAddr>,
}

/// One run of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub id: String,
    pub name: String,
    pub attempt: u32,
    pub sandbox: String,
    pub state: State,
    pub image: String,
    pub image_id: String,
    /// Of the definition it was made from; see [`super::hash`].
    pub hash: Option<u32>,
    /// Of its first process, where the runtime tells.
    pub pid: Option<i32>,
    /// The file of its output.
    pub log: String,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Created,
    Running { started: Timestamp },
    Exited(Exit),
    Unknown,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Exit {
    pub code: i32,
    pub reason: String,
    pub message: String,
    pub started: Timestamp,
    pub finished: Timestamp,
}

impl Observed {
    /// The latest run of the container with this name.
    pub fn latest(&self, name: &str) -> Option<&Seen> {
        self.containers.iter().find(|seen| seen.name == name)
    }

    /// The latest run in this sandbox.
    pub fn latest_in(&self, sandbox: &str, name: &str) -> Option<&Seen> {
        self.containers.iter().find(|seen| seen.name == name && seen.sandbox == sandbox)
    }

    /// The run before the latest one, if it has ended.
    pub fn previous(&self, name: &str) -> Option<(&Seen, &Exit)> {
        self.containers.iter().filter(|seen| seen.name == name).skip(1).find_map(|seen| match &seen.state {
            State::Exited(exit) => Some((seen, exit)),
            _ => None,
        })
    }

    /// The sandbox in which the pod lives now.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// What still runs, or may.
    pub fn running(&self) -> impl Iterator<Item = &Seen> {
        self.containers.iter().filter(|seen| matches!(seen.state, State::Running { .. } | State::Unknown))
    }
}

impl Seen {
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}
