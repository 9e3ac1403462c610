//! What one rule of a role allows: pure.

use serde::{Deserialize, Serialize};

use crate::request::RequestInfo;

/// A list of names out of a rule.
pub(super) type Names = Box<[Box<str>]>;

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verbs: Option<Names>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_groups: Option<Names>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<Names>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_names: Option<Names>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Option::is_none")]
    pub(super) urls: Option<Names>,
}

impl Rule {
    /// The rules that allow everything.
    pub(super) fn everything() -> [Self; 2] {
        let all = || Some(Box::from([Box::from("*")]));
        let on = Self { verbs: all(), api_groups: all(), resources: all(), ..Self::default() };
        [on, Self { verbs: all(), urls: all(), ..Self::default() }]
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// Whether it is about a resource.
    pub is_resource: bool,
    /// The verb.
    pub verb: &'a str,
    /// The group.
    pub group: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// The subresource, or empty.
    pub subresource: &'a str,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name, or empty.
    pub name: &'a str,
    /// The path.
    pub path: &'a str,
    /// What a list, a watch or a deletion of many is narrowed down to by fields, or empty.
    pub fields: &'a str,
}

impl<'a> Attributes<'a> {
    /// Those of a request.
    pub fn of(info: &'a RequestInfo) -> Self {
        Self {
            is_resource: info.is_resource,
            verb: &info.verb,
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: &info.path,
            fields: info.param("fieldSelector").unwrap_or_default(),
        }
    }

    /// `pods` or `pods/log`.
    pub fn whole_resource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

fn has(names: &Option<Names>, wanted: &str) -> bool {
    names.iter().flatten().any(|name| &**name == "*" || &**name == wanted)
}

/// Whether a rule allows what is asked for.
pub fn allows(rule: &Rule, asked: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, asked.verb) {
        return false;
    }
    if !asked.is_resource {
        return rule.urls.iter().flatten().any(|url| match url.strip_suffix('*') {
            Some(prefix) => asked.path.starts_with(prefix),
            None => &**url == asked.path,
        });
    }
    has(&rule.api_groups, asked.group)
        && rule.resources.iter().flatten().any(|resource| is_resource(resource, asked))
        && rule
            .resource_names
            .as_ref()
            .is_none_or(|names| names.is_empty() || names.iter().any(|name| &**name == asked.name))
}

/// Whether a rule's `pods`, `pods/log`, `*` or `*/log` means the resource.
fn is_resource(rule: &str, asked: &Attributes<'_>) -> bool {
    match rule.split_once('/') {
        None => rule == "*" || asked.subresource.is_empty() && rule == asked.resource,
        Some((resource, subresource)) => {
            !asked.subresource.is_empty()
                && subresource == asked.subresource
                && (resource == "*" || resource == asked.resource)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_and_requests() {
        let pods = json!({"verbs": ["list", "get"], "apiGroups": [""], "resources": ["pods"]});
        let named = json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]});
        let logs = json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/log"]});
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/logs/*", "/metrics"]});
        let cases = [
            (&pods, "/api/v1/namespaces/x/pods", true),
            (&pods, "/api/v1/namespaces/x/pods/a", true),
            (&pods, "/api/v1/namespaces/x/pods/a/log", false),
            (&pods, "/apis/apps/v1/namespaces/x/pods", false),
            (&named, "/api/v1/namespaces/x/pods/a", true),
            (&named, "/api/v1/namespaces/x/pods/b", false),
            (&named, "/api/v1/namespaces/x/pods", false),
            (&logs, "/api/v1/namespaces/x/pods/a/log", true),
            (&logs, "/api/v1/namespaces/x/pods/a", false),
            (&all, "/api/v1/namespaces/x/pods/a/log", true),
            (&all, "/metrics", false),
            (&paths, "/logs/a", true),
            (&paths, "/logs", false),
            (&paths, "/metrics", true),
            (&paths, "/metrics/slis", false),
        ];
        for (rule, path, expected) in cases {
            let read: Rule = serde_json::from_value(rule.clone()).unwrap();
            let info = RequestInfo::parse(&Method::GET, &path.parse().unwrap());
            assert_eq!(allows(&read, &Attributes::of(&info)), expected, "{rule} {path}");
        }
    }
}
