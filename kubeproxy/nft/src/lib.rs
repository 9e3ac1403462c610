//! nftables rule sets as values: build, diff, apply.
//!
//! A [`Table`] says what should be in the kernel. [`diff()`] turns two of them into the [`Transaction`] that leads from
//! one to the other and touches nothing else; [`replace`] builds one from nothing; [`ensure`] and [`withdraw`] are for
//! those who share a table and do not know what it holds. [`Nft::apply`] hands a transaction
//! to one `nft -f -` process, which the kernel carries out whole or not at all.
#![deny(missing_docs)]

pub mod apply;
pub mod diff;
pub mod rule;
pub mod set;
pub mod table;

pub use apply::{ApplyError, Nft};
pub use diff::{Transaction, diff, ensure, remove, replace, withdraw};
pub use rule::{Rule, Verdict};
pub use set::{Elements, Set, key};
pub use table::{Chain, Family, Hook, Table};
