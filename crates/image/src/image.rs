//! What an image is: a root file system and what is to be known to use it.
//!
//! ```text
//! <image name>/disk.raw      an ext4 file system, sparse
//! <image name>/image.json    the manifest
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bhatti_host::files;
use bhatti_types::id::ImageId;
use bhatti_types::invalid::Invalid;
use bhatti_types::name::{ImageName, SandboxName};
use bhatti_types::size::DiskMb;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::image_config::ImageConfig;

/// Name of the file with the root file system.
pub const DISK: &str = "disk.raw";
/// Name of the manifest's file.
pub const MANIFEST: &str = "image.json";
/// Version of the manifest's format.
pub const FORMAT: u32 = 1;
/// Largest manifest read, in bytes. Labels and environments of images can be long: a config of a
/// registry may have 2 MiB (`oci::limits`), and takes more room when it is laid out.
const MAX_MANIFEST: u64 = 8 << 20;

/// Longest text of where an image came from, in bytes.
const MAX_SOURCE: usize = 512;

/// Where an image came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ImageSource {
    /// Made from packages by the recipe of this name.
    Recipe(ImageName),
    /// Pulled from a registry: the reference with the digest it led to.
    Oci(String),
    /// Saved from a Docker or Podman on the client's side, which has it under this name.
    Docker(String),
    /// Read from an archive, of this kind.
    Archive(String),
    /// The disk of the sandbox that had this name.
    Sandbox(SandboxName),
    /// Built from a Dockerfile or the like, in a directory of this name.
    Build(String),
}

impl ImageSource {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Recipe(name) => ("recipe", name.as_str()),
            Self::Oci(reference) => ("oci", reference),
            Self::Docker(name) => ("docker", name),
            Self::Archive(kind) => ("archive", kind),
            Self::Sandbox(name) => ("sandbox", name.as_str()),
            Self::Build(name) => ("build", name),
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = self.parts();
        write!(f, "{kind}:{value}")
    }
}

impl FromStr for ImageSource {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: &str| Err(Invalid::new("image source", text, reason));
        if text.len() > MAX_SOURCE || text.chars().any(char::is_control) {
            return refuse("must be at most 512 bytes on one line");
        }
        match text.split_once(':') {
            Some(("recipe", name)) => Ok(Self::Recipe(name.parse()?)),
            Some(("sandbox", name)) => Ok(Self::Sandbox(name.parse()?)),
            Some(("oci", reference)) => Ok(Self::Oci(reference.to_owned())),
            Some(("docker", name)) => Ok(Self::Docker(name.to_owned())),
            Some(("archive", kind)) => Ok(Self::Archive(kind.to_owned())),
            Some(("build", name)) => Ok(Self::Build(name.to_owned())),
            _ => refuse("must be `KIND:VALUE`, such as `recipe:NAME` or `oci:REFERENCE`"),
        }
    }
}

impl TryFrom<String> for ImageSource {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ImageSource> for String {
    fn from(source: ImageSource) -> Self {
        source.to_string()
    }
}

/// What an image says about itself (`image.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageManifest {
    /// Version of this format, [`FORMAT`].
    pub format: u32,
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: ImageName,
    /// Where it came from.
    pub source: ImageSource,
    /// Digest of what it was made from.
    pub digest: String,
    /// Size of its file system.
    pub size_mb: DiskMb,
    /// When it was made.
    pub created_at: Timestamp,
    /// How commands run in it.
    pub config: ImageConfig,
    /// Digests of the layers it was made from, the lowest first: they are kept for as long as an
    /// image names them. None if it was not made from layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

impl ImageManifest {
    /// The manifest as it is written.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let text = serde_json::to_vec_pretty(self);
        let mut text = text.expect("a struct of strings and numbers is always valid JSON");
        text.push(b'\n');
        text
    }
}

/// An image on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: ImageName,
    /// Where it came from.
    pub source: ImageSource,
    /// Digest of what it was made from.
    pub digest: String,
    /// Size of its file system.
    pub size_mb: DiskMb,
    /// When it was made.
    pub created_at: Timestamp,
    /// How commands run in it.
    pub config: ImageConfig,
    /// Digests of the layers it was made from, the lowest first.
    pub layers: Vec<String>,
    /// The file with its root file system. Never written to: machines get copies.
    pub disk: PathBuf,
}

