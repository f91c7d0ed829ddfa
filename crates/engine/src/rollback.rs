//! Putting a sandbox back to one of its checkpoints, in place.

use bhatti_host::files;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::SnapshotRow;
use bhatti_types::name::{MAX_NAME, SandboxName, SnapshotName};

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::request::Caller;
use crate::sandbox::handle::Handle;
use crate::view::RolledBackView;

/// How many of the checkpoints that rollbacks take of what was before are kept of one sandbox.
pub(crate) const KEPT: usize = 3;

impl Context {
    /// Puts a sandbox back to a checkpoint.
    pub(crate) async fn rollback(
        &self,
        caller: &Caller,
        handle: &Handle,
        to: &SnapshotName,
        force: bool,
    ) -> Result<RolledBackView, Error> {
        let snapshot = self.snapshot_row(&caller.user, to).await?;
        let id = handle.id.clone();
        let row = self.db(move |store| store.sandbox_get(&id)).await?;
        let Some(row) = row else {
            return Err(Error::NotFound {
                kind: Kind::Sandbox,
                name: handle.now().view.name.to_string(),
            });
        };
        fits(&row, &snapshot)?;
        // The checkpoint of what it is now, and the disk it is put back to.
        let disk = self
            .layout
            .sandbox(&row.id)
            .join(bhatti_vmm::machine::file::DISK);
        let used = files::disk_usage(&disk).unwrap_or_default();
        self.room_on_disk(row.memory.bytes() + used + snapshot.disk_bytes)
            .await?;
        let volumes = self.saved_volumes(&snapshot.id).await?;
        match handle.rollback(snapshot, volumes, force).await {
            Ok(done) => Ok(done),
            // Deleted meanwhile: that is why it failed.
            Err(error) => match self.snapshot_row(&caller.user, to).await {
                Err(gone @ Error::NotFound { .. }) => Err(gone),
                Ok(_) | Err(_) => Err(error),
            },
        }
    }
}

/// Whether a sandbox can be put back to a checkpoint.
fn fits(row: &SandboxRow, snapshot: &SnapshotRow) -> Result<(), Error> {
    let what = if snapshot.source_id != row.id {
        format!("was taken of another sandbox than {:?}", row.name.as_str())
    } else if (snapshot.cpus, snapshot.memory, snapshot.disk) != (row.cpus, row.memory, row.disk) {
        format!("has another shape than {:?} has now", row.name.as_str())
    } else if (&snapshot.kit, &snapshot.engine) != (&row.kit, &row.engine) {
        format!(
            "was taken on another engine or guest kit than {:?} has now",
            row.name.as_str()
        )
    } else {
        return Ok(());
    };
    Err(Error::Conflict {
        message: format!("checkpoint {:?} {what}", snapshot.name.as_str()),
        hint: Some(format!(
            "make a new sandbox of it: `bhatti snapshot resume {}`",
            snapshot.name
        )),
    })
}

/// The name of the checkpoint of what a sandbox is before it is put back:
/// `<sandbox>-before-<checkpoint>-<n>`, with the number after the last one that is taken, and cut
/// where it would be too long for a name.
pub(crate) fn kept_name(sandbox: &SandboxName, to: &SnapshotName, taken: &[&str]) -> SnapshotName {
    let whole = format!("{sandbox}-before-{to}");
    let number = |name: &&str| {
        let number = name.strip_prefix(whole.as_str())?.strip_prefix('-')?;
        number.parse::<u32>().ok()
    };
    let last = taken.iter().filter_map(number).max().unwrap_or_default();
    // One more than are taken, so that one of them is free.
    (u64::from(last) + 1..)
        .take(taken.len() + 1)
        .map(|number| {
            let end = format!("-{number}");
            // Names are ASCII, so any place is a good one to cut.
            let begin = &whole[..whole.len().min(MAX_NAME - end.len())];
            format!("{begin}{end}")
        })
        .find(|name| !taken.contains(&name.as_str()))
        .and_then(|name| name.parse().ok())
        .expect("two names, dashes and digits, cut to the longest length, make a name")
}

#[cfg(test)]
mod test {
    use super::kept_name;

    #[test]
    fn what_is_kept_is_named_after_both_and_numbered() {
        let (dev, pre) = ("dev".parse().unwrap(), "pre".parse().unwrap());
        assert_eq!(kept_name(&dev, &pre, &[]).as_str(), "dev-before-pre-1");
        let taken = ["dev-before-pre-1", "dev-before-pre-3"];
        assert_eq!(kept_name(&dev, &pre, &taken).as_str(), "dev-before-pre-4");
        let long = "x".repeat(63);
        let name = kept_name(&long.parse().unwrap(), &pre, &[]);
        assert_eq!(name.as_str(), format!("{}-1", "x".repeat(61)));
        let name = kept_name(&long.parse().unwrap(), &pre, &[name.as_str()]);
        assert_eq!(name.as_str(), format!("{}-2", "x".repeat(61)));
    }
}
