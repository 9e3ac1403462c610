//! Tables of which slices a service gets.

use serde_json::{Value, json};

use super::*;

fn service(more: Value) -> Service {
    let mut spec = json!({"clusterIP": "10.43.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "web", "uid": "s",
        "labels": {"team": "a"}, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}))
    .unwrap()
}

fn pod(number: usize, ready: bool, leaving: bool, port: u16) -> Arc<Pod> {
    let said = if ready { "True" } else { "False" };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": format!("p{number}"), "uid": format!("u{number:03}"),
                "labels": {"app": "web"}, "deletionTimestamp": leaving.then_some("2026-01-01T00:00:01Z")},
            "spec": {"nodeName": "n1", "hostname": "h", "subdomain": "web",
                "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": format!("10.42.0.{number}"),
                "conditions": [{"type": "Ready", "status": said, "lastTransitionTime": "2026-01-01T00:00:09Z"}]},
        }))
        .unwrap(),
    )
}

fn node(_: &str) -> Option<Arc<Node>> {
    let node = json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}});
    Some(Arc::new(serde_json::from_value(node).unwrap()))
}

/// What the API server would hold after the plan.
fn applied(plan: plan::Plan, slices: &[Arc<EndpointSlice>]) -> Vec<Arc<EndpointSlice>> {
    let mut slices = slices.to_vec();
    slices.retain(|slice| !plan.delete.iter().any(|gone| gone.metadata.name == slice.metadata.name));
    for update in plan.update {
        let at = slices.iter().position(|slice| slice.metadata.name == update.metadata.name).unwrap();
        slices[at] = Arc::new(update);
    }
    for mut create in plan.create {
        create.metadata.name = Some(format!("web-{}-{}", slices.len(), create.address_type));
        slices.push(Arc::new(create));
    }
    slices
}

#[test]
fn what_an_endpoint_says() {
    let cases = [
        (json!({}), true, false, json!({"ready": true, "serving": true, "terminating": false})),
        (json!({}), false, false, json!({"ready": false, "serving": false, "terminating": false})),
        (json!({}), true, true, json!({"ready": false, "serving": true, "terminating": true})),
        (
            json!({"publishNotReadyAddresses": true}),
            false,
            true,
            json!({"ready": true, "serving": false, "terminating": true}),
        ),
    ];
    for (more, ready, leaving, conditions) in cases {
        let plan = plan::plan(&service(more), &[pod(1, ready, leaving, 8080)], node, &[]);
        assert_eq!(
            serde_json::to_value(&plan.create).unwrap(),
            json!([{
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {
                    "generateName": "web-", "namespace": "d",
                    "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:09Z"},
                    "labels": {"team": "a", "kubernetes.io/service-name": "web",
                        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "s",
                        "controller": true, "blockOwnerDeletion": true}],
                },
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": ["10.42.0.1"], "conditions": conditions, "hostname": "h",
                    "nodeName": "n1", "zone": "z",
                    "targetRef": {"kind": "Pod", "namespace": "d", "name": "p1", "uid": "u001"}}],
            }])
        );
    }
}

#[test]
fn slices_are_filled_split_by_ports_and_emptied() {
    let all: Vec<_> = (1..=150).map(|number| pod(number, true, false, 8080)).collect();
    let sizes = |slices: &[Arc<EndpointSlice>]| -> Vec<usize> {
        slices.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect()
    };
    let one = service(json!({}));
    let mut slices = Vec::new();
    // Pods, and the sizes of the slices after them; the second look changes nothing.
    let steps: [(Vec<Arc<Pod>>, Vec<usize>); 5] = [
        (vec![], vec![0]),
        (all.clone(), vec![100, 50]),
        (all[..120].to_vec(), vec![100, 20]),
        (all[..100].to_vec(), vec![100]),
        (vec![pod(1, true, false, 1), pod(2, true, false, 2)], vec![1, 1]),
    ];
    for (pods, expected) in steps {
        slices = applied(plan::plan(&one, &pods, node, &slices), &slices);
        assert_eq!(sizes(&slices), expected);
        assert_eq!(plan::plan(&one, &pods, node, &slices), plan::Plan::default());
    }
}

#[test]
fn families_and_headless() {
    let dual = service(json!({"ipFamilies": ["IPv4", "IPv6"], "clusterIP": "None", "ports": []}));
    let slices = applied(plan::plan(&dual, &[pod(1, true, false, 1)], node, &[]), &[]);
    let said: Vec<_> = slices
        .iter()
        .map(|slice| {
            let headless = label(&slice.metadata, member::HEADLESS).is_some();
            (slice.address_type.as_str(), slice.endpoints.as_ref().unwrap().len(), headless)
        })
        .collect();
    assert_eq!(said, [("IPv4", 1, true), ("IPv6", 0, true)]);
    let single = service(json!({}));
    let plan = plan::plan(&single, &[pod(1, true, false, 1)], node, &slices);
    assert!(plan.delete.iter().any(|slice| slice.address_type == "IPv6"));
}
