//! Where machines' files are kept, and whether there is room.

use std::sync::Arc;
use std::time::Duration;

use bhatti_host::pool::error::PoolError;
use bhatti_host::pool::settings::StorageSettings;
use bhatti_host::pool::storage::{self, Storage};

use crate::context::Context;
use crate::error::Error;
use crate::layout::Layout;
use crate::view::StorageView;

/// How often it is looked whether a pool is nearly full: guests write without asking.
const LOOK: Duration = Duration::from_mins(1);

/// Opens the storage of a data directory that is locked.
pub(crate) async fn open(layout: &Layout, settings: StorageSettings) -> Result<Storage, Error> {
    storage::open(layout.root(), settings)
        .await
        .map_err(|error| Error::Unavailable {
            message: whole(&error),
            hint: error.hint().map(str::to_owned),
        })
}

/// An error with its sources. Only who starts the daemon is told.
fn whole(error: &PoolError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Context {
    /// Refuses what would leave the host's disk without its reserve, or the pool without room. A
    /// pool that can grow does so first, which may wait for the disk for some milliseconds.
    pub(crate) fn admit_disk(&self, bytes: u64) -> Result<(), Error> {
        let mut free = self.storage.free().map_err(Error::internal)?;
        if bytes > free && self.storage.grow() {
            free = self.storage.free().map_err(Error::internal)?;
        }
        if bytes > free {
            return Err(Error::Unavailable {
                message: format!(
                    "the host's disk has no room for it ({} MB needed, {} MB are free)",
                    bytes.div_ceil(1 << 20),
                    free >> 20
                ),
                hint: Some("delete snapshots or sandboxes that are no longer used".to_owned()),
            });
        }
        Ok(())
    }

    /// Moves images that were put into the data directory to where machines are kept, if that is
    /// elsewhere. Those there is no room for stay, and so do those that could not be moved: the
    /// log has the reason.
    pub(crate) async fn take_images(&self) -> Result<(), Error> {
        let Some(intake) = self.intake.clone() else {
            return Ok(());
        };
        let storage = self.storage.clone();
        Self::blocking(move || intake.take(|bytes| storage.free().is_ok_and(|free| bytes <= free)))
            .await?
            .unwrap_or_else(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an image could not be moved to where machines are kept"
                );
            });
        Ok(())
    }

    /// Deletes what an earlier daemon left half-made of images.
    pub(crate) async fn sweep_images(&self) -> Result<(), Error> {
        let catalog = self.images.clone();
        Ok(Self::blocking(move || catalog.sweep()).await??)
    }

    /// What there is.
    pub(crate) fn storage_view(&self) -> Result<StorageView, Error> {
        Ok(StorageView {
            kind: self.storage.kind().as_str(),
            free_bytes: self.storage.free().map_err(Error::internal)?,
            size_bytes: self.storage.size().map_err(Error::internal)?,
        })
    }
}

/// Grows a pool whenever it is nearly full and the host has room. Never ends; may be dropped at
/// any time.
pub(crate) async fn watch(storage: Arc<Storage>) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if storage.is_low().unwrap_or(false) {
            let storage = storage.clone();
            let grown = tokio::task::spawn_blocking(move || storage.grow()).await;
            if let Err(error) = grown {
                tracing::error!(error = &error as &dyn std::error::Error, "growing failed");
            }
        }
    }
}
