//! The stock: started, paused clones of templates that were in demand lately, for creates to come.
//!
//! A clone in stock has a directory and a VMM like a sandbox's, but no record: if the daemon
//! ends, the next one finds a process and a directory that nobody wants, and takes both away.
//! One task fills the stock and gives it up; a create only takes from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bhatti_guest::link::Link;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_types::id::TemplateId;
use futures::FutureExt as _;
use tokio::sync::Notify;

use super::build::row;
use crate::context::Context;
use crate::error::Error;
use crate::sandbox::work::{Material, Work};

/// How long a create counts as demand for more of its kind.
const DEMAND_KEPT: Duration = Duration::from_mins(10);
/// The pause between two looks at the stock if nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Clones are made while this part of the host's memory is available: a fourth.
const MAKE_ABOVE: u64 = 4;
/// Clones are given up when less than this part of it is: an eighth.
const GIVE_UP_BELOW: u64 = 8;

/// Clones in stock, and what decides how many there are to be.
pub(crate) struct Stock {
    /// Most clones of one template.
    size: usize,
    inner: Mutex<Inner>,
    /// Creates in progress: they come before what may be needed later.
    creating: AtomicUsize,
    /// Something happened that may mean work.
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    clones: BTreeMap<TemplateId, Vec<Work>>,
    /// When creates of a template came.
    demand: BTreeMap<TemplateId, VecDeque<Instant>>,
}

/// A create in progress.
pub(crate) struct Creating<'a>(&'a Stock);

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.0.creating.fetch_sub(1, Ordering::Relaxed);
        self.0.wake.notify_one();
    }
}

