//! What `docker save` and `podman save` write.

use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::spool::Spool;
use crate::oci::limits::{MAX_CONFIG, MAX_LAYERS, MAX_MANIFEST};
use crate::oci::manifest::ManifestError;

/// Name of the list of images.
pub(super) const MANIFEST: &str = "manifest.json";

/// An image of the list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    /// The file with its config.
    pub(super) config: String,
    /// Its names.
    pub(super) repo_tags: Option<Vec<String>>,
    /// The files with its layers, from the lowest.
    pub(super) layers: Vec<String>,
}

/// An image: where its parts are.
pub(super) struct Found {
    pub(super) names: Vec<String>,
    pub(super) raw_config: Vec<u8>,
    pub(super) layers: Vec<String>,
}

/// Whether an archive has a list of images.
pub(super) fn is_list(spool: &Spool) -> bool {
    list(spool).is_ok()
}

fn list(spool: &Spool) -> Result<Vec<Entry>, ArchiveError> {
    let text = spool.small(MANIFEST, MAX_MANIFEST)?;
    serde_json::from_slice(&text).map_err(|source| ArchiveError::Json {
        name: MANIFEST,
        source,
    })
}

/// Finds the image that is meant.
pub(super) fn find(spool: &Spool, wanted: Option<&str>) -> Result<Found, ArchiveError> {
    let entries = list(spool)?;
    let names = |entry: &Entry| entry.repo_tags.clone().unwrap_or_default();
    let mut fitting = entries
        .iter()
        .filter(|entry| wanted.is_none_or(|wanted| names(entry).iter().any(|name| name == wanted)));
    let Some(entry) = fitting.next() else {
        return Err(match wanted {
            Some(wanted) => ArchiveError::Name {
                wanted: wanted.to_owned(),
            },
            None => ArchiveError::Manifest(ManifestError::Empty),
        });
    };
    if fitting.next().is_some() {
        return Err(ArchiveError::Several {
            names: entries.iter().flat_map(names).take(50).collect(),
        });
    }
    match entry.layers.len() {
        0 => return Err(ArchiveError::Manifest(ManifestError::Empty)),
        count if count > MAX_LAYERS => {
            return Err(ArchiveError::Manifest(ManifestError::Layers(count)));
        }
        _ => {}
    }
    Ok(Found {
        names: names(entry),
        raw_config: spool.small(&entry.config, MAX_CONFIG)?,
        layers: entry.layers.clone(),
    })
}
