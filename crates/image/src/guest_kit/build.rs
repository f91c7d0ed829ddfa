//! Puts a guest kit together.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_host::command::{Command, CommandError};

use super::cpio::Archive;
use super::elf;
use super::modules::{self, Module, ModuleError};
use super::on_demand::{self, OnDemand};
use super::vmlinux::{self, VmlinuxError};
use crate::kit::{FORMAT, INITRD, KERNEL, Kit, KitError, KitId, KitManifest, KitStore, MANIFEST};
use crate::place;

/// Part of the digest of a kit's inputs: raise it when this builder makes something else of the
/// same inputs.
const BUILDER: u32 = 1;
/// Time limit for unpacking the kernel package, 90 MiB unpacked.
const UNPACK_LIMIT: Duration = Duration::from_mins(3);

/// What a kit is built from.
#[derive(Debug, Clone)]
pub struct KitInputs {
    /// The kernel's `.deb`, as [`super::kernel::fetch`] gives it.
    pub kernel_package: PathBuf,
    /// The guest agent, statically linked.
    pub lohar: PathBuf,
    /// Version of the guest agent.
    pub lohar_version: String,
}

/// A kit, and whether there was work to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Built {
    /// It was in the store already.
    UpToDate(Kit),
    /// It was built now.
    New(Kit),
}

impl Built {
    /// The kit itself.
    pub fn kit(&self) -> &Kit {
        match self {
            Self::UpToDate(kit) | Self::New(kit) => kit,
        }
    }
}

