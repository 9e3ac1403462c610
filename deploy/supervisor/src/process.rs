//! One child process: how it is started, says that it is ready, ends, and is ended.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

use crate::layout::Layout;
use crate::plan::{Program, Unit};
use crate::{Programs, journal, leftover, sys};

/// How long a daemon may take to finish: a little longer than it gives itself, which is 20 s.
const PATIENCE: Duration = Duration::from_secs(25);

/// Room for one message of sd_notify(3). Bytes.
const MESSAGE: usize = 4096;

/// Starts the programs of units.
#[derive(Debug, Clone)]
pub struct Launcher {
    layout: Layout,
    programs: Programs,
    executable: PathBuf,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    messages: UnixDatagram,
}

/// What a process has to tell.
#[derive(Debug)]
pub(crate) enum News {
    Ready,
    Ended(ExitStatus),
}

impl Launcher {
    /// A launcher for this node.
    ///
    /// # Errors
    /// Where the path of this executable is not to be had.
    pub fn new(layout: Layout, programs: Programs) -> anyhow::Result<Self> {
        let executable =
            std::env::current_exe().context("could not find this executable (is /proc there?)")?;
        Ok(Self { layout, programs, executable })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The program that holds the CNI plugins.
    pub(crate) fn cni(&self) -> PathBuf {
        match self.programs {
            Programs::Itself => self.executable.clone(),
            Programs::Beside => self.executable.with_file_name("isopod-cni"),
        }
    }

    /// The file of a program.
    pub(crate) fn file(&self, program: Program) -> PathBuf {
        match (program, self.programs) {
            (Program::Host(name), _) => PathBuf::from(name),
            (Program::Component(_), Programs::Itself) | (Program::Task, _) => self.executable.clone(),
            (Program::Component(name), Programs::Beside) => {
                self.executable.with_file_name(format!("isopod-{name}"))
            }
        }
    }

    /// Starts a unit; what an earlier supervisor left of it must be gone.
    pub(crate) fn start(&self, unit: &Unit) -> anyhow::Result<Running> {
        let file = self.file(unit.program);
        let socket = self.layout.notify_socket(unit.name);
        let messages = listen(&socket)?;
        let log = journal::open(&self.layout.log(unit.name))?;
        let mut command = Command::new(&file);
        match unit.program {
            Program::Component(name) => command.arg0(format!("isopod-{name}")),
            Program::Task => command.arg0(crate::NAME),
            Program::Host(name) => command.arg0(name),
        };
        command
            .args(&unit.arguments)
            .env("NOTIFY_SOCKET", &socket)
            // A signal from the terminal is the supervisor's to pass on, in its order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("could not share the log")?)
            .stderr(log);
        // What the supervisor is told, such as the token, is not for its children.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("ISOPOD_") || name.starts_with("K3S_")) {
                command.env_remove(name);
            }
        }
        // What runs containers serves the kubelet's pods also while nobody supervises.
        if !matches!(unit.program, Program::Host(_)) {
            sys::die_with_parent(&mut command);
        }
        let child = command.spawn().with_context(|| format!("could not start {}", file.display()))?;
        if let Some(pid) = child.id() {
            leftover::note(&self.layout.pid_file(unit.name), pid)?;
        }
        Ok(Running { child, messages })
    }
}

impl Running {
    /// Returns once the process says that it is ready, or has ended.
    pub(crate) async fn news(&mut self) -> anyhow::Result<News> {
        let Self { child, messages } = self;
        tokio::select! {
            // In this order, so that what is ready and ends at once was ready.
            biased;
            result = ready(messages) => result.map(|()| News::Ready),
            status = child.wait() => status.map(News::Ended).context("could not wait for the process"),
        }
    }

    /// Returns once the process has ended.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().await.context("could not wait for the process")
    }

    /// Asks the process to finish and, where it does not, ends it.
    pub(crate) async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended by itself, which the wait tells as well.
            kill_process(pid, Signal::TERM).unwrap_or(());
        }
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        tracing::warn!("{name} did not finish within {} s and is killed", PATIENCE.as_secs());
        self.child.kill().await.with_context(|| format!("could not kill {name}"))
    }
}

async fn ready(messages: &UnixDatagram) -> anyhow::Result<()> {
    let mut message = [0; MESSAGE];
    loop {
        let length = messages.recv(&mut message).await.context("could not listen for readiness")?;
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}

/// How a process ended, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

fn listen(socket: &std::path::Path) -> anyhow::Result<UnixDatagram> {
    let place = || format!("could not listen on {} (--run-dir may be too long or full)", socket.display());
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder).with_context(place)?;
    }
    // An earlier run's.
    drop(std::fs::remove_file(socket));
    UnixDatagram::bind(socket).with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_programs_are() {
        let launcher = |programs| Launcher {
            layout: Layout { data: "/d".into(), run: "/r".into() },
            programs,
            executable: "/opt/isopod".into(),
        };
        let cases = [
            (Programs::Itself, Program::Component("kubelet"), "/opt/isopod"),
            (Programs::Beside, Program::Component("kubelet"), "/opt/isopod-kubelet"),
            (Programs::Beside, Program::Task, "/opt/isopod"),
            (Programs::Beside, Program::Host("containerd"), "containerd"),
        ];
        for (programs, program, expected) in cases {
            assert_eq!(launcher(programs).file(program), PathBuf::from(expected), "{programs:?} {program:?}");
        }
        assert_eq!(launcher(Programs::Itself).cni(), PathBuf::from("/opt/isopod"));
        assert_eq!(launcher(Programs::Beside).cni(), PathBuf::from("/opt/isopod-cni"));
    }
}
