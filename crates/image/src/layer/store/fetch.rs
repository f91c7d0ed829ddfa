//! Fetches layers: goes on where it broke off, verifies, and shares the work.

use std::sync::Arc;
use std::time::Duration;

use bhatti_host::files;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::error::FetchError;
use super::flight::{Boarding, Outcome, Passenger, Pilot, board};
use super::partial::{self, Partial};
use super::progress::{LayerProgress, Phase, Progress};
use super::seal;
use super::shelf::{Lease, Shared};
use super::source::{BlobSource, LayerSpec, Retry, SourceError};
use crate::layer::files::Layer;

/// Bytes that are gathered before they are written.
const BATCH: usize = 1 << 20;
/// How many tries in a row may bring nothing.
const MAX_FRUITLESS: u32 = 5;
/// How many tries there may be at all: a registry that sends a byte each time comes to an end.
const MAX_ATTEMPTS: u32 = 100;
/// How many times longer than the first the waits between tries get.
const MAX_BACKOFF: u32 = 32;
/// Time limit for the next piece of a blob.
const SILENCE_LIMIT: Duration = Duration::from_mins(1);
/// Time limit for a layer: 100 GiB at 5 MB/s.
const LAYER_LIMIT: Duration = Duration::from_hours(6);
/// How often a passenger of a flight that failed for its pilot tries for itself.
const MAX_FLIGHTS: u32 = 3;
/// Room that is left on the disk for others, in bytes.
const RESERVE: u64 = 64 << 20;

impl Lease {
    /// The layer, fetched if it is not there; it stays until the lease is dropped.
    ///
    /// Those who want a layer from one place at the same time share its fetching. Dropping the
    /// future leaves the others their flight; with the last, it is given up, and what came stays
    /// for the next time.
    ///
    /// # Panics
    /// If it is not called in a tokio runtime.
    pub async fn fetch(
        &self,
        spec: &LayerSpec,
        source: Arc<dyn BlobSource>,
        progress: &dyn Progress,
    ) -> Result<Layer, Arc<FetchError>> {
        let shared = &self.store.shared;
        let digest = spec.digest;
        self.pin(&digest);
        let path = partial::dir_of(&shared.dir, &digest, &source.origin());
        let mut flown = 0;
        loop {
            if let Some(layer) = self.there(spec).await? {
                let total = spec.size;
                let there = LayerProgress {
                    phase: Phase::There,
                    done: total,
                    total,
                };
                progress.layer(&digest, there);
                return Ok(layer);
            }
            let limit = shared.options.max_blob;
            if spec.size > limit {
                return Err(Arc::new(FetchError::TooLarge {
                    digest,
                    size: spec.size,
                    limit,
                }));
            }
            let mut passenger = match board(shared, &path, spec.size) {
                Boarding::Ending(mut news) => {
                    // It ends when it notices: between two pieces, or two reads.
                    while news.changed().await.is_ok() {}
                    continue;
                }
                Boarding::Joined(passenger) => passenger,
                Boarding::New(passenger, pilot) => {
                    let flight = Fetcher {
                        shared: Arc::clone(shared),
                        spec: spec.clone(),
                        source: Arc::clone(&source),
                        pilot,
                    };
                    shared.tasks.spawn(flight.run());
                    flown = MAX_FLIGHTS;
                    passenger
                }
            };
            let outcome = wait(&mut passenger, spec, progress).await;
            flown += 1;
            match outcome {
                Ok(layer) => {
                    // Others may have asked for the blob with another archive in mind.
                    check_diff_id(spec, &layer)?;
                    return Ok(layer);
                }
                // The pilot may have had other credentials, or have been told to go.
                Err(error) if flown < MAX_FLIGHTS && is_of_the_pilot(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The layer as it is in the store, if it is.
    async fn there(&self, spec: &LayerSpec) -> Result<Option<Layer>, Arc<FetchError>> {
        let (store, digest) = (self.store.clone(), spec.digest);
        let layer = tokio::task::spawn_blocking(move || store.get(&digest)).await;
        let Ok(Some(layer)) = layer else {
            return Ok(None);
        };
        check_diff_id(spec, &layer)?;
        Ok(Some(layer))
    }
}

fn check_diff_id(spec: &LayerSpec, layer: &Layer) -> Result<(), Arc<FetchError>> {
    if layer.diff_id == spec.diff_id {
        return Ok(());
    }
    Err(Arc::new(FetchError::DiffId {
        digest: spec.digest,
        expected: spec.diff_id,
        found: layer.diff_id,
    }))
}

/// Whether an error says more about who fetched than about what.
fn is_of_the_pilot(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Source { .. } | FetchError::GivenUp { .. } | FetchError::DiffId { .. }
    )
}

async fn wait(passenger: &mut Passenger, spec: &LayerSpec, progress: &dyn Progress) -> Outcome {
    loop {
        let news = passenger.news.borrow_and_update().clone();
        progress.layer(&spec.digest, news.progress);
        if let Some(outcome) = news.outcome {
            return outcome;
        }
        if passenger.news.changed().await.is_err() {
            // The outcome may have come with the end.
            let last = passenger.news.borrow().outcome.clone();
            return last.unwrap_or_else(|| {
                Err(Arc::new(FetchError::GivenUp {
                    digest: spec.digest,
                }))
            });
        }
    }
}

/// A flight's work.
struct Fetcher {
    shared: Arc<Shared>,
    spec: LayerSpec,
    source: Arc<dyn BlobSource>,
    pilot: Pilot,
}

/// Why a try ended before the blob was whole.
enum Stop {
    /// Another may help.
    Again(SourceError),
    /// It is over.
    For(FetchError),
}

impl Fetcher {
    async fn run(self) {
        let outcome = timeout(LAYER_LIMIT, self.fetch()).await;
        let outcome = outcome.unwrap_or_else(|_| {
            // What runs elsewhere notices.
            self.pilot.cancel.cancel();
            Err(FetchError::Slow {
                digest: self.spec.digest,
                limit: LAYER_LIMIT,
            })
        });
        if let Err(error) = &outcome
            && !keeps_partial(error)
        {
            let dir = self.dir();
            let removed = tokio::task::spawn_blocking(move || files::remove_tree(&dir)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a partial layer could not be deleted"
                );
            }
        }
        if let Ok(layer) = &outcome {
            let total = self.spec.size;
            self.report(Phase::There, total);
            tracing::debug!(digest = %layer.digest, "layer fetched");
        }
        self.pilot.land(outcome.map_err(Arc::new));
    }

    async fn fetch(&self) -> Result<Layer, FetchError> {
        let mut partial = self.open().await?;
        loop {
            partial = self.complete(partial).await?;
            let digest = partial.digest();
            if digest == self.spec.digest {
                break;
            }
            // What a crash of the host left may be anything. It is tried once from its beginning.
            if !partial.is_inherited() {
                return Err(FetchError::Digest {
                    digest: self.spec.digest,
                });
            }
            partial = self.blocking(partial, Partial::restart).await?;
        }
        let dir = partial.dir.clone();
        drop(partial);
        self.report(Phase::Waiting, self.spec.size);
        let permit = tokio::select! {
            permit = Arc::clone(&self.shared.scans).acquire_owned() => permit,
            () = self.pilot.cancel.cancelled() => return Err(self.given_up()),
        };
        self.report(Phase::Checking, self.spec.size);
        let (shared, spec) = (Arc::clone(&self.shared), self.spec.clone());
        let cancel = self.pilot.cancel.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let layer = seal::seal(&shared.dir, &dir, &spec, &shared.options.limits, &cancel);
            drop(permit);
            layer
        });
        sealed.await.map_err(|_| self.given_up())?
    }

