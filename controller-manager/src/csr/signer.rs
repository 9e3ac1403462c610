//! Signs approved requests with the cluster's authority.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use client::k8s_openapi::ByteString;
use client::k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use client::kube::api::PostParams;
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Key, Next, Queue};
use jiff::Timestamp;
use rcgen::{
    CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use x509_parser::pem::Pem;
use x509_parser::time::ASN1Time;

use super::plan::{self, Wish};
use crate::config::Signing;
use crate::scene::{Scene, now, wake_self};
use crate::table::Reconciler;

/// Certificates hold from a little before they are made: clocks differ (upstream's figure).
const BACKDATED: Duration = Duration::from_secs(300);

const SIGNERS: &[&str] = &[plan::CLIENT, plan::KUBELET_CLIENT, plan::KUBELET_SERVING, plan::LEGACY];

struct State {
    client: Client,
    requests: Cache<CertificateSigningRequest>,
    authority: Authority,
}

/// The cluster's authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    expires: Timestamp,
    longest: Duration,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let Some(settings) = &scene.settings.signing else { return Ok(None) };
    let authority = Authority::read(settings)?;
    let requests = scene.caches.of::<CertificateSigningRequest>();
    let queue = Queue::default();
    wake_self(&requests, &queue);
    let state = State { client: scene.client.clone(), requests, authority };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

/// When the first certificate in a PEM file expires.
pub(super) fn expiry(pem: &[u8]) -> Option<Timestamp> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn params(pem: &[u8]) -> anyhow::Result<CertificateSigningRequestParams> {
    let text = std::str::from_utf8(pem).context("the request is not text")?;
    let block = Pem::iter_from_buffer(pem).next().ok_or_else(|| anyhow!("the request holds no PEM block"))?;
    let label = block.context("the request is not PEM")?.label;
    anyhow::ensure!(
        label == "CERTIFICATE REQUEST",
        "the PEM block is a {label} and not a CERTIFICATE REQUEST"
    );
    CertificateSigningRequestParams::from_pem(text)
        .map_err(|error| anyhow!("unable to parse the request: {error}"))
}

/// Reads what a request asks for.
pub(super) fn wish(pem: &[u8]) -> anyhow::Result<Wish> {
    Ok(wish_of(&params(pem)?))
}

fn wish_of(request: &CertificateSigningRequestParams) -> Wish {
    let mut wish = Wish::default();
    for (kind, value) in request.params.distinguished_name.iter() {
        let text = match value {
            DnValue::Utf8String(text) => text.clone(),
            DnValue::PrintableString(text) => text.to_string(),
            DnValue::Ia5String(text) => text.to_string(),
            DnValue::TeletexString(text) => text.to_string(),
            _ => String::new(),
        };
        match kind {
            DnType::CommonName => wish.name = text,
            DnType::OrganizationName => wish.organizations.push(text),
            _ => {}
        }
    }
    for name in &request.params.subject_alt_names {
        match name {
            SanType::DnsName(_) => wish.dns += 1,
            SanType::IpAddress(_) => wish.addresses += 1,
            _ => wish.others += 1,
        }
    }
    wish
}

fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match name {
        "any" => ExtendedKeyUsagePurpose::Any,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        _ => return None,
    })
}

impl Authority {
    fn read(settings: &Signing) -> anyhow::Result<Self> {
        let Signing { certificate, key, duration } = settings;
        let read = |flag: &str, path: &std::path::Path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("--{flag}: could not read {}", path.display()))
        };
        let (certificate, key) =
            (read("cluster-signing-cert-file", certificate)?, read("cluster-signing-key-file", key)?);
        Self::new(&certificate, &key, *duration)
    }

    pub(super) fn new(certificate: &str, key: &str, longest: Duration) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(key)
            .map_err(|error| anyhow!("--cluster-signing-key-file holds no usable key: {error}"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key)
            .map_err(|error| anyhow!("--cluster-signing-cert-file holds no usable certificate: {error}"))?;
        let expires = expiry(certificate.as_bytes()).context("--cluster-signing-cert-file has no expiry")?;
        Ok(Self { issuer, expires, longest })
    }

    /// The certificate for a request, as PEM; `Err` where this signer may not sign it.
    pub(super) fn sign(&self, request: &CertificateSigningRequest, now: Timestamp) -> anyhow::Result<String> {
        let spec = &request.spec;
        let usages = spec.usages.clone().unwrap_or_default();
        let mut signed = params(&spec.request.0)?;
        plan::check(&spec.signer_name, &wish_of(&signed), &usages).map_err(|why| anyhow!(why))?;
        let life = plan::lifetime(spec.expiration_seconds, self.longest);
        let end = now.saturating_add(life).unwrap_or(Timestamp::MAX).min(self.expires);
        let begin = now.saturating_sub(BACKDATED).unwrap_or(Timestamp::MIN);
        let date =
            |time: Timestamp| ASN1Time::from_timestamp(time.as_second()).map(|time| time.to_datetime());
        let params = &mut signed.params;
        params.not_before = date(begin).context("the beginning is out of range")?;
        params.not_after = date(end).context("the end is out of range")?;
        params.serial_number = None;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages = usages.iter().filter_map(|usage| extended_usage(usage)).collect();
        let certificate =
            signed.signed_by(&self.issuer).map_err(|error| anyhow!("could not sign: {error}"))?;
        Ok(certificate.pem())
    }
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(request) = self.requests.get(key) else { return Ok(Next::Wait) };
        let settled =
            plan::is_issued(&request) || plan::is(&request, "Denied") || plan::is(&request, "Failed");
        if settled || !plan::is(&request, "Approved") || !SIGNERS.contains(&request.spec.signer_name.as_str())
        {
            return Ok(Next::Wait);
        }
        let signed = self.authority.sign(&request, now());
        let mut request = CertificateSigningRequest::clone(&request);
        let status = request.status.get_or_insert_default();
        match signed {
            Ok(certificate) => status.certificate = Some(ByteString(certificate.into_bytes())),
            Err(error) => {
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Failed".to_owned(),
                    status: "True".to_owned(),
                    reason: Some("SignerValidationFailure".to_owned()),
                    message: Some(format!("{error:#}")),
                    last_update_time: Some(Time(now())),
                    last_transition_time: Some(Time(now())),
                })
            }
        }
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        found(api.replace_status(&key.name, &PostParams::default(), &request).await)
            .map(|_| Next::Wait)
            .context("could not write the certificate")
    }
}
