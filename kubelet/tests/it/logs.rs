//! Logs as `kubectl` asks for them through the API server: which lines, how many, and how far they are followed.

use std::time::Duration;

use client::k8s_openapi::api::core::v1::Pod;
use client::kube::Api;
use serde_json::json;

use crate::containerd;
use crate::node::Bench;

/// Longer than any one command takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn logs(bench: &Bench, args: &[&str]) -> Result<String, String> {
    let mut command = bench.kubectl(&["logs"]);
    let output = tokio::time::timeout(PATIENCE, command.args(args).output()).await;
    let output = output.unwrap_or_else(|_| panic!("no end: {args:?}")).unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn pod(name: &str, script: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "nodeName": "n1", "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": containerd::IMAGE, "command": ["sh", "-c", script]}],
        },
    })
}

/// Every option, on what has ended and on what still runs.
#[tokio::test]
async fn logs_as_asked_for() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    let mut done =
        pod("done", "echo a; sleep 2; echo b; echo c; head -c 20000 /dev/zero | tr '\\0' x; echo; echo e");
    done["spec"]["initContainers"] =
        json!([{"name": "i", "image": containerd::IMAGE, "command": ["echo", "before"]}]);
    bench.make(done).await;
    bench.make(pod("talks", "for i in 1 2 3; do echo $i; sleep 1; done")).await;
    let phase = |pod: &Pod| pod.status.clone().unwrap_or_default().phase.unwrap_or_default();
    bench.until(&pods, "talks", |pod| pod.is_some_and(|pod| phase(pod) == "Running")).await;
    assert_eq!(logs(&bench, &["-f", "talks"]).await.unwrap(), "1\n2\n3\n");
    assert_eq!(logs(&bench, &["-f", "talks"]).await.unwrap(), "1\n2\n3\n");
    bench.until(&pods, "done", |pod| pod.is_some_and(|pod| phase(pod) == "Succeeded")).await;

    let long = "x".repeat(20_000);
    let all = format!("a\nb\nc\n{long}\ne\n");
    assert_eq!(logs(&bench, &["done"]).await.unwrap(), all);
    assert_eq!(logs(&bench, &["done", "-c", "i"]).await.unwrap(), "before\n");
    assert_eq!(logs(&bench, &["done", "--tail=1"]).await.unwrap(), "e\n");
    assert_eq!(logs(&bench, &["done", "--tail=0"]).await.unwrap(), "");
    assert_eq!(logs(&bench, &["done", "--limit-bytes=5"]).await.unwrap(), "a\nb\nc");
    assert_eq!(logs(&bench, &["done", "--since=1h"]).await.unwrap(), all);
    assert_eq!(logs(&bench, &["done", "--since-time=2100-01-01T00:00:00Z"]).await.unwrap(), "");
    let stamped = logs(&bench, &["done", "--timestamps"]).await.unwrap();
    let lines: Vec<(&str, &str)> = stamped.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let words: Vec<&str> = lines.iter().map(|(_, words)| *words).collect();
    assert_eq!(words, ["a", "b", "c", &long, "e"]);
    // The moment of the second line, two seconds after the first, cut to whole seconds.
    let moment = lines[1].0.split('.').next().unwrap();
    let since = logs(&bench, &["done", &format!("--since-time={moment}Z")]).await.unwrap();
    assert_eq!(since, format!("b\nc\n{long}\ne\n"));

    for (args, expected) in [
        (&["done", "-p"][..], "previous terminated container \"c\" in pod \"done\" not found"),
        (&["done", "-c", "none"], "container none is not valid for pod done"),
        (&["nobody"], "pods \"nobody\" not found"),
    ] {
        let refused = logs(&bench, args).await.unwrap_err();
        assert!(refused.contains(expected), "{args:?}: {refused}");
    }
}

/// What is followed goes on in the file that takes the old one's place, and nothing is lost or told twice.
#[tokio::test]
async fn followed_through_a_rotation() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    // Past the size at which a log is set aside, then until it has been, then a little more.
    let script = "i=0; line=$(head -c 1000 /dev/zero | tr '\\0' y); \
        while [ $i -lt 11000 ]; do echo $i $line; i=$((i+1)); done; \
        until [ $(ls /logs/*/c | wc -l) -gt 1 ]; do sleep 0.2; done; echo last";
    let mut large = pod("large", script);
    large["spec"]["volumes"] = json!([{"name": "logs", "hostPath": {"path": bench.host_folder("logs")}}]);
    large["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "logs", "mountPath": "/logs"}]);
    bench.make(large).await;
    let phase = |pod: &Pod| pod.status.clone().unwrap_or_default().phase.unwrap_or_default();
    bench.until(&pods, "large", |pod| pod.is_some_and(|pod| phase(pod) == "Running")).await;
    let followed = logs(&bench, &["-f", "large"]).await.unwrap();
    let numbers: Vec<&str> = followed.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let expected: Vec<String> = (0..11_000).map(|i| i.to_string()).chain(["last".to_owned()]).collect();
    assert!(numbers == expected, "{} lines, the last {:?}", numbers.len(), numbers.last());
}

/// A pod's token is the API server's, bound to the pod, in a file that only its reader may read.
#[tokio::test]
async fn a_token_for_a_pod() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    let mut asks = pod("asks", "stat -Lc %a /var/run/token/token; cut -d. -f2 /var/run/token/token");
    asks["spec"]["serviceAccountName"] = json!("default");
    asks["spec"]["volumes"] = json!([{"name": "token", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "them"}},
    ]}}]);
    asks["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "token", "mountPath": "/var/run/token"}]);
    bench.make(asks).await;
    let phase = |pod: &Pod| pod.status.clone().unwrap_or_default().phase.unwrap_or_default();
    let made =
        bench.until(&pods, "asks", |pod| pod.is_some_and(|pod| phase(pod) == "Succeeded")).await.unwrap();
    let said = logs(&bench, &["asks"]).await.unwrap();
    let (mode, claims) = said.split_once('\n').unwrap();
    assert_eq!(mode, "644");
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims.trim()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], json!(["them"]));
    assert_eq!(claims["kubernetes.io"]["pod"]["uid"], json!(made.metadata.uid.unwrap()));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
}
