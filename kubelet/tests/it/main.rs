//! The kubelet as a process between a real containerd and a real API server.

#[cfg(test)]
mod containerd;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod node;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod streams;

use client::k8s_openapi::api::coordination::v1::Lease;
use client::k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use client::kube::Api;
use client::kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use node::{Bench, is_ready};
use serde_json::json;

/// A pod's life: made, ready, its volumes following their objects, its words read, ended, gone without a trace.
#[tokio::test]
async fn a_pod_lives_and_leaves_nothing() {
    let bench = Bench::start().await;
    let nodes: Api<Node> = Api::all(bench.client());
    let ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let node = bench.until(&nodes, "n1", |node| node.is_some_and(ready)).await.unwrap();
    let version = node.status.unwrap().node_info.unwrap().container_runtime_version;
    assert!(version.starts_with("containerd://"), "{version}");
    let leases: Api<Lease> = Api::namespaced(bench.client(), "kube-node-lease");
    bench.until(&leases, "n1", |lease| lease.is_some()).await;

    bench.make(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"k": "one"}})).await;
    let script = "echo $A of $B; echo oops >&2; cat /cm/k /labels/all; echo; while :; do sleep 1; done";
    bench
        .make(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "n1", "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "c", "image": containerd::IMAGE, "command": ["sh", "-c", script],
                    "env": [
                        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
                        {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    ],
                    "readinessProbe": {"exec": {"command": ["grep", "-q", "one", "/cm/k"]}, "periodSeconds": 1},
                    "volumeMounts": [
                        {"name": "cm", "mountPath": "/cm"}, {"name": "labels", "mountPath": "/labels"},
                    ],
                }],
                "volumes": [
                    {"name": "cm", "configMap": {"name": "cm"}},
                    {"name": "labels", "downwardAPI": {"items": [
                        {"path": "all", "fieldRef": {"fieldPath": "metadata.labels"}},
                    ]}},
                ],
            },
        }))
        .await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    let pod = bench.until(&pods, "web", |pod| pod.is_some_and(is_ready)).await.unwrap();
    let ip = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    assert!(ip.starts_with("10.88."), "{ip}");
    assert_eq!(pod.status.as_ref().unwrap().qos_class.as_deref(), Some("BestEffort"));

    // The two streams are copied side by side: only each has an order.
    let words = format!("one of {ip}\noneapp=\"web\"\n");
    assert_eq!(bench.log("default/web/c?stream=Stdout").await, words);
    assert_eq!(bench.log("default/web/c?stream=Stderr").await, "oops\n");
    assert_eq!(bench.log("default/web/c").await.len(), words.len() + 5);
    assert_eq!(bench.log("default/web/c?tailLines=1&stream=All").await, "oneapp=\"web\"\n");
    assert_eq!(bench.log("default/web/c?stream=Stdout&limitBytes=3").await, "one");
    assert!(bench.log("default/web/no").await.starts_with("container \"no\" not found in pod"));

    assert_eq!(bench.get("nosy", "/pods").await.trim(), "Forbidden (user=nosy, verb=GET, resource=nodes)");
    let list: serde_json::Value = serde_json::from_str(&bench.get("kube-apiserver", "/pods").await).unwrap();
    assert_eq!(list["items"][0]["status"]["podIP"], json!(ip));
    let summary = bench.get("kube-apiserver", "/stats/summary").await;
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["name"], json!("web"));

    let maps: Api<ConfigMap> = Api::namespaced(bench.client(), "default");
    maps.patch("cm", &PatchParams::default(), &Patch::Merge(json!({"data": {"k": "two"}}))).await.unwrap();
    bench.until(&pods, "web", |pod| pod.is_some_and(|pod| !is_ready(pod))).await;

    let events: Api<Event> = Api::namespaced(bench.client(), "default");
    let list = events.list(&ListParams::default()).await.unwrap();
    let reasons: Vec<String> = list.items.into_iter().filter_map(|event| event.reason).collect();
    for reason in ["Pulled", "Created", "Started", "Unhealthy"] {
        assert!(reasons.iter().any(|seen| seen == reason), "{reason} is not in {reasons:?}");
    }

    pods.delete("web", &DeleteParams::default()).await.unwrap();
    bench.until(&pods, "web", |pod| pod.is_none()).await;
    bench.until_empty().await;
}

