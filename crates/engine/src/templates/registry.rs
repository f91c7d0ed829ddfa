//! The templates there are, who makes one, and who uses one.
//!
//! A template in use is not deleted: a create holds a [`TemplateLease`] until its VMM has loaded the
//! state. What it has then, a disk of its own and a name of its own for the memory, outlives the
//! template.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bhatti_types::id::TemplateId;
use jiff::Timestamp;
use tokio::sync::{OnceCell, OwnedRwLockReadGuard, RwLock, watch};

use super::shape::Shape;
use crate::error::Error;

/// How long creates boot by themselves after a template could not be made.
const FAILURE_KEPT: Duration = Duration::from_mins(1);

/// How the making of a template went, for all who wait for it; `None` until it is over.
pub(super) type Outcome = Option<Result<(), Arc<Error>>>;

/// A template that is there.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) shape: Shape,
    pub(crate) dir: PathBuf,
    pub(crate) created_at: Timestamp,
    /// When a machine was last made from it.
    pub(crate) used_at: Option<Timestamp>,
    /// How many machines were made from it.
    pub(crate) uses: u64,
    /// Read by who uses it, written by who deletes it.
    pub(super) lock: Arc<RwLock<()>>,
}

impl Entry {
    /// When it was last of use: an unused one counts from when it was made.
    fn last(&self) -> Timestamp {
        self.used_at.unwrap_or(self.created_at)
    }
}

/// The right to use a template. It is there for as long as this is held.
#[derive(Debug)]
pub(crate) struct TemplateLease {
    pub(crate) id: TemplateId,
    pub(crate) shape: Shape,
    /// Its directory.
    pub(crate) dir: PathBuf,
    _guard: OwnedRwLockReadGuard<()>,
}

/// Who makes a template that is not there.
pub(super) enum Turn {
    /// The caller, who tells the others.
    Mine(watch::Sender<Outcome>, watch::Receiver<Outcome>),
    /// Somebody is at it.
    Theirs(watch::Receiver<Outcome>),
    /// It did not work a short while ago, or the one before it is still being deleted.
    NotNow,
}

/// All templates.
#[derive(Debug)]
pub(crate) struct Templates {
    /// Most that are kept.
    pub(super) max: usize,
    /// The VMM's version, asked for once.
    pub(super) engine_version: OnceCell<String>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<TemplateId, Entry>,
    builds: HashMap<TemplateId, watch::Receiver<Outcome>>,
    /// Could not be made, and when.
    failed: HashMap<TemplateId, Instant>,
    /// Machines could not be started from it, and when: not to be used again.
    broken: HashMap<TemplateId, Instant>,
    /// Out of use, their directories not gone yet.
    going: HashSet<TemplateId>,
}

