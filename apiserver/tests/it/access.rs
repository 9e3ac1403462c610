//! Who may do what: roles, nodes, and the reviews that say so.

use apiserver::config::Settings;
use serde_json::{Value, json};

use crate::subject::Subject;

/// A server that heeds roles and knows nodes.
async fn guarded() -> Subject {
    let mut settings = Settings::for_tests();
    settings.authorization_mode = vec!["Node".to_owned(), "RBAC".to_owned()];
    Subject::start_with(settings).await
}

async fn make(subject: &Subject, path: &str, object: Value) {
    let answer = subject.send("POST", path, object).await;
    assert_eq!(answer.code, 201, "{path}: {:?}", answer.body);
}

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";

/// Lets bob get the config map `a`.
async fn bind_bob(subject: &Subject) {
    let rule =
        json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["a"]});
    make(subject, &format!("{ROLES}/roles"), json!({"metadata": {"name": "r"}, "rules": [rule]})).await;
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    make(subject, &format!("{ROLES}/rolebindings"), binding).await;
    subject.cluster.server.fresh().await.unwrap();
}

#[tokio::test]
async fn reviews_tell_what_the_authorizers_would() {
    let subject = guarded().await;
    bind_bob(&subject).await;
    let bob = subject.with_user("bob", &[]).await;
    let on = |verb: &str, name: &str| json!({"resourceAttributes": {"verb": verb, "resource": "configmaps", "namespace": "default", "name": name}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let why = "RBAC: allowed by RoleBinding \"b/default\" of Role \"r\" to User \"bob\"";
    for (spec, allowed, reason) in [
        (on("get", "a"), true, Some(why)),
        (on("get", "b"), false, None),
        (json!({"nonResourceAttributes": {"path": "/version", "verb": "get"}}), true, None),
    ] {
        let answer = bob.send("POST", path, json!({"spec": spec})).await;
        assert_eq!(answer.code, 201, "{answer:?}");
        let status = &answer.body["status"];
        assert_eq!(status["allowed"], allowed, "{status}");
        assert!(reason.is_none_or(|reason| status["reason"] == reason), "{status}");
    }
    let mut about = on("get", "a");
    about["user"] = "bob".into();
    let path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let body = json!({"metadata": {"namespace": "default"}, "spec": about});
    assert_eq!(subject.send("POST", path, body).await.body["status"]["allowed"], true);
    assert_eq!(bob.send("POST", path, json!({"spec": about})).await.code, 403);

    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = bob.send("POST", rules, json!({"spec": {"namespace": "default"}})).await.body;
    let found = rules["status"]["resourceRules"].as_array().unwrap();
    assert!(found.iter().any(|rule| rule["resourceNames"] == json!(["a"])), "{rules}");
}

#[tokio::test]
async fn a_node_reaches_what_its_pods_name() {
    let subject = guarded().await;
    for name in ["mine", "other"] {
        make(&subject, "/api/v1/namespaces/default/secrets", json!({"metadata": {"name": name}})).await;
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n1",
        "serviceAccountName": "default",
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "secret": {"secretName": "mine"}}],
    }});
    make(&subject, "/api/v1/namespaces/default/pods", pod).await;
    subject.cluster.server.fresh().await.unwrap();
    let n1 = subject.with_user("system:node:n1", &["system:nodes"]).await;
    let n2 = subject.with_user("system:node:n2", &["system:nodes"]).await;
    let cases = [
        (&n1, "/api/v1/namespaces/default/secrets/mine", 200),
        (&n1, "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dmine", 200),
        (&n1, "/api/v1/namespaces/default/secrets/other", 403),
        (&n1, "/api/v1/namespaces/default/secrets", 403),
        (&n2, "/api/v1/namespaces/default/secrets/mine", 403),
        (&n1, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", 200),
        (&n1, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", 403),
        (&n1, "/api/v1/pods", 403),
        (&n1, "/api/v1/namespaces/default/pods/p", 200),
        (&n2, "/api/v1/namespaces/default/pods/p", 403),
        (&n1, "/api/v1/services", 200),
        (&n1, "/apis/node.k8s.io/v1/runtimeclasses", 200),
        (&n1, "/apis/apps/v1/deployments", 403),
    ];
    for (who, path, expected) in cases {
        assert_eq!(who.send("GET", path, Value::Null).await.code, expected, "{path}");
    }
    let refused = n1.send("GET", "/api/v1/namespaces/default/secrets", Value::Null).await.body;
    let why = "secrets is forbidden: User \"system:node:n1\" cannot list resource \"secrets\" in API group \"\" in the \
        namespace \"default\": No Object name found";
    assert_eq!(refused["message"], why);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    make(&n1, leases, json!({"metadata": {"name": "n1"}, "spec": {}})).await;
    for (who, code) in [(&n1, 200), (&n2, 403)] {
        let renewal = json!({"spec": {"holderIdentity": "n1"}});
        assert_eq!(who.send("PATCH", &format!("{leases}/n1"), renewal).await.code, code);
    }
}
