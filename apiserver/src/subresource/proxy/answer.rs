//! What a request to a proxy means: who is asked, at which address, for which path.

use std::net::IpAddr;

use serde_json::Value;

use crate::backend::{Place, Security};
use crate::fault::Fault;
use crate::kind::fill;

/// Whom a request names: `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) security: Security,
    pub(super) name: &'a str,
    /// A number, a name, or nothing.
    pub(super) port: &'a str,
}

impl<'a> Asked<'a> {
    /// Reads the name in a request for a resource.
    ///
    /// # Errors
    /// 400 where it is none of the three forms.
    pub(super) fn read(text: &'a str, resource: &str) -> Result<Self, Fault> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("?", "", ""),
        };
        let security = match scheme {
            "" | "http" => Security::Plain,
            "https" => Security::Unverified,
            _ => return Err(invalid(text, resource)),
        };
        if name.is_empty() {
            return Err(invalid(text, resource));
        }
        Ok(Self { security, name, port })
    }
}

fn invalid(text: &str, resource: &str) -> Fault {
    let one = resource.strip_suffix('s').unwrap_or(resource);
    Fault::bad_request(format!("invalid {one} request {text:?}"))
}

/// A port that must be a number.
pub(super) fn number(port: &str) -> Result<u16, Fault> {
    port.parse()
        .map_err(|_| Fault::bad_request(format!("invalid port {port:?}: it is no number from 0 to 65535")))
}

/// What follows `proxy` in a path, encoded as it came; its slash included.
pub(super) fn rest(path: &str, namespaced: bool) -> &str {
    // Nothing, api, v1, then (namespaces, its name,) the resource, its name, proxy.
    let before = if namespaced { 8 } else { 6 };
    match path.match_indices('/').nth(before - 1) {
        Some((place, _)) => &path[place..],
        None => "",
    }
}

/// Whether an address can be a pod's or a node's: what is local to us is not.
pub(super) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_link_local()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_global(v4.into()),
            None => {
                let local = (v6.segments()[0] & 0xffc0) == 0xfe80;
                !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || local)
            }
        },
    }
}

/// Where a pod listens: at the port asked for, else at the first one it declares, else at the scheme's.
pub(super) fn place_of_pod(pod: &Value, asked: &Asked<'_>) -> Result<Place, Fault> {
    let declared = fill::list(pod, "spec.containers")
        .iter()
        .find_map(|container| fill::list(container, "ports").first())
        .and_then(|port| fill::int(port, "containerPort"))
        .and_then(|port| u16::try_from(port).ok());
    let usual = if asked.security == Security::Plain { 80 } else { 443 };
    let port = match asked.port {
        "" => declared.unwrap_or(usual),
        port => number(port)?,
    };
    let ips = fill::list(pod, "status.podIPs");
    let host = ips.first().map_or_else(|| fill::text(pod, "status.podIP"), |ip| fill::text(ip, "ip"));
    if !host.parse().is_ok_and(is_global) {
        return Err(Fault::bad_request("address not allowed"));
    }
    Ok(Place { security: asked.security, host: host.to_owned(), port })
}

/// The name of the service's port that is asked for by number or by name.
pub(super) fn service_port<'a>(service: &'a Value, asked: &Asked<'a>) -> Result<&'a str, Fault> {
    let Ok(number) = asked.port.parse::<i64>() else { return Ok(asked.port) };
    let port = fill::list(service, "spec.ports").iter().find(|port| fill::int(port, "port") == Some(number));
    port.map(|port| fill::text(port, "name")).ok_or_else(|| {
        Fault::unavailable(format!("no service port {number} found for service {:?}", asked.name))
    })
}

/// The addresses and ports of pods that are ready behind the port of this name.
pub(super) fn slots(slices: &[Value], port: &str) -> Vec<(String, u16)> {
    let mut found = Vec::new();
    for slice in slices {
        let ports = fill::list(slice, "ports").iter().filter(|one| fill::text(one, "name") == port);
        let numbers: Vec<u16> = ports
            .filter_map(|one| fill::int(one, "port").and_then(|number| u16::try_from(number).ok()))
            .collect();
        for endpoint in fill::list(slice, "endpoints") {
            let is_pod = fill::text(endpoint, "targetRef.kind") == "Pod";
            let ready = fill::find(endpoint, "conditions.ready").and_then(Value::as_bool).unwrap_or(true);
            let host = fill::list(endpoint, "addresses").first().and_then(Value::as_str);
            let Some(host) = host.filter(|host| is_pod && ready && host.parse().is_ok_and(is_global)) else {
                continue;
            };
            found.extend(numbers.iter().map(|number| (host.to_owned(), *number)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_asked() {
        let asked = |security, name, port| Ok(Asked { security, name, port });
        let cases = [
            ("a", asked(Security::Plain, "a", "")),
            ("a:80", asked(Security::Plain, "a", "80")),
            ("https:a:", asked(Security::Unverified, "a", "")),
            ("https:a:web", asked(Security::Unverified, "a", "web")),
            (":80", Err("invalid pod request \":80\"")),
            ("ftp:a:80", Err("invalid pod request \"ftp:a:80\"")),
            ("a:b:c:d", Err("invalid pod request \"a:b:c:d\"")),
        ];
        for (text, expected) in cases {
            let found = Asked::read(text, "pods").map_err(|fault| fault.message);
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn paths_below_a_proxy() {
        let cases = [
            ("/api/v1/namespaces/n/pods/p/proxy", true, ""),
            ("/api/v1/namespaces/n/pods/p/proxy/", true, "/"),
            ("/api/v1/namespaces/n/pods/p/proxy/a%2Fb//c/", true, "/a%2Fb//c/"),
            ("/api/v1/nodes/n/proxy/pods", false, "/pods"),
        ];
        for (path, namespaced, expected) in cases {
            assert_eq!(rest(path, namespaced), expected, "{path}");
        }
    }

    #[test]
    fn where_pods_listen() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
            "status": {"podIPs": [{"ip": "10.42.0.2"}]}});
        let cases = [("p", "http://10.42.0.2:8080/"), ("p:81", "http://10.42.0.2:81/")];
        for (text, expected) in cases {
            let asked = Asked::read(text, "pods").unwrap();
            assert_eq!(place_of_pod(&pod, &asked).unwrap().url("/"), expected);
        }
        let local = json!({"status": {"podIP": "127.0.0.1"}});
        let refused = place_of_pod(&local, &Asked::read("p", "pods").unwrap());
        assert_eq!(refused.unwrap_err().message, "address not allowed");
    }

    #[test]
    fn pods_behind_services() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}]}});
        let asked = |text| Asked::read(text, "services").unwrap();
        assert_eq!(service_port(&service, &asked("s:80")).unwrap(), "web");
        assert_eq!(service_port(&service, &asked("s:web")).unwrap(), "web");
        assert_eq!(service_port(&service, &asked("s:81")).unwrap_err().code, 503);
        let pod = json!({"kind": "Pod"});
        let slices =
            [json!({"ports": [{"name": "web", "port": 8080}, {"name": "other", "port": 1}], "endpoints": [
            {"addresses": ["10.42.0.2"], "targetRef": pod, "conditions": {"ready": true}},
            {"addresses": ["10.42.0.3"], "targetRef": pod, "conditions": {"ready": false}},
            {"addresses": ["10.42.0.4"]},
            {"addresses": ["127.0.0.1"], "targetRef": pod}]})];
        assert_eq!(slots(&slices, "web"), [("10.42.0.2".to_owned(), 8080)]);
    }
}
