//! From what the engine shows to the bodies of answers.

use std::time::Duration;

use bhatti_api::idle::{Awake, Idle, Lease, SleptAll};
use bhatti_api::sandbox::{Sandbox, SandboxLine};
use bhatti_api::snapshot::Snapshot;
use bhatti_api::template::Template;
use bhatti_api::tree::TreeNode;
use bhatti_api::user::User;
use bhatti_api::volume::{AttachedVolume, Volume, VolumeAttachment, VolumeBackup};
use bhatti_engine::view::{
    AttachedView, BackupView, Descendant, HolderView, IdleView, Member, Next, SandboxLineView,
    SandboxView, SleepAllView, SnapshotView, TemplateView, TreeView, Usage, UserView, VolumeView,
};
use bhatti_types::idle::IdleTime;
use bhatti_types::name::VolumeName;
use bhatti_types::parent::Parent;
use jiff::Timestamp;

use crate::run;

/// RFC 3339 with exactly three digits of a second, as in the store.
pub(crate) fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// A sandbox with what it takes on disk.
pub(crate) fn sandbox_with(view: SandboxView, usage: Option<Usage>) -> Sandbox {
    Sandbox {
        disk_own_bytes: usage.map(|usage| usage.own_bytes),
        disk_shared_bytes: usage.map(|usage| usage.shared_bytes),
        ..sandbox(view)
    }
}

pub(crate) fn sandbox(view: SandboxView) -> Sandbox {
    Sandbox {
        id: view.id.into(),
        name: view.name.into(),
        status: view.status.as_str().to_owned(),
        thermal: view.thermal.as_str().to_owned(),
        reason: view.reason,
        engine: view.engine,
        accelerator: view.accelerator,
        ip: view
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        egress: view.egress.mode.as_str().to_owned(),
        allow_cidrs: Vec::from(view.egress.allow)
            .into_iter()
            .map(String::from)
            .collect(),
        urls: Vec::new(),
        cpus: f64::from(view.cpus.get()),
        memory_mb: view.memory.into(),
        disk_size_mb: view.disk.into(),
        disk_own_bytes: None,
        disk_shared_bytes: None,
        image: view.image.into(),
        labels: view.labels.into(),
        user: view.run_as,
        resumed_from: view.resumed_from.map(String::from),
        forked_from: match view.parent {
            Some(Parent::Sandbox(id)) => Some(id.into()),
            Some(Parent::Snapshot(_)) | None => None,
        },
        volumes: view.volumes.into_iter().map(attached).collect(),
        init: (!view.init.is_default()).then(|| view.init.to_string()),
        run: view.run.map(run::shown),
        keep_hot: view.idle.keep_hot.unwrap_or_default(),
        idle: None,
        created_by: view.user.into(),
        created_at: time(view.created_at),
        stopped_at: view.stopped_at.map(time),
    }
}

fn attached(view: AttachedView) -> AttachedVolume {
    AttachedVolume {
        name: view.name.into(),
        mount: view.mount.into(),
        read_only: view.read_only,
    }
}

pub(crate) fn volume(view: VolumeView) -> Volume {
    let status = if view.holders.is_empty() {
        "detached"
    } else {
        "attached"
    };
    let attachment = |holder: HolderView| VolumeAttachment {
        sandbox_id: holder.sandbox.into(),
        sandbox: holder.name.map(String::from),
        mount: holder.mount.into(),
        read_only: holder.read_only,
        owned: holder.owned,
    };
    Volume {
        id: view.id.into(),
        name: view.name.into(),
        size_mb: view.size.into(),
        status: status.to_owned(),
        attachments: view.holders.into_iter().map(attachment).collect(),
        disk_own_bytes: view.usage.map(|usage| usage.own_bytes),
        disk_shared_bytes: view.usage.map(|usage| usage.shared_bytes),
        created_by: view.user.into(),
        created_at: time(view.created_at),
    }
}

pub(crate) fn backup(volume: &VolumeName, view: BackupView) -> VolumeBackup {
    VolumeBackup {
        id: view.id.into(),
        volume: volume.to_string(),
        target: view.target.as_str().to_owned(),
        size_bytes: view.size_bytes,
        data_bytes: view.data_bytes,
        sent_bytes: view.sent_bytes,
        created_at: time(view.created_at),
    }
}

pub(crate) fn sandbox_line(view: SandboxLineView) -> SandboxLine {
    SandboxLine {
        name: view.name.into(),
        status: view.status.as_str().into(),
        thermal: view.thermal.as_str().into(),
        urls: Vec::new(),
    }
}

