//! Loads the kernel modules that the initrd brings.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use super::klog;

/// Loads the modules of a directory in the order that its file `order` gives, one file name a
/// line. One that is missing or refused is said in the log, and the others are loaded all the
/// same: which of them matter depends on the machine.
pub fn load(dir: &Path) {
    let order = match std::fs::read_to_string(dir.join("order")) {
        Ok(order) => order,
        Err(error) => return klog::say(&format!("no modules to load: {error}")),
    };
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty()) {
        let loaded = File::open(dir.join(name))
            .map_err(|error| error.to_string())
            .and_then(|file| {
                match finit_module(&file, &CString::default(), ModuleInitFlags::empty()) {
                    Ok(()) | Err(Errno::EEXIST) => Ok(()),
                    Err(errno) => Err(errno.to_string()),
                }
            });
        klog::note(&format!("load {name}"), loaded);
    }
}
