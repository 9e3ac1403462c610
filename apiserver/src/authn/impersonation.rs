//! Acting as somebody else: who is wanted, by headers, and whether whoever asks may be them.
//!
//! There are several ways to be allowed to. The narrow ones, tried first, take two permissions: to be that somebody
//! (`impersonate:MODE`), and to do this very thing as them (`impersonate-on:MODE:VERB`). The old one takes
//! `impersonate` alone.

use std::collections::BTreeMap;

use http::HeaderMap;

use crate::authz;
use crate::authz::rule::Attributes;
use crate::fault::Fault;
use crate::field::quoted;
use crate::request::{RequestInfo, User};
use crate::server::Server;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// Where the things that one may impersonate are, beside the core group.
const AUTHENTICATION: &str = "authentication.k8s.io";

const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const AUTHENTICATED: &str = "system:authenticated";
const NODE: &str = "system:node:";
const ACCOUNT: &str = "system:serviceaccount:";

/// From so many groups on, all of them may be allowed at once.
const MANY: usize = 4;

/// A way to be somebody else.
struct Mode {
    /// Its name in verbs; empty for the old way.
    name: &'static str,
    /// Whether it is for such a user, wanted by this one.
    applies: fn(wanted: &User, by: &User) -> bool,
}

const MODES: &[Mode] = &[
    Mode { name: "associated-node", applies: |wanted, by| is_only_name(wanted) && is_own_node(wanted, by) },
    Mode {
        name: "arbitrary-node",
        applies: |wanted, _| is_only_name(wanted) && node(&wanted.name).is_some(),
    },
    Mode {
        name: "serviceaccount",
        applies: |wanted, _| is_only_name(wanted) && account(&wanted.name).is_some(),
    },
    Mode {
        name: "user-info",
        applies: |wanted, _| node(&wanted.name).is_none() && account(&wanted.name).is_none(),
    },
    Mode { name: "", applies: |_, _| true },
];

fn node(name: &str) -> Option<&str> {
    name.strip_prefix(NODE).filter(|name| !name.is_empty())
}

fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

fn is_only_name(user: &User) -> bool {
    user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty()
}

/// Whether a service account's pod is on the node that it wants to be.
fn is_own_node(wanted: &User, by: &User) -> bool {
    let on = by.extra.get("authentication.kubernetes.io/node-name").and_then(|names| names.first());
    account(&by.name).is_some() && on.is_some() && on.map(String::as_str) == node(&wanted.name)
}

/// The user that headers ask to act as, as they say it; the headers are taken away.
///
/// # Errors
/// 400 where they say all but the name.
fn wanted(headers: &mut HeaderMap) -> Result<Option<User>, Fault> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut user = User { name: one(USER), uid: one(UID), ..User::default() };
    user.groups = headers.get_all(GROUP).iter().map(text).collect();
    for (name, value) in headers.iter() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            user.extra.entry(crate::request::decoded(key)).or_default().push(text(value));
        }
    }
    if user.name.is_empty() {
        return if is_only_name(&user) {
            Ok(None)
        } else {
            let message = format!("requested {} without impersonating a user name", shown(&user));
            Err(Fault::bad_request(message))
        };
    }
    let names: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    Ok(Some(user))
}

