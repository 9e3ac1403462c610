//! Who calls: the subject of a client certificate.

use x509_parser::prelude::{FromDer, X509Certificate};

/// The group whose members may do everything.
const MASTERS: &str = "system:masters";
/// Whom upstream lets do everything on a kubelet: the API server by the name its certificate bears.
const API_SERVERS: [&str; 2] = ["kube-apiserver", "kube-apiserver-kubelet-client"];

/// A caller by certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user: String,
    pub groups: Vec<String>,
}

impl Caller {
    /// The caller that a verified certificate names: its common name, and its organizations as groups.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|name| Some(name.as_str().ok()?.to_owned()));
        Some(Self { user, groups: groups.collect() })
    }

    /// Whether the caller may use the kubelet's API.
    pub fn may_all(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS) || API_SERVERS.contains(&self.user.as_str())
    }
}
