//! A server of its own for each test: everything in one folder, every port free, no pods.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// What takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a log that may wait to be read.
const LINES: usize = 10_000;

/// The multi-call executable.
pub(crate) const EXECUTABLE: &str = env!("CARGO_BIN_EXE_isopod-bundle");

/// A folder and a port.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
}

/// A supervisor that runs.
pub(crate) struct Supervisor {
    child: Child,
    lines: Receiver<String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { folder: tempfile::tempdir().unwrap(), port: free.local_addr().unwrap().port() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path("admin.yaml")
    }

    /// The command line of a server without a node.
    pub(crate) fn server(&self, more: &[&str]) -> Command {
        let mut command = self.command("server");
        command
            .arg(format!("--https-listen-port={}", self.port))
            .arg(format!("--write-kubeconfig={}", self.kubeconfig().display()))
            .args(["--disable-agent", "--bind-address=127.0.0.1", "--node-name=a", "--node-ip=127.0.0.1"])
            .args(["--kube-controller-manager-arg=secure-port=0", "--kube-scheduler-arg=secure-port=0"])
            .args(more);
        command
    }

    /// The command line of an agent of the server at this place, in a folder of its own.
    pub(crate) fn agent(&self, token: &str) -> Command {
        let mut command = self.command("agent");
        command
            .arg(format!("--server=https://127.0.0.1:{}", self.port))
            .arg(format!("--data-dir={}", self.path("agent").display()))
            .args(["--node-name=b", "--node-ip=127.0.0.1", "--token", token]);
        command
    }

    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(EXECUTABLE);
        command
            .arg(role)
            .arg(format!("--data-dir={}", self.path("data").display()))
            .arg(format!("--run-dir={}", self.path("run").display()))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// The process of a component.
    pub(crate) fn pid(&self, component: &str) -> Pid {
        let text = std::fs::read_to_string(self.path("run/pid").join(component)).unwrap();
        Pid::from_raw(text.split(' ').next().unwrap().parse().unwrap()).unwrap()
    }

    pub(crate) fn kill(&self, component: &str) {
        kill_process(self.pid(component), Signal::KILL).unwrap();
    }

    /// Whether a component's process is there.
    pub(crate) fn runs(&self, component: &str) -> bool {
        test_kill_process(self.pid(component)).is_ok()
    }
}

impl Supervisor {
    /// Starts it and waits until it is ready.
    pub(crate) fn ready(mut command: Command) -> Self {
        let this = Self::start(&mut command);
        this.says("isopod-server is ready");
        this
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that holds this text.
    pub(crate) fn says(&self, text: &str) {
        let mut seen = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => {
                    seen.push_str(&line);
                    seen.push('\n');
                }
                Err(_) => panic!("the supervisor did not say {text:?}; it said:\n{seen}"),
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        // The pipe ends with the process; what it holds until then is not looked at.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its daemons end with it.
            kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap_or(());
            drop(self.child.wait());
        }
    }
}

/// Runs a command that is to fail: its status and what it says.
pub(crate) fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A client with the administrator's kubeconfig.
pub(crate) async fn administrator(kubeconfig: &Path) -> client::kube::Client {
    client::connect(kubeconfig, "test").await.unwrap()
}
