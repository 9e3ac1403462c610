//! The cluster's authorities and what they sign.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};
use x509_parser::time::ASN1Time;

/// How long authorities hold (K3s' figure): ten years.
const AUTHORITY: SignedDuration = SignedDuration::from_hours(3650 * 24);

/// How long what they sign holds (K3s' figure): a year.
const LEAF: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A start renews what expires sooner than this: three months, in which any machine is started once.
const RENEW: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Certificates hold from a little before they are made: clocks differ (upstream's figure).
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A server shows it.
    Server,
    /// A client shows it.
    Client,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The common name: the user, for a client.
    pub name: String,
    /// The organisation: the group, for a client.
    pub group: Option<String>,
    /// The names and addresses a server answers to.
    pub names: Vec<String>,
    /// What it is for.
    pub usage: Use,
}

/// What signs certificates.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, with its authority's after it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Leaf {
    /// What a client of the API is.
    pub fn client(name: impl Into<String>, group: Option<&str>) -> Self {
        Self { name: name.into(), group: group.map(str::to_owned), names: Vec::new(), usage: Use::Client }
    }

    /// What a server under these names is.
    pub fn server(name: impl Into<String>, names: Vec<String>) -> Self {
        Self { name: name.into(), group: None, names, usage: Use::Server }
    }

    fn params(&self, now: Timestamp) -> anyhow::Result<CertificateParams> {
        let mut params = CertificateParams::new(self.names.clone())
            .with_context(|| format!("{:?} cannot all be names of a certificate", self.names))?;
        let mut subject = DistinguishedName::new();
        if let Some(group) = &self.group {
            subject.push(DnType::OrganizationName, group.as_str());
        }
        subject.push(DnType::CommonName, self.name.as_str());
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match self.usage {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        params.not_before = at(now - BACKDATED)?.to_datetime();
        params.not_after = at(now + LEAF)?.to_datetime();
        Ok(params)
    }
}

impl Pair {
    /// The pair `<stem>.crt`, `<stem>.key` in a folder.
    pub fn at(folder: &Path, stem: &str) -> Self {
        Self { certificate: folder.join(format!("{stem}.crt")), key: folder.join(format!("{stem}.key")) }
    }
}

impl Authority {
    /// The authority in a pair of files, which is made where there is none.
    ///
    /// # Errors
    /// Where the files cannot be read, used or written.
    pub fn ensure(pair: &Pair, name: &str, now: Timestamp) -> anyhow::Result<Self> {
        match (read(&pair.certificate)?, read(&pair.key)?) {
            (Some(certificate), Some(key)) => Self::new(certificate, &key).with_context(|| {
                format!("{} and {} are no authority", pair.certificate.display(), pair.key.display())
            }),
            (None, None) => {
                let (certificate, key) = Self::make(name, now)?;
                write(&pair.key, &key, PRIVATE)?;
                write(&pair.certificate, &certificate, PUBLIC)?;
                Self::new(certificate, &key)
            }
            (found, _) => {
                let (there, missing) = match found {
                    Some(_) => (&pair.certificate, &pair.key),
                    None => (&pair.key, &pair.certificate),
                };
                Err(anyhow!(
                    "{} is there and {} is not; put the missing file back, or remove both for a new authority",
                    there.display(),
                    missing.display()
                ))
            }
        }
    }

    fn make(name: &str, now: Timestamp) -> anyhow::Result<(String, String)> {
        let mut params = CertificateParams::new(Vec::new()).context("no names")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let mut subject = DistinguishedName::new();
        // As K3s: the time of making tells authorities of one name apart.
        subject.push(DnType::CommonName, format!("isopod-{name}-ca@{}", now.as_second()));
        params.distinguished_name = subject;
        params.not_before = at(now - BACKDATED)?.to_datetime();
        params.not_after = at(now + AUTHORITY)?.to_datetime();
        let key = KeyPair::generate().context("could not make a key")?;
        let certificate = params.self_signed(&key).context("could not sign an authority")?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn new(pem: String, key: &str) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(key).context("the key is not usable")?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).context("the certificate is not usable")?;
        Ok(Self { pem, issuer })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for a new key; both in PEM, the certificate with this authority's after it.
    ///
    /// # Errors
    /// Where the names cannot be those of a certificate.
    pub fn issue(&self, leaf: &Leaf, now: Timestamp) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate().context("could not make a key")?;
        let certificate = leaf.params(now)?.signed_by(&key, &self.issuer).context("could not sign")?;
        Ok((format!("{}{}", certificate.pem(), self.pem), key.serialize_pem()))
    }

    /// Signs a certificate for the key of a request in DER; all else that the request says is not heeded.
    ///
    /// # Errors
    /// Where it is no request, or the names cannot be those of a certificate.
    pub fn sign(&self, request: &[u8], leaf: &Leaf, now: Timestamp) -> anyhow::Result<String> {
        let mut request = CertificateSigningRequestParams::from_der(&request.into())
            .context("the body is no certificate signing request in DER")?;
        request.params = leaf.params(now)?;
        let certificate = request.signed_by(&self.issuer).context("could not sign")?;
        Ok(format!("{}{}", certificate.pem(), self.pem))
    }

    /// Makes the pair of files say this: they are left as they are where they do and will for a while.
    ///
    /// # Errors
    /// Where files cannot be read or written.
    pub fn keep(&self, pair: &Pair, leaf: &Leaf, now: Timestamp) -> anyhow::Result<()> {
        if let (Some(certificate), Some(_)) = (read(&pair.certificate)?, read(&pair.key)?)
            && certificate.ends_with(&self.pem)
            && says(&certificate, leaf, now)
        {
            return Ok(());
        }
        let (certificate, key) = self.issue(leaf, now)?;
        write(&pair.key, &key, PRIVATE)?;
        write(&pair.certificate, &certificate, PUBLIC)
    }
}

