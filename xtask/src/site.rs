//! The names and addresses of one cluster of test hosts, all derived from a prefix: what is made is found again.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A LAN of its own with hosts on it.
#[derive(Debug, Clone)]
pub struct Site {
    /// What the names of namespaces, links and cgroups begin with.
    pub prefix: &'static str,
    /// The third byte-triple of its LAN, a /24.
    pub net: [u8; 3],
    /// Where everything that lasts is kept.
    pub folder: PathBuf,
}

impl Site {
    /// What `cargo xtask up` makes.
    pub fn up(repo: &Path) -> Self {
        Self { prefix: "isopod", net: [10, 214, 0], folder: repo.join("target/up") }
    }

    /// What the end-to-end tests make.
    pub fn e2e(repo: &Path) -> Self {
        Self { prefix: "isopod-e2e", net: [10, 215, 0], folder: repo.join("target/e2e") }
    }

    /// What `cargo xtask bench` makes.
    pub fn bench(repo: &Path) -> Self {
        Self { prefix: "isopod-bench", net: [10, 217, 0], folder: repo.join("target/bench/site") }
    }

    /// The network namespace of the LAN's bridge.
    pub fn lan(&self) -> String {
        format!("{}-lan", self.prefix)
    }

    /// The machine's own link to the LAN.
    pub fn link(&self) -> String {
        format!("{}0", self.prefix)
    }

    /// The machine's own address on the LAN.
    pub fn machine(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// The network namespace of a host.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// The address of the host with this number.
    pub fn host_address(&self, number: u8) -> Ipv4Addr {
        /// Below are the machine and whatever else is on the LAN.
        const FIRST: u8 = 10;
        self.address(FIRST + number)
    }

    /// Whether a network namespace of this name is one of ours, and not of a site whose prefix begins alike.
    pub fn owns(&self, namespace: &str) -> bool {
        let Some(rest) = namespace.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('-')) else {
            return false;
        };
        let number = rest.strip_prefix("node").unwrap_or_default();
        rest == "lan" || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last)
    }
}

/// The name of the host with this number.
pub fn host_name(number: u8) -> String {
    format!("node{number}")
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn whose_namespace_it_is() {
        let (up, e2e) = (Site::up(Path::new("/r")), Site::e2e(Path::new("/r")));
        let cases = [
            ("isopod-lan", true, false),
            ("isopod-node1", true, false),
            ("isopod-node12", true, false),
            ("isopod-e2e-lan", false, true),
            ("isopod-e2e-node2", false, true),
            ("isopod-node", false, false),
            ("isopod-nodes", false, false),
            ("isopod", false, false),
            ("cni-isopod-node1", false, false),
        ];
        for (name, ups, e2es) in cases {
            assert_eq!((up.owns(name), e2e.owns(name)), (ups, e2es), "{name}");
        }
    }

    #[test]
    fn addresses() {
        let up = Site::up(Path::new("/r"));
        assert_eq!(up.machine().to_string(), "10.214.0.1");
        assert_eq!(up.host_address(1).to_string(), "10.214.0.11");
    }
}