/// Restart policies: who fails comes back and is backed off from, who is done stays done.
#[tokio::test]
async fn crashes_and_completions() {
    let bench = Bench::start().await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    let pod = |name: &str, policy: &str, script: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "nodeName": "n1", "restartPolicy": policy, "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "c", "image": containerd::IMAGE, "command": ["sh", "-c", script],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }],
            },
        })
    };
    bench.make(pod("crash", "Always", "echo run; echo why >/dev/termination-log; exit 3")).await;
    bench.make(pod("done", "OnFailure", "exit 0")).await;
    bench.make(pod("failed", "Never", "echo no; exit 4")).await;
    let imaged = |name: &str, image: &str, policy: &str| {
        let mut pod = pod(name, "Always", "exit 0");
        pod["spec"]["containers"][0]["image"] = json!(image);
        pod["spec"]["containers"][0]["imagePullPolicy"] = json!(policy);
        pod
    };
    bench.make(imaged("missing", "isopod.local/none:1", "Never")).await;
    // Nobody listens there.
    bench.make(imaged("unpulled", "127.0.0.1:1/none:1", "IfNotPresent")).await;
    let mut timed = pod("timed", "Always", "sleep 1000");
    timed["spec"]["activeDeadlineSeconds"] = json!(2);
    bench.make(timed).await;
    let phase = |pod: &Pod| pod.status.clone().unwrap_or_default().phase.unwrap_or_default();
    let container = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        status.container_statuses.unwrap_or_default().into_iter().next().unwrap_or_default()
    };
    let reason = |pod: &Pod| container(pod).state.and_then(|state| state.waiting?.reason).unwrap_or_default();

    bench.make(pod("talks", "Never", "echo a; sleep 3; echo b")).await;
    bench.until(&pods, "talks", |pod| pod.is_some_and(|pod| phase(pod) == "Running")).await;
    assert_eq!(bench.log("default/talks/c?follow=true").await, "a\nb\n");
    bench.until(&pods, "done", |pod| pod.is_some_and(|pod| phase(pod) == "Succeeded")).await;
    let failed =
        bench.until(&pods, "failed", |pod| pod.is_some_and(|pod| phase(pod) == "Failed")).await.unwrap();
    let ended = container(&failed).state.unwrap().terminated.unwrap();
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref(), ended.message.as_deref()),
        (4, Some("Error"), Some("no\n"))
    );
    let waits = |pod: Option<&Pod>| pod.is_some_and(|pod| reason(pod) == "CrashLoopBackOff");
    let crashed = container(&bench.until(&pods, "crash", waits).await.unwrap());
    assert!(crashed.restart_count >= 1);
    let last = crashed.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.message.as_deref()), (3, Some("why\n")));
    assert_eq!(bench.log("default/crash/c?previous=true").await, "run\n");
    bench.until(&pods, "missing", |pod| pod.is_some_and(|pod| reason(pod) == "ErrImageNeverPull")).await;
    let backs_off = |pod: Option<&Pod>| pod.is_some_and(|pod| reason(pod) == "ImagePullBackOff");
    bench.until(&pods, "unpulled", backs_off).await;
    let timed =
        bench.until(&pods, "timed", |pod| pod.is_some_and(|pod| phase(pod) == "Failed")).await.unwrap();
    assert_eq!(timed.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    for name in ["crash", "done", "failed", "missing", "talks", "unpulled", "timed"] {
        pods.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for name in ["crash", "done", "failed", "missing", "talks", "unpulled", "timed"] {
        bench.until(&pods, name, |pod| pod.is_none()).await;
    }
    bench.until_empty().await;
}

/// A kubelet that is killed finds its pods again, and what happened meanwhile; no container notices.
#[tokio::test]
async fn pods_survive_the_kubelet() {
    let mut bench = Bench::start().await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    let pod = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "nodeName": "n1", "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "c", "image": containerd::IMAGE, "command": ["sleep", "1000"],
                    "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
                }],
            },
        })
    };
    let statuses = |pod: &Pod| serde_json::to_value(pod.status.clone().unwrap().container_statuses).unwrap();
    bench.make(pod("stays")).await;
    bench.make(pod("goes")).await;
    bench.until(&pods, "goes", |pod| pod.is_some_and(is_ready)).await;
    let before = bench.until(&pods, "stays", |pod| pod.is_some_and(is_ready)).await.unwrap();
    bench.manifest("static.yaml", "kind: Pod\nmetadata: {name: fixed}\nspec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: isopod.local/busybox:1, command: [sleep, '1000']}]}\n");
    bench.until(&pods, "fixed-n1", |pod| pod.is_some_and(is_ready)).await;

    bench.kill_kubelet().await;
    pods.delete("goes", &DeleteParams::default()).await.unwrap();
    bench.start_kubelet().await;
    bench.until(&pods, "goes", |pod| pod.is_none()).await;
    bench.make(pod("late")).await;
    bench.until(&pods, "late", |pod| pod.is_some_and(is_ready)).await;
    let after = pods.get("stays").await.unwrap();
    assert_eq!(statuses(&before), statuses(&after));

    bench.remove_manifest("static.yaml");
    for name in ["stays", "late"] {
        pods.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for name in ["stays", "late", "fixed-n1"] {
        bench.until(&pods, name, |pod| pod.is_none()).await;
    }
    bench.until_empty().await;
}

