//! Commands, attachments, copies and port forwards, as `kubectl` asks for them through the API server.

use std::process::{Output, Stdio};
use std::time::Duration;

use client::k8s_openapi::api::core::v1::Pod;
use client::kube::Api;
use http::StatusCode;
use proto::websocket::Frame;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::containerd;
use crate::node::{Bench, is_ready};
use crate::socket::Heard;

/// Longer than any one command takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than any buffer on the way holds.
const MUCH: usize = 5 << 20;

/// A node with a pod to talk to; `websocket` says which way `kubectl` goes.
struct Stage {
    bench: Bench,
    websocket: &'static str,
}

impl Stage {
    fn kubectl(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = self.bench.kubectl(args);
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", self.websocket);
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", self.websocket);
        command
    }

    async fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.kubectl(args);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeding = async {
            // Nobody may want all of it.
            drop(stdin.write_all(input).await);
            drop(stdin);
        };
        let both = async { tokio::join!(feeding, child.wait_with_output()).1.unwrap() };
        tokio::time::timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("{args:?} takes too long"))
    }

    /// What `kubectl` said, after its success.
    async fn ok(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(args, input).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}\n{}", self.bench.kubelet_log());
        output.stdout
    }

    async fn commands(&self) {
        let script = "cat; echo oops >&2; exit 7";
        // The first way that is tried must do: a second one would be told of.
        let tried = self.run(&["exec", "web", "-v=4", "--", "true"], b"").await;
        let words = String::from_utf8_lossy(&tried.stderr);
        assert!(tried.status.success() && !words.contains("fallback"), "{words}");
        let output = self.run(&["exec", "-i", "web", "--", "sh", "-c", script], b"hello").await;
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"hello");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(errors, "oops\ncommand terminated with exit code 7\n");
        assert_eq!(self.ok(&["exec", "web", "--", "echo", "a b", "c&d=e"], b"").await, b"a b c&d=e\n");

        let much: Vec<u8> =
            (0..MUCH as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(self.ok(&["exec", "-i", "web", "--", "cat"], &much).await == much);

        for (args, expected) in [
            (&["exec", "web", "-c", "no", "--", "true"][..], "container no is not valid for pod web"),
            (&["exec", "web", "--", "/none"][..], "no such file or directory"),
        ] {
            let output = self.run(args, b"").await;
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && errors.contains(expected), "{args:?}: {errors}");
        }
    }

    /// Runs `kubectl` on a terminal of 33 lines and 77 columns, where somebody types.
    async fn on_a_terminal(&self, args: &[&str], typed: &str) -> (Option<i32>, String) {
        let kubectl = self.kubectl(args);
        let kubectl = kubectl.as_std();
        let words: Vec<String> = kubectl
            .get_args()
            .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
            .collect();
        let line = format!("stty rows 33 cols 77; kubectl {}", words.join(" "));
        let mut script = tokio::process::Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).kill_on_drop(true);
        for (key, value) in kubectl.get_envs() {
            script.env(key, value.unwrap());
        }
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut keys = child.stdin.take().unwrap();
        let output = async {
            keys.write_all(typed.as_bytes()).await.unwrap();
            // The keyboard stays until the end: its absence would be typed as an end of input.
            let output = child.wait_with_output().await.unwrap();
            drop(keys);
            output
        };
        let output = tokio::time::timeout(PATIENCE, output).await;
        let output = output.unwrap_or_else(|_| panic!("{args:?} does not end on a terminal"));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn terminal(&self) {
        let size = "until [ \"$(stty size)\" = '33 77' ]; do sleep 0.1; done; tty; echo sized; exit 3";
        let (code, words) = self.on_a_terminal(&["exec", "-it", "web", "--", "sh", "-c", size], "").await;
        assert!(words.contains("/dev/pts/") && words.contains("sized\r\n"), "{words:?}");
        assert_eq!(code, Some(3), "{words:?}");
        let (code, words) = self.on_a_terminal(&["attach", "-it", "shell"], "echo $((6*7))\nexit\n").await;
        assert!(words.contains("42\r\n"), "{words:?}");
        assert_eq!(code, Some(0), "{words:?}");
    }

    async fn copies(&self) {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..MUCH as u32).map(|index| (index.wrapping_mul(40_503) >> 7) as u8).collect();
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        std::fs::write(&there, &bytes).unwrap();
        self.ok(&["cp", there.to_str().unwrap(), "web:/tmp/copied"], b"").await;
        self.ok(&["cp", "web:/tmp/copied", back.to_str().unwrap()], b"").await;
        assert!(std::fs::read(&back).unwrap() == bytes);
    }

    async fn attachment(&self, pod: &str) {
        let said = self.ok(&["attach", "-i", pod], b"one\ntwo\n").await;
        assert_eq!(String::from_utf8_lossy(&said), "got one\ngot two\nover\n");
    }

    async fn ports(&self) {
        let mut child = self
            .kubectl(&["port-forward", "-v=4", "web", ":8080", ":9"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ports = Vec::new();
        while ports.len() < 2 {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("{}", self.bench.kubelet_log()));
            if let Some(rest) = line.strip_prefix("Forwarding from 127.0.0.1:") {
                ports.push(rest.split(' ').next().unwrap().parse::<u16>().unwrap());
            }
        }
        let get = || async {
            let mut stream = TcpStream::connect(("127.0.0.1", ports[0])).await.unwrap();
            stream.write_all(b"GET /big HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200"));
            answer.len()
        };
        let asked = futures::future::join_all((0..8).map(|_| get()));
        let lengths =
            tokio::time::timeout(PATIENCE, asked).await.expect("answers through the forwarded port");
        assert!(lengths.iter().all(|length| *length > 1 << 20), "{lengths:?}");

        // Nobody listens on this one.
        let mut stream = TcpStream::connect(("127.0.0.1", ports[1])).await.unwrap();
        let closed =
            tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await.expect("a closed connection");
        assert!(matches!(closed, Ok(0) | Err(_)));
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        loop {
            let line = tokio::time::timeout(PATIENCE, errors.next_line()).await.unwrap().unwrap().unwrap();
            assert!(!line.contains("fallback"), "{line}");
            if line.contains("connection refused") {
                break;
            }
        }
        child.kill().await.unwrap();
    }
}

