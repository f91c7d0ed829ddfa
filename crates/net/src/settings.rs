//! What is set about networks.

use std::net::SocketAddr;

use bhatti_types::cidr::Cidr;
use serde::{Deserialize, Serialize};

use crate::range::Range;

/// Whether machines have networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkChoice {
    /// Where the host lets the daemon make them.
    #[default]
    Auto,
    /// Yes: a daemon that can't make them does not start.
    On,
    /// No.
    Off,
}

/// Settings of networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    /// Whether there are any.
    pub choice: NetworkChoice,
    /// The range they are made of.
    pub range: Range,
    /// Resolvers that names outside are asked of; the host's own if there are none.
    pub dns: Vec<SocketAddr>,
    /// Private ranges that machines with an open policy reach, and that users may allow their
    /// machines.
    pub private: Vec<Cidr>,
}
