//! Which servers know the rest of the world.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::SystemTime;

use crate::config::{PORT, Upstream};

/// Name servers of one file at most; the resolvers of libc stop at three.
const MOST_SERVERS: usize = 8;

/// The servers, read anew when their file has changed.
#[derive(Debug)]
pub struct Servers {
    upstream: Upstream,
    /// Where this server itself is reached: a question sent there would come back for ever.
    own: Vec<SocketAddr>,
    read: Option<SystemTime>,
    known: Vec<SocketAddr>,
}

impl Servers {
    pub fn new(upstream: Upstream, own: Vec<SocketAddr>) -> Self {
        let known = match &upstream {
            Upstream::Fixed(servers) => others(servers.clone(), &own),
            Upstream::File(_) => Vec::new(),
        };
        Self { upstream, own, read: None, known }
    }

    /// The servers as they are now.
    pub fn current(&mut self) -> &[SocketAddr] {
        if let Upstream::File(path) = &self.upstream {
            // One look at the file's time for each question that leaves the cluster; the file is in memory.
            let changed = std::fs::metadata(path).and_then(|file| file.modified()).ok();
            if changed.is_none() || changed != self.read {
                self.known = others(load(path), &self.own);
                self.read = changed;
            }
        }
        &self.known
    }
}

fn load(path: &Path) -> Vec<SocketAddr> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text),
        Err(error) => {
            tracing::warn!("could not read {}: {error}; names outside the cluster fail", path.display());
            Vec::new()
        }
    }
}

/// The name servers of a resolv.conf.
fn parse(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("nameserver"));
    let words =
        lines.filter(|rest| rest.starts_with([' ', '\t'])).filter_map(|rest| rest.split_whitespace().next());
    words.filter_map(server).take(MOST_SERVERS).collect()
}

fn server(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        None => Some(SocketAddr::new(text.parse().ok()?, PORT)),
        Some((address, link)) => {
            let address: Ipv6Addr = address.parse().ok()?;
            let index = link.parse().ok().or_else(|| {
                let text = std::fs::read_to_string(Path::new("/sys/class/net").join(link).join("ifindex"));
                text.ok()?.trim().parse().ok()
            })?;
            Some(SocketAddrV6::new(address, PORT, 0, index).into())
        }
    }
}

/// Those that are not this server itself, and can be servers at all.
fn others(servers: Vec<SocketAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_own = |server: &SocketAddr| {
        own.iter().any(|own| {
            let anywhere = own.ip().is_unspecified() && is_here(server.ip());
            own.port() == server.port() && (own.ip() == server.ip() || anywhere)
        })
    };
    let (mut fit, mut seen) = (servers, Vec::new());
    fit.retain(|server| {
        let keep = !server.ip().is_multicast()
            && !server.ip().is_unspecified()
            && !is_own(server)
            && !seen.contains(server);
        seen.push(*server);
        keep
    });
    fit
}

fn is_here(address: IpAddr) -> bool {
    address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_the_servers_in_them() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("# a\nsearch b\nnameserver 9.9.9.9\n  nameserver\t1.1.1.1 # c\n", &["9.9.9.9:53", "1.1.1.1:53"]),
            ("nameserver ::1\nnameserver fe80::1%7\n", &["[::1]:53", "[fe80::1%7]:53"]),
            ("nameservers 9.9.9.9\nnameserver\nnameserver x\nnameserver fe80::1%nowhere", &[]),
        ];
        for (text, expected) in cases {
            let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn this_server_is_not_asked() {
        let servers =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let own = servers(&["10.43.0.10:53", "192.168.0.1:10053", "0.0.0.0:54"]);
        let asked = servers(&[
            "10.43.0.10:53",
            "192.168.0.1:53",
            "192.168.0.1:10053",
            "127.0.0.1:54",
            "127.0.0.53:53",
            "224.0.0.1:53",
            "127.0.0.53:53",
        ]);
        assert_eq!(others(asked, &own), servers(&["192.168.0.1:53", "127.0.0.53:53"]));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let mut servers = Servers::new(Upstream::File(path.clone()), Vec::new());
        assert!(servers.current().is_empty());
        for (second, address) in [(1, "9.9.9.9"), (2, "1.1.1.1")] {
            std::fs::write(&path, format!("nameserver {address}\n")).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            assert_eq!(servers.current(), [SocketAddr::new(address.parse().unwrap(), PORT)]);
        }
    }
}
