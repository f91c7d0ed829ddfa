//! Room for machines: who may start, and who gives memory back when the host runs short.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bhatti_host::facts;
use bhatti_lifecycle::idle::{Candidate, first_to_sleep};
use bhatti_types::size::MemoryMb;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::error::Error;
use crate::sandbox::directory::Directory;

/// Memory that is left to the host, in bytes.
const MEMORY_RESERVE: u64 = 256 << 20;
/// Below this share of its memory free the host is short, in per cent.
const SHORT_PERCENT: u64 = 5;
/// How often the host's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a request that waits for room looks again.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// What the host has, as far as admission is concerned. Tests give other numbers.
pub(crate) trait HostMemory: Send + Sync {
    /// Memory that can be had, in bytes.
    fn available(&self) -> Result<u64, Error>;
    /// All of it, in bytes.
    fn total(&self) -> Result<u64, Error>;
}

/// The real host.
pub(crate) struct ThisHost;

impl HostMemory for ThisHost {
    fn available(&self) -> Result<u64, Error> {
        facts::available_memory().map_err(Error::internal)
    }

    fn total(&self) -> Result<u64, Error> {
        facts::total_memory().map_err(Error::internal)
    }
}

/// Decides who may start.
pub(crate) struct Admission {
    host: Box<dyn HostMemory>,
    /// What machines that are awake may have together, in bytes, if it is limited.
    limit: Option<u64>,
    /// Memory promised to machines that are being started and do not use it yet, in bytes.
    promised: Arc<AtomicU64>,
    /// How many VMMs are started side by side.
    starts: Semaphore,
    directory: Weak<Directory>,
}

/// Memory promised to one machine, until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u64,
    promised: Arc<AtomicU64>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Admission {
    pub(crate) fn new(
        host: Box<dyn HostMemory>,
        limit: Option<u64>,
        directory: &Arc<Directory>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            host,
            limit,
            promised: Arc::default(),
            // Half of a start is waiting for files and sockets.
            starts: Semaphore::new(2 * cores),
            directory: Arc::downgrade(directory),
        }
    }

    /// Waits for a turn to start a VMM.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.starts.acquire().await.map_err(Error::internal)
    }

    /// Promises a machine its memory. If the host has too little, machines that nobody uses go to
    /// disk for it; if that is not enough, waits for at most `wait` and then refuses.
    pub(crate) async fn room(
        &self,
        memory: MemoryMb,
        wait: Option<Duration>,
    ) -> Result<Room, Error> {
        Self::waiting(wait, || self.room_made(memory)).await
    }

    /// Tries something again while there is no room for it, for at most `wait`. A sandbox's task
    /// has other requests to see to: who waits is the one who asks it.
    pub(crate) async fn waiting<T, F>(
        wait: Option<Duration>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + wait.unwrap_or_default();
        let mut said = false;
        loop {
            match attempt().await {
                Err(Error::NoRoom { .. }) if Instant::now() < until => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::debug!(
                            "there is no room for a machine yet; a request waits for it"
                        );
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                done => return done,
            }
        }
    }

    /// [`Admission::room`] without waiting.
    async fn room_made(&self, memory: MemoryMb) -> Result<Room, Error> {
        loop {
            match self.room_now(memory) {
                Err(Error::NoRoom { .. }) if self.relieve().await => {}
                done => return done,
            }
        }
    }

    /// Promises a machine its memory if the host has it now. Nobody is made to give any up.
    pub(crate) fn room_now(&self, memory: MemoryMb) -> Result<Room, Error> {
        let bytes = memory.bytes();
        self.promise(bytes)?;
        Ok(Room {
            bytes,
            promised: self.promised.clone(),
        })
    }

    /// Whether the host has one in so many parts of its memory available. What can't be told is no.
    pub(crate) fn has_part(&self, parts: u64) -> bool {
        let total = self.host.total().map(|total| {
            let limit = self.limit.unwrap_or(total);
            total.min(limit)
        });
        match (self.available(), total) {
            (Ok(available), Ok(total)) => available >= total / parts,
            _ => false,
        }
    }

    /// Memory that can be had: what the host has, but no more than machines may have beside those
    /// that are awake, whose memory counts in full.
    fn available(&self) -> Result<u64, Error> {
        let available = self.host.available()?;
        let (Some(limit), Some(directory)) = (self.limit, self.directory.upgrade()) else {
            return Ok(available);
        };
        let left = limit.saturating_sub(directory.memory_of_awake());
        Ok(available.min(left.saturating_add(MEMORY_RESERVE)))
    }

    /// Adds to what is promised, if the host has it.
    fn promise(&self, bytes: u64) -> Result<(), Error> {
        let available = self.available()?;
        let before = self.promised.fetch_add(bytes, Ordering::AcqRel);
        if before + bytes + MEMORY_RESERVE <= available {
            return Ok(());
        }
        self.promised.fetch_sub(bytes, Ordering::AcqRel);
        let free = available.saturating_sub(MEMORY_RESERVE + before);
        Err(Error::NoRoom {
            message: format!(
                "the host has no room for a machine of {} MB ({} MB are free)",
                bytes >> 20,
                free >> 20
            ),
        })
    }

    /// Puts the least recently used machine that nobody uses to disk; whether there was one.
    pub(crate) async fn relieve(&self) -> bool {
        let Some(directory) = self.directory.upgrade() else {
            return false;
        };
        let handles = directory.all();
        let mut candidates: Vec<Candidate<usize>> = handles
            .iter()
            .enumerate()
            .map(|(index, handle)| handle.candidate(index))
            .collect();
        while let Some(index) = first_to_sleep(&candidates) {
            let handle = &handles[index];
            match handle.relieve().await {
                Ok(true) => {
                    tracing::info!(sandbox = %handle.id, "went to disk to make room in memory");
                    return true;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(
                    sandbox = %handle.id,
                    error = &error as &dyn std::error::Error,
                    "could not go to disk to make room in memory"
                ),
            }
            candidates.retain(|candidate| candidate.id != index);
        }
        false
    }

    /// Whether the host is short of memory.
    fn is_short(&self) -> Result<bool, Error> {
        let (available, total) = (self.host.available()?, self.host.total()?);
        Ok(available < MEMORY_RESERVE || available < total / 100 * SHORT_PERCENT)
    }

    /// Looks after the host's memory until the engine is closed.
    pub(crate) async fn watch(&self) {
        // Said once, and again only after it was otherwise.
        let mut said = false;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.is_short() {
                Ok(false) => said = false,
                Ok(true) => {
                    if self.relieve().await {
                        said = false;
                    } else if !std::mem::replace(&mut said, true) {
                        tracing::warn!("the host is short of memory, and all machines are in use");
                    }
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the host's memory could not be read"
                ),
            }
        }
    }
}

