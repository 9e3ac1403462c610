//! Calls of further plugins: address management, and what the flannel plugin hands its work to.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::call::{Call, Command};
use super::fault::Fault;
use super::result::Success;
use super::{PLUGINS, run};

/// Calls the plugin of this name with the call's command and configuration.
///
/// Where it is this very program, there is no second process.
pub(super) async fn call(plugin: &str, call: &Call) -> Result<Option<Success>, Fault> {
    if plugin.is_empty() || plugin.contains('/') {
        return Err(Fault::configuration(format!("{plugin:?} is no name of a plugin")));
    }
    let found = call.path.split(':').map(|folder| Path::new(folder).join(plugin)).find(|path| path.is_file());
    let ours = PLUGINS.contains(&plugin);
    match found {
        Some(path) if !(ours && is_this_program(&path)) => execute(plugin, path, call).await,
        None if !ours => {
            Err(Fault::configuration(format!("there is no plugin {plugin} in CNI_PATH ({})", call.path)))
        }
        _ => Box::pin(run(plugin, call)).await,
    }
}

fn is_this_program(path: &Path) -> bool {
    let own = std::fs::canonicalize("/proc/self/exe");
    matches!((own, std::fs::canonicalize(path)), (Ok(own), Ok(other)) if own == other)
}

async fn execute(plugin: &str, path: PathBuf, call: &Call) -> Result<Option<Success>, Fault> {
    let failed = |error: std::io::Error| Fault::io(format!("could not run {}: {error}", path.display()));
    let mut child = tokio::process::Command::new(&path)
        .env("CNI_COMMAND", call.command.text())
        .env("CNI_CONTAINERID", &call.container)
        .env("CNI_NETNS", call.namespace.as_deref().unwrap_or_else(|| Path::new("")))
        .env("CNI_IFNAME", &call.interface)
        .env("CNI_ARGS", &call.args)
        .env("CNI_PATH", &call.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let input = Value::Object(call.config.clone()).to_string();
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A plugin that does not read says why with its exit code.
            drop(stdin.write_all(input.as_bytes()).await);
            drop(stdin.shutdown().await);
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output.map_err(failed)?;
    if !output.status.success() {
        return Err(Fault::of_delegate(plugin, &output.stdout, &output.stderr));
    }
    if call.command != Command::Add {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Fault::undecodable(format!("plugin {plugin} wrote no result: {error}")))?;
    Success::read(&value).map(Some)
}
