//! Images, tasks and garbage as the API shows them.

use bhatti_api::image::{CollectedGarbage, DeletedImage, GarbageItem, Image};
use bhatti_api::task::{Task, TaskPart, TaskProgress};
use bhatti_engine::images::gc::Garbage;
use bhatti_engine::tasks::progress::{Part, Progress};
use bhatti_engine::tasks::registry::{TaskState, TaskView};
use bhatti_engine::view::{DeletedImageView, ImageView, Owner};

use crate::view::time;

pub(crate) fn image(view: ImageView) -> Image {
    Image {
        id: view.id.into(),
        user_id: match view.owner {
            Owner::Host => String::new(),
            Owner::User(id) => id.into(),
        },
        owner: view.owner_name.map(String::from).unwrap_or_default(),
        scope: view.scope.as_str().to_owned(),
        hidden: view.hidden,
        shared_with: view.shared_with.into_iter().map(String::from).collect(),
        name: view.name.into(),
        source: view.source,
        digest: view.digest,
        size_mb: view.size_mb,
        disk_own_bytes: view.usage.map(|usage| usage.own_bytes),
        disk_shared_bytes: view.usage.map(|usage| usage.shared_bytes),
        run_as: view.config.user,
        workdir: view.config.workdir,
        env: view.config.env.into(),
        created_at: time(view.created_at),
    }
}

pub(crate) fn deleted_image(view: DeletedImageView) -> DeletedImage {
    DeletedImage {
        status: "deleted".to_owned(),
        name: view.name.into(),
        templates_deleted: view.templates as u64,
        sandboxes: view.sandboxes.into_iter().map(String::from).collect(),
    }
}

pub(crate) fn task(view: TaskView) -> Task {
    let (status, result, error, hint) = match view.state {
        TaskState::Running => ("running", None, None, None),
        TaskState::Completed(made) => ("completed", made.map(|made| image(*made)), None, None),
        TaskState::Failed { error, hint } => ("failed", None, Some(error), hint),
        TaskState::Cancelled => ("cancelled", None, None, None),
    };
    Task {
        id: view.id.into(),
        kind: view.kind.as_str().to_owned(),
        subject: view.subject,
        status: status.to_owned(),
        progress: progress(view.progress),
        result,
        error,
        hint,
        created_at: time(view.created_at),
        ended_at: view.ended_at.map(time),
    }
}

fn progress(progress: Progress) -> TaskProgress {
    TaskProgress {
        phase: progress.phase.to_owned(),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
        parts: progress.parts.into_iter().map(part).collect(),
    }
}

fn part(part: Part) -> TaskPart {
    TaskPart {
        name: part.name,
        done_bytes: part.done_bytes,
        total_bytes: part.total_bytes,
        complete: part.complete,
    }
}

pub(crate) fn garbage(items: Vec<Garbage>, dry_run: bool) -> CollectedGarbage {
    let bytes = items.iter().map(|item| item.bytes).sum();
    let items = items.into_iter().map(|item| GarbageItem {
        kind: item.kind.as_str().to_owned(),
        name: item.name,
        bytes: item.bytes,
    });
    CollectedGarbage {
        dry_run,
        items: items.collect(),
        bytes,
    }
}
