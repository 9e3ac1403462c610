//! Who somebody is: tokens of service accounts, and what the server says of them.

use apiserver::config::Settings;
use base64::Engine;
use serde_json::{Value, json};

use crate::subject::Subject;

const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts";

/// A server that issues tokens with a key of its own.
async fn issuing() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("service.key");
    std::fs::write(&path, testkit::Authority::new().client("signer", &[]).key_pem).unwrap();
    let mut settings = Settings::for_tests();
    settings.service_account_signing_key_file = Some(path.clone());
    settings.service_account_key_file = vec![path];
    let subject = Subject::start_with(settings).await;
    let made = subject.send("POST", ACCOUNT, json!({"metadata": {"name": "robot"}})).await;
    assert_eq!(made.code, 201, "{made:?}");
    subject
}

async fn token(subject: &Subject, spec: Value) -> (u16, Value) {
    let answer = subject.send("POST", &format!("{ACCOUNT}/robot/token"), json!({"spec": spec})).await;
    (answer.code, answer.body)
}

async fn review(subject: &Subject, token: &Value) -> Value {
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    subject.send("POST", path, json!({"spec": {"token": token}})).await.body["status"].clone()
}

#[tokio::test]
async fn a_token_is_good_while_what_it_is_bound_to_exists() {
    let subject = issuing().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"},
        "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(subject.send("POST", pods, pod).await.code, 201);
    let bound = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}, "expirationSeconds": 3607});
    let (code, made) = token(&subject, bound).await;
    assert_eq!((code, made["metadata"]["name"].as_str()), (201, Some("robot")), "{made}");
    let text = made["status"]["token"].as_str().unwrap();
    let payload =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    let (warn, begin) = (&claims["kubernetes.io"]["warnafter"], claims["iat"].as_i64().unwrap());
    assert_eq!((warn.as_i64(), claims["exp"].as_i64()), (Some(begin + 3607), Some(begin + 31_536_000)));

    let status = review(&subject, &made["status"]["token"]).await;
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:robot", "{status}");
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    let gone = subject.send("DELETE", &format!("{pods}/p?gracePeriodSeconds=0"), Value::Null).await;
    assert_eq!(gone.code, 200);
    let status = review(&subject, &made["status"]["token"]).await;
    assert_eq!(
        status["error"], "[invalid bearer token, service account token has been invalidated]",
        "{status}"
    );
}

#[tokio::test]
async fn a_token_authenticates() {
    let subject = issuing().await;
    let (_, made) = token(&subject, json!({})).await;
    let bearer = subject.with_token(made["status"]["token"].as_str().unwrap()).await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = bearer.send("POST", path, json!({})).await;
    assert_eq!(me.body["status"]["userInfo"]["username"], "system:serviceaccount:default:robot", "{me:?}");
    let stranger = subject.with_token("no.such.token").await.send("POST", path, json!({})).await;
    assert_eq!(stranger.code, 401, "{stranger:?}");
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let subject = issuing().await;
    let of = |kind: &str, uid: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": "x", "uid": uid}});
    let secret = json!({"metadata": {"name": "x"}});
    subject.send("POST", "/api/v1/namespaces/default/secrets", secret).await;
    let cases = [
        (
            json!({"expirationSeconds": 599}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: \
            spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (of("Pod", ""), 404, "pods \"x\" not found"),
        (of("ConfigMap", ""), 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        (
            of("Secret", "wrong"),
            409,
            "Operation cannot be fulfilled on Secret \"x\": the UID in the bound object \
            reference (wrong) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ];
    for (spec, code, message) in cases {
        let (found, body) = token(&subject, spec.clone()).await;
        assert_eq!((found, body["message"].as_str()), (code, Some(message)), "{spec}");
    }
}

#[tokio::test]
async fn without_a_key_no_tokens() {
    let subject = Subject::start().await;
    subject.send("POST", ACCOUNT, json!({"metadata": {"name": "robot"}})).await;
    assert_eq!(token(&subject, json!({})).await.0, 404);
    assert_eq!(subject.send("GET", "/openid/v1/jwks", Value::Null).await.code, 404);
}

#[tokio::test]
async fn keys_are_published() {
    let subject = issuing().await;
    let keys = subject.send("GET", "/openid/v1/jwks", Value::Null).await.body;
    assert_eq!(keys["keys"][0]["crv"], "P-256", "{keys}");
    let issuer = subject.send("GET", "/.well-known/openid-configuration", Value::Null).await.body;
    assert_eq!(issuer["issuer"], "https://kubernetes.default.svc.cluster.local", "{issuer}");
}

#[tokio::test]
async fn a_certificate_makes_nobody_a_master() {
    let subject = issuing().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    for (organization, code) in [("system:masters", 403), ("dev", 201)] {
        let request = testkit::authority::request("jane", organization);
        let spec = json!({
            "signerName": "kubernetes.io/kube-apiserver-client",
            "request": base64::engine::general_purpose::STANDARD.encode(request),
            "usages": ["client auth"],
        });
        let made = subject.send("POST", path, json!({"metadata": {"name": "jane"}, "spec": spec})).await;
        assert_eq!(made.code, code, "{:?}", made.body);
    }
}

#[tokio::test]
async fn a_bootstrap_token_is_good_for_joining() {
    let mut settings = Settings::for_tests();
    settings.enable_bootstrap_token_auth = true;
    settings.authorization_mode = vec!["RBAC".to_owned()];
    let subject = Subject::start_with(settings).await;
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef",
            "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true",
        },
    });
    let made = subject.send("POST", "/api/v1/namespaces/kube-system/secrets", secret).await;
    assert_eq!(made.code, 201, "{made:?}");
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let joiner = subject.with_token("abcdef.0123456789abcdef").await;
    let me = joiner.send("POST", path, json!({})).await.body;
    assert_eq!(me["status"]["userInfo"]["username"], "system:bootstrap:abcdef", "{me}");
    let wrong = subject.with_token("abcdef.0123456789abcdeg").await.send("POST", path, json!({})).await;
    assert_eq!(wrong.code, 401);
}
