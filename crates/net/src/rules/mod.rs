//! The rules of nftables, as text that is applied as one transaction.
//!
//! | module | holds the rules of |
//! |---|---|
//! | [`user`] | a user's namespace: who sends from where, and who may reach what |
//! | [`host`] | the host: what comes out of the users' namespaces goes on, and nothing comes in |

pub mod host;
pub mod user;
