//! Networks of users' machines, each in a namespace of its own.
//!
//! | to do this | open |
//! |---|---|
//! | say what networks do for the engine | [`networks`] |
//! | have them on this host | [`host_networks`] |
//! | choose and split the addresses | [`range`] |
//! | name things on the host, and know them again | [`mark`] |
//! | read the rules of nftables | [`rules`] |
//! | make and take away one user's network | `user_network` |
//! | answer for names | `resolver` |
//! | make, enter and take away a namespace | [`namespace`] |
//!
//! Links, addresses and routes go by netlink, rules by `nft` in one transaction each.

pub mod error;
pub mod host_networks;
pub mod mark;
pub mod namespace;
mod netlink;
pub mod networks;
mod nft;
pub mod range;
mod resolver;
pub mod rules;
pub mod settings;
mod sysctl;
mod uplink;
mod user_network;
