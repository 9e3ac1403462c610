//! Whether rules hold all that other rules give, and what is missing: pure.

use super::rule::{Names, Rule};

fn of(names: &Option<Names>) -> &[Box<str>] {
    names.as_deref().unwrap_or_default()
}

fn has(names: &[Box<str>], wanted: &str) -> bool {
    names.iter().any(|name| &**name == wanted)
}

fn one(name: &str) -> Option<Names> {
    Some(Box::from([Box::from(name)]))
}

/// A rule that gives one verb on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atom<'a> {
    Path { verb: &'a str, url: &'a str },
    Resource { verb: &'a str, group: &'a str, resource: &'a str, name: Option<&'a str> },
}

/// A rule, piece by piece.
fn atoms(rule: &Rule) -> Vec<Atom<'_>> {
    let mut found = Vec::new();
    for verb in of(&rule.verbs) {
        found.extend(of(&rule.urls).iter().map(|url| Atom::Path { verb, url }));
        for group in of(&rule.api_groups) {
            for resource in of(&rule.resources) {
                let atom = |name| Atom::Resource { verb, group, resource, name };
                match of(&rule.resource_names) {
                    [] => found.push(atom(None)),
                    names => found.extend(names.iter().map(|name| atom(Some(name)))),
                }
            }
        }
    }
    found
}

/// Whether a rule gives a piece.
fn gives(rule: &Rule, atom: &Atom<'_>) -> bool {
    let any = |names: &Option<Names>, wanted: &str| has(of(names), "*") || has(of(names), wanted);
    match *atom {
        Atom::Path { verb, url } => {
            any(&rule.verbs, verb)
                && of(&rule.urls).iter().any(|own| match own.strip_suffix('*') {
                    Some(prefix) => url.starts_with(prefix),
                    None => &**own == url,
                })
        }
        Atom::Resource { verb, group, resource, name } => {
            let names = of(&rule.resource_names);
            let below = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
            any(&rule.verbs, verb)
                && any(&rule.api_groups, group)
                && (any(&rule.resources, resource) || below.is_some_and(|all| has(of(&rule.resources), &all)))
                && (names.is_empty() || name.is_some_and(|name| has(names, name)))
        }
    }
}

/// What of `wanted` nobody of `owned` gives, with the verbs on one thing put together.
pub(crate) fn missing(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut found: Vec<Rule> = Vec::new();
    for atom in wanted.iter().flat_map(atoms).filter(|atom| !owned.iter().any(|rule| gives(rule, atom))) {
        let (verb, rule) = match atom {
            Atom::Path { verb, url } => (verb, Rule { urls: one(url), ..Rule::default() }),
            Atom::Resource { verb, group, resource, name } => (
                verb,
                Rule {
                    api_groups: one(group),
                    resources: one(resource),
                    resource_names: name.and_then(one),
                    ..Rule::default()
                },
            ),
        };
        // Rules on paths are not put together, as upstream does not.
        let same =
            |other: &&mut Rule| rule.urls.is_none() && Rule { verbs: None, ..Rule::clone(other) } == rule;
        if let Some(known) = found.iter_mut().find(same) {
            if !has(of(&known.verbs), verb) {
                let verbs = of(&known.verbs).iter().cloned().chain([verb.into()]);
                known.verbs = Some(verbs.collect());
            }
        } else {
            found.push(Rule { verbs: one(verb), ..rule });
        }
    }
    found
}

/// A rule as upstream's messages show it.
pub(crate) fn text(rule: &Rule) -> String {
    let fields = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let shown: Vec<String> = fields
        .iter()
        .filter(|(_, names)| !of(names).is_empty())
        .map(|(label, names)| {
            let names: Vec<String> = of(names).iter().map(|name| crate::field::quoted(name)).collect();
            format!("{label}:[{}]", names.join(" "))
        })
        .collect();
    format!("{{{}}}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_missing() {
        let pods = json!({"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]});
        let named =
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]});
        let logs = json!({"apiGroups": ["*"], "resources": ["*/log"], "verbs": ["*"]});
        let paths = json!({"nonResourceURLs": ["/a/*"], "verbs": ["get"]});
        let path = json!({"nonResourceURLs": ["/a/b"], "verbs": ["get"]});
        let cases: &[(Vec<&Value>, &Value, &[&str])] = &[
            (vec![&pods], &pods, &[]),
            (vec![&pods], &named, &[]),
            (
                vec![&named],
                &pods,
                &[
                    r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#,
                    r#"{APIGroups:[""], Resources:["pods/log"], Verbs:["get" "list"]}"#,
                ],
            ),
            (vec![&logs], &pods, &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#]),
            (vec![&paths], &path, &[]),
            (vec![&path], &paths, &[r#"{NonResourceURLs:["/a/*"], Verbs:["get"]}"#]),
        ];
        let read = |rule: &Value| -> Rule { serde_json::from_value(rule.clone()).unwrap() };
        for (owned, wanted, expected) in cases {
            let owned: Vec<Rule> = owned.iter().map(|rule| read(rule)).collect();
            let found: Vec<String> = missing(&owned, &[read(wanted)]).iter().map(text).collect();
            assert_eq!(found, *expected, "{wanted}");
        }
    }
}