/// A kit could not be built.
#[derive(Debug, thiserror::Error)]
pub enum KitBuildError {
    /// An input could not be read.
    #[error("failed to read an input of the guest kit")]
    Read(#[source] io::Error),
    /// The kit could not be written.
    #[error("failed to write the guest kit")]
    Write(#[source] io::Error),
    /// The kernel package could not be unpacked.
    #[error("failed to unpack the kernel package")]
    Unpack(#[source] CommandError),
    /// The kernel package holds no kernel.
    #[error("the kernel package holds no /boot/vmlinuz-*")]
    NoKernel,
    /// The kernel could not be made bootable.
    #[error("failed to make the kernel bootable")]
    Kernel(#[source] VmlinuxError),
    /// The modules could not be gathered.
    #[error("failed to gather the kernel's modules")]
    Modules(#[source] ModuleError),
    /// The agent would not start where there are no libraries.
    #[error("{path:?} is not a statically linked x86-64 program")]
    NotStatic {
        /// The agent's file.
        path: PathBuf,
    },
    /// The finished kit could not be put into the store.
    #[error("failed to install the guest kit")]
    Install(#[source] KitError),
}

/// Builds a kit into a store, where it becomes the current one, unless the store has one that was
/// built from the same inputs.
///
/// Cancel-safe: what is half built goes away.
pub async fn build(inputs: &KitInputs, store: &KitStore) -> Result<Built, KitBuildError> {
    let lohar = fs_err::read(&inputs.lohar).map_err(KitBuildError::Read)?;
    if elf::needs_loader(&lohar) != Some(false) {
        return Err(KitBuildError::NotStatic {
            path: inputs.lohar.clone(),
        });
    }
    let digest = digest(inputs, &lohar);
    let kits = store.list().map_err(KitBuildError::Install)?;
    if let Some(kit) = kits.iter().find(|kit| kit.manifest.inputs == digest) {
        let kit = store.set_current(&kit.id).map_err(KitBuildError::Install)?;
        return Ok(Built::UpToDate(kit));
    }

    let work = place::half_made(store.dir()).map_err(KitBuildError::Write)?;
    let package = work.path().join("package");
    Command::new("dpkg-deb")
        .arg("--extract")
        .args([&inputs.kernel_package, &package])
        .limit(UNPACK_LIMIT)
        .run()
        .await
        .map_err(KitBuildError::Unpack)?;
    let release = release(&package.join("boot"))?;
    let bzimage = package.join("boot").join(format!("vmlinuz-{release}"));
    let bzimage = fs_err::read(bzimage).map_err(KitBuildError::Read)?;
    let kernel = vmlinux::extract(&bzimage).map_err(KitBuildError::Kernel)?;
    let module_dir = package.join("lib/modules").join(&release);
    let modules = modules::gather(&module_dir, &modules::WANTED).map_err(KitBuildError::Modules)?;
    let on_demand = on_demand::gather(&module_dir, &on_demand::WANTED, &modules)
        .map_err(KitBuildError::Modules)?;
    let initrd = initrd(lohar, modules, on_demand);

    let manifest = KitManifest {
        format: FORMAT,
        id: KitId::of(&kernel, &initrd),
        kernel_version: release,
        lohar_version: inputs.lohar_version.clone(),
        arch: "x86_64".to_owned(),
        devices: modules::DEVICES,
        inputs: digest,
    };
    let text = manifest.to_text();
    for (name, bytes) in [(KERNEL, &kernel), (INITRD, &initrd), (MANIFEST, &text)] {
        fs_err::write(work.path().join(name), bytes).map_err(KitBuildError::Write)?;
    }
    store
        .install(work.path())
        .map(Built::New)
        .map_err(KitBuildError::Install)
}

/// The initrd: the agent as `/init`, the modules, and the places the kernel and the agent mount
/// things on.
pub fn initrd(lohar: Vec<u8>, modules: Vec<Module>, on_demand: OnDemand) -> Vec<u8> {
    let mut archive = Archive::new();
    for dir in [
        "dev",
        "modules",
        "modules/more",
        "newroot",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
    ] {
        archive.dir(dir);
    }
    // The kernel opens the console for PID 1 before anything is mounted.
    archive.char_device("dev/console", 5, 1);
    archive.char_device("dev/null", 1, 3);
    archive.char_device("dev/kmsg", 1, 11);
    archive.file("init", 0o755, lohar);
    archive.file(
        "modules/order",
        0o644,
        modules::order_file(&modules).into_bytes(),
    );
    for module in modules {
        archive.file(
            &format!("modules/{}.ko", module.name),
            0o644,
            module.content,
        );
    }
    archive.file("modules/more/index", 0o644, on_demand.index.into_bytes());
    for module in on_demand.modules {
        archive.file(
            &format!("modules/more/{}.ko", module.name),
            0o644,
            module.content,
        );
    }
    archive.into_bytes()
}

/// What tells whether a kit has to be built again. A package's name carries its version, and
/// Debian never changes a published one.
fn digest(inputs: &KitInputs, lohar: &[u8]) -> String {
    let package = inputs.kernel_package.file_name().unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&BUILDER.to_le_bytes());
    hasher.update(&modules::DEVICES.to_le_bytes());
    for text in [
        package.as_encoded_bytes(),
        modules::WANTED.join(",").as_bytes(),
        on_demand::WANTED.join(",").as_bytes(),
        lohar,
    ] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.finalize().to_hex().to_string()
}

/// The kernel's release, from the name of its file.
fn release(boot: &Path) -> Result<String, KitBuildError> {
    let names = fs_err::read_dir(boot).map_err(KitBuildError::Read)?;
    let mut names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .ok_or(KitBuildError::NoKernel)
}

#[cfg(test)]
mod test {
    use std::path::{Path, PathBuf};

    use bhatti_host::command::Command;

    use super::super::elf::test::file;
    use super::super::modules::{self, Module};
    use super::super::on_demand::{self, OnDemand};
    use super::super::vmlinux;
    use super::{Built, KitBuildError, KitInputs, build, initrd};
    use crate::kit::KitStore;

    #[test]
    fn the_same_inputs_give_the_same_initrd() {
        let module = |name: &str| Module {
            name: name.to_owned(),
            content: name.into(),
        };
        let make = || {
            initrd(
                b"lohar".to_vec(),
                vec![module("virtio_ring"), module("virtio")],
                OnDemand {
                    modules: vec![module("tun")],
                    index: "tun -\n".to_owned(),
                },
            )
        };
        assert_eq!(make(), make());
        let text = String::from_utf8_lossy(&make()).into_owned();
        assert!(
            text.contains("virtio_ring.ko\nvirtio.ko\n"),
            "the load order is kept"
        );
        assert!(text.contains("dev/console"));
        assert!(text.contains("modules/more/index") && text.contains("modules/more/tun.ko"));
    }

    /// A kernel package with all wanted modules, none of which needs another.
    async fn kernel_package(dir: &Path) -> PathBuf {
        let tree = dir.join("tree");
        let modules = tree.join("lib/modules/6.1.0-1-cloud-amd64");
        for sub in ["DEBIAN", "boot"] {
            fs_err::create_dir_all(tree.join(sub)).unwrap();
        }
        fs_err::create_dir_all(modules.join("kernel")).unwrap();
        let control = "Package: linux-image-1\nVersion: 1\nArchitecture: amd64\n\
                       Maintainer: nobody <nobody@example.org>\nDescription: a test\n";
        fs_err::write(tree.join("DEBIAN/control"), control).unwrap();
        let vmlinuz = vmlinux::test::packed(b"\x7fELF kernel");
        fs_err::write(tree.join("boot/vmlinuz-6.1.0-1-cloud-amd64"), vmlinuz).unwrap();
        fs_err::write(modules.join("modules.builtin"), "").unwrap();
        for name in modules::WANTED.iter().chain(&on_demand::WANTED) {
            let path = modules.join("kernel").join(format!("{name}.ko"));
            fs_err::write(path, file(1, b"depends=\0")).unwrap();
        }
        let deb = dir.join("linux-image-1_1_amd64.deb");
        let build = Command::new("dpkg-deb").arg("--build").arg(&tree).arg(&deb);
        build.run().await.unwrap();
        deb
    }

    fn inputs(dir: &Path, kernel_package: PathBuf, lohar: &[u8]) -> KitInputs {
        let path = dir.join("lohar");
        fs_err::write(&path, lohar).unwrap();
        let lohar_version = "0.1.0".to_owned();
        KitInputs {
            kernel_package,
            lohar: path,
            lohar_version,
        }
    }

    #[tokio::test]
    async fn a_kit_is_built_once_and_again_when_the_agent_changes() {
        if !Path::new("/usr/bin/dpkg-deb").exists() {
            eprintln!("skipped: needs dpkg-deb");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let package = kernel_package(dir.path()).await;
        let store = KitStore::open(dir.path().join("kits")).unwrap();

        let first = inputs(dir.path(), package.clone(), &file(1, b"one"));
        let Built::New(kit) = build(&first, &store).await.unwrap() else {
            panic!("there was no kit before");
        };
        assert_eq!(fs_err::read(kit.kernel()).unwrap(), b"\x7fELF kernel");
        assert_eq!(kit.manifest.kernel_version, "6.1.0-1-cloud-amd64");
        let again = build(&first, &store).await.unwrap();
        assert_eq!(again, Built::UpToDate(kit.clone()));

        let second = inputs(dir.path(), package.clone(), &file(1, b"two"));
        let newer = build(&second, &store).await.unwrap();
        assert_ne!(newer.kit().id, kit.id);
        assert_eq!(store.current().unwrap(), *newer.kit());
        assert_eq!(
            store.list().unwrap().len(),
            2,
            "the old kit stays for sleeping machines"
        );

        // The same bytes built elsewhere are the same kit.
        let elsewhere = KitStore::open(dir.path().join("others")).unwrap();
        let rebuilt = build(&second, &elsewhere).await.unwrap();
        assert_eq!(rebuilt.kit().id, newer.kit().id);
        assert_eq!(
            fs_err::read_dir(store.dir()).unwrap().count(),
            3,
            "nothing half-made is left"
        );
    }

    #[tokio::test]
    async fn an_agent_that_needs_libraries_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = inputs(dir.path(), PathBuf::from("/nonexistent.deb"), &file(3, b""));
        let store = KitStore::open(dir.path().join("kits")).unwrap();
        let error = build(&inputs, &store).await.unwrap_err();
        assert!(matches!(error, KitBuildError::NotStatic { .. }), "{error}");
    }
}
