//! What a client asks of a stream: values in, values out.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        let tty = yes("tty");
        // A terminal has one output.
        let ask = Self { stdin: yes("input"), stdout: yes("output"), stderr: yes("error") && !tty, tty };
        if ask.stdin || ask.stdout || ask.stderr {
            Ok(ask)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr".to_owned())
        }
    }
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
