//! Tables of what signers accept, and certificates signed for real.

use std::time::Duration;

use client::k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use super::plan::{self, Wish};
use super::signer::{Authority, expiry, wish};

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

#[test]
fn what_signers_accept() {
    let node = Wish {
        name: "system:node:n".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        ..Wish::default()
    };
    let served = Wish { addresses: 1, ..node.clone() };
    let user = Wish { name: "ann".to_owned(), ..Wish::default() };
    let both = "digital signature,client auth";
    let serving = "digital signature,key encipherment,server auth";
    let cases = [
        (plan::CLIENT, &user, both, true),
        (plan::CLIENT, &user, "digital signature", false),
        (plan::CLIENT, &user, "client auth,server auth", false),
        (plan::KUBELET_CLIENT, &node, both, true),
        (plan::KUBELET_CLIENT, &user, both, false),
        (plan::KUBELET_CLIENT, &served, both, false),
        (plan::KUBELET_SERVING, &served, serving, true),
        (plan::KUBELET_SERVING, &node, serving, false),
        (plan::LEGACY, &user, "any", true),
        ("example.com/mine", &user, both, false),
    ];
    for (signer, wish, usages, expected) in cases {
        assert_eq!(plan::check(signer, wish, &words(usages)).is_ok(), expected, "{signer} {wish:?} {usages}");
    }
}

#[test]
fn lives_and_ages() {
    let limit = Duration::from_secs(86_400);
    for (asked, expected) in
        [(None, 86_400), (Some(7_200), 7_200), (Some(60), 600), (Some(1_000_000), 86_400)]
    {
        assert_eq!(plan::lifetime(asked, limit).as_secs(), expected, "{asked:?}");
    }
    let request = |status: Value| -> CertificateSigningRequest {
        let request = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status,
            "spec": {"request": "", "signerName": "s"}});
        serde_json::from_value(request).unwrap()
    };
    let condition =
        |kind: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"}]);
    let now: Timestamp = "2026-01-01T01:30:00Z".parse().unwrap();
    let cases = [
        (json!({}), 22.5),
        (json!({"conditions": condition("Denied")}), 0.5),
        (json!({"conditions": condition("Approved")}), 22.5),
        (json!({"conditions": condition("Approved"), "certificate": "YQ=="}), 0.5),
    ];
    for (status, hours) in cases {
        assert_eq!(plan::left(&request(status.clone()), None, now).as_secs_f64() / 3600.0, hours, "{status}");
    }
    assert_eq!(plan::left(&request(json!({})), Some(now), now), Duration::ZERO);
}

#[test]
fn an_approved_request_becomes_a_certificate() {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = ca.self_signed(&key).unwrap().pem();
    let authority = Authority::new(&certificate, &key.serialize_pem(), Duration::from_secs(86_400)).unwrap();
    let node = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::default();
    asked.distinguished_name = rcgen::DistinguishedName::new();
    asked.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    asked.distinguished_name.push(DnType::CommonName, "system:node:n");
    let pem = asked.serialize_request(&node).unwrap().pem().unwrap();
    assert_eq!(wish(pem.as_bytes()).unwrap().name, "system:node:n");
    let mut request: CertificateSigningRequest = serde_json::from_value(json!({"metadata": {},
        "spec": {"request": "", "signerName": plan::KUBELET_CLIENT, "expirationSeconds": 3600,
            "usages": ["digital signature", "client auth"]}}))
    .unwrap();
    request.spec.request.0 = pem.into_bytes();
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let signed = authority.sign(&request, now).unwrap();
    assert_eq!(expiry(signed.as_bytes()), Some("2026-01-01T01:00:00Z".parse().unwrap()));
    let (_, block) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
    let parsed = block.parse_x509().unwrap();
    assert!(!parsed.is_ca());
    assert_eq!(parsed.subject().to_string(), "O=system:nodes, CN=system:node:n");
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    request.spec.signer_name = plan::KUBELET_SERVING.to_owned();
    assert!(authority.sign(&request, now).is_err());
    request.spec.request.0 = b"nonsense".to_vec();
    assert!(authority.sign(&request, now).is_err());
}
