//! What a runtime asks of a plugin: environment and standard input, read and checked.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fault::Fault;
use super::result::Success;
use super::{NEWEST, VERSIONS};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Version,
}

/// One call of a plugin.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) command: Command,
    /// The identity of the container (of the sandbox, in Kubernetes).
    pub(super) container: String,
    /// Its network namespace; DEL may come without one, when it is gone.
    pub(super) namespace: Option<PathBuf>,
    /// The name of the interface in the container.
    pub(super) interface: String,
    /// `CNI_ARGS`: `NAME=value;NAME=value`.
    pub(super) args: String,
    /// Where further plugins are.
    pub(super) path: String,
    /// The version of the specification that the caller speaks.
    pub(super) version: String,
    /// The network's name.
    pub(super) network: String,
    /// The whole configuration.
    pub(super) config: Map<String, Value>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default, rename = "cniVersion")]
    version: Option<String>,
    #[serde(default)]
    name: String,
}

/// The kernel's limit on names of interfaces, without the zero at the end.
const LONGEST_INTERFACE: usize = 15;

impl Command {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "ADD" => Some(Self::Add),
            "DEL" => Some(Self::Del),
            "CHECK" => Some(Self::Check),
            "VERSION" => Some(Self::Version),
            _ => None,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Version => "VERSION",
        }
    }
}

impl Call {
    /// Reads a call; `variable` looks into the environment.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Self, Fault> {
        let filled = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = filled("CNI_COMMAND").ok_or_else(|| Fault::environment("CNI_COMMAND is not set"))?;
        let command = Command::parse(&text)
            .ok_or_else(|| Fault::environment(format!("CNI_COMMAND: unknown command {text:?}")))?;
        let config: Map<String, Value> = match serde_json::from_slice(input) {
            Ok(config) => config,
            Err(_) if command == Command::Version && input.is_empty() => Map::new(),
            Err(error) => {
                return Err(Fault::undecodable(format!(
                    "the network configuration is no JSON object: {error}"
                )));
            }
        };
        let head: Head = serde_json::from_value(Value::Object(config.clone())).map_err(|error| {
            Fault::undecodable(format!("the network configuration cannot be read: {error}"))
        })?;
        let unsaid = if command == Command::Version { NEWEST } else { "0.1.0" };
        let call = Self {
            command,
            container: filled("CNI_CONTAINERID").unwrap_or_default(),
            namespace: filled("CNI_NETNS").map(PathBuf::from),
            interface: filled("CNI_IFNAME").unwrap_or_default(),
            args: filled("CNI_ARGS").unwrap_or_default(),
            path: filled("CNI_PATH").unwrap_or_default(),
            // A configuration without a version is of the first one, which is not spoken here.
            version: head.version.unwrap_or_else(|| unsaid.to_owned()),
            network: head.name,
            config,
        };
        if command != Command::Version {
            call.validate()?;
        }
        Ok(call)
    }

    fn validate(&self) -> Result<(), Fault> {
        if !VERSIONS.contains(&self.version.as_str()) {
            let known = VERSIONS.join(", ");
            return Err(Fault::incompatible(format!("cniVersion {:?} is not one of {known}", self.version)));
        }
        if self.command == Command::Check && matches!(self.version.as_str(), "0.3.0" | "0.3.1") {
            return Err(Fault::incompatible(format!(
                "version {} of the specification has no CHECK",
                self.version
            )));
        }
        let mut missing = Vec::new();
        if self.container.is_empty() {
            missing.push("CNI_CONTAINERID");
        }
        if self.namespace.is_none() && self.command != Command::Del {
            missing.push("CNI_NETNS");
        }
        if self.interface.is_empty() {
            missing.push("CNI_IFNAME");
        }
        if !missing.is_empty() {
            return Err(Fault::environment(format!("{} must be set", missing.join(", "))));
        }
        if !is_name(&self.container) {
            return Err(Fault::environment(format!(
                "CNI_CONTAINERID: {:?} has characters that are not allowed",
                self.container
            )));
        }
        let interface = &self.interface;
        let odd = interface.chars().any(|c| c == '/' || c == ':' || c.is_whitespace());
        if interface.len() > LONGEST_INTERFACE || matches!(interface.as_str(), "." | "..") || odd {
            return Err(Fault::environment(format!("CNI_IFNAME: {interface:?} is no name for an interface")));
        }
        if !is_name(&self.network) {
            return Err(Fault::configuration(format!(
                "the network's name {:?} is missing or has characters that are not allowed",
                self.network
            )));
        }
        Ok(())
    }

    /// The configuration as this plugin's type.
    pub(super) fn config<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_value(Value::Object(self.config.clone()))
            .map_err(|error| Fault::undecodable(format!("the network configuration cannot be read: {error}")))
    }

    /// What the plugins before this one in a chain have made.
    pub(super) fn previous(&self) -> Result<Option<Success>, Fault> {
        match self.config.get("prevResult") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Success::read(value).map(Some),
        }
    }

    /// The container's network namespace, where there must be one.
    pub(super) fn namespace(&self) -> Result<&PathBuf, Fault> {
        self.namespace.as_ref().ok_or_else(|| Fault::environment("CNI_NETNS must be set"))
    }

    /// The same call with another command.
    pub(super) fn as_command(&self, command: Command) -> Self {
        Self { command, ..self.clone() }
    }
}

/// What the specification allows as identities and names of networks.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
}
