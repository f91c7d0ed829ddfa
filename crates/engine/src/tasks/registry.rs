//! The tasks there are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bhatti_types::id::{TaskId, UserId};
use jiff::Timestamp;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::progress::{Progress, Reporter};
use crate::error::Error;
use crate::view::ImageView;

/// How long a task is known after its end.
const KEPT: Duration = Duration::from_hours(24);
/// Most tasks of one user that run at once.
const MAX_RUNNING: usize = 16;
/// Most tasks of one user that are known; the first that ended go first.
const MAX_KNOWN: usize = 256;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Pulls an image from a registry.
    Pull,
    /// Pushes an image to a registry.
    Push,
    /// Builds an image.
    Build,
}

impl TaskKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "image.pull",
            Self::Push => "image.push",
            Self::Build => "image.build",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a task is in its life.
#[derive(Debug, Clone)]
pub enum TaskState {
    /// It is being done.
    Running,
    /// It is done; what it made, if it made something.
    Completed(Option<Box<ImageView>>),
    /// It was not done.
    Failed {
        /// Why, fit for who asked.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// It was given up.
    Cancelled,
}

/// A task as its owner sees it.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Who asked for it.
    pub user: UserId,
    /// What it does.
    pub kind: TaskKind,
    /// What it does it with, such as the name of an image.
    pub subject: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// How far it is, or was when it ended.
    pub progress: Progress,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

struct Task {
    user: UserId,
    kind: TaskKind,
    subject: String,
    state: TaskState,
    reporter: Reporter,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// The tasks there are.
#[derive(Default)]
pub(crate) struct Tasks {
    known: Mutex<HashMap<TaskId, Task>>,
}

/// What the work of a task is begun with.
pub(crate) struct Begun {
    pub(crate) id: TaskId,
    pub(crate) reporter: Reporter,
}

impl Tasks {
    /// Enters a task, which is then to be run. [`Error::Quota`] if its user has too many.
    pub(crate) fn begin(
        &self,
        user: &UserId,
        kind: TaskKind,
        subject: String,
        closing: &CancellationToken,
    ) -> Result<Begun, Error> {
        let now = Timestamp::now();
        let mut known = self.lock();
        known.retain(|_, task| !is_old(task, now));
        let of_user = || known.iter().filter(|(_, task)| task.user == *user);
        let running = of_user().filter(|(_, task)| task.ended_at.is_none());
        if running.count() >= MAX_RUNNING {
            return Err(Error::Quota {
                what: "running task",
                limit: MAX_RUNNING as u64,
            });
        }
        if of_user().count() >= MAX_KNOWN {
            let ended = of_user().filter_map(|(id, task)| Some((task.ended_at?, id.clone())));
            if let Some((_, first)) = ended.min() {
                known.remove(&first);
            }
        }
        let (id, reporter) = (TaskId::random(), Reporter::new(closing.child_token()));
        let task = Task {
            user: user.clone(),
            kind,
            subject,
            state: TaskState::Running,
            reporter: reporter.clone(),
            created_at: now,
            ended_at: None,
        };
        known.insert(id.clone(), task);
        Ok(Begun { id, reporter })
    }

    /// Does the work of a task to its end, or until it is cancelled: then what it holds has been
    /// dropped before this returns.
    pub(crate) async fn run(
        &self,
        begun: Begun,
        owner: &TaskTracker,
        work: impl Future<Output = Result<Option<ImageView>, Error>> + Send + 'static,
    ) {
        let Begun { id, reporter } = begun;
        // In a task of its own, so that a panic is the end of this one work only.
        let mut doing = owner.spawn(work.in_current_span());
        let ended = tokio::select! {
            ended = &mut doing => ended,
            () = reporter.cancelled().cancelled() => {
                doing.abort();
                doing.await
            }
        };
        let cancelled = reporter.cancelled().is_cancelled();
        self.end(&id, state(&id, ended, cancelled));
    }

    fn end(&self, id: &TaskId, state: TaskState) {
        if let Some(task) = self.lock().get_mut(id) {
            task.state = state;
            task.ended_at = Some(Timestamp::now());
        }
    }

    /// A user's tasks, the latest first.
    pub(super) fn list(&self, user: &UserId) -> Vec<TaskView> {
        let now = Timestamp::now();
        let known = self.lock();
        let mut views: Vec<_> = known
            .iter()
            .filter(|(_, task)| task.user == *user && !is_old(task, now))
            .map(|(id, task)| view(id, task))
            .collect();
        views.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        views
    }

    /// A user's task.
    pub(super) fn get(&self, user: &UserId, id: &TaskId) -> Option<TaskView> {
        let known = self.lock();
        let task = known.get(id).filter(|task| task.user == *user)?;
        (!is_old(task, Timestamp::now())).then(|| view(id, task))
    }