async fn stage(websocket: &'static str) -> Stage {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    let serves = "dd if=/dev/urandom of=/tmp/big bs=1M count=1 2>/dev/null; touch /tmp/ready; httpd -f -p 8080 -h /tmp";
    let listens = "while read line; do echo \"got $line\"; done; echo over";
    let pod = |name: &str, script: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "nodeName": "n1", "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "c", "image": containerd::IMAGE, "command": ["sh", "-c", script],
                    "stdin": true, "stdinOnce": true,
                }],
            },
        })
    };
    let mut web = pod("web", serves);
    web["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1});
    bench.make(web).await;
    bench.make(pod("listens", listens)).await;
    let mut shell = pod("shell", "exec sh");
    shell["spec"]["containers"][0]["tty"] = json!(true);
    bench.make(shell).await;
    for name in ["web", "listens", "shell"] {
        bench.until(&pods, name, |pod| pod.is_some_and(is_ready)).await;
    }
    Stage { bench, websocket }
}

/// Ports in channels, as clients forwarded them before they tunnelled SPDY: two for each port, data and error.
async fn old_ports(bench: &Bench) {
    let mut socket = bench.socket("/portForward/default/web?port=8080", "v4.channel.k8s.io").await.unwrap();
    for channel in [0, 1] {
        // First of all comes the number of the port.
        let [low, high] = 8080u16.to_le_bytes();
        assert_eq!(socket.hear().await, Some(Heard::Message(vec![channel, low, high])));
    }
    socket.send(Frame::Binary(&[&[0], b"GET /ready HTTP/1.0\r\n\r\n"])).await;
    let Some(Heard::Message(answer)) = socket.hear().await else { panic!("no answer") };
    assert!(answer.starts_with(b"\0HTTP/1."), "{answer:?}");
}

