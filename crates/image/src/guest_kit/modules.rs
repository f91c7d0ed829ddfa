//! Which kernel modules go into the initrd, and in which order they are loaded.
//!
//! [`WANTED`] are loaded at every boot. [`super::on_demand`] has those that are loaded when the
//! kernel asks for them.
//!
//! A kernel package brings no `modules.dep` (that is made where it is installed), so the
//! dependencies are read from the modules themselves: each has a `.modinfo` section with a line
//! `depends=a,b`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::elf;

/// The modules a guest needs, in the order in which they are loaded; what they depend on goes
/// before them.
///
/// Disks, network and agent link come first. `virtio_rng` gives a guest entropy of its host,
/// vsock is the agent link under Firecracker, `overlay` is for containers inside guests.
pub const WANTED: [&str; 11] = [
    "virtio_ring",
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sd_mod",
    "virtio_console",
    "virtio_rng",
    "vsock",
    "vmw_vsock_virtio_transport",
    "overlay",
];

/// The number of the set of virtual devices that these are the drivers for.
pub const DEVICES: u32 = 2;

/// The modules of a kernel could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The directory of modules could not be read.
    #[error("failed to read the kernel's modules")]
    Read(#[source] io::Error),
    /// A module is neither there nor built into the kernel.
    #[error("the kernel has no module `{name}`, neither as a file nor built in")]
    Missing {
        /// Its name.
        name: String,
    },
    /// Two modules need each other.
    #[error("the kernel's module `{name}` depends on itself")]
    Cycle {
        /// One of them.
        name: String,
    },
    /// A file is not a module, or is a compressed one.
    #[error("the kernel's module `{name}` is not an uncompressed ELF file")]
    NotElf {
        /// The module's name.
        name: String,
    },
}

/// A module and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// The bytes of its `.ko` file.
    pub content: Vec<u8>,
}

/// Reads the wanted modules and all they depend on from `lib/modules/<release>` of a kernel
/// package, in load order.
pub fn gather(dir: &Path, wanted: &[&str]) -> Result<Vec<Module>, ModuleError> {
    let mut files = BTreeMap::new();
    index(&dir.join("kernel"), &mut files).map_err(ModuleError::Read)?;
    let builtin = fs_err::read_to_string(dir.join("modules.builtin")).map_err(ModuleError::Read)?;
    let builtin = builtin.lines().filter_map(module_name).collect();
    let mut gathering = Gathering {
        files,
        builtin,
        open: BTreeSet::new(),
        order: Vec::new(),
    };
    for name in wanted {
        gathering.add(name)?;
    }
    Ok(gathering.order)
}

/// The text of `/modules/order` in the initrd: one file name a line, in load order.
pub fn order_file(modules: &[Module]) -> String {
    modules
        .iter()
        .flat_map(|module| [module.name.as_str(), ".ko\n"])
        .collect()
}

struct Gathering {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    /// Modules whose dependencies are being added.
    open: BTreeSet<String>,
    order: Vec<Module>,
}

impl Gathering {
    fn add(&mut self, name: &str) -> Result<(), ModuleError> {
        if self.order.iter().any(|module| module.name == name) || self.builtin.contains(name) {
            return Ok(());
        }
        let name = name.to_owned();
        let Some(path) = self.files.get(&name) else {
            return Err(ModuleError::Missing { name });
        };
        let content = fs_err::read(path).map_err(ModuleError::Read)?;
        let Some(dependencies) = dependencies(&content) else {
            return Err(ModuleError::NotElf { name });
        };
        if !self.open.insert(name.clone()) {
            return Err(ModuleError::Cycle { name });
        }
        for dependency in dependencies {
            self.add(&dependency)?;
        }
        self.open.remove(&name);
        self.order.push(Module { name, content });
        Ok(())
    }
}

/// Finds all module files below a directory. Links are not followed.
fn index(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            index(&entry.path(), files)?;
        } else if let Some(name) = entry.file_name().to_str().and_then(module_name) {
            files.insert(name, entry.path());
        }
    }
    Ok(())
}

/// The name of the module in a file: file names may have hyphens where names have underscores.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, rest) = file.split_once(".ko")?;
    // `.ko.xz` and the like are listed too: they get a better error than "missing".
    (rest.is_empty() || rest.starts_with('.')).then(|| stem.replace('-', "_"))
}

/// The modules a module depends on.
fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    let lines = information(module, "depends=")?;
    let names = lines.iter().flat_map(|line| line.split(','));
    let names = names.filter(|name| !name.is_empty());
    Some(names.map(|name| name.replace('-', "_")).collect())
}

/// What a module says about itself under a key: the rest of each line that begins with it.
pub(super) fn information<'m>(module: &'m [u8], key: &str) -> Option<Vec<&'m str>> {
    let info = elf::section(module, ".modinfo")?;
    info.split(|byte| *byte == 0)
        .filter_map(|line| line.strip_prefix(key.as_bytes()))
        .map(|rest| std::str::from_utf8(rest).ok())
        .collect()
}

#[cfg(test)]
pub(super) mod test {
    use std::path::Path;

    use super::super::elf::test::file;
    use super::{ModuleError, gather, order_file};

    pub(crate) fn kernel(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("kernel/drivers")).unwrap();
        fs_err::write(
            dir.path().join("modules.builtin"),
            "kernel/fs/ext4/ext4.ko\n",
        )
        .unwrap();
        for (name, depends) in modules {
            let info = format!("license=GPL\0depends={depends}\0name={name}\0");
            let path = dir.path().join("kernel/drivers").join(name);
            fs_err::write(path, file(1, info.as_bytes())).unwrap();
        }
        dir
    }

    fn names(dir: &Path, wanted: &[&str]) -> Result<String, ModuleError> {
        Ok(order_file(&gather(dir, wanted)?).replace('\n', " "))
    }

    #[test]
    fn dependencies_come_first_and_each_module_once() {
        let dir = kernel(&[
            ("virtio_net.ko", "virtio,net-failover"),
            ("net_failover.ko", "failover"),
            ("failover.ko", ""),
            ("virtio.ko", ""),
            ("virtio-rng.ko", "virtio"),
        ]);
        let order = names(dir.path(), &["virtio", "virtio_net", "virtio_rng", "ext4"]).unwrap();
        assert_eq!(
            order,
            "virtio.ko failover.ko net_failover.ko virtio_net.ko virtio_rng.ko "
        );
    }

    #[test]
    fn what_cannot_be_loaded_is_named() {
        let dir = kernel(&[("a.ko", "b"), ("b.ko", "a"), ("c.ko", "d")]);
        let message = |wanted| names(dir.path(), &[wanted]).unwrap_err().to_string();
        assert!(message("a").contains("`a` depends on itself"));
        assert!(message("c").contains("no module `d`"));
        fs_err::write(dir.path().join("kernel/e.ko.xz"), "xz").unwrap();
        assert!(message("e").contains("`e` is not an uncompressed"));
    }
}
