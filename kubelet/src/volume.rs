//! The volumes of a pod: laid out on the node, kept up to date, handed to containers, taken away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::event::Severity;
use client::k8s_openapi::api::core::v1::{Pod, Volume};
use jiff::Timestamp;

use crate::agent::Agent;
use crate::pod::downward::Facts;
use crate::pod::env::{Objects, Variables, expand};
use crate::pod::{self, Member};
use crate::reference::Needs;
use crate::runtime::container::Bind;

pub mod atomic;
pub mod claim;
pub mod content;
pub mod folder;
pub mod layout;
pub mod subpath;
pub mod token;

use layout::Layout;
use token::Tokens;

/// Where the volumes of a pod are on the node.
#[derive(Debug, Clone, Default)]
pub struct Mounted {
    places: BTreeMap<String, Place>,
}

#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    /// Whether no container may write to it.
    readonly: bool,
}

/// A volume that could not be laid out.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
pub struct MountError {
    volume: String,
    message: String,
}

/// What laying out volumes needs.
#[derive(Debug)]
pub struct Mounting<'a> {
    pub agent: &'a Agent,
    pub pod: &'a Pod,
    pub facts: &'a Facts,
    pub tokens: &'a mut Tokens,
}

impl Mounting<'_> {
    /// Lays out all volumes of the pod, or brings them up to date, and tells when to do so again.
    ///
    /// # Errors
    /// The first volume that cannot be laid out; an event has told of it.
    pub async fn all(&mut self) -> Result<(Mounted, Option<Timestamp>), MountError> {
        let spec = pod::spec(self.pod);
        let needs = Needs::of(self.pod);
        let mut out = Mounted::default();
        for volume in spec.volumes.iter().flatten() {
            match self.one(volume, &needs).await {
                Ok(place) => {
                    out.places.insert(volume.name.clone(), place);
                }
                Err(message) => {
                    let error = MountError { volume: volume.name.clone(), message };
                    self.agent.tell(self.pod, Severity::Warning, "FailedMount", error.to_string());
                    return Err(error);
                }
            }
        }
        Ok((out, self.tokens.renewal()))
    }

    async fn one(&mut self, volume: &Volume, needs: &Needs) -> Result<Place, String> {
        let uid = pod::uid(self.pod);
        let group = pod::spec(self.pod).security_context.as_ref().and_then(|security| security.fs_group);
        match layout::layout(volume)? {
            Layout::Host { path, kind } => {
                folder::check_host(Path::new(&path), &kind)?;
                Ok(Place { path: path.into(), readonly: false })
            }
            Layout::Scratch { memory, limit } => {
                let path = self.agent.layout.volume(&uid, "empty-dir", &volume.name);
                folder::scratch(&path, memory, limit, group).map_err(|error| in_words(&path, &error))?;
                Ok(Place { path, readonly: false })
            }
            Layout::Claim { name, readonly } => {
                let path = claim::place(self.agent, self.pod, &name).await?;
                Ok(Place { path, readonly })
            }
            Layout::Files(files) => {
                let objects = self.objects(needs).await?;
                let tokens = self.tokens.current(self.agent, self.pod, &volume.name, &files).await?;
                let content = content::content(&files, self.pod, self.facts, &objects, &tokens)?;
                let path = self.agent.layout.volume(&uid, files.plugin, &volume.name);
                let result =
                    folder::prepare(&path, files.memory).and_then(|()| atomic::write(&path, &content, group));
                result.map_err(|error| in_words(&path, &error))?;
                Ok(Place { path, readonly: true })
            }
        }
    }

    async fn objects(&self, needs: &Needs) -> Result<Objects, String> {
        let objects = self.agent.references.objects(pod::namespace(self.pod), needs).await;
        objects.map_err(|unseen| unseen.to_string())
    }
}

fn in_words(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// What of its pod's volumes a container sees, and where.
///
/// # Errors
/// Where a mount names no volume or leads out of its volume.
pub fn binds(
    agent: &Agent,
    pod: &Pod,
    member: &Member<'_>,
    mounted: &Mounted,
    variables: &Variables,
) -> Result<Vec<Bind>, String> {
    let uid = pod::uid(pod);
    let find = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut out = Vec::new();
    for (index, mount) in member.container.volume_mounts.iter().flatten().enumerate() {
        let Some(place) = mounted.places.get(&mount.name) else {
            return Err(format!(
                "cannot find volume \"{}\" to mount into container \"{}\"",
                mount.name,
                member.name()
            ));
        };
        let written = mount.sub_path.clone().filter(|path| !path.is_empty());
        let expanded =
            mount.sub_path_expr.as_deref().filter(|path| !path.is_empty()).map(|path| expand(path, &find));
        let host = match written.or(expanded) {
            None => place.path.clone(),
            Some(inner) => {
                let target = agent.layout.pod(&uid).join("volume-subpaths").join(&mount.name);
                let target = target.join(member.name()).join(index.to_string());
                subpath::bind(&place.path, &inner, &target).map_err(|error| {
                    format!(
                        "failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {error}",
                        mount.name,
                        member.name()
                    )
                })?
            }
        };
        let container = if mount.mount_path.starts_with('/') {
            mount.mount_path.clone()
        } else {
            format!("/{}", mount.mount_path)
        };
        out.push(Bind {
            host,
            container,
            readonly: place.readonly || mount.read_only == Some(true),
            propagation: mount.mount_propagation.clone(),
        });
    }
    Ok(out)
}

/// Takes away all that a pod had on the node, its mounts first.
///
/// # Errors
/// Where something is still mounted or cannot be removed; nothing below a mount is touched.
pub fn remove(folder: &Path) -> std::io::Result<()> {
    for mount in folder::mounts_below(folder)? {
        rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH)?;
    }
    if let Some(left) = folder::mounts_below(folder)?.first() {
        return Err(std::io::Error::other(format!("{} is still mounted", left.display())));
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away the volumes of a pod whose containers have ended, and leaves what tells of them.
pub fn unmount(agent: &Agent, uid: &Arc<str>) -> std::io::Result<()> {
    let folder = agent.layout.pod(uid);
    remove(&folder.join("volume-subpaths"))?;
    remove(&folder.join("volumes"))
}
