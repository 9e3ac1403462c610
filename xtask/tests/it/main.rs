//! A test host on a LAN of its own: what it has, what the machine sees of it, and that nothing stays.
#![expect(clippy::unwrap_used, reason = "the lint exempts tests, and all of this binary is tests")]

use std::path::Path;
use std::time::Duration;

use xtask::host::{Host, Network};
use xtask::patience::until;
use xtask::site::Site;
use xtask::{cgroup, cluster, lan, program, web};

/// Ample for a shell script on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Removes the site also where the test fails.
struct Cleared(Site);

impl Drop for Cleared {
    fn drop(&mut self) {
        drop(cluster::clear(&self.0));
    }
}

fn inside(host: &Host, words: &[&str]) -> String {
    program::finish(host.command(words[0]).unwrap().args(&words[1..])).unwrap()
}

#[test]
fn a_host_serves_is_restarted_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site { prefix: "isopod-try", net: [10, 218, 0], folder: folder.path().to_owned() };
    drop(cluster::clear(&site));
    let site = Cleared(site);
    let site = &site.0;
    lan::make(site).unwrap();
    lan::make(site).unwrap();
    let host = Host::new(site, 1, Network::Lan);
    let page = folder.path().join("index.html");
    std::fs::write(&page, "it serves\n").unwrap();
    let service = ["busybox", "httpd", "-f", "-p", "80", "-h", &folder.path().display().to_string()];
    host.start(site, &service.map(str::to_owned)).unwrap();

    let address = format!("{}:80", host.address);
    let serves =
        || Ok(web::get(&address, "any", "/index.html").ok().filter(|answer| answer.body == "it serves\n"));
    until("the machine reaches the host", SOON, serves).unwrap();
    assert_eq!(inside(&host, &["hostname"]).trim(), "node1");
    assert_eq!(
        inside(&host, &["ip", "route"]).trim(),
        "10.218.0.0/24 dev eth0 proto kernel scope link src 10.218.0.11"
    );
    assert_eq!(inside(&host, &["ls", "/var/lib"]).trim(), "isopod");
    let groups = inside(&host, &["cat", "/proc/1/cgroup"]);
    assert!(groups.lines().all(|line| line.ends_with(":/")), "{groups}");

    let httpd = host.processes().into_iter().find(|pid| name(*pid) == "busybox").unwrap();
    cgroup::kill(&[httpd]);
    until("the host starts its service again", SOON, serves).unwrap();
    assert_eq!(host.exits(), [137]);

    host.stop(site).unwrap();
    assert!(web::get(&address, "any", "/index.html").is_err());
    host.start(site, &service.map(str::to_owned)).unwrap();
    until("the host comes back after a power cut", SOON, serves).unwrap();

    let gone = cluster::clear(site).unwrap();
    assert!(gone.contains(&"namespace isopod-try-node1".to_owned()), "{gone:?}");
    assert!(host.init().is_none());
    assert!(!Path::new("/sys/class/net/isopod-try0").exists());
    assert!(cluster::clear(site).unwrap().is_empty());
}

fn name(pid: rustix::process::Pid) -> String {
    std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))
        .unwrap_or_default()
        .trim()
        .to_owned()
}