/// Init containers, a sidecar, hooks, probes and volumes of every kind in one pod, to its orderly end.
#[tokio::test]
async fn a_pod_of_many_parts() {
    let bench = Bench::start().await;
    bench
        .make(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "cHc="}}))
        .await;
    let folder = bench.host_folder("told");
    let told = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let tell = |line: &str| json!({"exec": {"command": ["sh", "-c", format!("echo {line} >> /told/order")]}});
    let part = |name: &str, script: &str| {
        json!({
            "name": name, "image": containerd::IMAGE, "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "told", "mountPath": "/told"}],
        })
    };
    let stays = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let mut side = part(
        "side",
        &format!(
            "echo side >> /told/order; {}",
            stays.replace("exit 0", "echo side-left >> /told/order; exit 0")
        ),
    );
    side["restartPolicy"] = json!("Always");
    side["startupProbe"] =
        json!({"exec": {"command": ["grep", "-q", "side", "/told/order"]}, "periodSeconds": 1});
    let look = "cat /secret/p /sub/f; stat -c ' %a %g' /scratch; df -T /secret /scratch | awk '{print $2}' | tail -n +2; hostname; cat /etc/hosts | grep -c many";
    let mut main = part("main", &format!("echo main >> /told/order; ({look}) > /told/seen 2>&1; {stays}"));
    main["lifecycle"] = json!({"postStart": tell("post"), "preStop": tell("pre")});
    main["livenessProbe"] = json!({"exec": {"command": ["sh", "-c", "! test -e /scratch/sick"]}, "periodSeconds": 1, "failureThreshold": 1});
    for mount in [
        json!({"name": "secret", "mountPath": "/secret"}),
        json!({"name": "secret", "mountPath": "/sub/f", "subPath": "p"}),
        json!({"name": "scratch", "mountPath": "/scratch"}),
    ] {
        main["volumeMounts"].as_array_mut().unwrap().push(mount);
    }
    bench
        .make(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "many"},
            "spec": {
                "nodeName": "n1", "terminationGracePeriodSeconds": 20,
                "securityContext": {"fsGroup": 1234},
                "initContainers": [part("first", "echo first >> /told/order"), side],
                "containers": [main],
                "volumes": [
                    {"name": "told", "hostPath": {"path": folder, "type": "Directory"}},
                    {"name": "secret", "secret": {"secretName": "s"}},
                    {"name": "scratch", "emptyDir": {"medium": "Memory"}},
                ],
            },
        }))
        .await;
    let pods: Api<Pod> = Api::namespaced(bench.client(), "default");
    bench.until(&pods, "many", |pod| pod.is_some_and(is_ready)).await;
    node::patiently("main has looked around", || (told("seen").lines().count() >= 5).then_some(())).await;
    assert_eq!(told("seen"), "pwpw 2777 1234\ntmpfs\ntmpfs\nmany\n1\n");

    // Sick, killed, restarted; the sidecar stays.
    bench.exec("main", &["touch", "/scratch/sick"]).await;
    let restarts = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        let count = |list: Option<Vec<client::k8s_openapi::api::core::v1::ContainerStatus>>| {
            list.into_iter().flatten().map(|status| status.restart_count).sum::<i32>()
        };
        (count(status.init_container_statuses), count(status.container_statuses))
    };
    bench.until(&pods, "many", |pod| pod.is_some_and(|pod| restarts(pod) == (0, 1))).await;
    std::fs::write(folder.join("order"), "").unwrap();
    pods.delete("many", &DeleteParams::default()).await.unwrap();
    bench.until(&pods, "many", |pod| pod.is_none()).await;
    bench.until_empty().await;
    let order = told("order");
    assert!(order.ends_with("side-left\n") && order.contains("pre\n"), "{order}");
}
