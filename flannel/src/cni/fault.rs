//! Why a call failed, as the specification has it.

use std::error::Error;

use nft::ApplyError;
use serde_json::{Value, json};

use crate::netlink::NetlinkError;

/// A failure on its way to the runtime.
#[derive(Debug)]
pub(super) struct Fault {
    code: u32,
    msg: String,
    details: String,
}

/// Codes of the specification.
const INCOMPATIBLE: u32 = 1;
const UNSUPPORTED_FIELD: u32 = 2;
const UNKNOWN_CONTAINER: u32 = 3;
const BAD_ENVIRONMENT: u32 = 4;
const IO: u32 = 5;
const UNDECODABLE: u32 = 6;
const BAD_CONFIGURATION: u32 = 7;
/// The first of those that plugins may give a meaning of their own.
const PLUGIN: u32 = 100;

impl Fault {
    fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    pub(super) fn incompatible(msg: impl Into<String>) -> Self {
        Self::new(INCOMPATIBLE, msg)
    }

    pub(super) fn unsupported(msg: impl Into<String>) -> Self {
        Self::new(UNSUPPORTED_FIELD, msg)
    }

    pub(super) fn unknown_container(msg: impl Into<String>) -> Self {
        Self::new(UNKNOWN_CONTAINER, msg)
    }

    pub(super) fn environment(msg: impl Into<String>) -> Self {
        Self::new(BAD_ENVIRONMENT, msg)
    }

    pub(super) fn io(msg: impl Into<String>) -> Self {
        Self::new(IO, msg)
    }

    pub(super) fn undecodable(msg: impl Into<String>) -> Self {
        Self::new(UNDECODABLE, msg)
    }

    pub(super) fn configuration(msg: impl Into<String>) -> Self {
        Self::new(BAD_CONFIGURATION, msg)
    }

    pub(super) fn plugin(msg: impl Into<String>) -> Self {
        Self::new(PLUGIN, msg)
    }

    /// The failure that a delegate wrote to its standard output.
    pub(super) fn of_delegate(plugin: &str, output: &[u8], errors: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(output).unwrap_or_default();
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = value.get("code").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok());
        let msg = text("msg").unwrap_or_else(|| String::from_utf8_lossy(errors).trim().to_owned());
        Self {
            code: code.unwrap_or(PLUGIN),
            msg: format!("plugin {plugin} failed: {msg}"),
            details: text("details").unwrap_or_default(),
        }
    }

    pub(super) fn to_json(&self, version: &str) -> Value {
        let mut value = json!({"cniVersion": version, "code": self.code, "msg": self.msg});
        if !self.details.is_empty() {
            value["details"] = Value::from(self.details.as_str());
        }
        value
    }

    /// The causes of an error as details, the error itself as the message.
    fn of_error(code: u32, error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        // Runtimes show the message alone more often than not.
        let msg =
            std::iter::once(error.to_string()).chain(causes.iter().cloned()).collect::<Vec<_>>().join(": ");
        Self { code, msg, details: String::new() }
    }
}

impl From<NetlinkError> for Fault {
    fn from(error: NetlinkError) -> Self {
        let code = match error {
            NetlinkError::Namespace { .. } => UNKNOWN_CONTAINER,
            NetlinkError::Open(_) | NetlinkError::Refused { .. } => PLUGIN,
        };
        Self::of_error(code, &error)
    }
}

impl From<ApplyError> for Fault {
    fn from(error: ApplyError) -> Self {
        Self::of_error(PLUGIN, &error)
    }
}