impl Templates {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            engine_version: OnceCell::new(),
            inner: Mutex::default(),
        }
    }

    /// Whether creates use templates.
    pub(crate) fn are_used(&self) -> bool {
        self.max > 0
    }

    pub(super) fn insert(&self, id: TemplateId, entry: Entry) {
        self.lock().entries.insert(id, entry);
    }

    /// The right to use the template of a shape, if it is there and not being deleted.
    pub(super) fn lease(&self, shape: &Shape) -> Option<TemplateLease> {
        self.lease_of(&shape.id())
            .filter(|lease| lease.shape == *shape)
    }

    /// The right to use a template by id.
    pub(super) fn lease_of(&self, id: &TemplateId) -> Option<TemplateLease> {
        let inner = self.lock();
        let is_good = !inner.broken.contains_key(id);
        let entry = inner.entries.get(id).filter(|_| is_good)?;
        let guard = entry.lock.clone().try_read_owned().ok()?;
        Some(TemplateLease {
            id: id.clone(),
            shape: entry.shape.clone(),
            dir: entry.dir.clone(),
            _guard: guard,
        })
    }

    /// Decides who makes a template that is not there; `again` also after a failure.
    pub(super) fn turn(&self, id: &TemplateId, again: bool) -> Turn {
        let mut inner = self.lock();
        if let Some(build) = inner.builds.get(id) {
            return Turn::Theirs(build.clone());
        }
        let recent = |at: Option<&Instant>| at.is_some_and(|at| at.elapsed() < FAILURE_KEPT);
        let failed = recent(inner.failed.get(id)) || recent(inner.broken.get(id));
        if inner.going.contains(id) || (failed && !again) {
            return Turn::NotNow;
        }
        let (sender, receiver) = watch::channel(None);
        inner.builds.insert(id.clone(), receiver.clone());
        Turn::Mine(sender, receiver)
    }

    /// The making of a template is over; a new one is there from now on.
    pub(super) fn built(&self, id: &TemplateId, made: Option<Entry>) {
        let mut inner = self.lock();
        inner.builds.remove(id);
        match made {
            Some(entry) => {
                inner.failed.remove(id);
                inner.broken.remove(id);
                inner.entries.insert(id.clone(), entry);
            }
            None => {
                inner.failed.insert(id.clone(), Instant::now());
            }
        }
    }

    /// Takes a template out, so that nobody begins to use it.
    /// Until it is [`Templates::gone`] no other is made in its place.
    pub(super) fn remove(&self, id: &TemplateId) -> Option<Entry> {
        let mut inner = self.lock();
        let entry = inner.entries.remove(id)?;
        inner.going.insert(id.clone());
        Some(entry)
    }

    /// Nothing of a removed template is left.
    pub(super) fn gone(&self, id: &TemplateId) {
        self.lock().going.remove(id);
    }

    /// Notes that a machine could not be started from it.
    pub(crate) fn mark_broken(&self, id: &TemplateId) {
        self.lock().broken.insert(id.clone(), Instant::now());
    }

    /// Whether machines could not be started from it, and no other was made since.
    pub(crate) fn is_broken(&self, id: &TemplateId) -> bool {
        self.lock().broken.contains_key(id)
    }

    /// Whether it is there and machines start from it.
    pub(crate) fn is_good(&self, id: &TemplateId) -> bool {
        let inner = self.lock();
        inner.entries.contains_key(id) && !inner.broken.contains_key(id)
    }

    /// Counts a use; gives where it is written and the new count.
    pub(super) fn count_use(&self, id: &TemplateId, now: Timestamp) -> Option<(PathBuf, u64)> {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(id)?;
        entry.uses += 1;
        entry.used_at = Some(now);
        Some((entry.dir.clone(), entry.uses))
    }

    /// All templates, the one of the latest use first.
    pub(crate) fn all(&self) -> Vec<(TemplateId, Entry)> {
        let inner = self.lock();
        let entries = inner.entries.iter();
        let mut all: Vec<_> = entries
            .map(|(id, entry)| (id.clone(), entry.clone()))
            .collect();
        drop(inner);
        all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.last()));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::{Entry, Templates, Turn};
    use crate::templates::shape::test::shape;

    fn entry(memory_mb: u64, second: i64) -> Entry {
        Entry {
            shape: shape(memory_mb),
            dir: "/nowhere".into(),
            created_at: Timestamp::from_second(second).unwrap(),
            used_at: None,
            uses: 0,
            lock: Arc::default(),
        }
    }

    #[test]
    fn one_makes_a_template_and_the_others_wait() {
        let templates = Templates::new(16);
        let id = shape(256).id();
        let Turn::Mine(sender, _) = templates.turn(&id, false) else {
            panic!("nobody else is at it");
        };
        let Turn::Theirs(waiting) = templates.turn(&id, true) else {
            panic!("somebody is at it");
        };
        assert!(matches!(
            templates.turn(&shape(512).id(), false),
            Turn::Mine(..)
        ));
        templates.built(&id, Some(entry(256, 0)));
        sender.send_replace(Some(Ok(())));
        assert!(matches!(*waiting.borrow(), Some(Ok(()))));
        assert!(templates.lease(&shape(256)).is_some());
        assert!(templates.lease(&shape(512)).is_none());
    }

    #[test]
    fn a_failure_is_not_repeated_by_creates_but_by_hand() {
        let templates = Templates::new(16);
        let id = shape(256).id();
        assert!(matches!(templates.turn(&id, false), Turn::Mine(..)));
        templates.built(&id, None);
        assert!(matches!(templates.turn(&id, false), Turn::NotNow));
        assert!(matches!(templates.turn(&id, true), Turn::Mine(..)));
    }

    #[test]
    fn one_that_is_broken_or_being_deleted_is_not_used() {
        let templates = Templates::new(16);
        let id = shape(256).id();
        let there = entry(256, 0);
        templates.insert(id.clone(), there.clone());
        let lease = templates.lease_of(&id).unwrap();
        assert!(there.lock.try_write().is_err());
        drop(lease);
        let deleting = there.lock.try_write().unwrap();
        assert!(templates.lease_of(&id).is_none());
        drop(deleting);
        templates.mark_broken(&id);
        assert!(templates.lease_of(&id).is_none() && !templates.is_good(&id));
        assert!(matches!(templates.turn(&id, false), Turn::NotNow));
        templates.remove(&id).unwrap();
        assert!(matches!(templates.turn(&id, true), Turn::NotNow));
        templates.gone(&id);
        assert!(matches!(templates.turn(&id, true), Turn::Mine(..)));
    }

    #[test]
    fn the_least_recently_used_comes_last() {
        let templates = Templates::new(16);
        for (memory, second) in [(256, 1), (512, 2), (1024, 3)] {
            templates.insert(shape(memory).id(), entry(memory, second));
        }
        let now = Timestamp::from_second(9).unwrap();
        assert_eq!(templates.count_use(&shape(256).id(), now).unwrap().1, 1);
        let order: Vec<_> = templates
            .all()
            .iter()
            .map(|(_, entry)| entry.shape.memory.get())
            .collect();
        assert_eq!(order, [256, 1024, 512]);
    }
}
