//! What can go wrong with archives.

use std::io;

use crate::layer::scan::ScanError;
use crate::layer::store::FetchError;
use crate::layer::store::error::is_full;
use crate::oci::config::ConfigError;
use crate::oci::manifest::ManifestError;

/// An archive could not be made into an image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It could not be read to its end.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// It could not be kept.
    #[error("failed to keep the archive")]
    Store(#[source] io::Error),
    /// The disk is full.
    #[error("no space left on the disk for the archive")]
    NoSpace,
    /// It is too large.
    #[error("the archive has more than {limit} bytes")]
    TooLarge {
        /// How much is taken.
        limit: u64,
    },
    /// It is compressed in a way that is not known.
    #[error("the archive is compressed by {program}, which is not understood here")]
    Compression {
        /// What unpacks it.
        program: &'static str,
    },
    /// It is no archive.
    #[error("the archive cannot be used")]
    Content(#[source] ScanError),
    /// A file that it should have is not there, or is not what it should be.
    #[error("the archive has no usable file {name:?}")]
    Lacks {
        /// The file.
        name: String,
    },
    /// A file that it has is not the one that is meant.
    #[error("the file {name:?} of the archive has another digest than its name")]
    Digest {
        /// The file.
        name: String,
    },
    /// A list in it cannot be read.
    #[error("the archive's {name} is not valid")]
    Json {
        /// The list.
        name: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest in it cannot be used.
    #[error("the image in the archive cannot be used")]
    Manifest(#[source] ManifestError),
    /// A config in it cannot be used.
    #[error("the image in the archive cannot be used")]
    Config(#[source] ConfigError),
    /// There are several images.
    #[error("the archive has {} images: {}", names.len(), names.join(", "))]
    Several {
        /// Their names.
        names: Vec<String>,
    },
    /// There is no image of the wanted name.
    #[error("the archive has no image {wanted:?}")]
    Name {
        /// What was wanted.
        wanted: String,
    },
    /// A layer cannot be used.
    #[error("a layer of the archive cannot be used")]
    Layer(#[source] FetchError),
    /// It was given up.
    #[error("the import was given up")]
    GivenUp,
}

impl ArchiveError {
    /// An error of the store's disk: that it is full is told apart.
    pub(super) fn store(source: io::Error) -> Self {
        if is_full(&source) {
            Self::NoSpace
        } else {
            Self::Store(source)
        }
    }

    /// What its reader may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Compression { program } => Some(format!(
                "unpack it on the way: `{program} -dc FILE | bhatti image import NAME -`"
            )),
            Self::Several { .. } => Some("name the one that is meant".to_owned()),
            _ => None,
        }
    }
}
