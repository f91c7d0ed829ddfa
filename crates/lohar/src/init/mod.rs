//! What only PID 1 of a guest does: bringing the system up, and taking it down.
//!
//! | module | does |
//! |---|---|
//! | [`cmdline`] | reads the kernel's command line |
//! | [`modules`] | loads the kernel modules of the initrd |
//! | [`mounts`] | mounts what every program expects |
//! | [`root`] | finds the root disk and makes it the root |
//! | [`network`] | configures the loopback, and the network card if there is one |
//! | [`names`] | host name, `/etc/hosts`, `/etc/resolv.conf`, `/etc/machine-id` |
//! | [`entropy`] | gives the kernel randomness |
//! | [`clock`] | sets the clock |
//! | [`grow`] | grows the root file system to its disk |
//! | [`freeze`] | holds writes to the root file system, and lets them go on |
//! | [`power`] | ends all processes and switches off |
//! | [`klog`] | writes to the kernel's log |
//!
//! Nothing here needs anything of the image: no shell, no program, no directory.

#![expect(
    clippy::disallowed_methods,
    reason = "PID 1 has one thread and nobody to wait with; the agent carries no fs-err"
)]

pub mod clock;
pub mod cmdline;
pub mod entropy;
pub mod freeze;
pub mod grow;
pub mod klog;
pub mod modules;
pub mod mounts;
pub mod names;
pub mod network;
pub mod power;
pub mod root;

use std::io;
use std::path::Path;

use cmdline::CommandLine;

/// Brings the system up: everything before the agent answers. Only what makes the guest useless
/// is an error; the rest is said in the kernel's log.
///
/// Blocking, and meant for the only thread there is.
pub fn bring_up() -> io::Result<CommandLine> {
    mounts::early()?;
    let command_line = CommandLine::read(Path::new("/proc/cmdline"))?;
    modules::load(Path::new("/modules"));
    if !command_line.probe {
        root::enter(&command_line.root)?;
        mounts::late();
    }
    if let Some(hostname) = &command_line.hostname {
        klog::note("set the host name", names::set_hostname(hostname));
    }
    klog::note("bring the loopback up", network::loopback_up());
    if let Some(address) = &command_line.address {
        klog::note("configure the network", network::configure(address));
        klog::note(
            "write /etc/resolv.conf",
            names::write_resolvers(Path::new("/etc"), &address.dns),
        );
    }
    if let Some(hostname) = &command_line.hostname
        && !command_line.probe
    {
        klog::note(
            "write the host name's files",
            names::write_files(Path::new("/etc"), hostname),
        );
    }
    Ok(command_line)
}

/// Whether this process is PID 1 of a guest of bhatti's. On anything else the agent must not act
/// as init: it would power off the machine it is on.
pub fn is_guest_init() -> bool {
    std::process::id() == 1 && marked_as_guest()
}

/// The kernel's command line says that this is a guest. `/proc` may not be mounted yet.
fn marked_as_guest() -> bool {
    if mounts::proc_for_command_line().is_err() {
        return false;
    }
    CommandLine::read(Path::new("/proc/cmdline")).is_ok_and(|found| found.guest)
}
