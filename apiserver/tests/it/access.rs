//! Who may do what: roles, nodes, and the reviews that say so.

use std::sync::Arc;

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

/// Verbs, group, resource (perhaps with a subresource), namespace.
type Deed = (&'static str, &'static str, &'static str, &'static str);

/// What each daemon does, as its user and group.
const WORK: &[(&str, &str, &[Deed])] = &[
    (
        "system:kube-controller-manager",
        "",
        &[
            ("create", "", "pods", "default"),
            ("create", "", "serviceaccounts", "default"),
            ("create,update", "", "configmaps", "default"),
            ("create,update", "", "endpoints", "default"),
            ("create,patch", "", "events", "default"),
            ("create,update,delete", "discovery.k8s.io", "endpointslices", "default"),
            ("create,update,patch,delete", "apps", "replicasets", "default"),
            ("update,patch", "apps", "deployments/status", "default"),
            ("create", "apps", "controllerrevisions", "default"),
            ("create", "batch", "jobs", "default"),
            ("patch,update,delete", "", "nodes", ""),
            ("patch,update", "", "nodes/status", ""),
            ("update", "certificates.k8s.io", "certificatesigningrequests/approval", ""),
            ("update", "certificates.k8s.io", "certificatesigningrequests/status", ""),
            ("create", "authorization.k8s.io", "subjectaccessreviews", ""),
            ("list,watch,delete", "example.com", "things", "default"),
            ("update", "", "namespaces/finalize", ""),
            ("escalate", "rbac.authorization.k8s.io", "clusterroles", ""),
        ],
    ),
    (
        "system:kube-scheduler",
        "",
        &[
            ("list,watch", "", "nodes", ""),
            ("list,watch", "", "pods", ""),
            ("create", "", "pods/binding", "default"),
            ("patch", "", "pods/status", "default"),
            ("create,patch", "events.k8s.io", "events", "default"),
        ],
    ),
    (
        "system:kube-proxy",
        "",
        &[
            ("list,watch", "", "services", ""),
            ("list,watch", "discovery.k8s.io", "endpointslices", ""),
            ("get,list,watch", "", "nodes", ""),
        ],
    ),
    (
        "system:isopod-dns",
        "",
        &[
            ("list,watch", "", "services", ""),
            ("list,watch", "", "namespaces", ""),
            ("get,list,watch", "", "nodes", ""),
            ("get,create,patch", "", "services", "kube-system"),
            ("get,create,patch,delete,list,watch", "discovery.k8s.io", "endpointslices", "kube-system"),
        ],
    ),
    (
        "system:isopod-ingress",
        "",
        &[
            ("list,watch", "networking.k8s.io", "ingresses", ""),
            ("list,watch,create", "networking.k8s.io", "ingressclasses", ""),
            ("patch", "networking.k8s.io", "ingresses/status", "default"),
            ("list,watch", "", "services", ""),
            ("list,watch", "", "secrets", ""),
            ("list,watch", "", "nodes", ""),
            ("list,watch", "discovery.k8s.io", "endpointslices", ""),
            ("create,patch", "events.k8s.io", "events", "default"),
        ],
    ),
    (
        "system:isopod-flannel",
        "",
        &[("get,list,watch,patch", "", "nodes", ""), ("patch", "", "nodes/status", "")],
    ),
    (
        "system:node:n1",
        "system:nodes",
        &[
            ("create,patch", "", "nodes", ""),
            ("patch", "", "nodes/status", ""),
            ("patch", "", "pods/status", "default"),
            ("delete", "", "pods", "default"),
            ("create", "coordination.k8s.io", "leases", "kube-node-lease"),
            ("list,watch", "", "services", ""),
            ("create,patch", "", "events", "default"),
            ("create", "authentication.k8s.io", "tokenreviews", ""),
            ("create", "authorization.k8s.io", "subjectaccessreviews", ""),
            ("create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests", ""),
            ("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient", ""),
            ("list,watch", "node.k8s.io", "runtimeclasses", ""),
        ],
    ),
];

