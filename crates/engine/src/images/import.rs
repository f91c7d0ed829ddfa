//! An image out of an archive that comes as a stream: of `docker save`, an OCI archive, a tar of a
//! root file system.

use std::io::{self, Read};
use std::pin::pin;

use bhatti_image::image::ImageSource;
use bhatti_image::layer::limits::Limits;
use bhatti_image::oci::archive::import::{ArchiveKind, Imported, Options, import};
use bhatti_image::oci::platform::Platform;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use super::make::Obtained;
use super::request::Import;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::request::Caller;
use crate::tasks::progress::Reporter;
use crate::view::ImageView;

/// Largest archive taken, in bytes; the original's limit.
const MAX_ARCHIVE: u64 = 10 << 30;
/// Pieces of an archive that wait to be kept.
const WAITING: usize = 8;
/// Most bytes that are thrown away of an archive that is refused: its sender then gets to see why.
const MAX_DRAINED: usize = 8 << 20;

impl Engine {
    /// Makes an image of an archive. Dropping the future leaves nothing of it.
    pub async fn image_import(
        &self,
        caller: &Caller,
        import: Import,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<ImageView, Error> {
        let mut archive = pin!(archive);
        let work = async {
            let target = self
                .ctx
                .image_target(caller, import.place, import.name.clone())
                .await;
            if let Err(error) = target.and_then(|target| target.refuse_taken()) {
                drain(&mut archive).await;
                return Err(error);
            }
            self.ctx.import(caller, import, archive).await
        };
        tokio::select! {
            result = work => result,
            () = self.ctx.closing.cancelled() => Err(Error::Stopping),
        }
    }
}

impl Context {
    async fn import(
        &self,
        caller: &Caller,
        wanted: Import,
        archive: impl Stream<Item = io::Result<Bytes>>,
    ) -> Result<ImageView, Error> {
        let lease = self.layers.lease();
        let options = Options {
            wanted: None,
            platform: Platform::host(),
            kind: None,
            max_bytes: MAX_ARCHIVE,
            limits: Limits::DEFAULT,
        };
        let cancel = self.closing.child_token();
        // Whoever goes away has it break off.
        let _cancelled = cancel.clone().drop_guard();
        let (sender, pieces) = mpsc::channel(WAITING);
        let reading = tokio::task::spawn_blocking(move || {
            let taken = import(Pieces::new(pieces), &lease, &options, &cancel);
            (taken, lease)
        });
        send(archive, sender).await;
        let (taken, lease) = reading.await.map_err(Error::internal)?;
        let taken = taken?;
        let obtained = Obtained {
            source: source(&wanted, taken.kind)?,
            digest: taken.digest.to_string(),
            config: taken.config.config.clone(),
            layers: layers(taken),
        };
        let made = self
            .make_image(
                caller,
                wanted.place,
                wanted.name,
                obtained,
                &Reporter::default(),
            )
            .await;
        drop(lease);
        made
    }
}

fn layers(taken: Imported) -> Vec<bhatti_image::layer::files::Layer> {
    taken.layers
}

fn source(wanted: &Import, kind: ArchiveKind) -> Result<ImageSource, Error> {
    let text = match (&wanted.docker, kind) {
        (Some(name), _) => format!("docker:{name}"),
        (None, ArchiveKind::Docker) => "archive:docker".to_owned(),
        (None, ArchiveKind::Oci) => "archive:oci".to_owned(),
        (None, ArchiveKind::RootFs) => "archive:rootfs".to_owned(),
    };
    Ok(text.parse()?)
}

/// Passes pieces on until there are no more, or nobody wants them.
async fn send(archive: impl Stream<Item = io::Result<Bytes>>, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut archive = pin!(archive);
    while let Some(piece) = archive.next().await {
        // An empty one is the end.
        if matches!(&piece, Ok(bytes) if bytes.is_empty()) {
            continue;
        }
        if to.send(piece).await.is_err() {
            drain(&mut archive).await;
            return;
        }
    }
    // Gone already, the reader has its reason.
    let _ = to.send(Ok(Bytes::new())).await;
}

async fn drain(archive: &mut (impl Stream<Item = io::Result<Bytes>> + Unpin)) {
    let mut drained = 0;
    while let Some(Ok(piece)) = archive.next().await {
        drained += piece.len();
        if drained > MAX_DRAINED {
            return;
        }
    }
}

/// Pieces as one reader. One that breaks off without its end is an error.
struct Pieces {
    coming: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
    ended: bool,
}

impl Pieces {
    fn new(coming: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self {
            coming,
            now: Bytes::new(),
            ended: false,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() && !self.ended {
            let next = self.coming.blocking_recv();
            self.now = next.ok_or(io::ErrorKind::ConnectionAborted)??;
            self.ended = self.now.is_empty();
        }
        let count = self.now.len().min(to.len());
        let piece = self.now.split_to(count);
        to[..count].copy_from_slice(&piece);
        Ok(count)
    }
}
