//! The CNI plugins: what container runtimes execute to join a container to the network and to part it again.
//!
//! One program under several names. It reads a call from its environment and standard input, does what the plugin of
//! its name does, and writes a result or an error to standard output, as version 1.0.0 of the specification says.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

mod bridge;
mod call;
mod delegate;
mod fault;
mod firewall;
mod flannel;
mod host_local;
mod loopback;
mod network;
mod portmap;
mod result;

use call::{Call, Command};
use fault::Fault;
use result::Success;

pub(crate) use firewall::TABLE;

/// The names under which this program is a plugin.
pub const PLUGINS: &[&str] = &["bridge", "flannel", "host-local", "loopback", "portmap"];

/// The bridge that pods are joined to unless the configuration names another.
pub(crate) const BRIDGE: &str = "cni0";

/// The versions of the specification that calls may be in.
const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// The version we speak by ourselves.
const NEWEST: &str = "1.0.0";

/// More configuration than this on standard input is not one.
const MOST_INPUT: u64 = 4 << 20;

/// Runs the plugin that the program's name says or, where that names none, the first argument.
pub fn main(words: &[String]) -> ExitCode {
    let names = words.iter().take(2).filter_map(|word| Path::new(word).file_name()?.to_str());
    let Some(plugin) = names.filter_map(|name| PLUGINS.iter().find(|plugin| **plugin == name)).next() else {
        let known = PLUGINS.join(", ");
        return say(
            &Fault::environment(format!("this program must be called as one of {known}")).to_json(NEWEST),
            false,
        );
    };
    if std::env::var_os("CNI_COMMAND").is_none() {
        daemon::log::say(&format!(
            "CNI {plugin} plugin isopod {}\nCNI versions: {}",
            daemon::VERSION,
            VERSIONS.join(", ")
        ));
        return ExitCode::SUCCESS;
    }
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().take(MOST_INPUT).read_to_end(&mut input) {
        return say(&Fault::io(format!("could not read standard input: {error}")).to_json(NEWEST), false);
    }
    let call = match Call::read(|name| std::env::var(name).ok(), &input) {
        Ok(call) => call,
        Err(fault) => return say(&fault.to_json(NEWEST), false),
    };
    if call.command == Command::Version {
        return say(&json!({"cniVersion": call.version, "supportedVersions": VERSIONS}), true);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return say(&Fault::io(format!("could not start: {error}")).to_json(&call.version), false);
        }
    };
    match runtime.block_on(run(plugin, &call)) {
        Ok(Some(success)) => say(&success.to_json(&call.version), true),
        Ok(None) => ExitCode::SUCCESS,
        Err(fault) => say(&fault.to_json(&call.version), false),
    }
}

/// Does what the call asks of a plugin. Only ADD has a result.
async fn run(plugin: &str, call: &Call) -> Result<Option<Success>, Fault> {
    match plugin {
        "bridge" => bridge::run(call).await,
        "flannel" => flannel::run(call).await,
        "host-local" => host_local::run(call),
        "loopback" => loopback::run(call).await,
        "portmap" => portmap::run(call).await,
        other => Err(Fault::environment(format!("there is no plugin {other} in this program"))),
    }
}

fn say(value: &serde_json::Value, good: bool) -> ExitCode {
    let written = writeln!(std::io::stdout(), "{value}");
    if good && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests;