impl Stock {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            inner: Mutex::default(),
            creating: AtomicUsize::new(0),
            wake: Notify::new(),
        }
    }

    /// Notes a create, for as long as what is returned is kept.
    pub(crate) fn creating(&self) -> Creating<'_> {
        self.creating.fetch_add(1, Ordering::Relaxed);
        Creating(self)
    }

    /// Notes that a machine of a template was asked for.
    pub(crate) fn demand(&self, id: &TemplateId) {
        if self.size == 0 {
            return;
        }
        let mut inner = self.lock();
        let times = inner.demand.entry(id.clone()).or_default();
        // More than the stock can hold say nothing more.
        if times.len() >= self.size {
            times.pop_front();
        }
        times.push_back(Instant::now());
    }

    /// How many clones of a template there are.
    pub(crate) fn count(&self, id: &TemplateId) -> usize {
        self.lock().clones.get(id).map_or(0, Vec::len)
    }

    /// How many clones of a template there are to be, going by the creates of the last minutes.
    fn wanted(&self, id: &TemplateId, now: Instant) -> usize {
        let mut inner = self.lock();
        let Some(times) = inner.demand.get_mut(id) else {
            return 0;
        };
        times.retain(|at| now.saturating_duration_since(*at) < DEMAND_KEPT);
        let wanted = times.len().min(self.size);
        if times.is_empty() {
            inner.demand.remove(id);
        }
        wanted
    }

    /// A clone for a create: started, paused, linked, and not told yet who it is.
    pub(crate) fn take(&self, id: &TemplateId) -> Option<Work> {
        let mut inner = self.lock();
        let clones = inner.clones.get_mut(id)?;
        let at = clones.iter().rposition(is_alive)?;
        Some(clones.remove(at))
    }

    fn add(&self, id: &TemplateId, clone: Work) {
        let mut inner = self.lock();
        inner.clones.entry(id.clone()).or_default().push(clone);
    }

    /// Gives up the clones of a template.
    pub(super) async fn give_up(&self, id: &TemplateId) {
        let clones = self.lock().clones.remove(id);
        for clone in clones.into_iter().flatten() {
            clone.give_up().await;
        }
    }

    async fn give_up_all(&self) {
        let clones = std::mem::take(&mut self.lock().clones);
        for clone in clones.into_values().flatten() {
            clone.give_up().await;
        }
    }

    /// Takes out the clones that are dead or more than are wanted.
    fn superfluous(&self, now: Instant) -> Vec<Work> {
        let ids: Vec<_> = self.lock().clones.keys().cloned().collect();
        let mut out = Vec::new();
        for id in ids {
            let wanted = self.wanted(&id, now);
            let mut inner = self.lock();
            let Some(clones) = inner.clones.get_mut(&id) else {
                continue;
            };
            let (mut alive, dead): (Vec<_>, Vec<_>) = clones.drain(..).partition(is_alive);
            out.extend(dead);
            while alive.len() > wanted {
                out.extend(alive.pop());
            }
            *clones = alive;
            if clones.is_empty() {
                inner.clones.remove(&id);
            }
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a clone can still be used: its VMM and its link are there.
fn is_alive(clone: &Work) -> bool {
    let machine = clone.machine.as_ref();
    machine.is_some_and(|machine| machine.ended().now_or_never().is_none())
        && clone.link.as_ref().is_some_and(Link::is_open)
}

impl Context {
    /// Starts the task that keeps the stock, if there is to be one.
    pub(crate) fn keep_stock(self: &Arc<Self>) {
        if self.stock.size == 0 || !self.templates.are_used() {
            return;
        }
        let ctx = self.clone();
        self.tasks.spawn(async move {
            while !ctx.closing.is_cancelled() {
                ctx.tend_stock().await;
                tokio::select! {
                    () = ctx.closing.cancelled() => {}
                    () = ctx.stock.wake.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
            ctx.stock.give_up_all().await;
        });
    }

    /// Gives up what is too much and makes what is too little.
    async fn tend_stock(self: &Arc<Self>) {
        if !self.admission.has_part(GIVE_UP_BELOW) {
            self.stock.give_up_all().await;
            return;
        }
        for clone in self.stock.superfluous(Instant::now()) {
            clone.give_up().await;
        }
        for (id, _) in self.templates.all() {
            while self.stock.count(&id) < self.stock.wanted(&id, Instant::now()) {
                let busy = self.stock.creating.load(Ordering::Relaxed) > 0;
                // The end of a create is told.
                if busy || self.closing.is_cancelled() || !self.admission.has_part(MAKE_ABOVE) {
                    return;
                }
                if let Err(error) = self.stock_one(&id).await {
                    tracing::warn!(
                        template = %id,
                        error = &error as &dyn std::error::Error,
                        "a clone for later could not be made"
                    );
                    break;
                }
            }
        }
    }

    /// Takes back a clone that was not used after all.
    pub(crate) async fn put_back(&self, id: &TemplateId, clone: Work) {
        // The task that would give it up at the end may be done.
        if self.closing.is_cancelled() {
            clone.give_up().await;
        } else {
            self.stock.add(id, clone);
        }
    }

    async fn stock_one(self: &Arc<Self>, id: &TemplateId) -> Result<(), Error> {
        let Some(lease) = self.templates.lease_of(id) else {
            return Ok(());
        };
        let _room = self.admission.room_now(lease.shape.memory)?;
        self.admit_disk(0)?;
        let mut work = Work::new(self.clone(), row(&lease.shape), None);
        work.material = Material::Template(Box::new(lease));
        let made = work.run(PlanKind::Stock).await;
        work.material = Material::None;
        made?;
        self.stock.add(id, work);
        // Deleted meanwhile, and its clones given up before this one was among them.
        if !self.templates.is_good(id) {
            self.stock.give_up(id).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use std::time::{Duration, Instant};

    use super::{DEMAND_KEPT, Stock};
    use crate::templates::shape::test::shape;

    #[test]
    fn there_are_to_be_as_many_as_were_asked_for_lately_but_no_more_than_may_be() {
        let stock = Stock::new(2);
        let id = shape(256).id();
        assert_eq!(stock.wanted(&id, Instant::now()), 0);
        for wanted in [1, 2, 2] {
            stock.demand(&id);
            assert_eq!(stock.wanted(&id, Instant::now()), wanted);
        }
        let later = Instant::now() + DEMAND_KEPT + Duration::from_secs(1);
        assert_eq!(stock.wanted(&id, later), 0);
        assert_eq!(stock.wanted(&shape(512).id(), Instant::now()), 0);
    }

    #[test]
    fn without_a_stock_nothing_is_wanted() {
        let stock = Stock::new(0);
        stock.demand(&shape(256).id());
        assert_eq!(stock.wanted(&shape(256).id(), Instant::now()), 0);
    }
}
