//! Reads what the runtime has of a pod into [`Observed`].

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use proto::cri::v1::{self as cri, ContainerState, PodSandboxState};
use serde_json::Value;

use super::{Failure, Runtime};
use crate::pod::name;
use crate::pod::observed::{Exit, Observed, Sandbox, Seen, State};

/// The most of a termination message that is reported (upstream's figure).
const MESSAGE_BYTES: u64 = 4096;
/// The most of a log that stands in for a termination message (upstream's figures).
const LOG_BYTES: u64 = 2048;
const LOG_LINES: usize = 80;

/// What the runtime has of a pod. Runs that ended are taken from `before`, for they do not change.
pub async fn observe(runtime: &Runtime, uid: &str, before: &Observed) -> Result<Observed, Failure> {
    let (mut sandboxes, mut containers) =
        tokio::try_join!(runtime.sandboxes(Some(uid)), runtime.containers(Some(uid)))?;
    sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    let mut out = Observed::default();
    for (index, sandbox) in sandboxes.iter().enumerate() {
        let ready = sandbox.state == PodSandboxState::SandboxReady as i32;
        let known = before.sandboxes.iter().find(|old| old.id == sandbox.id && !old.ips.is_empty());
        let ips = match known {
            Some(known) => known.ips.clone(),
            None if ready && index == 0 => addresses(runtime, &sandbox.id).await?,
            None => Vec::new(),
        };
        out.sandboxes.push(Sandbox {
            id: sandbox.id.clone(),
            attempt: sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            ready,
            created: time(sandbox.created_at),
            ips,
        });
    }
    for container in &containers {
        let known = before.containers.iter().find(|old| old.id == container.id && old.exit().is_some());
        match known {
            Some(known) => out.containers.push(known.clone()),
            None => match runtime.container_status(&container.id).await {
                Ok(answer) => out.containers.extend(seen(&container.pod_sandbox_id, answer)),
                // Removed between the two calls.
                Err(failure) if failure.is_missing() => {}
                Err(failure) => return Err(failure),
            },
        }
    }
    Ok(out)
}

async fn addresses(runtime: &Runtime, sandbox: &str) -> Result<Vec<std::net::IpAddr>, Failure> {
    let network = match runtime.sandbox_status(sandbox).await {
        Ok(answer) => answer.status.unwrap_or_default().network.unwrap_or_default(),
        Err(failure) if failure.is_missing() => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Ok(all.filter_map(|ip| ip.parse().ok()).collect())
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn seen(sandbox: &str, answer: cri::ContainerStatusResponse) -> Option<Seen> {
    let status = answer.status?;
    let metadata = status.metadata.clone().unwrap_or_default();
    let number = |key: &str| status.annotations.get(key).map(String::as_str);
    // Kept in the runtime, so that a kubelet that starts anew goes on counting.
    let attempt =
        number(name::RESTART_COUNT).and_then(|count| count.parse().ok()).unwrap_or(metadata.attempt);
    let state = match ContainerState::try_from(status.state) {
        Ok(ContainerState::ContainerCreated) => State::Created,
        Ok(ContainerState::ContainerRunning) => State::Running { started: time(status.started_at) },
        Ok(ContainerState::ContainerExited) => State::Exited(exit(&status)),
        Ok(ContainerState::ContainerUnknown) | Err(_) => State::Unknown,
    };
    Some(Seen {
        id: status.id.clone(),
        name: metadata.name,
        attempt,
        sandbox: sandbox.to_owned(),
        state,
        image: status.image.clone().unwrap_or_default().image,
        image_id: status.image_ref.clone(),
        hash: number(name::CONTAINER_HASH).and_then(|hash| u32::from_str_radix(hash, 16).ok()),
        pid: pid(&answer.info),
        log: status.log_path,
    })
}

/// The process id out of the runtime's additional information, a JSON document in containerd and CRI-O.
fn pid(info: &std::collections::BTreeMap<String, String>) -> Option<i32> {
    let info: Value = serde_json::from_str(info.get("info")?).ok()?;
    info.get("pid")?.as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)
}

fn exit(status: &cri::ContainerStatus) -> Exit {
    let reason = match (status.reason.as_str(), status.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    let finished = time(status.finished_at);
    // A container whose start failed has no beginning of its own.
    let started = if status.started_at == 0 { finished } else { time(status.started_at) };
    Exit { code: status.exit_code, reason: reason.to_owned(), message: message(status), started, finished }
}

/// The last words of a run: what it wrote to its termination message file, else (where asked for) the end of its log,
/// else the runtime's message.
fn message(status: &cri::ContainerStatus) -> String {
    let path = status.annotations.get(name::MESSAGE_PATH);
    let file = path.and_then(|path| status.mounts.iter().find(|mount| mount.container_path == *path));
    let written =
        file.and_then(|mount| tail(Path::new(&mount.host_path), MESSAGE_BYTES).ok()).unwrap_or_default();
    let policy = status.annotations.get(name::MESSAGE_POLICY).map(String::as_str);
    if !written.is_empty() {
        written
    } else if policy == Some("FallbackToLogsOnError") && status.exit_code != 0 {
        log_end(Path::new(&status.log_path))
    } else {
        status.message.clone()
    }
}

fn tail(path: &Path, bytes: u64) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The end of a log in the CRI format, without the stamps.
fn log_end(path: &Path) -> String {
    /// A line's stamp, stream and tag take about this much.
    const STAMP: u64 = 50;
    let raw = tail(path, LOG_BYTES + STAMP * LOG_LINES as u64).unwrap_or_default();
    let mut lines: Vec<&str> = raw.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    lines.drain(..lines.len().saturating_sub(LOG_LINES));
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let cut = text.len().saturating_sub(LOG_BYTES as usize);
    let cut = (cut..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[cut..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words() {
        let folder = tempfile::tempdir().unwrap();
        let (words, log) = (folder.path().join("words"), folder.path().join("0.log"));
        std::fs::write(&log, "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr F two\n")
            .unwrap();
        let cases = [
            ("said so", 1, "", "said so"),
            ("", 1, "FallbackToLogsOnError", "one\ntwo\n"),
            ("", 0, "", "oops"),
        ];
        for (written, exit_code, policy, expected) in cases {
            std::fs::write(&words, written).unwrap();
            let status = cri::ContainerStatus {
                exit_code,
                message: "oops".to_owned(),
                log_path: log.display().to_string(),
                annotations: [
                    (name::MESSAGE_PATH.to_owned(), "/dev/termination-log".to_owned()),
                    (name::MESSAGE_POLICY.to_owned(), policy.to_owned()),
                ]
                .into(),
                mounts: vec![cri::Mount {
                    container_path: "/dev/termination-log".to_owned(),
                    host_path: words.display().to_string(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            assert_eq!(message(&status), expected);
        }
    }
}
