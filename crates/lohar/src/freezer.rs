//! Holds writes to the disk while it is copied, and never for longer than was said.
//!
//! A thread of its own freezes the file system, waits until it is told to thaw it or the limit is
//! over, and thaws it. Nothing else of the agent's is needed for the thaw: not the link, which may
//! be gone with its daemon, and none of the threads that wait for disks, which may all wait for
//! this one.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bhatti_proto::message::{RefusalKind, Reply};
use tokio::sync::oneshot;

use crate::system::{System, SystemError};

/// Longest time that writes are held, whatever is asked for.
const LONGEST: Duration = Duration::from_mins(5);
/// Stack of the thread, in bytes.
const STACK: usize = 64 * 1024;

/// Where the answer to a thaw goes: whether writes were held until then.
type Told = oneshot::Sender<Result<(), SystemError>>;

/// What is frozen, if it is.
#[derive(Debug, Default)]
pub(crate) struct Freezer {
    /// To the thread that holds the writes; of one that has ended by itself it is closed.
    holder: Mutex<Option<SyncSender<Told>>>,
}

impl Freezer {
    /// Freezes, until it is thawed or the limit is over.
    pub(crate) async fn freeze(&self, system: &Arc<dyn System>, limit: Duration) -> Reply {
        let (thaw, thawed) = sync_channel::<Told>(1);
        let (frozen, answer) = oneshot::channel();
        let system = Arc::clone(system);
        let thread = std::thread::Builder::new().stack_size(STACK);
        let held = thread.spawn(move || {
            if let Err(error) = system.freeze() {
                let _ = frozen.send(Err(error));
                return;
            }
            // Whoever asked may have gone away: then nobody can have been told, and nobody thaws.
            let told = match frozen.send(Ok(())) {
                Ok(()) => thawed.recv_timeout(limit.min(LONGEST)),
                Err(_) => Err(RecvTimeoutError::Disconnected),
            };
            // From here on nobody is told that it was frozen until then.
            drop(thawed);
            let result = system.thaw();
            if let Ok(told) = told {
                let _ = told.send(result);
            }
        });
        if let Err(error) = held {
            return refused(&format!("cannot wait for the disk: {error}"));
        }
        match answer.await {
            Ok(Ok(())) => {
                *self.holder() = Some(thaw);
                Reply::done()
            }
            Ok(Err(error)) => refused(&format!("{error}: {}", error.source)),
            Err(_) => refused("the freeze of the disk broke down"),
        }
    }

    /// Thaws; refused if it was not frozen until now.
    pub(crate) async fn thaw(&self) -> Reply {
        let holder = self.holder().take();
        let (tell, told) = oneshot::channel();
        let asked = holder.is_some_and(|holder| holder.try_send(tell).is_ok());
        match told.await {
            Ok(Ok(())) if asked => Reply::done(),
            Ok(Err(error)) => refused(&format!("{error}: {}", error.source)),
            _ => refused("its disk is not frozen"),
        }
    }

    fn holder(&self) -> std::sync::MutexGuard<'_, Option<SyncSender<Told>>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(text: &str) -> Reply {
    Reply::refused(RefusalKind::Failed, text)
}

#[cfg(test)]
mod test {
    use std::sync::Arc;
    use std::time::Duration;

    use bhatti_proto::message::Reply;

    use super::Freezer;
    use crate::fake::FakeSystem;
    use crate::system::System;

    #[tokio::test]
    async fn what_is_frozen_is_thawed_once_and_can_be_frozen_again() {
        let fake = Arc::new(FakeSystem::default());
        let system: Arc<dyn System> = fake.clone();
        let freezer = Freezer::default();
        assert_ne!(freezer.thaw().await, Reply::done());
        for _ in 0..2 {
            let frozen = freezer.freeze(&system, Duration::from_mins(1)).await;
            assert_eq!(frozen, Reply::done());
            assert!(fake.is_frozen());
            assert_ne!(
                freezer.freeze(&system, Duration::from_mins(1)).await,
                Reply::done()
            );
            assert_eq!(freezer.thaw().await, Reply::done());
            assert!(!fake.is_frozen());
            assert_ne!(freezer.thaw().await, Reply::done());
        }
    }

    #[tokio::test]
    async fn nobody_needs_to_come_and_thaw_it_and_who_comes_late_is_told() {
        let fake = Arc::new(FakeSystem::default());
        let system: Arc<dyn System> = fake.clone();
        let freezer = Freezer::default();
        let frozen = freezer.freeze(&system, Duration::ZERO).await;
        assert_eq!(frozen, Reply::done());
        while fake.is_frozen() {
            tokio::task::yield_now().await;
        }
        assert_ne!(freezer.thaw().await, Reply::done());
    }

    #[tokio::test]
    async fn one_that_cannot_be_frozen_says_so() {
        let fake = Arc::new(FakeSystem::default());
        fake.refuse_freeze(true);
        let system: Arc<dyn System> = fake.clone();
        let refused = Freezer::default()
            .freeze(&system, Duration::from_mins(1))
            .await;
        assert!(format!("{refused:?}").contains("failed to freeze the root file system"));
    }
}
