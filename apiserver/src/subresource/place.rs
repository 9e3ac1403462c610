//! Where a request about a pod goes: which container, which address of its node, which query.

use serde_json::Value;

use crate::backend::{Place, Security};
use crate::fault::Fault;
use crate::kind::fill;
use crate::request::RequestInfo;

/// The port of kubelets that do not say theirs.
const KUBELET_PORT: u16 = 10250;

/// The lists of containers in a pod's spec, in the order in which messages name them.
const CONTAINERS: [&str; 3] = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"];

/// The container that is meant: the one asked for, or the only one there is.
///
/// # Errors
/// 400 where there is no such container, or where there are several and none is asked for.
pub(super) fn container(pod: &Value, asked: Option<&str>) -> Result<String, Fault> {
    let name = fill::text(pod, "metadata.name");
    let all: Vec<&str> = CONTAINERS
        .iter()
        .flat_map(|list| fill::list(pod, list))
        .map(|container| fill::text(container, "name"))
        .collect();
    match asked.filter(|asked| !asked.is_empty()) {
        Some(asked) if all.contains(&asked) => Ok(asked.to_owned()),
        Some(asked) => Err(Fault::bad_request(format!("container {asked} is not valid for pod {name}"))),
        None => match fill::list(pod, "spec.containers") {
            [only] => Ok(fill::text(only, "name").to_owned()),
            [] => Err(Fault::bad_request(format!("a container name must be specified for pod {name}"))),
            _ => Err(Fault::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            ))),
        },
    }
}

/// Where a node's kubelet listens; types of addresses in order of preference.
///
/// # Errors
/// 500 where the node has no address of these types.
pub(super) fn kubelet(node: &Value, preferred: &[String], verified: bool) -> Result<Place, Fault> {
    let addresses = fill::list(node, "status.addresses");
    let found = preferred.iter().find_map(|wanted| {
        addresses
            .iter()
            .find(|address| fill::text(address, "type") == wanted)
            .map(|address| fill::text(address, "address"))
    });
    let Some(host) = found else {
        let known: Vec<String> = addresses
            .iter()
            .map(|address| format!("{{{} {}}}", fill::text(address, "type"), fill::text(address, "address")))
            .collect();
        let why = format!("no preferred addresses found; known addresses: [{}]", known.join(" "));
        return Err(Fault::new(500, "", why));
    };
    let port = fill::int(node, "status.daemonEndpoints.kubeletEndpoint.Port")
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .unwrap_or(KUBELET_PORT);
    let security = if verified { Security::Kubelet } else { Security::KubeletUnverified };
    Ok(Place { security, host: host.to_owned(), port })
}

/// The flags of exec and attach: what a client calls them, and what the kubelet does.
const STREAMS: [(&str, &str); 4] =
    [("stderr", "error"), ("stdin", "input"), ("stdout", "output"), ("tty", "tty")];

/// What the kubelet is told about an exec or an attach.
pub(super) fn stream_query(info: &RequestInfo) -> String {
    let commands = if info.subresource == "exec" { info.values("command") } else { Vec::new() };
    let flags = STREAMS.iter().filter(|(name, _)| info.flag(name)).map(|(_, kubelet)| (*kubelet, "1"));
    query(commands.into_iter().map(|word| ("command", word)).chain(flags))
}

/// What the kubelet is told about a port-forward.
///
/// # Errors
/// 400 where a port is no number.
pub(super) fn forward_query(info: &RequestInfo) -> Result<String, Fault> {
    let mut ports = Vec::new();
    for port in info.values("ports") {
        port.parse::<i32>().map_err(|_| {
            Fault::bad_request(format!(
                "strconv.ParseInt: parsing {}: invalid syntax",
                crate::field::quoted(port)
            ))
        })?;
        ports.push(port);
    }
    let joined = ports.join(",");
    Ok(query((!ports.is_empty()).then_some(("port", joined.as_str())).into_iter()))
}

/// A query, question mark included; empty where there is nothing to say.
pub(super) fn query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let text = pairs.map(|(key, value)| format!("{key}={}", escaped(value))).collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}

/// A value as queries carry it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn which_container_is_meant() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}],
            "initContainers": [{"name": "i"}]}});
        let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}]}});
        let cases = [
            (&one, None, Ok("c")),
            (&one, Some(""), Ok("c")),
            (&one, Some("i"), Ok("i")),
            (&one, Some("z"), Err("container z is not valid for pod p")),
            (&two, None, Err("a container name must be specified for pod p, choose one of: [i a b e]")),
            (&two, Some("e"), Ok("e")),
        ];
        for (pod, asked, expected) in cases {
            let found = container(pod, asked).map_err(|fault| fault.message);
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{asked:?}");
        }
    }

    #[test]
    fn where_a_kubelet_listens() {
        let preferred = ["InternalIP", "Hostname"].map(str::to_owned);
        let cases = [
            (
                json!({"status": {"addresses": [{"type": "Hostname", "address": "n"},
                    {"type": "InternalIP", "address": "10.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": 4711}}}}),
                Ok("https://10.0.0.1:4711/"),
            ),
            (
                json!({"status": {"addresses": [{"type": "Hostname", "address": "n"}]}}),
                Ok("https://n:10250/"),
            ),
            (
                json!({"status": {"addresses": [{"type": "ExternalIP", "address": "1.2.3.4"}]}}),
                Err("no preferred addresses found; known addresses: [{ExternalIP 1.2.3.4}]"),
            ),
        ];
        for (node, expected) in cases {
            let found = kubelet(&node, &preferred, true).map(|place| place.url("/"));
            let found = found.map_err(|fault| fault.message);
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{node}");
        }
    }

    #[test]
    fn what_the_kubelet_is_told() {
        let cases = [
            (
                "exec?container=c&command=sh&command=-c&command=a%20%26%20b&stdin=true&stdout=1&stderr=false&tty=true",
                "?command=sh&command=-c&command=a+%26+b&input=1&output=1&tty=1",
            ),
            ("attach?command=x&stderr=true", "?error=1"),
            ("exec", ""),
        ];
        for (path, expected) in cases {
            let uri = format!("/api/v1/namespaces/a/pods/p/{path}").parse().unwrap();
            let info = RequestInfo::parse(&http::Method::GET, &uri);
            assert_eq!(stream_query(&info), expected, "{path}");
        }
        let uri = "/api/v1/namespaces/a/pods/p/portforward?ports=80&ports=81".parse().unwrap();
        let info = RequestInfo::parse(&http::Method::GET, &uri);
        assert_eq!(forward_query(&info).unwrap(), "?port=80%2C81");
    }
}