pub(crate) fn idle(view: IdleView) -> Idle {
    let text = |after: Option<Duration>| after.map_or(IdleTime::Never, IdleTime::After).to_string();
    let (next, next_at, because) = match view.next {
        Next::Pause(at) => ("pause", Some(time(at)), None),
        Next::Sleep(at) => ("sleep", Some(time(at)), None),
        Next::Stays(because) => ("nothing", None, Some(because.as_str().to_owned())),
    };
    let leases = view.leases.into_iter().map(|held| Lease {
        what: held.what,
        since: time(held.since),
    });
    Idle {
        leases: leases.collect(),
        last_used_at: time(view.last_used),
        next: next.to_owned(),
        next_at,
        because,
        idle_pause: text(view.policy.pause_after),
        idle_cold: text(view.policy.cold_after),
        busy_cpu: view.policy.busy_cpu,
        wake_timers: view.policy.wake_timers,
        wake_at: view.wake_at.map(time),
    }
}

pub(crate) fn slept_all(view: SleepAllView) -> SleptAll {
    let awake = view.awake.into_iter().map(|awake| Awake {
        user_id: awake.user.into(),
        name: awake.name.into(),
        reason: awake.reason,
    });
    SleptAll {
        asleep: view.asleep as u64,
        awake: awake.collect(),
    }
}

pub(crate) fn snapshot(view: SnapshotView) -> Snapshot {
    Snapshot {
        id: view.id.into(),
        user_id: view.user.into(),
        name: view.name.into(),
        source_sandbox: view.source.into(),
        size_mb: view.memory.into(),
        disk_bytes: view.disk_bytes,
        disk_own_bytes: view.usage.map(|usage| usage.own_bytes),
        disk_shared_bytes: view.usage.map(|usage| usage.shared_bytes),
        stall_ms: view.stall_ms,
        automatic: view.automatic,
        created_at: time(view.created_at),
    }
}

pub(crate) fn tree_node(line: TreeView) -> TreeNode {
    let node = TreeNode {
        kind: match line.placed.member {
            Member::Sandbox(_) => "sandbox",
            Member::Snapshot(_) => "snapshot",
        }
        .to_owned(),
        id: line.placed.member.id().to_owned(),
        parent: line.placed.parent.map(|parent| parent.id().to_owned()),
        depth: line.placed.depth,
        deleted: false,
        name: None,
        status: None,
        thermal: None,
        memory_mb: None,
        disk_own_bytes: None,
        disk_shared_bytes: None,
        automatic: false,
        created_at: None,
    };
    match line.what {
        Descendant::Sandbox(view) => TreeNode {
            name: Some(view.name.into()),
            status: Some(view.status.as_str().to_owned()),
            thermal: Some(view.thermal.as_str().to_owned()),
            memory_mb: Some(view.memory.into()),
            created_at: Some(time(view.created_at)),
            ..node
        },
        Descendant::Snapshot(view) => TreeNode {
            name: Some(view.name.into()),
            memory_mb: Some(view.memory.into()),
            disk_own_bytes: view.usage.map(|usage| usage.own_bytes),
            disk_shared_bytes: view.usage.map(|usage| usage.shared_bytes),
            automatic: view.automatic,
            created_at: Some(time(view.created_at)),
            ..node
        },
        Descendant::Deleted => TreeNode {
            deleted: true,
            ..node
        },
    }
}

pub(crate) fn template(view: TemplateView) -> Template {
    Template {
        id: view.id.into(),
        image: view.image.into(),
        cpus: f64::from(view.cpus.get()),
        memory_mb: view.memory.into(),
        disk_size_mb: view.disk.into(),
        kit: view.kit,
        engine: view.engine,
        accelerator: view.accelerator,
        uses: view.uses,
        last_used_at: view.used_at.map(time),
        created_at: time(view.created_at),
        disk_own_bytes: view.usage.map(|usage| usage.own_bytes),
        disk_shared_bytes: view.usage.map(|usage| usage.shared_bytes),
        pool: view.pool as u64,
    }
}

pub(crate) fn user(view: UserView) -> User {
    User {
        id: view.id.into(),
        name: view.name.into(),
        max_sandboxes: view.max_sandboxes,
        max_cpus_per_sandbox: view.max_cpus_per_sandbox,
        max_memory_mb_per_sandbox: view.max_memory_mb_per_sandbox,
        max_snapshots: view.max_snapshots,
        max_volume_mb: view.max_volume_mb,
        max_images: view.max_images,
        created_at: time(view.created_at),
    }
}