#[tokio::test]
async fn every_daemon_may_do_its_work() {
    let subject = guarded().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    for (user, user_group, work) in WORK {
        for (verbs, group, resource, namespace) in *work {
            for verb in verbs.split(',') {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                let spec = json!({"user": user, "groups": [user_group, "system:authenticated"], "resourceAttributes": {
                    "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                    "namespace": namespace,
                }});
                let status = subject.send("POST", path, json!({"spec": spec})).await.body["status"].clone();
                let what = format!("{user} {verb} {resource}.{group}/{subresource} in {namespace:?}");
                assert_eq!(status["allowed"], true, "{what}: {status}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_hands_on_more_than_they_hold() {
    let subject = guarded().await;
    bind_bob(&subject).await;
    let role = |verbs: &[&str]| {
        let rule =
            json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs, "resourceNames": ["a"]});
        json!({"metadata": {"name": "handed"}, "rules": [rule]})
    };
    let author = json!({"metadata": {"name": "author"}, "rules": [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"],
            "resourceNames": [""]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create"]},
    ]});
    make(&subject, &format!("{ROLES}/roles"), author).await;
    let binding = |name: &str, kind: &str, role: &str| {
        json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
        })
    };
    make(&subject, &format!("{ROLES}/rolebindings"), binding("author", "Role", "author")).await;
    subject.cluster.server.fresh().await.unwrap();
    let bob = subject.with_user("bob", &[]).await;
    let refused = bob.send("POST", &format!("{ROLES}/roles"), role(&["get", "update"])).await;
    let why = "roles.rbac.authorization.k8s.io \"handed\" is forbidden: user \"bob\" (groups=[\"system:authenticated\"]) is \
        attempting to grant RBAC permissions not currently held:\n\
        {APIGroups:[\"\"], Resources:[\"configmaps\"], ResourceNames:[\"a\"], Verbs:[\"update\"]}";
    assert_eq!((refused.code, refused.body["message"].as_str()), (403, Some(why)));
    assert_eq!(bob.send("POST", &format!("{ROLES}/roles"), role(&["get"])).await.code, 201);
    let bindings = format!("{ROLES}/rolebindings");
    let cases = [("Role", "r", 201), ("ClusterRole", "cluster-admin", 403), ("ClusterRole", "nobody", 404)];
    for (kind, name, code) in cases {
        let made = bob.send("POST", &bindings, binding(&format!("x-{name}"), kind, name)).await;
        assert_eq!(made.code, code, "{name}: {:?}", made.body);
    }
}

#[tokio::test]
async fn acting_as_somebody_else() {
    let subject = guarded().await;
    bind_bob(&subject).await;
    make(&subject, "/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "a"}})).await;
    let map = "/api/v1/namespaces/default/configmaps/a";
    let as_user = |name: &'static str| [("impersonate-user", name)];
    assert_eq!(subject.ask(map, &as_user("bob")).await.code, 200);
    assert_eq!(subject.ask(map, &as_user("carol")).await.code, 403);
    assert_eq!(subject.ask(map, &[("impersonate-group", "dev")]).await.code, 400);
    let bob = subject.with_user("bob", &[]).await;
    let refused = bob.ask(map, &as_user("admin")).await;
    let why = "configmaps \"a\" is forbidden: User \"bob\" cannot impersonate-on:user-info:get resource \"configmaps\" in \
        API group \"\" in the namespace \"default\"";
    assert_eq!((refused.code, refused.body["message"].as_str()), (403, Some(why)));
}

#[tokio::test]
async fn nodes_write_only_what_is_theirs() {
    let mut settings = Settings::for_tests();
    settings.authorization_mode = vec!["Node".to_owned(), "RBAC".to_owned()];
    settings.enable_admission_plugins = vec!["NodeRestriction".to_owned()];
    let subject = Subject::start_with(settings).await;
    let n1 = subject.with_user("system:node:n1", &["system:nodes"]).await;
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let cases = [
        (node("n2", json!({})), 403),
        (node("n1", json!({"node-role.kubernetes.io/control-plane": "true"})), 403),
        (node("n1", json!({"kubernetes.io/hostname": "n1"})), 201),
    ];
    for (object, code) in cases {
        let made = n1.send("POST", "/api/v1/nodes", object).await;
        assert_eq!(made.code, code, "{:?}", made.body);
    }
    let tainted = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    assert_eq!(n1.send("PATCH", "/api/v1/nodes/n1", tainted).await.code, 403);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(n1.send("PATCH", "/api/v1/nodes/n1/status", ready).await.code, 200);
    for (name, on, code) in [("mine", "n1", 200), ("other", "n2", 403)] {
        let pod = json!({"metadata": {"name": name}, "spec": {
            "nodeName": on, "serviceAccountName": "default", "containers": [{"name": "c", "image": "i"}],
        }});
        make(&subject, "/api/v1/namespaces/default/pods", pod).await;
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        let status = json!({"status": {"phase": "Running"}});
        assert_eq!(n1.send("PATCH", &format!("{path}/status"), status).await.code, code, "{name}");
        let gone = n1.send("DELETE", &format!("{path}?gracePeriodSeconds=0"), Value::Null).await;
        assert_eq!(gone.code, code, "{name}: {:?}", gone.body);
    }
}

#[tokio::test]
async fn nobody_is_refused_because_the_server_is_starting() {
    let store: Arc<dyn store::Store> = Arc::new(store::memory::Memory::new());
    let mut settings = Settings::for_tests();
    settings.authorization_mode = vec!["RBAC".to_owned()];
    let authority = testkit::Authority::new();
    let serving = authority.server();
    let tls = apiserver::tls::config(vec![serving.certificate], serving.key, vec![authority.certificate()]);
    let (context, trigger) = daemon::Context::new("starting");
    let (_, address) = apiserver::start(settings, context.clone(), store, tls.unwrap()).await.unwrap();
    let proxy = authority.client("system:kube-proxy", &[]);
    // Not ready yet: nothing has run since the start.
    let client = testkit::connect(&format!("https://{address}"), &authority, &proxy).await;
    let request = http::Request::get("/api/v1/services").body(client::kube::client::Body::empty()).unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), 200);
    trigger.start();
}