    /// Fetches until the blob is whole, with as many tries as it takes.
    async fn complete(&self, mut partial: Partial) -> Result<Partial, FetchError> {
        let (mut fruitless, mut attempts) = (0_u32, 0);
        loop {
            if partial.len() == self.spec.size {
                return Ok(partial);
            }
            let before = partial.len();
            self.report(Phase::Fetching, before);
            let stop;
            (partial, stop) = self.attempt(partial).await?;
            let error = match stop {
                None => continue,
                Some(Stop::For(error)) => return Err(error),
                Some(Stop::Again(error)) => error,
            };
            attempts += 1;
            fruitless = if partial.len() > before {
                0
            } else {
                fruitless + 1
            };
            if fruitless >= MAX_FRUITLESS || attempts >= MAX_ATTEMPTS {
                return Err(FetchError::Broken {
                    digest: self.spec.digest,
                    attempts,
                    source: error,
                });
            }
            let times = 1 << fruitless.saturating_sub(1);
            let mut wait = self.shared.options.backoff * MAX_BACKOFF.min(times);
            if let Retry::After(asked) = error.retry {
                wait = asked;
            }
            tracing::info!(
                digest = %self.spec.digest,
                done = partial.len(),
                wait_ms = wait.as_millis(),
                error = &error as &dyn std::error::Error,
                "a layer broke off and is gone on with"
            );
            self.report(Phase::Waiting, partial.len());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.pilot.cancel.cancelled() => return Err(self.given_up()),
            }
        }
    }

    /// One try. Whatever came is in the partial blob that it gives back.
    async fn attempt(&self, mut partial: Partial) -> Result<(Partial, Option<Stop>), FetchError> {
        let opened = tokio::select! {
            opened = self.source.open(&self.spec, partial.len()) => opened,
            () = self.pilot.cancel.cancelled() => return Err(self.given_up()),
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return Ok((partial, Some(self.stop(error)))),
        };
        if stream.offset != partial.len() {
            if stream.offset != 0 {
                return Ok((partial, Some(self.stop(nonsense()))));
            }
            partial = self.blocking(partial, Partial::restart).await?;
        }
        let mut batch: Vec<Bytes> = Vec::new();
        let (mut gathered, mut stop) = (0, None);
        while partial.len() + (gathered as u64) < self.spec.size {
            let next = tokio::select! {
                next = timeout(SILENCE_LIMIT, stream.bytes.next()) => next,
                () = self.pilot.cancel.cancelled() => {
                    stop = Some(Stop::For(self.given_up()));
                    break;
                }
            };
            match next {
                Ok(Some(Ok(bytes))) => {
                    gathered += bytes.len();
                    batch.push(bytes);
                }
                Ok(Some(Err(error))) => stop = Some(self.stop(error)),
                Ok(None) => stop = Some(Stop::Again(broken("the connection ended"))),
                Err(_) => stop = Some(Stop::Again(broken("nothing came for a minute"))),
            }
            let done = partial.len() + gathered as u64;
            if done > self.spec.size {
                return Err(FetchError::Size {
                    digest: self.spec.digest,
                    expected: self.spec.size,
                });
            }
            self.report(Phase::Fetching, done);
            if stop.is_some() {
                break;
            }
            if gathered >= BATCH {
                let pieces = std::mem::take(&mut batch);
                gathered = 0;
                partial = self
                    .blocking(partial, move |partial| partial.append(&pieces))
                    .await?;
            }
        }
        partial = self
            .blocking(partial, move |partial| partial.append(&batch))
            .await?;
        Ok((partial, stop))
    }

    fn stop(&self, error: SourceError) -> Stop {
        match error.retry {
            Retry::Never => Stop::For(FetchError::Source {
                digest: self.spec.digest,
                source: error,
            }),
            Retry::Soon | Retry::After(_) => Stop::Again(error),
        }
    }

    /// Opens what is there of the blob. Sees to it that there is room for the rest.
    async fn open(&self) -> Result<Partial, FetchError> {
        let (dir, spec) = (self.dir(), self.spec.clone());
        let (shared, cancel) = (Arc::clone(&self.shared), self.pilot.cancel.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let failed = |source| FetchError::store(spec.digest, source);
            take_over(&shared, &spec, &dir).map_err(failed)?;
            let partial = Partial::open(dir, spec.size, &cancel).map_err(failed)?;
            let space = rustix::fs::statvfs(&shared.dir);
            let space = space.map_err(|error| failed(error.into()))?;
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            if spec.size - partial.len() > free.saturating_sub(RESERVE) {
                return Err(FetchError::NoSpace {
                    digest: spec.digest,
                });
            }
            Ok(partial)
        });
        opened.await.map_err(|_| self.given_up())?
    }

    /// Does something with a partial blob where it may block.
    async fn blocking(
        &self,
        mut partial: Partial,
        work: impl FnOnce(&mut Partial) -> std::io::Result<()> + Send + 'static,
    ) -> Result<Partial, FetchError> {
        let done = tokio::task::spawn_blocking(move || work(&mut partial).map(|()| partial)).await;
        done.map_err(|_| self.given_up())?
            .map_err(|source| FetchError::store(self.spec.digest, source))
    }

    fn dir(&self) -> std::path::PathBuf {
        partial::dir_of(&self.shared.dir, &self.spec.digest, &self.source.origin())
    }

    fn report(&self, phase: Phase, done: u64) {
        self.pilot.report(LayerProgress {
            phase,
            done,
            total: self.spec.size,
        });
    }

    fn given_up(&self) -> FetchError {
        FetchError::GivenUp {
            digest: self.spec.digest,
        }
    }
}

