//! Finds what is in a layer, in one pass over its uncompressed archive.

use std::io::Read;

use crate::layer::index::{Entry, EntryKind, LayerIndex};
use crate::layer::limits::{Limits, TARGET_MAX};
use crate::layer::path::{PathError, normalise};
use crate::layer::tar::entries::{Entries, RawEntry, RawKind};

pub use crate::layer::tar::entries::TarError;

/// Why a layer is refused.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It is no archive, is damaged, cut off or too large.
    #[error("the layer's archive cannot be used")]
    Archive(#[source] TarError),
    /// The name of an entry is one that no file can have.
    #[error("the layer has an entry {name:?} that no file can be called")]
    Name {
        /// Its beginning.
        name: String,
        /// Why not.
        #[source]
        source: PathError,
    },
    /// The target of a link is one that no link can have.
    #[error("the layer has a link {name:?} without a valid target")]
    Target {
        /// The link's name.
        name: String,
    },
    /// The root of the tree is not a directory.
    #[error("the layer has a root that is not a directory")]
    Root,
    /// There are too many entries.
    #[error("the layer has more than {limit} entries")]
    Entries {
        /// How many it may have.
        limit: u32,
    },
    /// Names and attributes are too long together.
    #[error("names and attributes of the layer have more than {limit} bytes")]
    Text {
        /// How many they may have.
        limit: u64,
    },
}

impl From<TarError> for ScanError {
    fn from(source: TarError) -> Self {
        Self::Archive(source)
    }
}

/// Reads an uncompressed archive to its end and gives what is in it, and its digest.
///
/// Blocking. Memory is bounded by `limits`, not by what the archive claims. What entries mean
/// together with others is not looked at: that is [`crate::layer::merge`]'s.
pub fn scan(reader: impl Read, limits: &Limits) -> Result<LayerIndex, ScanError> {
    let mut archive = Entries::new(reader, limits);
    let mut entries = Vec::new();
    let mut text = 0_u64;
    while let Some(raw) = archive.next_entry()? {
        if entries.len() >= limits.entries as usize {
            return Err(ScanError::Entries {
                limit: limits.entries,
            });
        }
        let entry = checked(raw, limits)?;
        text += entry.text_bytes();
        if text > limits.text_bytes {
            return Err(ScanError::Text {
                limit: limits.text_bytes,
            });
        }
        entries.push(entry);
    }
    let (diff_id, bytes) = archive.finish()?;
    Ok(LayerIndex {
        diff_id,
        bytes,
        entries,
    })
}

fn checked(raw: RawEntry, limits: &Limits) -> Result<Entry, ScanError> {
    let RawEntry { path, meta, kind } = raw;
    let shown = || String::from_utf8_lossy(&path[..path.len().min(100)]).into_owned();
    let named = |source| ScanError::Name {
        name: shown(),
        source,
    };
    let target = |target: Vec<u8>| {
        if target.is_empty() || target.len() > TARGET_MAX || target.contains(&0) {
            return Err(ScanError::Target { name: shown() });
        }
        Ok(target)
    };
    let normal = normalise(&path, limits).map_err(named)?;
    let kind = match kind {
        RawKind::Directory => EntryKind::Directory,
        RawKind::File(data) => EntryKind::File(data),
        RawKind::Symlink(to) => EntryKind::Symlink(target(to)?.into_boxed_slice()),
        RawKind::HardLink(to) => {
            let to = normalise(&to, limits).ok().filter(|to| !to.is_empty());
            EntryKind::HardLink(to.ok_or_else(|| ScanError::Target { name: shown() })?)
        }
        RawKind::Character(device) => EntryKind::Character(device),
        RawKind::Block(device) => EntryKind::Block(device),
        RawKind::Fifo => EntryKind::Fifo,
    };
    if normal.is_empty() && kind != EntryKind::Directory {
        return Err(ScanError::Root);
    }
    Ok(Entry {
        path: normal,
        meta,
        kind,
    })
}
