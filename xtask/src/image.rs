//! The images that test hosts run, made of Debian's static busybox: one OCI archive for the air-gap folder.
//!
//! There is no registry to pull from. The names say where they come from (`isopod.local/...`), so that none is
//! taken for somebody else's image, and have tags, so that none is pulled where it is present.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program;

pub mod tar;

/// Where Debian's package `busybox-static` puts it.
const BUSYBOX: &str = "/bin/busybox";

/// What a pod's sandbox runs: nothing.
pub const PAUSE: &str = "isopod.local/pause:1";

/// One image: its name, the files that it adds to busybox, and how it starts.
struct Image {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    entrypoint: &'static [&'static str],
    command: &'static [&'static str],
}

/// Serves one page that tells the version and the pod's name. The shell is there because a first process without
/// a handler is deaf to SIGTERM.
const SERVE: &str = r#"trap 'exit 0' TERM
mkdir -p /www
echo "web $VERSION on $(hostname)" > /www/index.html
httpd -f -p "${PORT:-80}" -h /www &
wait
"#;

const IMAGES: &[Image] = &[
    Image { name: PAUSE, files: &[], entrypoint: &["/bin/busybox", "sleep", "infinity"], command: &[] },
    Image { name: "isopod.local/busybox:1", files: &[], entrypoint: &[], command: &["sh"] },
    web("isopod.local/web:1", &[("etc/serve", SERVE), ("etc/version", "1")]),
    web("isopod.local/web:2", &[("etc/serve", SERVE), ("etc/version", "2")]),
];

const fn web(name: &'static str, files: &'static [(&'static str, &'static str)]) -> Image {
    Image {
        name,
        files,
        entrypoint: &["/bin/sh", "-c", "VERSION=$(cat /etc/version) exec sh /etc/serve"],
        command: &[],
    }
}

/// Writes the archive with all images.
///
/// # Errors
/// Where busybox is missing or the file cannot be written.
pub fn write(archive: &Path) -> Result<()> {
    let busybox = std::fs::read(BUSYBOX)
        .with_context(|| format!("could not read {BUSYBOX}; install Debian's busybox-static"))?;
    let applets = program::run(BUSYBOX, &["--list"])?;
    let bytes = compose(&base(&busybox, applets.lines()));
    if let Some(folder) = archive.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    }
    // Whoever looks into the folder sees the whole archive or none.
    let unfinished = archive.with_extension("part");
    std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, archive))
        .with_context(|| format!("could not write {}", archive.display()))
}

/// The layer that all images begin with.
fn base<'a>(busybox: &[u8], applets: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut layer = tar::Archive::default();
    for folder in ["bin/", "dev/", "etc/", "proc/", "root/", "sys/", "var/"] {
        layer.folder(folder, 0o755);
    }
    layer.folder("tmp/", 0o1777);
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    );
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    layer.file("bin/busybox", 0o755, busybox);
    for applet in applets.filter(|applet| *applet != "busybox") {
        layer.link(&format!("bin/{applet}"), "busybox");
    }
    layer.finish()
}

/// An OCI image layout with every image in it; what images share is in it once.
fn compose(base: &[u8]) -> Vec<u8> {
    let mut layout = Layout::default();
    layout.archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    let base = layout.blob("application/vnd.oci.image.layer.v1.tar", base);
    let manifests: Vec<Value> = IMAGES.iter().map(|image| layout.image(image, &base)).collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    layout.archive.file("index.json", 0o644, index.to_string().as_bytes());
    layout.archive.finish()
}

#[derive(Default)]
struct Layout {
    archive: tar::Archive,
    written: Vec<String>,
}

impl Layout {
    /// Adds an image and returns its row in the index.
    fn image(&mut self, image: &Image, base: &Value) -> Value {
        let mut layers = vec![base.clone()];
        if !image.files.is_empty() {
            let mut layer = tar::Archive::default();
            for (path, content) in image.files {
                layer.file(path, 0o644, content.as_bytes());
            }
            layers.push(self.blob("application/vnd.oci.image.layer.v1.tar", &layer.finish()));
        }
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": image.entrypoint, "Cmd": image.command, "Env": ["PATH=/bin"]},
            // Layers are not compressed, so their own digests are those of what is in them.
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer["digest"]).collect::<Vec<_>>()},
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut row = self.blob(kind, manifest.to_string().as_bytes());
        let tag = image.name.rsplit(':').next().unwrap_or_default();
        row["annotations"] = json!({
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": tag,
        });
        row
    }

    /// Adds content under its digest and returns its descriptor.
    fn blob(&mut self, kind: &str, content: &[u8]) -> Value {
        let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        if !self.written.contains(&digest) {
            self.archive.file(&format!("blobs/sha256/{digest}"), 0o644, content);
            self.written.push(digest.clone());
        }
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len()})
    }
}

/// The machine's architecture as OCI names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn every_image_is_in_the_index_and_shares_the_base() {
        let base = base(b"not really busybox", ["sh", "busybox"].into_iter());
        let archive = compose(&base);
        assert_eq!(archive, compose(&base), "the same every time");
        let text = String::from_utf8_lossy(&archive);
        for image in IMAGES {
            assert!(
                text.contains(&format!(r#""io.containerd.image.name":"{}""#, image.name)),
                "{}",
                image.name
            );
        }
        assert_eq!(text.matches("not really busybox").count(), 1);
    }
}
