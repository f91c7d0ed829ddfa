//! The OCI image layout, as it is in archives.

use super::error::ArchiveError;
use super::spool::Spool;
use crate::layer::digest::Sha256Digest;
use crate::oci::limits::{MAX_CONFIG, MAX_INDEX_DEPTH, MAX_MANIFEST};
use crate::oci::manifest::{self, ImageManifest, Index, IndexEntry, Manifest, ManifestError};
use crate::oci::platform::Platform;

/// Name of the file by which a layout is known.
pub(super) const MARK: &str = "oci-layout";
/// What is in it.
pub(super) const MARK_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Name of the list of images.
pub(super) const INDEX: &str = "index.json";

/// An image.
pub(super) struct Found {
    pub(super) names: Vec<String>,
    pub(super) digest: Sha256Digest,
    pub(super) manifest: ImageManifest,
    pub(super) raw_config: Vec<u8>,
}

/// The name of a blob's file.
pub(super) fn blob(digest: &Sha256Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Finds the image that is meant.
pub(super) fn find(
    spool: &Spool,
    wanted: Option<&str>,
    platform: &Platform,
) -> Result<Found, ArchiveError> {
    let text = spool.small(INDEX, MAX_MANIFEST)?;
    let Manifest::Index(index) =
        manifest::parse(&text, Some(manifest::OCI_INDEX)).map_err(ArchiveError::Manifest)?
    else {
        return Err(ArchiveError::Lacks {
            name: INDEX.to_owned(),
        });
    };
    let entry = choose(&index, wanted, platform)?;
    let (names, digest) = (names(entry), entry.descriptor.digest);
    let mut next = digest;
    for _ in 0..=MAX_INDEX_DEPTH {
        let text = read(spool, &next, MAX_MANIFEST)?;
        match manifest::parse(&text, None).map_err(ArchiveError::Manifest)? {
            Manifest::Image(manifest) => {
                let raw_config = read(spool, &manifest.config.digest, MAX_CONFIG)?;
                return Ok(Found {
                    names,
                    digest,
                    manifest,
                    raw_config,
                });
            }
            Manifest::Index(index) => {
                let entry = index.select(platform).map_err(ArchiveError::Manifest)?;
                next = entry.descriptor.digest;
            }
        }
    }
    let why = ManifestError::Index("indexes lie too deep in each other");
    Err(ArchiveError::Manifest(why))
}

fn names(entry: &IndexEntry) -> Vec<String> {
    let annotations = entry.annotations.clone().unwrap_or_default();
    let names = [annotations.image_name, annotations.ref_name];
    names.into_iter().flatten().collect()
}

fn choose<'a>(
    index: &'a Index,
    wanted: Option<&str>,
    platform: &Platform,
) -> Result<&'a IndexEntry, ArchiveError> {
    if let Some(wanted) = wanted {
        let found = index
            .manifests
            .iter()
            .find(|entry| names(entry).iter().any(|name| name == wanted));
        return found.ok_or_else(|| ArchiveError::Name {
            wanted: wanted.to_owned(),
        });
    }
    if let [only] = index.manifests.as_slice() {
        return Ok(only);
    }
    let mut all: Vec<_> = index.manifests.iter().flat_map(names).collect();
    all.sort();
    all.dedup();
    // Without names, they are one image for several platforms.
    if all.len() > 1 {
        all.truncate(50);
        return Err(ArchiveError::Several { names: all });
    }
    index.select(platform).map_err(ArchiveError::Manifest)
}

/// Reads a small blob, which has to be what its name says.
fn read(spool: &Spool, digest: &Sha256Digest, limit: u64) -> Result<Vec<u8>, ArchiveError> {
    let name = blob(digest);
    let bytes = spool.small(&name, limit)?;
    if Sha256Digest::of(&bytes) == *digest {
        Ok(bytes)
    } else {
        Err(ArchiveError::Digest { name })
    }
}
