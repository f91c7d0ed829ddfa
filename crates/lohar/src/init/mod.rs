//! What only PID 1 of a guest does: bringing the system up, and taking it down.
//!
//! | module | does |
//! |---|---|
//! | [`cmdline`] | reads the kernel's command line |
//! | [`modules`] | loads the kernel modules of the initrd |
//! | [`on_demand`] | sees to it that the kernel finds the modules it asks for later |
//! | [`mounts`] | mounts what every program expects |
//! | [`root`] | finds the root disk and makes it the root |
//! | [`network`] | configures the loopback, and the network card if there is one |
//! | [`names`] | host name, `/etc/hosts`, `/etc/resolv.conf`, `/etc/machine-id` |
//! | [`entropy`] | gives the kernel randomness |
//! | [`clock`] | sets the clock |
//! | [`grow`] | grows the root file system to its disk |
//! | [`freeze`] | holds writes to the root file system, and lets them go on |
//! | [`power`] | ends all processes and switches off |
//! | [`handover`] | hands PID 1 over to the image's systemd |
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
pub mod handover;
pub mod klog;
pub mod modules;
pub mod mounts;
pub mod names;
pub mod network;
pub mod on_demand;
pub mod power;
pub mod root;

use std::io;
use std::path::Path;

use cmdline::CommandLine;

/// Brings the system up: everything before the agent answers. Only what makes the guest useless
/// is an error; the rest is said in the kernel's log.
///
/// Blocking, and meant for the only thread there is.
///
/// Under systemd this ends in another program, unless the image has none.
pub fn bring_up() -> io::Result<CommandLine> {
    mounts::early()?;
    let command_line = CommandLine::read(Path::new("/proc/cmdline"))?;
    modules::load(Path::new("/modules"));
    if !command_line.probe {
        let more = on_demand::keep(Path::new("/modules/more"));
        root::enter(&command_line.root)?;
        // systemd mounts the rest itself, in its own way, and takes this process's place.
        if !command_line.systemd {
            mounts::late();
            klog::note("keep modules for later", more.and_then(on_demand::offer));
        }
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
    if command_line.systemd && !command_line.probe {
        let Err(error) = handover::exec();
        klog::say(&format!("failed to hand over to systemd: {error}"));
        // So whoever looks into the machine finds one that works, and the reason.
        mounts::late();
    }
    Ok(command_line)
}

/// Whether this process is PID 1 of a guest of bhatti's. On anything else the agent must not act
/// as init: it would power off the machine it is on.
pub fn is_guest_init() -> bool {
    std::process::id() == 1 && marked_as_guest()
}

/// Whether this process is in a guest of bhatti's that another PID 1 has brought up.
pub fn is_in_guest() -> bool {
    std::process::id() != 1
        && CommandLine::read(Path::new("/proc/cmdline")).is_ok_and(|found| found.guest)
}

/// The kernel's command line says that this is a guest. `/proc` may not be mounted yet.
fn marked_as_guest() -> bool {
    if mounts::proc_for_command_line().is_err() {
        return false;
    }
    CommandLine::read(Path::new("/proc/cmdline")).is_ok_and(|found| found.guest)
}
