//! nftables rule sets as values: build, diff, apply.
