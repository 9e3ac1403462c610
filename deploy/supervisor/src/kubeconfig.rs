//! The text of kubeconfig files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Where the credentials of a kubeconfig are.
#[derive(Debug, Clone, Copy)]
pub enum Credentials<'a> {
    /// In files of their own, which may be renewed under the kubeconfig.
    Files {
        /// The authority that the server's certificate comes from.
        authority: &'a Path,
        /// The client's certificate.
        certificate: &'a Path,
        /// Its key.
        key: &'a Path,
    },
    /// In the kubeconfig itself, so that it can be carried away: PEM.
    Embedded {
        /// The authority that the server's certificate comes from.
        authority: &'a str,
        /// The client's certificate.
        certificate: &'a str,
        /// Its key.
        key: &'a str,
    },
}

/// A kubeconfig for the server at this URL, with `name` for its cluster, its user and its context.
pub fn text(name: &str, server: &str, credentials: Credentials<'_>) -> String {
    let (cluster, user) = match credentials {
        Credentials::Files { authority, certificate, key } => (
            json!({"server": server, "certificate-authority": authority}),
            json!({"client-certificate": certificate, "client-key": key}),
        ),
        Credentials::Embedded { authority, certificate, key } => (
            json!({"server": server, "certificate-authority-data": STANDARD.encode(authority)}),
            json!({
                "client-certificate-data": STANDARD.encode(certificate),
                "client-key-data": STANDARD.encode(key),
            }),
        ),
    };
    let file: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    });
    // JSON is YAML; it is what remains where the writer of YAML cannot write, which it can.
    serde_saphyr::to_string(&file).unwrap_or_else(|_| file.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_who_and_where() {
        let files = Credentials::Files {
            authority: Path::new("/d/ca.crt"),
            certificate: Path::new("/d/c.crt"),
            key: Path::new("/d/c.key"),
        };
        let embedded = Credentials::Embedded { authority: "A", certificate: "C", key: "K" };
        for (credentials, member, expected) in
            [(files, "client-certificate", "/d/c.crt"), (embedded, "client-certificate-data", "Qw==")]
        {
            let text = text("default", "https://127.0.0.1:6443", credentials);
            let value: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(value["users"][0]["user"][member], expected);
            assert_eq!(value["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
            assert_eq!(value["current-context"], "default");
        }
    }
}
