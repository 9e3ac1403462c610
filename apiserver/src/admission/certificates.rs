//! Who may approve and sign certificates, by the signer that a request names, and what no request may ask for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Attributes, Operation, Plugin};
use crate::authz::{self, rule};
use crate::fault::Fault;
use crate::kind::fill;
use crate::server::Server;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// Lets only those approve who may `approve` for the signer.
#[derive(Debug)]
pub(super) struct Approval;

/// Lets only those put in a certificate who may `sign` for the signer.
#[derive(Debug)]
pub(super) struct Signing;

/// Lets nobody ask for a client certificate of the masters.
#[derive(Debug)]
pub(super) struct SubjectRestriction;

fn is_update_of(attributes: &Attributes<'_>, subresource: &str) -> bool {
    attributes.group == GROUP
        && attributes.resource == REQUESTS
        && attributes.subresource == subresource
        && attributes.operation == Operation::Update
}

/// Whether the caller may do this for a signer, or for all signers of its domain.
fn may(server: &Server, attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map_or("", |(domain, _)| domain);
    [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
        let asked = rule::Attributes {
            is_resource: true,
            verb,
            group: GROUP,
            resource: "signers",
            name,
            ..rule::Attributes::default()
        };
        authz::decide(server, attributes.user, &asked).allowed
    })
}

#[async_trait::async_trait]
impl Plugin for Approval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is_update_of(attributes, "approval")
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        request: &Value,
        server: &Server,
    ) -> Result<(), Fault> {
        let signer = attributes.old.map_or("", |old| fill::text(old, "spec.signerName"));
        if may(server, attributes, "approve", signer) {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        Err(attributes.refused(request, &why))
    }
}

#[async_trait::async_trait]
impl Plugin for Signing {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is_update_of(attributes, "status")
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        request: &Value,
        server: &Server,
    ) -> Result<(), Fault> {
        let Some(old) = attributes.old else { return Ok(()) };
        let failed = |object: &Value| {
            let conditions = fill::list(object, "status.conditions");
            conditions.iter().filter(|condition| condition["type"] == "Failed").count()
        };
        let same = fill::text(old, "status.certificate") == fill::text(request, "status.certificate");
        let signer = fill::text(old, "spec.signerName");
        if same && failed(old) == failed(request) || may(server, attributes, "sign", signer) {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {signer:?}");
        Err(attributes.refused(request, &why))
    }
}

#[async_trait::async_trait]
impl Plugin for SubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for(GROUP, REQUESTS) && attributes.operation == Operation::Create
    }

    async fn validate(&self, attributes: &Attributes<'_>, request: &Value, _: &Server) -> Result<(), Fault> {
        let signer = "kubernetes.io/kube-apiserver-client";
        if fill::text(request, "spec.signerName") == signer && asks_for_masters(request) {
            let why = format!("use of {signer} signer with system:masters group is not allowed");
            return Err(attributes.refused(request, &why));
        }
        Ok(())
    }
}

/// Whether the certificate asked for would have the group that may do everything. What cannot be read is refused by the
/// kind's own validation.
fn asks_for_masters(request: &Value) -> bool {
    let pem = STANDARD.decode(fill::text(request, "spec.request")).unwrap_or_default();
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else { return false };
    let Ok((_, parsed)) = X509CertificationRequest::from_der(&pem.contents) else { return false };
    let groups = parsed.certification_request_info.subject.iter_organization();
    groups.into_iter().any(|group| group.as_str().is_ok_and(|group| group == "system:masters"))
}