#[cfg(test)]
mod test {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use bhatti_types::size::MemoryMb;

    use super::{Admission, HostMemory};
    use crate::error::Error;
    use crate::sandbox::directory::Directory;

    struct Gib(Arc<AtomicU64>);

    impl HostMemory for Gib {
        fn available(&self) -> Result<u64, Error> {
            Ok(self.0.load(Ordering::Relaxed) << 30)
        }

        fn total(&self) -> Result<u64, Error> {
            Ok(64 << 30)
        }
    }

    fn admission(gib: u64) -> (Admission, Arc<AtomicU64>) {
        let free = Arc::new(AtomicU64::new(gib));
        let directory = Arc::new(Directory::default());
        (
            Admission::new(Box::new(Gib(free.clone())), None, &directory),
            free,
        )
    }

    #[tokio::test]
    async fn machines_get_no_more_than_they_may_have_whatever_the_host_has() {
        let directory = Arc::new(Directory::default());
        let host = Gib(Arc::new(AtomicU64::new(32)));
        let admission = Admission::new(Box::new(host), Some(3 << 30), &directory);
        let two = MemoryMb::new(2048).unwrap();
        let first = admission.room(two, None).await.unwrap();
        let refused = admission.room(two, None).await.unwrap_err();
        assert!(
            refused.to_string().contains("1024 MB are free"),
            "{refused}"
        );
        drop(first);
        admission.room(two, None).await.unwrap();
    }

    #[tokio::test]
    async fn memory_is_promised_once() {
        let (admission, _) = admission(4);
        let two = MemoryMb::new(2048).unwrap();
        let first = admission.room(two, None).await.unwrap();
        let refused = admission.room(two, None).await.unwrap_err();
        assert!(
            refused.to_string().contains("1792 MB are free"),
            "{refused}"
        );
        drop(first);
        admission.room(two, None).await.unwrap();
    }

    #[tokio::test]
    async fn the_part_that_is_available_is_told() {
        let (admission, free) = admission(16);
        assert!(admission.has_part(4));
        free.store(15, Ordering::Relaxed);
        assert!(!admission.has_part(4) && admission.has_part(8));
        let kept = admission
            .room_now(MemoryMb::new(14 * 1024).unwrap())
            .unwrap();
        assert!(admission.room_now(MemoryMb::new(2048).unwrap()).is_err());
        drop(kept);
        admission.room_now(MemoryMb::new(2048).unwrap()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_room_when_there_is_some() {
        let (admission, free) = admission(1);
        let two = MemoryMb::new(2048).unwrap();
        let wait = Some(Duration::from_mins(1));
        let (room, ()) = tokio::join!(admission.room(two, wait), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            free.store(8, Ordering::Relaxed);
        });
        room.unwrap();
        free.store(1, Ordering::Relaxed);
        assert!(admission.room(two, wait).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn only_room_is_waited_for() {
        let wait = Some(Duration::from_hours(1));
        let mut tries = 0;
        let stopping = Admission::waiting(wait, || {
            tries += 1;
            let result: Result<(), _> = Err(match tries {
                1 | 2 => Error::NoRoom {
                    message: String::new(),
                },
                _ => Error::Stopping,
            });
            std::future::ready(result)
        });
        assert!(matches!(stopping.await, Err(Error::Stopping)));
        assert_eq!(tries, 3);
    }
}
