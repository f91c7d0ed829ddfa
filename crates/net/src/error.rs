//! What can go wrong with a network.

use std::io;

use bhatti_host::command::CommandError;
use bhatti_types::cidr::Cidr;

/// A network that could not be made, changed or taken away.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The range is in use on the host.
    #[error("the network range {range} overlaps the host's route to {route} by {interface:?}")]
    Conflict {
        /// The range for machines.
        range: Cidr,
        /// The host's route.
        route: Cidr,
        /// The interface it leads to.
        interface: String,
    },
    /// There are as many users with networks as there is room for.
    #[error("all {pairs} ways out of the network range {range} are in use")]
    Full {
        /// The range.
        range: Cidr,
        /// How many there are.
        pairs: usize,
    },
    /// Something of the right name is not ours.
    #[error("interface {name:?} is not of this data directory")]
    Foreign {
        /// Its name.
        name: String,
    },
    /// A namespace could not be made, entered or taken away.
    #[error("failed to {action} network namespace {name:?}")]
    Namespace {
        /// What was to be done.
        action: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A tap could not be made.
    #[error("failed to make tap device {name:?}")]
    Tap {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change of links, addresses or routes.
    #[error("failed to {action}")]
    Netlink {
        /// What was to be done, with its object.
        action: String,
        /// Why not.
        #[source]
        source: rtnetlink::Error,
    },
    /// The kernel refused rules.
    #[error("failed to apply the rules of {place}")]
    Rules {
        /// Whose they are.
        place: String,
        /// Why not.
        #[source]
        source: CommandError,
    },
    /// A setting of the kernel could not be read or set.
    #[error("failed to {action}")]
    Setting {
        /// What was to be done, with its object.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl NetError {
    pub(crate) fn setting(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Setting { action, source }
    }

    pub(crate) fn netlink(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let action = action.into();
        move |source| Self::Netlink { action, source }
    }
}
