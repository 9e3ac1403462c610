//! The configuration of the containerd that the supervisor starts, and the links by which it finds CNI plugins.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::certificate::{PUBLIC, write};
use crate::layout::Layout;
use crate::pause;
use crate::plan::Scene;

/// The CNI plugins that the multi-call program of flannel has.
const PLUGINS: &[&str] = &["bridge", "flannel", "host-local", "loopback", "portmap"];

/// The configuration file.
pub(crate) fn file(layout: &Layout) -> PathBuf {
    layout.agent("etc/containerd/config.toml")
}

/// Where the plugins are.
pub(crate) fn plugins(layout: &Layout) -> PathBuf {
    layout.agent("cni/bin")
}

/// Where flannel says which plugins are to be called and how.
pub(crate) fn networks(layout: &Layout) -> PathBuf {
    layout.agent("etc/cni/net.d")
}

/// The text of the configuration.
pub(crate) fn text(scene: &Scene) -> String {
    let node = &scene.node;
    let layout = &node.layout;
    let run = layout.run.join("containerd");
    format!(
        r#"# Written by isopod at each start; changes are lost.
version = 2
root = {root}
state = {state}
[grpc]
  address = {socket}
[ttrpc]
  address = {ttrpc}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {pause}
  restrict_oom_score_adj = {restricted}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = {snapshotter}
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins}
    conf_dir = {networks}
[plugins."io.containerd.internal.v1.opt"]
  path = {opt}
"#,
        root = quoted(&layout.agent("containerd")),
        state = quoted(&run.join("state")),
        socket = quoted(&layout.containerd_socket()),
        ttrpc = quoted(&run.join("containerd.sock.ttrpc")),
        pause = quoted(Path::new(&node.pause_image)),
        restricted = !scene.host.may_protect,
        snapshotter = quoted(Path::new(&node.snapshotter)),
        plugins = quoted(&plugins(layout)),
        networks = quoted(&networks(layout)),
        opt = quoted(&layout.agent("containerd/opt")),
    )
}

/// A text of TOML.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Writes the configuration, and the links to the program that holds the plugins.
pub(crate) fn prepare(scene: &Scene, program: &Path) -> anyhow::Result<()> {
    let layout = &scene.node.layout;
    write(&file(layout), &text(scene), PUBLIC)?;
    for folder in [plugins(layout), networks(layout), layout.agent("images"), layout.agent("pod-manifests")] {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("could not make the folder {}", folder.display()))?;
    }
    if scene.node.pause_image == pause::IMAGE {
        let (file, archive) = (layout.agent("images/isopod-pause.tar"), pause::archive()?);
        // Left as it is where it is the same, so that it is not imported again.
        if !std::fs::read(&file).is_ok_and(|there| there == archive) {
            write(&file, &archive, PUBLIC)?;
        }
    }
    for plugin in PLUGINS {
        let link = plugins(layout).join(plugin);
        if std::fs::read_link(&link).is_ok_and(|target| target == program) {
            continue;
        }
        drop(std::fs::remove_file(&link));
        std::os::unix::fs::symlink(program, &link)
            .with_context(|| format!("could not make the link {}", link.display()))?;
    }
    Ok(())
}