/// What every protocol of channels makes of the same command.
async fn channels(bench: &Bench) {
    let path = |script: &str, more: &str| {
        let script = script.replace(' ', "%20").replace('>', "%3E").replace('&', "%26").replace(';', "%3B");
        format!("/exec/default/web/c?command=sh&command=-c&command={script}&output=1&error=1{more}")
    };
    let fails = path("echo out; echo err >&2; exit 3", "");
    for (protocols, base64) in [
        ("v5.channel.k8s.io", false),
        ("v4.channel.k8s.io", false),
        ("v4.base64.channel.k8s.io", true),
        ("base64.channel.k8s.io", true),
        ("nobody.knows.this, channel.k8s.io", false),
    ] {
        let mut socket = bench.socket(&fails, protocols).await.unwrap();
        let ([_, out, err, verdict], code) = socket.hear_all(base64).await;
        assert_eq!((&out[..], &err[..], code), (&b"out\n"[..], &b"err\n"[..], 1000), "{protocols}");
        if protocols.starts_with('v') {
            let verdict: serde_json::Value = serde_json::from_slice(&verdict).unwrap();
            assert_eq!(verdict["reason"], "NonZeroExitCode");
            assert_eq!(verdict["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        } else {
            let words = String::from_utf8(verdict).unwrap();
            assert!(words.starts_with("command terminated with non-zero exit code"), "{words}");
        }
    }
    let mut socket = bench.socket(&path("true", ""), "channel.k8s.io").await.unwrap();
    assert_eq!(socket.hear_all(false).await, (Default::default(), 1000));

    // Only v5 can say that there is no more input.
    let mut socket = bench.socket(&path("cat; echo over", "&input=1"), "v5.channel.k8s.io").await.unwrap();
    assert_eq!(socket.hear().await, Some(Heard::Message(vec![1])));
    socket.send(Frame::Ping(b"?")).await;
    assert_eq!(socket.hear().await, Some(Heard::Pong));
    for words in [&b"\0one "[..], b"\x09nobody listens", b"\0two "] {
        socket.send(Frame::Binary(&[words])).await;
    }
    socket.send(Frame::Binary(&[&[255, 0]])).await;
    let ([_, out, ..], code) = socket.hear_all(false).await;
    assert_eq!((&out[..], code), (&b"one two over\n"[..], 1000));

    // A client that leaves is told goodbye, whatever is still on its way.
    let mut socket = bench.socket(&path("yes", ""), "v4.channel.k8s.io").await.unwrap();
    assert!(socket.hear().await.is_some());
    socket.send(Frame::Close(1000, "")).await;
    assert_eq!(socket.hear_all(false).await.1, 1000);

    old_ports(bench).await;
    for (path, protocols, expected) in [
        (path("true", ""), "chat", StatusCode::BAD_REQUEST),
        ("/exec/default/web/c?command=true".to_owned(), "v5.channel.k8s.io", StatusCode::BAD_REQUEST),
        ("/exec/default/none/c?command=true&output=1".to_owned(), "v5.channel.k8s.io", StatusCode::NOT_FOUND),
        (
            "/exec/default/web/no?command=true&output=1".to_owned(),
            "v5.channel.k8s.io",
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        ("/exec/default/web".to_owned(), "v5.channel.k8s.io", StatusCode::NOT_FOUND),
    ] {
        let refused = bench.socket(&path, protocols).await.err().map(|(status, _)| status);
        assert_eq!(refused, Some(expected), "{path} {protocols}");
    }
}

async fn everything_that_streams(websocket: &'static str) {
    let stage = stage(websocket).await;
    stage.commands().await;
    stage.terminal().await;
    stage.copies().await;
    stage.attachment("listens").await;
    stage.ports().await;
}

#[tokio::test]
async fn streams_over_spdy() {
    everything_that_streams("false").await;
}

#[tokio::test]
async fn streams_over_websocket() {
    everything_that_streams("true").await;
}

#[tokio::test]
async fn every_protocol_of_channels() {
    let stage = stage("true").await;
    tokio::time::timeout(PATIENCE, channels(&stage.bench)).await.expect("an end to every stream");
}
