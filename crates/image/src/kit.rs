//! Guest kits: the kernel and initrd that guests boot with, several side by side.
//!
//! ```text
//! kits/<kit id>/{vmlinux,initrd,kit.json}
//! kits/current -> <kit id>
//! ```
//!
//! A kit never changes. New machines get the current one; a machine that sleeps keeps the kit it
//! was started with, because its memory holds that kernel.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bhatti_host::files;
use bhatti_types::invalid::Invalid;
use serde::{Deserialize, Serialize};

use crate::place;

/// Name of the kernel's file in a kit.
pub const KERNEL: &str = "vmlinux";
/// Name of the initrd's file in a kit.
pub const INITRD: &str = "initrd";
/// Name of the manifest's file in a kit.
pub const MANIFEST: &str = "kit.json";
/// Name of the link to the kit that new machines get.
const CURRENT: &str = "current";
/// Version of the manifest's format.
pub const FORMAT: u32 = 1;
/// Largest manifest read, in bytes.
const MAX_MANIFEST: u64 = 64 * 1024;

/// Names a kit by what is in it: the first 16 hexadecimal digits of a BLAKE3 hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KitId(String);

impl KitId {
    /// Digits of an id.
    const DIGITS: usize = 16;

    /// The id of the kit with this kernel and initrd.
    pub fn of(kernel: &[u8], initrd: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        // The length says where the one ends, so that no other pair gives the same bytes.
        hasher.update(&(kernel.len() as u64).to_le_bytes());
        hasher.update(kernel);
        hasher.update(initrd);
        let digits = hasher.finalize().to_hex();
        Self(digits.as_str().chars().take(Self::DIGITS).collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KitId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == Self::DIGITS && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "guest kit id",
                text,
                "must be 16 hexadecimal digits",
            ))
        }
    }
}

impl TryFrom<String> for KitId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<KitId> for String {
    fn from(id: KitId) -> Self {
        id.0
    }
}

/// What a kit says about itself (`kit.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KitManifest {
    /// Version of this format, [`FORMAT`].
    pub format: u32,
    /// The kit's id.
    pub id: KitId,
    /// Release of the kernel, as `uname -r` says it.
    pub kernel_version: String,
    /// Version of the guest agent.
    pub lohar_version: String,
    /// Machine the kit is for, as `uname -m` says it.
    pub arch: String,
    /// The set of virtual devices that it has drivers for; sets are numbered.
    #[serde(default = "first_devices")]
    pub devices: u32,
    /// Digest of what the kit was built from, so that an up-to-date one is not built again.
    pub inputs: String,
}

/// The set of devices of kits that do not name one.
const fn first_devices() -> u32 {
    1
}

impl KitManifest {
    /// The manifest as it is written.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let text = serde_json::to_vec_pretty(self);
        let mut text = text.expect("a struct of strings and numbers is always valid JSON");
        text.push(b'\n');
        text
    }
}

/// One guest kit on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kit {
    /// Its id.
    pub id: KitId,
    /// Its directory.
    pub dir: PathBuf,
    /// What it says about itself.
    pub manifest: KitManifest,
}

impl Kit {
    /// The kernel, an uncompressed ELF file.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    /// The initrd, a cpio archive.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join(INITRD)
    }

    /// Reads the kit in a directory. Its files have to be there; they are not hashed again.
    pub fn open(dir: &Path) -> Result<Self, KitError> {
        let damaged = |reason| KitError::Damaged {
            dir: dir.to_owned(),
            reason,
        };
        let text = files::read_bounded(&dir.join(MANIFEST), MAX_MANIFEST)
            .map_err(|source| damaged(Damage::Read(source)))?;
        let manifest: KitManifest =
            serde_json::from_slice(&text).map_err(|source| damaged(Damage::Manifest(source)))?;
        if manifest.format != FORMAT {
            return Err(damaged(Damage::Format(manifest.format)));
        }
        for name in [KERNEL, INITRD] {
            fs_err::metadata(dir.join(name)).map_err(|source| damaged(Damage::Read(source)))?;
        }
        Ok(Self {
            id: manifest.id.clone(),
            dir: dir.to_owned(),
            manifest,
        })
    }
}

