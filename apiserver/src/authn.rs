//! Who asks: from client certificate, bearer token or front proxy headers to a [`User`].

use rustls_pki_types::CertificateDer;

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
    _peer: Option<&[CertificateDer<'static>]>,
) -> Result<User, Fault> {
    Err(Fault::unauthorized())
}