    /// Has a user's task given up; one that has ended stays as it is.
    pub(super) fn cancel(&self, user: &UserId, id: &TaskId) -> Option<TaskView> {
        let view = self.get(user, id)?;
        if let Some(task) = self.lock().get(id) {
            task.reporter.cancelled().cancel();
        }
        Some(view)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Task>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_old(task: &Task, now: Timestamp) -> bool {
    let ended = |ended: Timestamp| now.duration_since(ended).unsigned_abs() > KEPT;
    task.ended_at.is_some_and(ended)
}

fn view(id: &TaskId, task: &Task) -> TaskView {
    TaskView {
        id: id.clone(),
        user: task.user.clone(),
        kind: task.kind,
        subject: task.subject.clone(),
        state: task.state.clone(),
        progress: task.reporter.now(),
        created_at: task.created_at,
        ended_at: task.ended_at,
    }
}

/// How a task ended. What went wrong is said in the log here and nowhere else.
fn state(
    id: &TaskId,
    ended: Result<Result<Option<ImageView>, Error>, JoinError>,
    cancelled: bool,
) -> TaskState {
    let error = match ended {
        // It was done before it heard that it is not wanted.
        Ok(Ok(made)) => return TaskState::Completed(made.map(Box::new)),
        Ok(Err(_)) | Err(_) if cancelled => {
            tracing::info!(task = %id, "a task was cancelled");
            return TaskState::Cancelled;
        }
        Ok(Err(error)) => error,
        Err(error) => Error::internal(error),
    };
    tracing::warn!(
        task = %id,
        error = &error as &dyn std::error::Error,
        "a task failed"
    );
    TaskState::Failed {
        hint: error.hint().map(str::to_owned),
        error: error.to_string(),
    }
}

#[cfg(test)]
mod test {
    use bhatti_types::id::{TaskId, UserId};
    use tokio::sync::oneshot;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::{MAX_KNOWN, MAX_RUNNING, TaskKind, TaskState, Tasks};
    use crate::error::Error;

    fn begin(tasks: &Tasks, user: &UserId) -> Result<super::Begun, Error> {
        let closing = CancellationToken::new();
        tasks.begin(user, TaskKind::Pull, "alpine".to_owned(), &closing)
    }

    #[tokio::test]
    async fn a_task_is_known_with_its_end_to_its_owner_alone() {
        let (tasks, tracker) = (Tasks::default(), TaskTracker::new());
        let (ann, bob) = (UserId::random(), UserId::random());
        let begun = begin(&tasks, &ann).unwrap();
        let id = begun.id.clone();
        tasks.run(begun, &tracker, async { Ok(None) }).await;
        let seen = tasks.get(&ann, &id).unwrap();
        assert!(matches!(seen.state, TaskState::Completed(None)));
        assert!(seen.ended_at.is_some());
        assert!(tasks.get(&bob, &id).is_none() && tasks.list(&bob).is_empty());
        assert!(tasks.cancel(&bob, &id).is_none());
        assert!(tasks.get(&ann, &TaskId::random()).is_none());
    }

    #[tokio::test]
    async fn an_error_is_told_in_its_callers_words_and_a_panic_in_none() {
        let (tasks, tracker) = (Tasks::default(), TaskTracker::new());
        let ann = UserId::random();
        let told = async |result: Result<(), ()>| {
            let begun = begin(&tasks, &ann).unwrap();
            let id = begun.id.clone();
            let work = async move {
                result.expect("a panic of the work");
                Err(Error::Unavailable {
                    message: "no room".to_owned(),
                    hint: Some("make room".to_owned()),
                })
            };
            tasks.run(begun, &tracker, work).await;
            match tasks.get(&ann, &id).unwrap().state {
                TaskState::Failed { error, hint } => (error, hint),
                other => panic!("{other:?}"),
            }
        };
        let hint = Some("make room".to_owned());
        assert_eq!(told(Ok(())).await, ("no room".to_owned(), hint));
        assert_eq!(told(Err(())).await, ("internal error".to_owned(), None));
    }

    #[tokio::test]
    async fn what_a_cancelled_task_holds_is_dropped_before_it_has_ended() {
        let (tasks, tracker) = (Tasks::default(), TaskTracker::new());
        let ann = UserId::random();
        let begun = begin(&tasks, &ann).unwrap();
        let id = begun.id.clone();
        let (held, mut dropped) = oneshot::channel::<()>();
        let work = async move {
            let _held = held;
            std::future::pending().await
        };
        let running = tasks.run(begun, &tracker, work);
        tokio::pin!(running);
        assert!(futures::poll!(&mut running).is_pending());
        tasks.cancel(&ann, &id).unwrap();
        running.await;
        assert!(
            dropped
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        let state = tasks.get(&ann, &id).unwrap().state;
        assert!(matches!(state, TaskState::Cancelled));
    }

    #[tokio::test]
    async fn a_user_has_a_bounded_number_of_tasks() {
        let (tasks, tracker) = (Tasks::default(), TaskTracker::new());
        let (ann, bob) = (UserId::random(), UserId::random());
        let first = begin(&tasks, &bob).unwrap();
        let first_id = first.id.clone();
        tasks.run(first, &tracker, async { Ok(None) }).await;
        for _ in 0..MAX_KNOWN {
            let begun = begin(&tasks, &bob).unwrap();
            tasks.run(begun, &tracker, async { Ok(None) }).await;
        }
        assert_eq!(tasks.list(&bob).len(), MAX_KNOWN);
        assert!(tasks.get(&bob, &first_id).is_none());
        let running: Vec<_> = (0..MAX_RUNNING)
            .map(|_| begin(&tasks, &ann).unwrap())
            .collect();
        assert!(matches!(begin(&tasks, &ann), Err(Error::Quota { .. })));
        assert!(begin(&tasks, &bob).is_ok());
        drop(running);
    }
}
