//! TLS: which certificate a name gets, when it changes, and what is spoken then.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use client::k8s_openapi::api::core::v1::Secret;
use client::k8s_openapi::api::networking::v1::Ingress;
use client::kube::api::{Patch, PatchParams};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::backend;
use crate::place::{Place, eventually, rule, test};

/// Takes any certificate: the tests look at it themselves.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn connect(address: SocketAddr, name: &str, protocols: &[&str]) -> TlsStream<TcpStream> {
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// The certificate that a name gets.
async fn shown(place: &Place, name: &str) -> Vec<u8> {
    let stream = connect(place.https, name, &[]).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// A Secret's content and its certificate.
fn certificate(name: &str) -> (Value, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let content = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
    (content, made.cert.der().to_vec())
}

#[test]
fn a_name_gets_its_certificate_and_a_new_one_when_that_changes() {
    test(async |place: Place| {
        let (content, first) = certificate("a.com");
        place
            .make::<Secret>(
                json!({"metadata": {"name": "a"}, "type": "kubernetes.io/tls", "stringData": content}),
            )
            .await;
        place
            .make::<Ingress>(json!({"metadata": {"name": "a"}, "spec": {
                "tls": [{"hosts": ["a.com", "*.a.com"], "secretName": "a"}, {"hosts": ["b.com"], "secretName": "later"}],
                "rules": [rule("a.com", "/", "one")]}}))
            .await;
        eventually(async || (shown(&place, "a.com").await == first).then_some(())).await;
        assert_eq!(shown(&place, "x.a.com").await, first);
        let own = shown(&place, "b.com").await;
        assert_ne!(own, first);
        assert_eq!(shown(&place, "c.com").await, own);
        let (content, second) = certificate("a.com");
        let patch = Patch::Merge(json!({"stringData": content}));
        place.of::<Secret>().patch("a", &PatchParams::default(), &patch).await.unwrap();
        eventually(async || (shown(&place, "a.com").await == second).then_some(())).await;
        let (content, later) = certificate("b.com");
        place
            .make::<Secret>(
                json!({"metadata": {"name": "later"}, "type": "kubernetes.io/tls", "stringData": content}),
            )
            .await;
        eventually(async || (shown(&place, "b.com").await == later).then_some(())).await;
    });
}

#[test]
fn both_versions_of_http_are_spoken_over_tls() {
    test(async |place: Place| {
        let _pod = backend::start("10.42.0.1").await;
        place.service("one", &["10.42.0.1"]).await;
        place.ingress("one", "a.com", "one").await;
        place.until("a.com", "/", 200).await;
        let context = place.cluster.context.clone();
        for (offered, chosen) in
            [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let stream = connect(place.https, "a.com", offered).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
            let io = TokioIo::new(stream);
            let request = Request::get("https://a.com/x").body(Empty::<Bytes>::new()).unwrap();
            let response = if chosen == Some("h2") {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
                context.spawn_isolated("client", async move { Ok(connection.await?) });
                sender.send_request(request).await.unwrap()
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                context.spawn_isolated("client", async move { Ok(connection.await?) });
                sender.send_request(request).await.unwrap()
            };
            assert_eq!(response.status(), 200, "{chosen:?}");
            let told: Value =
                serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
            assert_eq!(told["headers"]["x-forwarded-proto"], "https", "{chosen:?}");
            assert_eq!(told["headers"]["x-forwarded-port"], "443", "{chosen:?}");
            assert_eq!(told["headers"]["host"], "a.com", "{chosen:?}");
        }
    });
}
