//! Tables of objects and the cells they make, and columns held against a real server.

use super::*;

/// Half past midnight of a day in 2026.
fn now() -> Timestamp {
    "2026-01-02T00:30:00Z".parse().unwrap()
}

fn cells(group: &str, kind: &str, object: &Value) -> Vec<Value> {
    columns(group, kind).iter().map(|column| column.cell(object, now())).collect()
}

/// The columns that a real kube-apiserver has, where its answers are at hand.
#[test]
fn columns_are_those_of_a_real_server() {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("ISOPOD_SHARED").map_or(beside, std::path::PathBuf::from);
    let file = shared.join("reference/golden/tables.json");
    let Ok(text) = std::fs::read(&file) else {
        println!("skipped: there is no {}; set ISOPOD_SHARED", file.display());
        return;
    };
    let tables: std::collections::BTreeMap<String, Value> = serde_json::from_slice(&text).unwrap();
    for (path, expected) in tables {
        let info = crate::request::RequestInfo::parse(&http::Method::GET, &path.parse().unwrap());
        let Some(row) = proto::kind::find(&info.group, &info.version, &info.resource) else {
            panic!("{path} is not in the table of kinds");
        };
        let resources = crate::resource::Resources::new("/registry");
        let stored = resources.of_kind(row).map_or(row, |resource| resource.kind);
        let mut found = definitions(stored.group, stored.kind);
        for column in found.as_array_mut().unwrap() {
            let help = column.as_object_mut().unwrap().remove("description").unwrap();
            // Upstream has no help for one column.
            assert!(help != "" || column["name"] == "Handler", "{path}: {column} has no help");
        }
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn durations_in_cells() {
    let cases = [
        (-5, "<invalid>"),
        (-1, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (86_400, "24h"),
        (2 * 86_400, "2d"),
        (3 * 86_400 + 7200, "3d2h"),
        (8 * 86_400 + 7200, "8d"),
        (2 * 365 * 86_400, "2y"),
        (2 * 366 * 86_400, "2y2d"),
        (9 * 365 * 86_400, "9y"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(show::duration(seconds), expected, "{seconds}");
    }
}

fn pod(spec: Value, status: Value) -> Value {
    json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-02T00:00:00Z"}, "spec": spec, "status": status})
}

#[test]
fn states_of_pods() {
    let one = json!({"containers": [{"name": "c"}]});
    let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let init = json!({"containers": [{"name": "c"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]});
    let running = json!({"ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2026-01-02T00:28:00Z"}}});
    let done = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let ready = json!([{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]);
    let sidecar = json!({"name": "s", "ready": true, "started": true, "restartCount": 1});
    // What the pod says, then READY, STATUS, RESTARTS.
    let cases = [
        (&one, json!({"phase": "Pending"}), ["0/1", "Pending", "0"]),
        (&one, json!({"phase": "Running", "containerStatuses": [running]}), ["1/1", "Running", "2 (2m ago)"]),
        (&one, json!({"phase": "Failed", "reason": "Evicted", "message": "m"}), ["0/1", "Evicted", "0"]),
        (
            &one,
            json!({"containerStatuses": [{"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            ["0/1", "CrashLoopBackOff", "3"],
        ),
        (
            &one,
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
            ["0/1", "Signal:9", "0"],
        ),
        (
            &two,
            json!({"phase": "Running", "conditions": ready, "containerStatuses": [done, running]}),
            ["1/2", "Running", "2 (2m ago)"],
        ),
        (
            &two,
            json!({"phase": "Running", "containerStatuses": [done, running]}),
            ["1/2", "NotReady", "2 (2m ago)"],
        ),
        (
            &init,
            json!({"phase": "Pending", "initContainerStatuses": [sidecar, {"name": "i", "state": {"running": {}}}]}),
            ["1/2", "Init:1/2", "1"],
        ),
        (
            &init,
            json!({"phase": "Pending", "initContainerStatuses":
                [sidecar, {"name": "i", "state": {"terminated": {"exitCode": 2}}}]}),
            ["1/2", "Init:ExitCode:2", "1"],
        ),
        (
            &init,
            json!({"phase": "Running", "conditions": ready, "containerStatuses": [running],
                "initContainerStatuses": [sidecar, {"name": "i", "state": {"terminated": {"exitCode": 0}}}]}),
            ["2/2", "Running", "3 (2m ago)"],
        ),
        (
            &one,
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            ["0/1", "SchedulingGated", "0"],
        ),
    ];
    for (spec, status, expected) in cases {
        let found = cells("", "Pod", &pod(spec.clone(), status.clone()));
        assert_eq!(found[1..4], expected, "{status}");
        assert_eq!(found[4], "30m");
    }
    let mut going = pod(one, json!({"phase": "Running"}));
    going["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z".into();
    assert_eq!(cells("", "Pod", &going)[2], "Terminating");
    going["status"]["reason"] = "NodeLost".into();
    assert_eq!(cells("", "Pod", &going)[2], "Unknown");
}

/// Checks rows of objects that are a day old and called `a`.
fn check<const N: usize>(cases: [((&str, &str), Value, Value); N]) {
    for ((group, kind), mut object, expected) in cases {
        object["metadata"]["name"] = "a".into();
        object["metadata"]["creationTimestamp"] = "2026-01-01T00:30:00Z".into();
        assert_eq!(Value::from(cells(group, kind, &object)), expected, "{kind}");
    }
}

#[test]
fn rows_of_workloads() {
    let template =
        json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}});
    let selector =
        json!({"matchLabels": {"b": "c"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]});
    check([
        (
            ("apps", "Deployment"),
            json!({"spec": {"replicas": 3, "selector": selector, "template": template},
                "status": {"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}}),
            json!(["a", "2/3", 1, 2, "24h", "c,d", "i,j", "a,b=c"]),
        ),
        (
            ("apps", "ReplicaSet"),
            json!({"spec": {"replicas": 3, "template": template}, "status": {"replicas": 3}}),
            json!(["a", 3, 3, 0, "24h", "c,d", "i,j", "<none>"]),
        ),
        (
            ("batch", "Job"),
            json!({"spec": {"parallelism": 2, "template": template, "selector": selector},
                "status": {"succeeded": 1, "startTime": "2026-01-02T00:20:00Z",
                    "conditions": [{"type": "Suspended", "status": "True"}]}}),
            json!(["a", "Suspended", "1/1 of 2", "10m", "24h", "c,d", "i,j", "a,b=c"]),
        ),
    ]);
}

#[test]
fn rows_of_the_network() {
    check([
        (
            ("", "Service"),
            json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.43.0.1"], "externalIPs": ["9.9.9.9"],
                "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                "selector": {"y": "1", "x": "2"}},
                "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
            json!([
                "a",
                "LoadBalancer",
                "10.43.0.1",
                "1.2.3.4,9.9.9.9",
                "80:30000/TCP,53/UDP",
                "24h",
                "x=2,y=1"
            ]),
        ),
        (
            ("", "Endpoints"),
            json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "fd00::1"}],
                "ports": [{"port": 80}, {"port": 81}]}]}),
            json!(["a", "1.1.1.1:80,[fd00::1]:80,1.1.1.1:81 + 1 more...", "24h"]),
        ),
    ]);
}

#[test]
fn rows_of_the_cluster() {
    check([
        (
            ("", "Node"),
            json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "true"}},
                "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6.1", "architecture": "arm64"}}}),
            json!([
                "a",
                "Ready,SchedulingDisabled",
                "control-plane",
                "24h",
                "v1",
                "10.0.0.1",
                "<none>",
                "<unknown>",
                "6.1 (arm64)",
                "<unknown>"
            ]),
        ),
        (
            ("", "Event"),
            json!({"type": "Normal", "reason": "Pulled", "message": " m\n", "count": 2,
                "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
                "source": {"component": "kubelet", "host": "n"},
                "firstTimestamp": "2026-01-02T00:20:00Z", "lastTimestamp": "2026-01-02T00:29:00Z"}),
            json!([
                "60s",
                "Normal",
                "Pulled",
                "pod/p",
                "spec.containers{c}",
                "kubelet, n",
                "m",
                "10m",
                2,
                "a"
            ]),
        ),
        (
            ("", "PersistentVolumeClaim"),
            json!({"spec": {"volumeName": "v", "storageClassName": "s", "volumeMode": "Block"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
            json!(["a", "Bound", "v", "1Gi", "RWO,RWX", "s", "<unset>", "24h", "Block"]),
        ),
        (
            ("networking.k8s.io", "Ingress"),
            json!({"spec": {"rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}], "tls": [{}]}}),
            json!(["a", "<none>", "a,b,c + 1 more...", "", "80, 443", "24h"]),
        ),
        (
            ("autoscaling", "HorizontalPodAutoscaler"),
            json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x"}, "maxReplicas": 3, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 70}}},
                {"type": "Object", "object": {"target": {"value": "5"}}}]},
                "status": {"currentReplicas": 2, "currentMetrics": [
                    {"type": "Resource", "resource": {"current": {"averageUtilization": 12}}}]}}),
            json!(["a", "Deployment/x", "cpu: 12%/70%, <unknown>/5", "<unset>", 3, 2, "24h"]),
        ),
        (
            ("rbac.authorization.k8s.io", "RoleBinding"),
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"},
                {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
            json!(["a", "Role/r", "24h", "u", "", "n/s"]),
        ),
    ]);
}
