//! Network namespaces for tests: hosts and pods that see nothing of the machine, and it nothing of them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a client in a test waits for an answer: far beyond what one takes, so only a lost one fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long [`eventually`] goes on.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// A network namespace that is removed when dropped, with its loopback interface up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// A process that is killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// Where that does not work.
    pub fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the program starts"))
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(self) {}
}

impl Namespace {
    /// A new one; `hint` is part of its name.
    ///
    /// # Panics
    /// Where there is no right to make one.
    pub fn new(hint: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("t{}-{number}-{hint}", std::process::id()) };
        let made = Command::new("ip").args(["netns", "add", &namespace.name]).status().expect("ip runs");
        assert!(made.success(), "could not make the namespace {}", namespace.name);
        namespace.run("ip link set lo up");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a line of words in it and gives its output.
    ///
    /// # Panics
    /// Where it fails.
    pub fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let output =
            self.command(words.next().expect("a program")).args(words).output().expect("nsenter runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Joins it to another by a pair of links of these names.
    pub fn join(&self, name: &str, other: &Self, other_name: &str) {
        self.run(&format!("ip link add {name} type veth peer name {other_name} netns {}", other.name));
        self.run(&format!("ip link set {name} up"));
        other.run(&format!("ip link set {other_name} up"));
    }

    /// Does something on a thread of its own inside; sockets opened there belong to the namespace for good.
    ///
    /// # Panics
    /// Where the namespace cannot be entered or `work` panics.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(self.path()).expect("the namespace exists");
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("a right to enter");
            work()
        });
        thread.join().expect("the work in the namespace ends well")
    }

    /// Answers each TCP connection to this address with `words`, and each UDP packet likewise, as long as the test runs.
    ///
    /// # Panics
    /// Where the address is taken.
    pub fn serve(&self, address: &str, words: &'static str) {
        let address: SocketAddr = address.parse().expect("an address");
        let (tcp, udp) = self.inside(move || {
            (TcpListener::bind(address).expect("a free port"), UdpSocket::bind(address).expect("a free port"))
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                drop(stream.write_all(words.as_bytes()));
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                drop(udp.send_to(words.as_bytes(), from));
            }
        });
    }

    /// Connects from inside and reads what is said; an error's kind where there is no answer.
    pub fn ask(&self, address: &str) -> Result<String, std::io::ErrorKind> {
        let address: SocketAddr = address.parse().expect("an address");
        self.inside(move || {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut words = String::new();
            stream.read_to_string(&mut words)?;
            Ok(words)
        })
        .map_err(|error: std::io::Error| error.kind())
    }

    /// A UDP socket inside that sends to this address.
    ///
    /// # Panics
    /// Where there is no such socket to be had.
    pub fn udp(&self, to: &str) -> UdpSocket {
        let to: SocketAddr = to.parse().expect("an address");
        self.inside(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
            socket.connect(to).expect("a route");
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            socket
        })
    }

    /// Makes an address of the test's own namespace, such as an API server's on loopback, reachable inside.
    ///
    /// # Panics
    /// Where the address is taken inside.
    pub fn relay(&self, address: SocketAddr) {
        let listener = self.inside(move || TcpListener::bind(address).expect("a free port"));
        std::thread::spawn(move || {
            for inner in listener.incoming().flatten() {
                if let Ok(outer) = TcpStream::connect(address) {
                    join(&inner, &outer);
                }
            }
        });
    }

    /// Makes an address inside, such as a daemon's on loopback, reachable from the test's own namespace.
    ///
    /// # Panics
    /// Where the address is taken outside.
    pub fn expose(&self, address: SocketAddr) {
        let listener = TcpListener::bind(address).expect("a free port");
        let namespace = Self { name: self.name.clone() };
        // It only looks; the one that was made removes the namespace.
        let namespace = std::mem::ManuallyDrop::new(namespace);
        std::thread::spawn(move || {
            for outer in listener.incoming().flatten() {
                if let Ok(inner) = namespace.inside(move || TcpStream::connect(address)) {
                    join(&outer, &inner);
                }
            }
        });
    }
}

/// Copies bytes both ways, as long as there are any.
fn join(one: &TcpStream, other: &TcpStream) {
    for (from, to) in [(one, other), (other, one)] {
        let (mut from, mut to) = (from.try_clone().expect("a file"), to.try_clone().expect("a file"));
        std::thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(std::net::Shutdown::Write));
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "delete", &self.name]).status());
    }
}

/// Asks a UDP service; `None` where no answer comes.
pub fn answer(socket: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 64];
    socket.send(b"?").ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Waits until a condition holds, looking again and again.
///
/// # Panics
/// Where it does not come to hold; `what` is in the message.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < EVENTUALLY, "this did not come to hold: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
