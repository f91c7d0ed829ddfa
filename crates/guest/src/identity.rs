//! What makes a guest itself and not the one it was copied from.

use std::net::Ipv4Addr;

use bhatti_types::env::Env;
use bhatti_types::mac::Mac;
use bhatti_types::run::RunSpec;

/// The identity given to a guest after its boot, and again after every restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Host name.
    pub hostname: String,
    /// Contents of `/etc/machine-id`: 32 hexadecimal digits. Left as it is if `None`.
    pub machine_id: Option<String>,
    /// Randomness of the host's, mixed into the guest's before anything else runs.
    pub entropy: Vec<u8>,
    /// Wall clock, in nanoseconds since 1970. The agent sets its clock to it.
    pub unix_nanos: Option<u64>,
    /// Environment of every command, under its own.
    pub env: Env,
    /// User that commands run as if they name none.
    pub user: Option<String>,
    /// Directory that commands start in if they name none.
    pub cwd: Option<String>,
    /// Grow the root file system to the size of its disk.
    pub grow_root: bool,
    /// This is a new machine and not one that goes on: whatever was another's is replaced.
    pub fresh: bool,
    /// The program to keep running. It is started once after each boot; a copy of a machine goes
    /// on with the one it has.
    pub service: Option<RunSpec>,
    /// What its network card is set up with; left as it is if `None`.
    pub card: Option<Card>,
}

/// How a guest's network card is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The card's own address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// The default gateway.
    pub gateway: Ipv4Addr,
    /// Longest packet, in bytes.
    pub mtu: u32,
    /// The name server.
    pub dns: Ipv4Addr,
}
