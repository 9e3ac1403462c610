//! What a client asks of a stream: values in, values out.

use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};

use super::channel::Protocol;

/// The pod, and mostly the container, that is meant.
#[derive(Debug, PartialEq)]
pub(super) struct Place<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub uid: Option<&'a str>,
    /// Empty where the pod as a whole is meant.
    pub container: &'a str,
}

impl<'a> Place<'a> {
    /// `{namespace}/{pod}/{container}` or `{namespace}/{pod}/{uid}/{container}`.
    pub(super) fn of_container(path: &'a [String]) -> Option<Self> {
        match path {
            [namespace, pod, container] => Some(Self { namespace, pod, uid: None, container }),
            [namespace, pod, uid, container] => Some(Self { namespace, pod, uid: Some(uid), container }),
            _ => None,
        }
    }

    /// `{namespace}/{pod}` or `{namespace}/{pod}/{uid}`.
    pub(super) fn of_pod(path: &'a [String]) -> Option<Self> {
        match path {
            [namespace, pod] => Some(Self { namespace, pod, uid: None, container: "" }),
            [namespace, pod, uid] => Some(Self { namespace, pod, uid: Some(uid), container: "" }),
            _ => None,
        }
    }
}

/// Which streams of a process are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Ask {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// Where nothing is wanted.
    pub(super) fn parse(query: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let yes = |key: &str| query(key).is_some_and(|value| value == "1" || value == "true");
        let ask = Self { stdin: yes("input"), stdout: yes("output"), stderr: yes("error"), tty: false };
        let ask = ask.with_terminal(yes("tty"));
        if ask.stdin || ask.stdout || ask.stderr {
            Ok(ask)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr".to_owned())
        }
    }

    /// The same with or without a terminal, which has one output.
    pub(super) fn with_terminal(self, tty: bool) -> Self {
        Self { tty, stderr: self.stderr && !tty, ..self }
    }
}

/// How a client wants to speak.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the runtime does: bytes are handed on as they are.
    Plain,
    /// In channels of a WebSocket, where a process is concerned.
    Channels(&'static Protocol),
    /// As the runtime does, but inside a WebSocket; the name of what is agreed on.
    Tunnel(&'static str),
}

/// What is spoken of ports inside a WebSocket.
const TUNNELLED_PORTS: &str = "SPDY/3.1+portforward.k8s.io";

impl Way {
    /// Reads the headers of a request that concerns a process.
    ///
    /// # Errors
    /// Where the client speaks nothing that is spoken here.
    pub(super) fn to_process(headers: &HeaderMap) -> Result<Self, String> {
        if !is_websocket(headers) {
            return Ok(Self::Plain);
        }
        let offered = offered(headers);
        let chosen = Protocol::choose(&offered);
        chosen.map(Self::Channels).ok_or_else(|| format!("none of the protocols {offered:?} is spoken here"))
    }

    /// Reads the headers of a request that concerns ports.
    pub(super) fn to_ports(headers: &HeaderMap) -> Self {
        let tunnelled = is_websocket(headers) && offered(headers).contains(&TUNNELLED_PORTS);
        if tunnelled { Self::Tunnel(TUNNELLED_PORTS) } else { Self::Plain }
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn offered(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// The ports that are named in a query.
///
/// # Errors
/// The first that is none.
pub(super) fn ports(texts: impl Iterator<Item = String>) -> Result<Vec<i32>, String> {
    let mut ports = Vec::new();
    for text in texts.filter(|text| !text.is_empty()) {
        for text in text.split(',') {
            match text.parse::<u16>() {
                Ok(port) if port > 0 => ports.push(i32::from(port)),
                _ => return Err(format!("unable to parse {text:?} as a port")),
            }
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let check = |given: &[&str], expected: Option<(bool, bool, bool, bool)>| {
            let ask = Ask::parse(|key| given.contains(&key).then(|| "1".to_owned()));
            let plain = ask.ok().map(|ask| (ask.stdin, ask.stdout, ask.stderr, ask.tty));
            assert_eq!(plain, expected, "{given:?}");
        };
        check(&["input"], Some((true, false, false, false)));
        check(&["output", "error"], Some((false, true, true, false)));
        check(&["input", "output", "error", "tty"], Some((true, true, false, true)));
        check(&["tty"], None);
        check(&["error", "tty"], None);
    }

    #[test]
    fn ways() {
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            let pairs = pairs.iter();
            pairs.map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
        };
        let spdy = headers(&[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")]);
        let asks =
            |protocols: &str| headers(&[("upgrade", "WebSocket"), ("sec-websocket-protocol", protocols)]);
        assert_eq!(Way::to_process(&spdy), Ok(Way::Plain));
        assert_eq!(Way::to_ports(&spdy), Way::Plain);
        let chosen = |protocols: &str| match Way::to_process(&asks(protocols)) {
            Ok(Way::Channels(protocol)) => Some(protocol.name),
            _ => None,
        };
        assert_eq!(chosen("v6.channel.k8s.io, v5.channel.k8s.io"), Some("v5.channel.k8s.io"));
        assert_eq!(chosen(""), Some(""));
        assert_eq!(chosen("SPDY/3.1+portforward.k8s.io"), None);
        assert_eq!(Way::to_ports(&asks(TUNNELLED_PORTS)), Way::Tunnel(TUNNELLED_PORTS));
        assert_eq!(Way::to_ports(&asks("v4.channel.k8s.io")), Way::Plain);
    }

    #[test]
    fn port_lists() {
        let check = |given: &[&str], expected: Option<&[i32]>| {
            let ports = ports(given.iter().map(|text| (*text).to_owned()));
            assert_eq!(ports.ok().as_deref(), expected, "{given:?}");
        };
        check(&[], Some(&[]));
        check(&["80", "1,2"], Some(&[80, 1, 2]));
        check(&["0"], None);
        check(&["65536"], None);
    }

    #[test]
    fn paths() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(Place::of_container(&path("n/p/u/c")).unwrap().uid, Some("u"));
        assert_eq!(Place::of_container(&path("n/p/c")).unwrap().container, "c");
        assert_eq!(Place::of_container(&path("n/p")), None);
        assert_eq!(Place::of_pod(&path("n/p")).unwrap().uid, None);
        assert_eq!(Place::of_pod(&path("n")), None);
    }
}