/// A layer whose index is of another version, or which is damaged, is taken as the beginning of
/// itself: what is right of it is not fetched again.
fn take_over(shared: &Shared, spec: &LayerSpec, dir: &std::path::Path) -> std::io::Result<()> {
    let there = shared.dir.join(seal::name(&spec.digest));
    if there.exists() && seal::open(&there).is_none() && !dir.exists() {
        fs_err::rename(&there, dir)?;
    }
    Ok(())
}

/// Whether what came is worth keeping for another time.
fn keeps_partial(error: &FetchError) -> bool {
    match error {
        FetchError::Source { .. }
        | FetchError::Broken { .. }
        | FetchError::Slow { .. }
        | FetchError::Store { .. }
        | FetchError::GivenUp { .. } => true,
        // A full disk has better use for its room.
        FetchError::NoSpace { .. }
        | FetchError::Digest { .. }
        | FetchError::Size { .. }
        | FetchError::TooLarge { .. }
        | FetchError::Content { .. }
        | FetchError::DiffId { .. } => false,
    }
}

fn broken(why: &'static str) -> SourceError {
    SourceError {
        retry: Retry::Soon,
        source: why.into(),
    }
}

fn nonsense() -> SourceError {
    SourceError {
        retry: Retry::Never,
        source: "the blob was opened where nobody asked".into(),
    }
}