/// The key in a file, or a new one, and a request in DER for a certificate of it. Who it is for is the server's to
/// say.
///
/// # Errors
/// Where no key can be read or made.
pub fn request(file: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let key = match read(file)? {
        Some(key) => {
            KeyPair::from_pem(&key).with_context(|| format!("{} is no usable key", file.display()))?
        }
        None => KeyPair::generate().context("could not make a key")?,
    };
    let params = CertificateParams::new(Vec::new()).context("no names")?;
    let request = params.serialize_request(&key).context("could not write a request")?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

/// Whether a certificate says this and will say so for a while.
pub fn says(pem: &str, leaf: &Leaf, now: Timestamp) -> bool {
    parsed(pem, |certificate| {
        let subject = certificate.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let group = subject.iter_organization().next().and_then(|group| group.as_str().ok());
        let mut names = names(certificate);
        let mut wanted: Vec<String> = leaf.names.iter().map(|name| canonical(name)).collect();
        names.sort();
        wanted.sort();
        names.dedup();
        wanted.dedup();
        let until = certificate.validity().not_after.timestamp();
        name == Some(&leaf.name)
            && group == leaf.group.as_deref()
            && names == wanted
            && until > (now + RENEW).as_second()
    })
    .unwrap_or(false)
}

/// Looks at the first certificate of a text.
fn parsed<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    Some(look(&block.parse_x509().ok()?))
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extensions = certificate.extensions().iter();
    let alternatives = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names),
        _ => None,
    });
    alternatives
        .flat_map(|names| &names.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            },
            _ => None,
        })
        .collect()
}

fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

fn at(moment: Timestamp) -> anyhow::Result<ASN1Time> {
    ASN1Time::from_timestamp(moment.as_second())
        .ok()
        .context("the clock is outside of what certificates can say")
}

/// For keys and tokens: the owner's alone.
pub(crate) const PRIVATE: u32 = 0o600;

/// For what anybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// What is in a file, if there is one.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

/// Puts a file in place whole: a crash leaves the old one or the new one.
pub(crate) fn write(path: &Path, content: &(impl AsRef<[u8]> + ?Sized), mode: u32) -> anyhow::Result<()> {
    let place = || format!("could not write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(place)?;
    }
    let mut name = path.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
    name.push(".new");
    let draft = path.with_file_name(name);
    // What an earlier crash left may have another mode.
    drop(std::fs::remove_file(&draft));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft);
    let mut file = file.with_context(place)?;
    file.write_all(content.as_ref()).and_then(|()| file.sync_all()).with_context(place)?;
    std::fs::rename(&draft, path).with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn authority() -> Authority {
        let (certificate, key) = Authority::make("test", now()).unwrap();
        Authority::new(certificate, &key).unwrap()
    }

    #[test]
    fn what_is_kept_and_what_is_made_anew() {
        let leaf = Leaf::server("kube-apiserver", vec!["a".to_owned(), "10.0.0.1".to_owned()]);
        let (certificate, _) = authority().issue(&leaf, now()).unwrap();
        let days = |days: i64| now() + SignedDuration::from_hours(days * 24);
        let swapped = Leaf { names: vec!["10.0.0.1".to_owned(), "a".to_owned()], ..leaf.clone() };
        let more =
            Leaf { names: vec!["a".to_owned(), "10.0.0.1".to_owned(), "b".to_owned()], ..leaf.clone() };
        let grouped = Leaf { group: Some("g".to_owned()), ..leaf.clone() };
        let cases = [
            ("as it is", &leaf, days(0), true),
            ("names in another order", &swapped, days(0), true),
            ("a further name", &more, days(0), false),
            ("a group", &grouped, days(0), false),
            ("91 days left", &leaf, days(274), true),
            ("89 days left", &leaf, days(276), false),
        ];
        for (what, leaf, now, expected) in cases {
            assert_eq!(says(&certificate, leaf, now), expected, "{what}");
        }
    }

    #[test]
    fn requests_give_a_key_and_no_name() {
        let (key, request) = request(Path::new("/nowhere/key")).unwrap();
        let leaf = Leaf::client("system:node:a", Some("system:nodes"));
        let certificate = authority().sign(&request, &leaf, now()).unwrap();
        assert!(says(&certificate, &leaf, now()));
        let public = KeyPair::from_pem(&key).unwrap().public_key_raw().to_vec();
        let signed = parsed(&certificate, |c| c.public_key().subject_public_key.data.to_vec()).unwrap();
        assert_eq!(signed, public);
    }

    #[test]
    fn files_stay_until_they_must_change() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(&Pair::at(folder.path(), "ca"), "test", now()).unwrap();
        let pair = Pair::at(folder.path(), "leaf");
        let leaf = Leaf::client("a", None);
        authority.keep(&pair, &leaf, now()).unwrap();
        let first = read(&pair.certificate).unwrap();
        let again = Authority::ensure(&Pair::at(folder.path(), "ca"), "test", now()).unwrap();
        again.keep(&pair, &leaf, now()).unwrap();
        assert_eq!(read(&pair.certificate).unwrap(), first);
        std::fs::remove_file(folder.path().join("ca.key")).unwrap();
        let error = Authority::ensure(&Pair::at(folder.path(), "ca"), "test", now()).unwrap_err();
        assert!(error.to_string().contains("ca.key is not"), "{error}");
    }
}