/// An image that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file is missing or not readable.
    #[error("failed to read it")]
    Read(#[source] io::Error),
    /// The manifest is not JSON of the right shape.
    #[error("its manifest is not valid")]
    Manifest(#[source] serde_json::Error),
    /// The manifest has another format.
    #[error("its manifest has format {0}, and only 1 is known")]
    Format(u32),
    /// The disk has another size than the manifest says.
    #[error("its disk has {actual} bytes instead of {expected}")]
    Size {
        /// The size it has.
        actual: u64,
        /// The size it should have.
        expected: u64,
    },
}

impl Image {
    /// Reads the image in a directory. Its disk has to be there with the right size.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let text = files::read_bounded(&dir.join(MANIFEST), MAX_MANIFEST);
        let text = text.map_err(ImageError::Read)?;
        let manifest: ImageManifest =
            serde_json::from_slice(&text).map_err(ImageError::Manifest)?;
        if manifest.format != FORMAT {
            return Err(ImageError::Format(manifest.format));
        }
        let disk = dir.join(DISK);
        let actual = fs_err::metadata(&disk).map_err(ImageError::Read)?.len();
        let expected = manifest.size_mb.bytes();
        if actual != expected {
            return Err(ImageError::Size { actual, expected });
        }
        Ok(Self {
            id: manifest.id,
            name: manifest.name,
            source: manifest.source,
            digest: manifest.digest,
            size_mb: manifest.size_mb,
            created_at: manifest.created_at,
            config: manifest.config,
            layers: manifest.layers,
            disk,
        })
    }

    /// What its disk takes on the host, in bytes: the holes left out.
    pub fn used_bytes(&self) -> io::Result<u64> {
        files::disk_usage(&self.disk)
    }
}

#[cfg(test)]
pub(crate) mod test {
    use std::path::Path;

    use bhatti_host::files;
    use bhatti_types::id::ImageId;
    use bhatti_types::size::DiskMb;

    use super::{DISK, FORMAT, Image, ImageConfig, ImageError, ImageManifest, MANIFEST};

    /// Writes an image with an empty disk.
    pub(crate) fn write_image(dir: &Path, name: &str, digest: &str) -> ImageManifest {
        let size_mb = DiskMb::new(64).unwrap();
        let manifest = ImageManifest {
            format: FORMAT,
            id: ImageId::random(),
            name: name.parse().unwrap(),
            source: "recipe:base".parse().unwrap(),
            digest: digest.to_owned(),
            size_mb,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            config: ImageConfig::default(),
            layers: Vec::new(),
        };
        fs_err::create_dir_all(dir).unwrap();
        fs_err::write(dir.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        files::create_sparse(&dir.join(DISK), size_mb.bytes()).unwrap();
        manifest
    }

    #[test]
    fn an_image_with_a_disk_cut_short_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = write_image(dir.path(), "base", "d");
        assert_eq!(Image::open(dir.path()).unwrap().id, manifest.id);
        files::create_sparse(&dir.path().join(DISK), 1000).unwrap();
        assert!(matches!(
            Image::open(dir.path()),
            Err(ImageError::Size { .. })
        ));
    }

    #[test]
    fn the_manifest_is_read_and_written_as_the_contract_has_it() {
        for golden in [
            include_str!("../../../contracts/image-v1.json"),
            include_str!("../../../contracts/image-v1-service.json"),
        ] {
            let manifest: ImageManifest = serde_json::from_str(golden).unwrap();
            assert_eq!(String::from_utf8(manifest.to_text()).unwrap(), golden);
        }
    }

    #[test]
    fn every_source_reads_as_it_was_written_and_others_are_refused() {
        let sources = [
            "recipe:base",
            "oci:docker.io/library/alpine:3.20@sha256:00ff",
            "docker:me/app:1",
            "archive:oci",
            "sandbox:dev",
            "build:app",
        ];
        for text in sources {
            let source: super::ImageSource = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
        }
        for text in ["", "base", "ftp:x", "sandbox:a/b", "oci:a\nb"] {
            assert!(text.parse::<super::ImageSource>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_image_of_a_later_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = write_image(dir.path(), "base", "d");
        manifest.format = 2;
        fs_err::write(
            dir.path().join(MANIFEST),
            serde_json::to_vec(&manifest).unwrap(),
        )
        .unwrap();
        assert!(matches!(
            Image::open(dir.path()),
            Err(ImageError::Format(2))
        ));
    }
}
