//! The tree of who descends from whom.

use std::collections::BTreeMap;

use bhatti_lifecycle::tree::{Entry, Member, forest, under};
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::{SnapshotRow, SnapshotStatus};

use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::request::Caller;
use crate::sandbox::actor;
use crate::snapshots;
use crate::view::{Descendant, TreeView};

impl Engine {
    /// The caller's sandboxes and checkpoints, each directly before what descends from it; with a
    /// sandbox, only that one and its descendants.
    pub async fn tree(&self, caller: &Caller, key: Option<&str>) -> Result<Vec<TreeView>, Error> {
        let root = match key {
            Some(key) => Some(Member::Sandbox(self.find(caller, key)?.id)),
            None => None,
        };
        let user = caller.user.clone();
        let (mut sandboxes, mut snapshots) = self
            .ctx
            .db(move |store| {
                store.read(|txn| Ok((txn.sandbox_list()?, txn.snapshot_list(Some(&user))?)))
            })
            .await?;
        sandboxes.retain(|row| row.user == caller.user);
        snapshots.retain(|row| row.status == SnapshotStatus::Ready);
        let entries = entries(&sandboxes, &snapshots);
        let mut known: BTreeMap<Member, Descendant> = BTreeMap::new();
        for row in sandboxes {
            let view = self
                .directory
                .by_id(&row.id)
                .map_or_else(|| actor::view(&row, &[]), |handle| handle.now().view);
            known.insert(Member::Sandbox(row.id), Descendant::Sandbox(Box::new(view)));
        }
        let dirs = snapshots
            .iter()
            .map(|row| self.ctx.layout.snapshot(&row.id));
        let usages = Context::usages(dirs.collect()).await?;
        for (row, usage) in snapshots.into_iter().zip(usages) {
            let member = Member::Snapshot(row.id.clone());
            let view = Box::new(snapshots::view(row, usage));
            known.insert(member, Descendant::Snapshot(view));
        }
        let mut placed = forest(&entries);
        if let Some(root) = root {
            placed = under(&placed, &root);
        }
        let lines = placed.into_iter().map(|placed| TreeView {
            what: known.remove(&placed.member).unwrap_or(Descendant::Deleted),
            placed,
        });
        Ok(lines.collect())
    }
}

/// All of them, in the order in which siblings are to stand: oldest first, and what was made at
/// one time by name.
fn entries(sandboxes: &[SandboxRow], snapshots: &[SnapshotRow]) -> Vec<Entry> {
    let sandboxes = sandboxes.iter().map(|row| {
        let entry = Entry {
            member: Member::Sandbox(row.id.clone()),
            parent: row.parent.clone().map(Member::from),
        };
        (row.created_at, row.name.as_str(), entry)
    });
    let snapshots = snapshots.iter().map(|row| {
        let entry = Entry {
            member: Member::Snapshot(row.id.clone()),
            parent: Some(Member::Sandbox(row.source_id.clone())),
        };
        (row.created_at, row.name.as_str(), entry)
    });
    let mut all: Vec<_> = sandboxes.chain(snapshots).collect();
    // `try-10` after `try-9`.
    all.sort_by_key(|(at, name, _)| (*at, name.len(), *name));
    all.into_iter().map(|(_, _, entry)| entry).collect()
}
