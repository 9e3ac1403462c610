//! What lies below objects: scale, eviction, approval, debug containers, resizing.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::cases;
use crate::streams::connect;
use crate::subject::Subject;

cases!(controllers_are_scaled, pods_are_evicted_within_budgets, requests_are_approved, pods_change_in_part);

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn controllers_are_scaled(subject: &Subject) {
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let kinds = [
        ("/apis/apps/v1/namespaces/default/deployments", json!({"matchLabels": {"a": "b"}})),
        ("/apis/apps/v1/namespaces/default/replicasets", json!({"matchLabels": {"a": "b"}})),
        ("/apis/apps/v1/namespaces/default/statefulsets", json!({"matchLabels": {"a": "b"}})),
        ("/api/v1/namespaces/default/replicationcontrollers", json!({"a": "b"})),
    ];
    for (path, selector) in kinds {
        let object = json!({"metadata": {"name": "x"}, "spec": {"selector": selector, "template": template}});
        let made = subject.send("POST", path, object).await;
        assert_eq!(made.code, 201, "{path}: {:?}", made.body);
        let scale_path = format!("{path}/x/scale");
        let scale = subject.send("GET", &scale_path, Value::Null).await.body;
        assert_eq!(scale["kind"], "Scale", "{path}");
        assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("a=b")));
        let mut wanted = scale.clone();
        wanted["spec"]["replicas"] = 3.into();
        let scaled = subject.send("PUT", &scale_path, wanted.clone()).await;
        assert_eq!((scaled.code, &scaled.body["spec"]["replicas"]), (200, &json!(3)), "{path}");
        assert_eq!(subject.send("PUT", &scale_path, wanted).await.code, 409, "{path}");
        let patched = subject.send("PATCH", &scale_path, json!({"spec": {"replicas": 2}})).await;
        assert_eq!((patched.code, &patched.body["spec"]["replicas"]), (200, &json!(2)), "{path}");
        let refused = subject.send("PATCH", &scale_path, json!({"spec": {"replicas": -1}})).await;
        assert_eq!(refused.code, 422, "{path}");
        let message = "Scale.autoscaling \"x\" is invalid: spec.replicas: Invalid value: -1: must be greater than or \
                       equal to 0";
        assert_eq!(refused.body["message"], message);
        let object = subject.send("GET", &format!("{path}/x"), Value::Null).await.body;
        assert_eq!(object["spec"]["replicas"], 2, "{path}");
    }
}

async fn pods_are_evicted_within_budgets(subject: &Subject) {
    let pod = |name: &str| {
        json!({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": {"nodeName": "n",
            "containers": [{"name": "c", "image": "i"}]}})
    };
    let running =
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    for name in ["one", "two"] {
        assert_eq!(subject.send("POST", PODS, pod(name)).await.code, 201);
        assert_eq!(subject.send("PATCH", &format!("{PODS}/{name}/status"), running.clone()).await.code, 200);
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "g"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    assert_eq!(subject.send("POST", budgets, budget).await.code, 201);
    let state = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2}});
    let patched = subject.send("PATCH", &format!("{budgets}/g/status"), state).await;
    assert_eq!(patched.code, 200, "{:?}", patched.body);
    let eviction =
        |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let wrong = subject.send("POST", &format!("{PODS}/one/eviction"), eviction("two")).await;
    assert_eq!(wrong.body["message"], "name in URL does not match name in Eviction object");
    let dry = subject.send("POST", &format!("{PODS}/one/eviction?dryRun=All"), eviction("one")).await;
    assert_eq!(dry.code, 201, "{:?}", dry.body);
    let first = subject.send("POST", &format!("{PODS}/one/eviction"), eviction("one")).await;
    assert_eq!((first.code, &first.body["status"]), (201, &json!("Success")), "{:?}", first.body);
    let going = subject.send("GET", &format!("{PODS}/one"), Value::Null).await.body;
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let conditions = going["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["reason"] == "EvictionByEvictionAPI"), "{going}");
    let spent = subject.send("GET", &format!("{budgets}/g"), Value::Null).await.body;
    assert_eq!(spent["status"]["disruptionsAllowed"].as_i64().unwrap_or(0), 0);
    assert!(spent["status"]["disruptedPods"]["one"].is_string(), "{spent}");
    // The usual client would take a 429 as a reason to try again.
    let admin = subject.cluster.authority.client("admin", &["system:masters"]);
    let mut http = connect(&subject.cluster, &admin).await;
    let request = http::Request::post(format!("{PODS}/two/eviction"))
        .header(http::header::HOST, "api")
        .body(http_body_util::Full::new(eviction("two").to_string().into()))
        .unwrap();
    let second = http.send_request(request).await.unwrap();
    assert_eq!(second.status(), 429);
    let body: Value =
        serde_json::from_slice(&second.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["details"]["causes"][0]["reason"], "DisruptionBudget");
}

async fn requests_are_approved(subject: &Subject) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    use base64::Engine;
    let request = base64::engine::general_purpose::STANDARD.encode(pem);
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let object = json!({"metadata": {"name": "r"}, "spec": {"request": request, "signerName": "example.com/x",
        "usages": ["client auth"]}});
    let made = subject.send("POST", path, object).await;
    assert_eq!(made.code, 201, "{:?}", made.body);
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}],
        "certificate": "AAAA"}});
    let by_status = subject.send("PATCH", &format!("{path}/r/status"), approved.clone()).await;
    assert_eq!(by_status.code, 422, "{:?}", by_status.body);
    let answer = subject.send("PATCH", &format!("{path}/r/approval"), approved).await;
    assert_eq!(answer.code, 200, "{:?}", answer.body);
    assert!(answer.body["status"]["conditions"][0]["lastUpdateTime"].is_string());
    assert!(answer.body["status"].get("certificate").is_none());
    let removed =
        subject.send("PATCH", &format!("{path}/r/approval"), json!({"status": {"conditions": []}})).await;
    assert_eq!(removed.code, 422, "{:?}", removed.body);
}

async fn pods_change_in_part(subject: &Subject) {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i",
        "resources": {"requests": {"cpu": "100m"}}}]}});
    assert_eq!(subject.send("POST", PODS, pod).await.code, 201);
    let debug =
        json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "i", "targetContainerName": "c"}]}});
    let answer = subject.send("PATCH", &format!("{PODS}/p/ephemeralcontainers"), debug).await;
    assert_eq!(answer.code, 200, "{:?}", answer.body);
    assert_eq!(answer.body["spec"]["ephemeralContainers"][0]["name"], "d");
    let size = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "200m"}}}]}});
    let answer = subject.send("PATCH", &format!("{PODS}/p/resize"), size).await;
    assert_eq!(answer.code, 200, "{:?}", answer.body);
    let pod = subject.send("GET", &format!("{PODS}/p"), Value::Null).await.body;
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "200m");
    assert_eq!(pod["spec"]["containers"][0]["image"], "i");
    assert_eq!(pod["metadata"]["generation"], 3);
}