/// What can go wrong with kits.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// There is no kit for new machines.
    #[error("no guest kit is installed; run `cargo xtask guest-kit`")]
    NoCurrent,
    /// A kit that a sleeping machine was started with is gone.
    #[error("guest kit {id} is not installed; run `cargo xtask guest-kit`")]
    Missing {
        /// The kit.
        id: KitId,
    },
    /// A kit is not what it should be.
    #[error("the guest kit in {dir:?} is damaged; delete it and run `cargo xtask guest-kit`")]
    Damaged {
        /// Where it is.
        dir: PathBuf,
        /// What is wrong.
        #[source]
        reason: Damage,
    },
    /// The directory of kits could not be read or written.
    #[error("failed to access the guest kits in {dir:?}")]
    Store {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a kit.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A file is missing or not readable.
    #[error("failed to read it")]
    Read(#[source] io::Error),
    /// The manifest is not JSON of the right shape.
    #[error("its manifest is not valid")]
    Manifest(#[source] serde_json::Error),
    /// The manifest has another format.
    #[error("its manifest has format {0}, and only 1 is known")]
    Format(u32),
    /// Its content has another hash than its id says.
    #[error("its content belongs to id {0}")]
    Content(KitId),
}

/// The kits of a data directory, or of the build cache.
#[derive(Debug, Clone)]
pub struct KitStore {
    dir: PathBuf,
}

impl KitStore {
    /// Opens the store in a directory, which is made if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, KitError> {
        let store = Self { dir: dir.into() };
        fs_err::create_dir_all(&store.dir).map_err(|source| store.error(source))?;
        Ok(store)
    }

    /// Where the kits are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The kit that new machines get.
    pub fn current(&self) -> Result<Kit, KitError> {
        match fs_err::read_link(self.dir.join(CURRENT)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KitError::NoCurrent),
            Err(source) => Err(self.error(source)),
            Ok(target) => {
                let id = target.to_str().and_then(|id| id.parse().ok());
                self.get(&id.ok_or(KitError::NoCurrent)?)
            }
        }
    }

    /// The kit with this id.
    pub fn get(&self, id: &KitId) -> Result<Kit, KitError> {
        let dir = self.dir.join(id.as_str());
        if !dir.exists() {
            return Err(KitError::Missing { id: id.clone() });
        }
        Kit::open(&dir)
    }

    /// All kits that can be read, sorted by id; others are left out with a warning in the log.
    pub fn list(&self) -> Result<Vec<Kit>, KitError> {
        let dirs = place::finished_dirs(&self.dir).map_err(|source| self.error(source))?;
        let kits = dirs.iter().filter_map(|dir| {
            Kit::open(dir)
                .inspect_err(|error| {
                    tracing::warn!(error = error as &dyn std::error::Error, "kit left out");
                })
                .ok()
        });
        Ok(kits.collect())
    }

    /// Checks the kit in `from`, puts it into the store unless it is there, and makes it the one
    /// that new machines get. Done means durable; the old kits stay.
    pub fn install(&self, from: &Path) -> Result<Kit, KitError> {
        let kit = Kit::open(from)?;
        let damaged = |reason| KitError::Damaged {
            dir: from.to_owned(),
            reason,
        };
        let read = |path| fs_err::read(path).map_err(|source| damaged(Damage::Read(source)));
        let content = KitId::of(&read(kit.kernel())?, &read(kit.initrd())?);
        if content != kit.id {
            return Err(damaged(Damage::Content(content)));
        }
        let to = self.dir.join(kit.id.as_str());
        if Kit::open(&to)
            .ok()
            .is_none_or(|there| there.manifest != kit.manifest)
        {
            place::install_dir(from, &to, &[KERNEL, INITRD, MANIFEST])
                .map_err(|source| self.error(source))?;
        }
        self.set_current(&kit.id)
    }

    /// Makes a kit of the store the one that new machines get.
    pub fn set_current(&self, id: &KitId) -> Result<Kit, KitError> {
        let kit = self.get(id)?;
        let aside = self.dir.join(format!(".{CURRENT}.new"));
        let link = || {
            files::remove_file(&aside)?;
            fs_err::os::unix::fs::symlink(id.as_str(), &aside)?;
            files::rename_durable(&aside, &self.dir.join(CURRENT))
        };
        link().map_err(|source| self.error(source))?;
        Ok(kit)
    }

    fn error(&self, source: io::Error) -> KitError {
        KitError::Store {
            dir: self.dir.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{Damage, FORMAT, INITRD, KERNEL, KitError, KitId, KitManifest, KitStore, MANIFEST};

    fn write_kit(dir: &Path, kernel: &[u8], claimed: &KitId) {
        fs_err::create_dir_all(dir).unwrap();
        fs_err::write(dir.join(KERNEL), kernel).unwrap();
        fs_err::write(dir.join(INITRD), b"initrd").unwrap();
        let manifest = KitManifest {
            format: FORMAT,
            id: claimed.clone(),
            kernel_version: "6.1.0-1-cloud-amd64".to_owned(),
            lohar_version: "0.1.0".to_owned(),
            arch: "x86_64".to_owned(),
            devices: 2,
            inputs: String::new(),
        };
        fs_err::write(dir.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    #[test]
    fn a_new_kit_becomes_current_and_the_old_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = KitStore::open(dir.path().join("kits")).unwrap();
        let error = store.current().unwrap_err();
        assert!(
            error.to_string().contains("run `cargo xtask guest-kit`"),
            "{error}"
        );
        for kernel in [b"one", b"two"] {
            let from = dir.path().join("from");
            write_kit(&from, kernel, &KitId::of(kernel, b"initrd"));
            let kit = store.install(&from).unwrap();
            assert_eq!(store.current().unwrap(), kit);
            assert_eq!(fs_err::read(kit.kernel()).unwrap(), kernel);
            fs_err::remove_dir_all(&from).unwrap();
        }
        assert_eq!(store.list().unwrap().len(), 2);
        let first = KitId::of(b"one", b"initrd");
        assert_eq!(store.set_current(&first).unwrap().id, first);
        assert_eq!(store.current().unwrap().id, first);
    }

    #[test]
    fn installing_a_kit_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = KitStore::open(dir.path().join("kits")).unwrap();
        let from = dir.path().join("from");
        write_kit(&from, b"one", &KitId::of(b"one", b"initrd"));
        assert_eq!(store.install(&from).unwrap(), store.install(&from).unwrap());
        assert_eq!(store.list().unwrap().len(), 1);
    }

    #[test]
    fn a_kit_with_other_content_than_its_id_says_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = KitStore::open(dir.path().join("kits")).unwrap();
        let from = dir.path().join("from");
        write_kit(&from, b"one", &KitId::of(b"two", b"initrd"));
        let error = store.install(&from).unwrap_err();
        assert!(matches!(
            error,
            KitError::Damaged {
                reason: Damage::Content(_),
                ..
            }
        ));
        assert!(matches!(store.current(), Err(KitError::NoCurrent)));
    }

    #[test]
    fn half_made_and_damaged_kits_are_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let store = KitStore::open(dir.path()).unwrap();
        let id = KitId::of(b"one", b"initrd");
        write_kit(&dir.path().join(".tmp-1"), b"one", &id);
        fs_err::create_dir(dir.path().join(id.as_str())).unwrap();
        assert!(store.list().unwrap().is_empty());
        assert!(matches!(store.get(&id), Err(KitError::Damaged { .. })));
        let other: KitId = "0123456789abcdef".parse().unwrap();
        assert!(matches!(store.get(&other), Err(KitError::Missing { .. })));
    }

    #[test]
    fn the_manifest_is_read_and_written_as_the_contract_has_it() {
        let golden = include_str!("../../../contracts/kit-v1.json");
        let manifest: KitManifest = serde_json::from_str(golden).unwrap();
        assert_eq!(String::from_utf8(manifest.to_text()).unwrap(), golden);
    }

    #[test]
    fn an_id_cannot_lead_out_of_the_store() {
        for text in [
            "",
            "../../etc/passwd",
            "0123456789ABCDEF",
            "0123456789abcdef0",
        ] {
            assert!(text.parse::<KitId>().is_err(), "{text}");
        }
    }
}