/// A user as Go shows one.
fn shown(user: &User) -> String {
    let list = |items: &[String]| {
        let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
        format!("[]string{{{}}}", items.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{}:{}", quoted(key), list(values))).collect();
    let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", extra.join(", ")) };
    format!(
        "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{groups}, Extra:map[string][]string{extra}}}",
        quoted(&user.name),
        quoted(&user.uid)
    )
}

/// Who a request is to be made as: whoever sent it, or whom its headers name.
///
/// # Errors
/// 403 where the sender may not be them, with the refusal of the first way that is for such a user.
pub(crate) fn acting(
    server: &Server,
    user: User,
    headers: &mut HeaderMap,
    info: &RequestInfo,
) -> Result<User, Fault> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    let mut first = None;
    for mode in MODES.iter().filter(|mode| (mode.applies)(&wanted, &user)) {
        match (Check { server, by: &user, mode: mode.name }).run(&wanted, info) {
            Ok(acting) => return Ok(acting),
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    Err(first.unwrap_or_else(|| Fault::internal("all impersonation modes failed")))
}

/// One attempt at one way.
struct Check<'a> {
    server: &'a Server,
    by: &'a User,
    mode: &'static str,
}

impl Check<'_> {
    fn is_narrow(&self) -> bool {
        !self.mode.is_empty()
    }

    fn verb(&self) -> String {
        if self.is_narrow() { format!("impersonate:{}", self.mode) } else { "impersonate".to_owned() }
    }

    fn must(&self, asked: &Attributes<'_>) -> Result<(), Fault> {
        let verdict = authz::decide(self.server, self.by, asked);
        if verdict.allowed { Ok(()) } else { Err(authz::forbidden(self.by, asked, &verdict.reason)) }
    }

    fn refuse(&self, asked: &Attributes<'_>, why: &str) -> Result<(), Fault> {
        Err(authz::forbidden(self.by, asked, why))
    }

    fn run(&self, wanted: &User, info: &RequestInfo) -> Result<User, Fault> {
        let asked = Attributes::of(info);
        if self.is_narrow() {
            let verb = format!("impersonate-on:{}:{}", self.mode, asked.verb);
            self.must(&Attributes { verb: &verb, ..asked })?;
        }
        let verb = self.verb();
        let group = if self.is_narrow() { AUTHENTICATION } else { "" };
        let on = |resource| Attributes {
            is_resource: true,
            verb: &verb,
            group,
            resource,
            ..Attributes::default()
        };
        let mut acting = wanted.clone();
        let mut who = Attributes { name: &wanted.name, ..on("users") };
        if let Some(name) = node(&wanted.name).filter(|_| self.is_narrow()) {
            // Which node it is has been looked at already where it must be a certain one.
            let name = if self.mode == "associated-node" { "*" } else { name };
            who = Attributes { name, ..on("nodes") };
            acting.groups = vec!["system:nodes".to_owned()];
        } else if let Some((namespace, name)) = account(&wanted.name) {
            who = Attributes { namespace, name, ..on("serviceaccounts") };
            if wanted.groups.is_empty() {
                acting.groups =
                    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            }
        }
        self.must(&who)?;
        if !wanted.uid.is_empty() {
            self.must(&Attributes { group: AUTHENTICATION, name: &wanted.uid, ..on("uids") })?;
        }
        self.groups(&wanted.groups, on("groups"))?;
        self.extra(&wanted.extra, Attributes { group: AUTHENTICATION, ..on("userextras") })?;
        complete(&mut acting);
        Ok(acting)
    }

    fn groups(&self, groups: &[String], asked: Attributes<'_>) -> Result<(), Fault> {
        if self.is_narrow() {
            if groups.iter().any(String::is_empty) {
                return self.refuse(&asked, "impersonating the empty string group is not allowed");
            }
            if let Some(name) = groups.iter().find(|group| *group == authz::MASTERS) {
                let why = "impersonating the system:masters group is not allowed";
                return self.refuse(&Attributes { name, ..asked }, why);
            }
            if groups.len() >= MANY && self.must(&Attributes { name: "*", ..asked }).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|name| self.must(&Attributes { name, ..asked }))
    }

    fn extra(&self, extra: &BTreeMap<String, Vec<String>>, asked: Attributes<'_>) -> Result<(), Fault> {
        for (subresource, values) in extra {
            for name in values {
                self.must(&Attributes { subresource, name, ..asked })?;
            }
        }
        Ok(())
    }
}

/// Adds the group that says whether somebody is known.
fn complete(user: &mut User) {
    let group = if user.name == ANONYMOUS {
        UNAUTHENTICATED
    } else if user.groups.iter().any(|group| group == UNAUTHENTICATED) {
        return;
    } else {
        AUTHENTICATED
    };
    if !user.groups.iter().any(|known| known == group) {
        user.groups.push(group.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn whom_headers_name() {
        let nobody = wanted(&mut headers(&[("impersonate-user", ""), ("accept", "x")]));
        assert_eq!(nobody, Ok(None));
        let mut given = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-uid", "1"),
            ("impersonate-group", "dev"),
            ("impersonate-extra-a%2fb", "c"),
            ("accept", "x"),
        ]);
        let user = wanted(&mut given).unwrap().unwrap();
        assert_eq!(
            (user.name.as_str(), user.uid.as_str(), user.groups),
            ("jane", "1", vec!["dev".to_owned()])
        );
        assert_eq!(user.extra["a/b"], ["c"]);
        assert_eq!(given.len(), 1);
    }

    #[test]
    fn names_are_needed() {
        for (name, value, expected) in [
            ("impersonate-group", "dev", r#"Groups:[]string{"dev"}, Extra:map[string][]string(nil)}"#),
            (
                "impersonate-extra-a",
                "b",
                r#"Groups:[]string(nil), Extra:map[string][]string{"a":[]string{"b"}}}"#,
            ),
        ] {
            let fault = wanted(&mut headers(&[(name, value)])).unwrap_err();
            let whole = format!(
                "requested &user.DefaultInfo{{Name:\"\", UID:\"\", {expected} without impersonating a user name"
            );
            assert_eq!(fault.message, whole);
        }
    }

    #[test]
    fn ways_are_for_certain_users() {
        let user = |name: &str| User { name: name.into(), ..User::default() };
        let by = user("bob");
        for (name, expected) in [
            ("jane", vec!["user-info", ""]),
            ("system:node:n", vec!["arbitrary-node", ""]),
            ("system:serviceaccount:a:b", vec!["serviceaccount", ""]),
        ] {
            let found: Vec<&str> =
                MODES.iter().filter(|mode| (mode.applies)(&user(name), &by)).map(|mode| mode.name).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
