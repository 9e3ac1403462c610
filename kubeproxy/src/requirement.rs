//! What nft and the kernel must be able to do, asked at start so that what is missing is named.

use anyhow::{Context as _, bail};
use nft::{ApplyError, Chain, Family, Hook, Nft, Set, Table};

/// What the rules need: what it is, where the kernel has it, a rule that uses it.
const NEEDS: &[(&str, &str, &str)] = &[
    ("connection tracking", "CONFIG_NFT_CT", "ct state new accept"),
    ("address translation", "CONFIG_NFT_NAT", "meta l4proto tcp dnat to 192.0.2.1:1"),
    ("random choice", "CONFIG_NFT_NUMGEN", "numgen random mod 2 vmap { 0 : accept, 1 : drop }"),
    ("address types", "CONFIG_NFT_FIB_IPV4", "fib daddr type local accept"),
    ("verdict maps", "CONFIG_NF_TABLES", "ip daddr . meta l4proto . th dport vmap @places"),
    ("dynamic sets", "CONFIG_NF_TABLES", "update @clients { ip saddr }"),
];

/// Refuses to go on where something is missing.
///
/// # Errors
/// One sentence that names the program or the feature.
pub async fn check(nft: &Nft) -> anyhow::Result<()> {
    let mut table = Table::new(Family::Ip, "isopod-kubeproxy-check");
    nft.check(&nft::replace(&table)).await.context("nftables (CONFIG_NF_TABLES) cannot be used")?;
    table.set("places", Set::map("ipv4_addr . inet_proto . inet_service", "verdict"));
    table.set("clients", Set::of("ipv4_addr").dynamic(1));
    let hook = Hook { kind: "nat", point: "prerouting", priority: -100 };
    let mut with = |rules: Vec<&'static str>| {
        table.chain("check", Chain::at(hook, rules));
        nft::replace(&table)
    };
    // All at once is one process; only where that is refused does it matter which it was.
    if nft.check(&with(NEEDS.iter().map(|(_, _, rule)| *rule).collect())).await.is_ok() {
        return Ok(());
    }
    for (what, option, rule) in NEEDS {
        match nft.check(&with(vec![rule])).await {
            Ok(()) => {}
            Err(ApplyError::Refused { words, .. }) => {
                bail!("this kernel or nft lacks {what} ({option}), which services need: {words}")
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
