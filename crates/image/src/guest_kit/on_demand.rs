//! Kernel modules that are loaded when the kernel asks for them, as it does by running
//! `modprobe`: for that, the agent of the guest stands in, so that every image has them, whatever
//! is in it.
//!
//! They are kept in the guest's memory, which the copies of a template share. So they are few:
//! what containers, file systems in user space and tunnels need.

use std::path::Path;

use super::modules::{self, Module, ModuleError};

/// The modules a program in a guest may need. What they depend on comes along.
pub const WANTED: [&str; 37] = [
    // Networks of containers.
    "bridge",
    "br_netfilter",
    "veth",
    "macvlan",
    "dummy",
    // Packet filters, by `nft` or by `iptables` on top of it.
    "nf_tables",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib_inet",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nf_log_syslog",
    "ipt_REJECT",
    "xt_LOG",
    "xt_MASQUERADE",
    "xt_REDIRECT",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_limit",
    "xt_mark",
    "xt_multiport",
    "xt_nat",
    "xt_owner",
    "xt_state",
    "xt_tcpudp",
    // Devices.
    "fuse",
    "loop",
    "tun",
    "squashfs",
];

/// Modules and how they are found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnDemand {
    /// The modules.
    pub modules: Vec<Module>,
    /// The text of their index: a line for each, with its name, the modules that are loaded before
    /// it with commas between them, or `-`, and the aliases that the kernel may ask for it by.
    pub index: String,
}

/// Reads the wanted modules and all they depend on, but for those that are `loaded` anyway.
pub fn gather(dir: &Path, wanted: &[&str], loaded: &[Module]) -> Result<OnDemand, ModuleError> {
    let is_loaded = |module: &Module| loaded.iter().any(|there| there.name == module.name);
    let mut all = modules::gather(dir, wanted)?;
    all.retain(|module| !is_loaded(module));
    let mut index = String::new();
    for module in &all {
        let mut before = modules::gather(dir, &[module.name.as_str()])?;
        before.retain(|other| other.name != module.name && !is_loaded(other));
        let before: Vec<_> = before.into_iter().map(|other| other.name).collect();
        let before = if before.is_empty() {
            "-".to_owned()
        } else {
            before.join(",")
        };
        let mut words = vec![module.name.as_str(), before.as_str()];
        words.extend(aliases(&module.content));
        index.push_str(&words.join(" "));
        index.push('\n');
    }
    Ok(OnDemand {
        modules: all,
        index,
    })
}

/// The names by which the kernel asks for a module. Patterns are for devices that are plugged in,
/// which is not how these are asked for.
fn aliases(module: &[u8]) -> Vec<&str> {
    let mut aliases = modules::information(module, "alias=").unwrap_or_default();
    aliases.retain(|alias| !alias.is_empty() && !alias.contains(['*', '?', '[', ' ', '\n']));
    aliases
}

#[cfg(test)]
mod test {
    use super::super::modules::gather as gather_loaded;
    use super::super::modules::test::kernel;
    use super::gather;

    #[test]
    fn the_index_says_what_is_loaded_before_and_what_for() {
        let dir = kernel(&[
            ("virtio.ko", ""),
            ("llc.ko", ""),
            ("stp.ko", "llc"),
            (
                "bridge.ko",
                "stp,llc,virtio\0alias=rtnl-link-bridge\0alias=pci:v*",
            ),
        ]);
        let loaded = gather_loaded(dir.path(), &["virtio"]).unwrap();
        let found = gather(dir.path(), &["bridge", "ext4"], &loaded).unwrap();
        assert_eq!(
            found.index,
            "llc -\nstp llc\nbridge llc,stp rtnl-link-bridge\n"
        );
        let names: Vec<_> = found.modules.iter().map(|module| &module.name).collect();
        assert_eq!(names, ["llc", "stp", "bridge"]);
    }
}
