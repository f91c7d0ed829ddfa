//! What callers are told when an image could not be fetched or made.

use std::error::Error as StdError;
use std::sync::Arc;

use bhatti_host::command::CommandError;
use bhatti_image::convert::convert::ConvertError;
use bhatti_image::convert::inspect::WorkerError;
use bhatti_image::layer::store::FetchError;
use bhatti_image::oci::archive::error::ArchiveError;
use bhatti_image::oci::error::RegistryError;

use crate::error::Error;

/// What to do when the disk is full.
const MAKE_ROOM: &str = "delete images, snapshots or sandboxes that are no longer used";

/// An error with all that led to it, in one line. Only for errors whose sources are about what
/// strangers sent.
fn whole(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}

fn no_room() -> Error {
    Error::Unavailable {
        message: "the host's disk has no room for the image".to_owned(),
        hint: Some(MAKE_ROOM.to_owned()),
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::Read(_) => Self::internal(error),
            _ => Self::Failed {
                message: whole(&error),
                hint: error.hint().map(str::to_owned),
                source: Some(Box::new(error)),
            },
        }
    }
}

impl From<Arc<FetchError>> for Error {
    fn from(error: Arc<FetchError>) -> Self {
        match &*error {
            FetchError::NoSpace { .. } => no_room(),
            FetchError::Store { .. } => Self::internal(error),
            FetchError::GivenUp { .. } => Self::Stopping,
            _ => Self::Failed {
                message: whole(&*error),
                hint: None,
                source: Some(Box::new(error)),
            },
        }
    }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        Arc::new(error).into()
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::NoSpace => no_room(),
            ArchiveError::Store(_) => Self::internal(error),
            _ => Self::Conflict {
                message: whole(&error),
                hint: error.hint(),
            },
        }
    }
}

impl From<ConvertError> for Error {
    fn from(error: ConvertError) -> Self {
        match &error {
            ConvertError::Worker(WorkerError::NoRoom { .. }) => no_room(),
            ConvertError::Worker(WorkerError::Layers { reason }) => Self::failed(
                format!("the image's layers cannot be used: {reason}"),
                error,
            ),
            ConvertError::TooLarge { .. } => Self::failed(error.to_string(), error),
            ConvertError::Mke2fs(CommandError::NotFound { .. }) => Self::Unavailable {
                message: "mke2fs is not installed".to_owned(),
                hint: Some("install it: `apt install e2fsprogs`".to_owned()),
            },
            ConvertError::Layer { .. }
            | ConvertError::Worker(_)
            | ConvertError::Mke2fs(_)
            | ConvertError::Disk { .. } => Self::internal(error),
        }
    }
}
