//! Who uses a sandbox, and so keeps it hot.
//!
//! A request takes a [`Lease`] of a hot sandbox without passing through its task. The task closes
//! this before it pauses or puts away the machine, and only if no lease is held: both happen under
//! one lock, so that no request gets the link of a machine that is about to stand still.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bhatti_guest::link::Link;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock;

/// The leases of one sandbox.
pub(crate) struct Leases {
    inner: Mutex<Inner>,
    /// Told of what someone may wait for: opened, no longer used, waited for.
    changed: Notify,
}

struct Inner {
    /// The agent link, while leases may be taken.
    link: Option<Link>,
    next: u64,
    held: BTreeMap<u64, Held>,
    /// Requests that wait for it to wake.
    waiting: usize,
    last_used: Instant,
}

/// One lease, as it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What for, such as `exec make`.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
}

/// Keeps a sandbox hot until it is dropped.
pub struct Lease {
    leases: Arc<Leases>,
    id: u64,
    /// The way to its agent.
    pub(crate) link: Link,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.leases.lock();
        inner.held.remove(&self.id);
        inner.last_used = clock::now();
        if inner.held.is_empty() {
            self.leases.changed.notify_waiters();
        }
    }
}

/// A request that waits for the sandbox to wake. Who asks and the task that is asked each have
/// one: the wait is over when the first of them is dropped.
pub(crate) struct Waiting {
    leases: Arc<Leases>,
    over: Arc<AtomicBool>,
}

impl Waiting {
    /// The other end's.
    pub(crate) fn share(&self) -> Self {
        Self {
            leases: self.leases.clone(),
            over: self.over.clone(),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.leases.lock();
        if !self.over.swap(true, Ordering::Relaxed) {
            inner.waiting -= 1;
        }
    }
}

impl Leases {
    /// Closed, and used just now.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                link: None,
                next: 0,
                held: BTreeMap::new(),
                waiting: 0,
                last_used: clock::now(),
            }),
            changed: Notify::new(),
        })
    }

    /// Takes a lease if the sandbox is hot and has a link that works.
    pub(crate) fn take(self: &Arc<Self>, what: &str) -> Option<Lease> {
        let mut inner = self.lock();
        let link = inner.link.as_ref().filter(|link| link.is_open())?.clone();
        let id = inner.next;
        inner.next += 1;
        let held = Held {
            what: what.to_owned(),
            since: Timestamp::now(),
        };
        inner.held.insert(id, held);
        Some(Lease {
            leases: self.clone(),
            id,
            link,
        })
    }

    /// The link, if leases may be taken now. It is no lease: the machine may stand still at any
    /// time.
    pub(crate) fn link(&self) -> Option<Link> {
        let inner = self.lock();
        inner.link.clone().filter(Link::is_open)
    }

    /// Takes a lease as soon as there is one to be had. Cancel-safe.
    pub(crate) async fn taken(self: &Arc<Self>, what: &str) -> Lease {
        self.until(|| self.take(what)).await
    }

    /// Says that a request waits for this sandbox to be hot, which breaks off its going to sleep.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.lock().waiting += 1;
        self.changed.notify_waiters();
        Waiting {
            leases: self.clone(),
            over: Arc::default(),
        }
    }

    /// Waits until a request waits for this sandbox to be hot. Cancel-safe.
    pub(crate) async fn wanted(&self) {
        self.until(|| self.is_wanted().then_some(())).await;
    }

    /// Whether a request waits for this sandbox to be hot.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Lets leases be taken, over this link.
    pub(crate) fn open(&self, link: Link) {
        let mut inner = self.lock();
        if inner.link.replace(link).is_none() {
            inner.last_used = clock::now();
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Lets no more leases be taken. Those that are held stay so, over a link that may break.
    pub(crate) fn close(&self) {
        self.lock().link = None;
    }

    /// Lets no more leases be taken, if none is held and nobody waits for one.
    pub(crate) fn close_if_unused(&self) -> bool {
        let mut inner = self.lock();
        let unused = inner.held.is_empty() && inner.waiting == 0;
        if unused {
            inner.link = None;
        }
        unused
    }

    /// Lets no more leases be taken, if none is held.
    pub(crate) fn close_unless_held(&self) -> bool {
        let mut inner = self.lock();
        let free = inner.held.is_empty();
        if free {
            inner.link = None;
        }
        free
    }

    /// Counts as used just now.
    pub(crate) fn touch(&self) {
        self.lock().last_used = clock::now();
    }

    /// How many are held, and when the last one ended.
    pub(crate) fn usage(&self) -> (usize, Instant) {
        let inner = self.lock();
        (inner.held.len(), inner.last_used)
    }

    /// Those that are held, oldest first.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.lock().held.values().cloned().collect()
    }

    /// Resolves at the next change that someone may be interested in, counted from this call and
    /// not from the first poll.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            // Before the look, so that no change is missed.
            let changed = self.changed();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
