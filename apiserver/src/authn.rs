//! Who asks: from client certificate, bearer token or front proxy headers to a [`User`].

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fault::Fault;
use crate::request::User;
use crate::server::Server;

/// Who sent a request; `peer` is the chain of the client's certificate, verified already.
///
/// # Errors
/// 401 where nobody can be made out.
pub async fn authenticate(
    _server: &Server,
    _parts: &http::request::Parts,
    peer: Option<&[CertificateDer<'static>]>,
) -> Result<User, Fault> {
    peer.and_then(|chain| chain.first()).and_then(subject).ok_or_else(Fault::unauthorized)
}

/// The user a certificate names: its common name, and its organisations as groups.
fn subject(certificate: &CertificateDer<'static>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".to_owned());
    Some(User { name, groups, ..User::default() })
}
