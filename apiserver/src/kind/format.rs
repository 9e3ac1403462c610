//! What names, addresses and other texts in objects must look like, in the words of Kubernetes.

use std::net::IpAddr;

/// The longest DNS label.
pub(crate) const LABEL: usize = 63;
/// The longest DNS subdomain.
pub(crate) const SUBDOMAIN: usize = 253;

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
    alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
    validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
    or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_1123: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
    which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character \
    (e.g. '*.example.com', regex used for validation is \
    '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII characters other than \
    '='";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
    'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
    '93%', regex used for validation is '[0-9]+%')";

fn too_long(most: usize) -> String {
    format!("must be no more than {most} characters")
}

fn rule(text: &str, most: usize, fits: bool, message: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > most {
        out.push(too_long(most));
    }
    if !fits {
        out.push(message.to_owned());
    }
    out
}

fn is_label(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first().copied())
        && edge(bytes.last().copied())
        && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// RFC 1123 label.
pub(crate) fn label(text: &str) -> Vec<String> {
    rule(text, LABEL, is_label(text), LABEL_1123)
}

/// RFC 1035 label.
pub(crate) fn label_1035(text: &str) -> Vec<String> {
    let fits = is_label(text) && text.as_bytes()[0].is_ascii_lowercase();
    rule(text, LABEL, fits, LABEL_1035)
}

/// RFC 1123 subdomain.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    rule(text, SUBDOMAIN, is_subdomain(text), SUBDOMAIN_1123)
}

/// A subdomain after `*.`.
pub(crate) fn wildcard(text: &str) -> Vec<String> {
    let fits = text.strip_prefix("*.").is_some_and(is_subdomain);
    rule(text, SUBDOMAIN, fits, WILDCARD_1123)
}

/// `name` or `prefix/name`: the keys of labels and their like.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (prefix, name) = match text.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                QUALIFIED
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    match prefix {
        Some("") => out.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            out.extend(subdomain(prefix).into_iter().map(|message| format!("prefix part {message}")))
        }
        None => {}
    }
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL {
        out.push(format!("name part {}", too_long(LABEL)));
    }
    if !is_qualified_part(name) {
        out.push(format!("name part {QUALIFIED}"));
    }
    out
}

/// The value of a label.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    rule(text, LABEL, text.is_empty() || is_qualified_part(text), LABEL_VALUE)
}

/// The name of an environment variable.
pub(crate) fn env_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        return Vec::new();
    }
    vec![ENV_NAME.to_owned()]
}

/// A key of a ConfigMap or Secret.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let fits = !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    let mut out = rule(text, SUBDOMAIN, fits, CONFIG_KEY);
    match text {
        "." => out.push("must not be '.'".to_owned()),
        ".." => out.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// A port number.
pub(crate) fn port(number: i64) -> Vec<String> {
    if (1..=65535).contains(&number) {
        return Vec::new();
    }
    vec!["must be between 1 and 65535, inclusive".to_owned()]
}

/// The longest name of a port.
const PORT_NAME: usize = 15;

/// The name of a port.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > PORT_NAME {
        out.push(format!("must be no more than {PORT_NAME} characters"));
    }
    if !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// A percentage.
pub(crate) fn percent(text: &str) -> Vec<String> {
    let fits = text.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()));
    if fits { Vec::new() } else { vec![PERCENT.to_owned()] }
}

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An IP address.
pub(crate) fn ip(text: &str) -> Vec<String> {
    if text.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    let parts: Vec<&str> = text.split('.').collect();
    let padded = parts.len() == 4 && parts.iter().all(|p| p.parse::<u32>().is_ok_and(|n| n < 256));
    vec![if padded { "must not have leading 0s" } else { IP }.to_owned()]
}

/// A network.
pub(crate) fn cidr(text: &str) -> Vec<String> {
    if text.parse::<ipnet::IpNet>().is_ok() { Vec::new() } else { vec![CIDR.to_owned()] }
}

/// A segment of a path in the API.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%'].into_iter().filter(|c| text.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A condition type, a finalizer or another name that must have a domain.
pub(crate) fn domain_prefixed(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![String::new()];
    }
    match text.split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => subdomain(host),
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()],
    }
}

/// The names of the finalizers that need no domain.
pub(crate) const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        type Case = (fn(&str) -> Vec<String>, &'static str, usize);
        let cases: &[Case] = &[
            (label, "a-b", 0),
            (label, "", 1),
            (label, "A", 1),
            (label_1035, "1a", 1),
            (subdomain, "a.b-c.1", 0),
            (subdomain, "a..b", 1),
            (qualified_name, "example.com/Name_1", 0),
            (qualified_name, "bad key!", 1),
            (qualified_name, "a/b/c", 1),
            (qualified_name, "/a", 1),
            (label_value, "", 0),
            (label_value, "-", 1),
            (config_key, "..x", 1),
            (port_name, "http", 0),
            (port_name, "-bad-", 1),
            (percent, "25%", 0),
            (percent, "10x", 1),
            (ip, "1.2.3.4", 0),
            (ip, "10.43.077.1", 1),
            (cidr, "1.2.3.4/33", 1),
            (wildcard, "*.a.b", 0),
        ];
        for (check, text, errors) in cases {
            assert_eq!(check(text).len(), *errors, "{text}");
        }
    }
}
