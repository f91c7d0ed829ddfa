//! Images as archives, and on their way to a registry.
//!
//! Both give the layers that the image was made from, which are kept for as long as an image names
//! them. An image that was not made from layers has none to give.

use std::io::{self, BufWriter, Write};

use bhatti_image::layer::files::Layer;
use bhatti_image::layer::store::Lease;
use bhatti_image::oci::archive::export::export;
use bhatti_image::oci::config::ConfigFile;
use bhatti_image::oci::platform::Platform;
use bhatti_image::oci::push::push;
use bhatti_image::oci::reference::Reference;
use bhatti_types::id::TaskId;
use bhatti_types::name::ImageName;
use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;

use super::lookup::Seen;
use super::pull::Reports;
use super::request::Push;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::request::Caller;
use crate::tasks::registry::TaskKind;

/// Bytes that are sent at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait to be sent.
const WAITING: usize = 4;

/// What an image is made of, kept for as long as this is.
struct Parts {
    layers: Vec<Layer>,
    config: Vec<u8>,
    platform: Platform,
    _lease: Lease,
}

impl Engine {
    /// An image as an OCI archive. Dropping the stream ends its making.
    pub async fn image_export(
        &self,
        caller: &Caller,
        name: &ImageName,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, Error> {
        let seen = self.ctx.image_seen(&caller.user, name).await?;
        // What another program calls it that reads the archive; none if that is no reference.
        let reference: Option<Reference> = seen.image.name.as_str().parse().ok();
        let parts = self.ctx.parts(&seen).await?;
        let (sender, mut pieces) = mpsc::channel(WAITING);
        // Ends by itself: with the archive, or when nobody takes it any more.
        self.ctx.tasks.spawn_blocking(move || {
            let mut to = BufWriter::with_capacity(PIECE, Sender(sender.clone()));
            let written = export(
                &mut to,
                &parts.config,
                &parts.platform,
                &parts.layers,
                reference.as_ref(),
            );
            if let Err(error) = written.and_then(|_| to.flush()) {
                // Nobody to tell if nobody takes it.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(futures::stream::poll_fn(move |cx| pieces.poll_recv(cx)))
    }

    /// Begins to push an image, as a task.
    pub async fn image_push(
        &self,
        caller: &Caller,
        name: &ImageName,
        wanted: Push,
    ) -> Result<TaskId, Error> {
        let reference: Reference = wanted.reference.parse()?;
        let seen = self.ctx.image_seen(&caller.user, name).await?;
        let parts = self.ctx.parts(&seen).await?;
        let repository = self.ctx.repository(reference, wanted.access).await?;
        let subject = seen.image.name.to_string();
        let (ctx, owner) = (self.ctx.clone(), caller.clone());
        self.begin_task(caller, TaskKind::Push, subject, |reporter| async move {
            reporter.phase("pushing", None);
            let reports = Reports(reporter);
            push(&repository, &parts.config, &parts.layers, &reports).await?;
            Ok(Some(ctx.image_view(&owner, seen).await?))
        })
    }
}

impl Context {
    async fn parts(&self, seen: &Seen) -> Result<Parts, Error> {
        let (lease, image) = (self.layers.lease(), seen.image.clone());
        let no_layers = || Error::Conflict {
            message: format!(
                "image {:?} was not made from layers, and only such images leave as archives",
                seen.image.name.as_str()
            ),
            hint: Some("images that were pulled or imported have layers".to_owned()),
        };
        let found = Self::blocking(move || {
            let digests = image.layers.iter();
            let layers: Option<Vec<_>> = digests
                .map(|digest| lease.get(&digest.parse().ok()?))
                .collect();
            (layers, lease, image.config)
        })
        .await?;
        let (Some(layers), lease, config) = found else {
            return Err(no_layers());
        };
        if layers.is_empty() {
            return Err(no_layers());
        }
        let platform = Platform::host();
        let file = ConfigFile {
            platform: platform.clone(),
            created_at: Some(seen.image.created_at),
            config,
            diff_ids: layers.iter().map(|layer| layer.diff_id).collect(),
        };
        Ok(Parts {
            layers,
            config: file.to_bytes(),
            platform,
            _lease: lease,
        })
    }
}

/// Sends what is written.
struct Sender(mpsc::Sender<io::Result<Bytes>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(piece));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
