//! What names must look like, in upstream's words.

use proto::name::{LABEL_MAX, SUBDOMAIN_MAX, subdomain_errors};

use crate::kind::NameRule;

const LABEL_WRONG: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035_WRONG: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
    with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used \
    for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
fn too_long(most: usize) -> String {
    format!("must be no more than {most} characters")
}

fn lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if lower(*first) && lower(*last))
        && bytes.iter().all(|c| lower(*c) || *c == b'-')
}

/// What is wrong with an RFC 1123 label.
pub fn label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(text) {
        wrong.push(LABEL_WRONG.to_owned());
    }
    wrong
}

/// What is wrong with an RFC 1035 label.
pub fn label_1035(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(text) || text.starts_with(|c: char| c.is_ascii_digit()) {
        wrong.push(LABEL_1035_WRONG.to_owned());
    }
    wrong
}

/// What is wrong with a name that must be a path segment.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%'].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// What is wrong with an RFC 1123 subdomain. Of names upstream counts characters, not bytes.
fn subdomain(text: &str) -> Vec<String> {
    let mut wrong = subdomain_errors(text);
    if text.len() > SUBDOMAIN_MAX
        && let Some(first) = wrong.first_mut()
    {
        *first = too_long(SUBDOMAIN_MAX);
    }
    wrong
}

/// What is wrong with a name by a kind's rule. Of a prefix (`generateName`) a dash at the end is no fault.
pub fn check(rule: NameRule, text: &str, prefix: bool) -> Vec<String> {
    let masked;
    let text = match text.strip_suffix('-').filter(|_| prefix && text.len() > 1) {
        Some(rest) => {
            masked = format!("{rest}a");
            masked.as_str()
        }
        None => text,
    };
    match rule {
        NameRule::Subdomain => subdomain(text),
        NameRule::Label => label(text),
        NameRule::DnsLabel1035 => label_1035(text),
        NameRule::PathSegment => path_segment(text),
        NameRule::Own => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases: &[(NameRule, &str, bool, usize)] = &[
            (NameRule::Subdomain, "a.b-c.d", false, 0),
            (NameRule::Subdomain, "a-", false, 1),
            (NameRule::Subdomain, "a-", true, 0),
            (NameRule::Subdomain, "A", false, 1),
            (NameRule::Label, "a.b", false, 1),
            (NameRule::DnsLabel1035, "1a", false, 1),
            (NameRule::PathSegment, "system:node", false, 0),
            (NameRule::PathSegment, "a/b%", false, 2),
        ];
        for (rule, text, prefix, wrong) in cases {
            assert_eq!(check(*rule, text, *prefix).len(), *wrong, "{text}");
        }
    }
}
