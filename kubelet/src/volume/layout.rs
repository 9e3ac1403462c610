//! What kind of place a volume is: values in, values out. A kind of volume is one row.

use client::k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};

use crate::quantity;

/// A place for a volume.
#[derive(Debug, Clone, PartialEq)]
pub enum Layout {
    /// A path of the node itself.
    Host { path: String, kind: String },
    /// An empty folder that lives as long as the pod.
    Scratch { memory: bool, limit: Option<i64> },
    /// Files made from objects.
    Files(Files),
    /// Whatever a claim is bound to.
    Claim { name: String, readonly: bool },
}

/// A folder of files that follow the objects they are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    /// The plugin's name in the volume's path, as upstream has it.
    pub plugin: &'static str,
    /// Whether they must not reach a disk.
    pub memory: bool,
    pub mode: u32,
    pub sources: Vec<Source>,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    ConfigMap { name: String, items: Option<Vec<KeyToPath>>, optional: bool },
    Secret { name: String, items: Option<Vec<KeyToPath>>, optional: bool },
    Downward { items: Vec<DownwardAPIVolumeFile> },
    Token { audience: Option<String>, seconds: i64, path: String },
}

/// A kind of volume: recognized, and laid out.
type Row = fn(&Volume) -> Option<Result<Layout, String>>;

/// The kinds that the kubelet lays out itself.
const ROWS: &[Row] = &[host_path, empty_dir, config_map, secret, downward, projected, claim];

/// The mode of files where nobody names one.
const DEFAULT_MODE: i32 = 0o644;
/// How long a token lives where nobody says.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;

/// The layout of a volume.
///
/// # Errors
/// Where the volume's kind is not supported.
pub fn layout(volume: &Volume) -> Result<Layout, String> {
    ROWS.iter().find_map(|row| row(volume)).unwrap_or_else(|| {
        Err("no volume plugin matched: this kubelet has no plugin for this kind of volume".to_owned())
    })
}

fn mode(mode: Option<i32>) -> u32 {
    u32::try_from(mode.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644)
}

fn host_path(volume: &Volume) -> Option<Result<Layout, String>> {
    let source = volume.host_path.as_ref()?;
    Some(Ok(Layout::Host { path: source.path.clone(), kind: source.type_.clone().unwrap_or_default() }))
}

fn empty_dir(volume: &Volume) -> Option<Result<Layout, String>> {
    let source = volume.empty_dir.as_ref()?;
    Some(match source.medium.as_deref() {
        None | Some("") => Ok(Layout::Scratch { memory: false, limit: None }),
        Some("Memory") => {
            Ok(Layout::Scratch { memory: true, limit: source.size_limit.as_ref().map(quantity::value) })
        }
        Some(other) => Err(format!("unknown storage medium \"{other}\"")),
    })
}

fn config_map(volume: &Volume) -> Option<Result<Layout, String>> {
    let source = volume.config_map.as_ref()?;
    let from = Source::ConfigMap {
        name: source.name.clone(),
        items: source.items.clone(),
        optional: source.optional == Some(true),
    };
    Some(Ok(Layout::Files(Files {
        plugin: "configmap",
        memory: false,
        mode: mode(source.default_mode),
        sources: vec![from],
    })))
}

fn secret(volume: &Volume) -> Option<Result<Layout, String>> {
    let source = volume.secret.as_ref()?;
    let from = Source::Secret {
        name: source.secret_name.clone().unwrap_or_default(),
        items: source.items.clone(),
        optional: source.optional == Some(true),
    };
    Some(Ok(Layout::Files(Files {
        plugin: "secret",
        memory: true,
        mode: mode(source.default_mode),
        sources: vec![from],
    })))
}

fn downward(volume: &Volume) -> Option<Result<Layout, String>> {
    let source = volume.downward_api.as_ref()?;
    let from = Source::Downward { items: source.items.clone().unwrap_or_default() };
    Some(Ok(Layout::Files(Files {
        plugin: "downward-api",
        memory: true,
        mode: mode(source.default_mode),
        sources: vec![from],
    })))
}

fn projected(volume: &Volume) -> Option<Result<Layout, String>> {
    let source = volume.projected.as_ref()?;
    let sources: Result<Vec<Source>, String> = source.sources.iter().flatten().map(projection).collect();
    Some(sources.map(|sources| {
        Layout::Files(Files { plugin: "projected", memory: true, mode: mode(source.default_mode), sources })
    }))
}

fn projection(source: &VolumeProjection) -> Result<Source, String> {
    if let Some(from) = &source.config_map {
        let (name, items, optional) = (from.name.clone(), from.items.clone(), from.optional == Some(true));
        return Ok(Source::ConfigMap { name, items, optional });
    }
    if let Some(from) = &source.secret {
        let (name, items, optional) = (from.name.clone(), from.items.clone(), from.optional == Some(true));
        return Ok(Source::Secret { name, items, optional });
    }
    if let Some(from) = &source.downward_api {
        return Ok(Source::Downward { items: from.items.clone().unwrap_or_default() });
    }
    if let Some(from) = &source.service_account_token {
        let audience = from.audience.clone().filter(|audience| !audience.is_empty());
        let seconds = from.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
        return Ok(Source::Token { audience, seconds, path: from.path.clone() });
    }
    Err("this kubelet projects configMaps, secrets, downwardAPI and serviceAccountTokens only".to_owned())
}

fn claim(volume: &Volume) -> Option<Result<Layout, String>> {
    let source = volume.persistent_volume_claim.as_ref()?;
    Some(Ok(Layout::Claim { name: source.claim_name.clone(), readonly: source.read_only == Some(true) }))
}
