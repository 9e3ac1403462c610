//! What a name may look like: the forms upstream checks everywhere, with its messages.

/// The most bytes in a label's value, and in the name part of its key.
pub const LABEL_MAX: usize = 63;

/// The most bytes in a DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const LABEL: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_SAID: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_SAID: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";

/// What is wrong with a label's key (a qualified name); empty when nothing is.
pub fn label_key_errors(key: &str) -> Vec<String> {
    let said = || regex_said(LABEL_SAID, LABEL, &["MyName", "my.name", "123-abc"]);
    let mut errors = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        ["", name] => {
            errors.push("prefix part must be non-empty".to_owned());
            name
        }
        [prefix, name] => {
            errors.extend(subdomain_errors(prefix).into_iter().map(|error| format!("prefix part {error}")));
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                said()
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_label(name) {
        errors.push(format!("name part {}", said()));
    }
    errors
}

/// What is wrong with a label's value; empty when nothing is.
pub fn label_value_errors(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(too_long(LABEL_MAX));
    }
    if !value.is_empty() && !is_label(value) {
        let said =
            format!("a valid label must be an empty string or {}", LABEL_SAID.replacen("must ", "", 1));
        errors.push(regex_said(&said, &format!("({LABEL})?"), &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// What is wrong with a DNS subdomain; empty when nothing is.
pub fn subdomain_errors(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(too_long(SUBDOMAIN_MAX));
    }
    if !value.split('.').all(is_dns_label) {
        errors.push(regex_said(SUBDOMAIN_SAID, SUBDOMAIN, &["example.com"]));
    }
    errors
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_dns_label(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(inner)
        && bytes.last().is_some_and(inner)
        && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
}

fn too_long(most: usize) -> String {
    format!("must be no more than {most} bytes")
}

fn regex_said(said: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{said} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}
