//! What is there: records, processes, directories, and what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bhatti_engine::layout::Layout;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::{SnapshotRow, SnapshotStatus};
use bhatti_store::store::Store;
use bhatti_testing::fake_vmm::fault::Call;
use bhatti_testing::fake_vmm::host::{FakeHost, Seen};

use crate::op::{Name, Snap};

/// What is there while nothing is going on.
pub(crate) struct Found {
    pub(crate) rows: Vec<SandboxRow>,
    pub(crate) snapshots: Vec<SnapshotRow>,
    processes: Vec<Seen>,
    sandbox_directories: BTreeSet<String>,
    snapshot_directories: BTreeSet<String>,
    /// Directories of templates.
    templates: BTreeSet<String>,
    /// What copies go on from.
    forks: BTreeSet<String>,
}

/// What broke since the last start of a daemon, and so may be left to the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// A machine may not have been ended when it was to be.
    pub(crate) processes: bool,
    /// vCPUs may not have been let run.
    pub(crate) paused: bool,
    /// A destroy may not have come to its end.
    pub(crate) destroying: bool,
}

impl Left {
    /// Some of it may be.
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }

    /// Not everything that is asked can be done before the next start.
    pub(crate) fn hampers(self) -> bool {
        self.processes || self.destroying
    }

    pub(crate) fn broke(&mut self, call: Call) {
        match call {
            Call::Kill | Call::End | Call::Find => self.processes = true,
            Call::Resume | Call::RunState | Call::Adopt | Call::Pause => self.paused = true,
            Call::Launch | Call::Save | Call::Agent | Call::Plug | Call::Unplug | Call::Grow => {}
        }
    }
}

pub(crate) fn state(row: &SandboxRow) -> State {
    State::from_shown(row.status, row.thermal)
}

impl Found {
    pub(crate) fn look(layout: &Layout, store: &Store, host: &FakeHost) -> Self {
        let rows = store.sandbox_list().expect("the records can be read");
        let snapshots = store.snapshot_list(None).expect("the records can be read");
        Self {
            rows,
            snapshots,
            processes: host.processes(),
            sandbox_directories: names(&layout.sandboxes()),
            snapshot_directories: names(&layout.snapshots()),
            templates: names(&layout.templates()),
            forks: names(&layout.forks()),
        }
    }

    /// The sandbox of that name.
    pub(crate) fn row(&self, name: Name) -> Option<&SandboxRow> {
        self.rows.iter().find(|row| {
            let half = matches!(state(row), State::Creating | State::Destroying);
            row.name.as_str() == name.as_str() && !half
        })
    }

    /// The checkpoint of that name.
    pub(crate) fn snapshot(&self, snap: Snap) -> Option<&SnapshotRow> {
        self.snapshots
            .iter()
            .find(|row| row.name.as_str() == snap.as_str())
    }

    /// The one machine of a sandbox.
    pub(crate) fn process(&self, row: &SandboxRow) -> Option<&Seen> {
        self.processes.iter().find(|seen| seen.sandbox == row.id)
    }

    /// Whether records, processes and directories agree, but for what may be left. So many clones
    /// may be in stock, which have no record.
    pub(crate) fn agrees(&self, layout: &Layout, left: Left, stock: usize) -> Result<(), String> {
        for row in &self.rows {
            self.machine_agrees(row, left)
                .map_err(|wrong| format!("{} ({:?}): {wrong}", row.name, state(row)))?;
            if let Some(wrong) = files_agree(layout, row) {
                return Err(format!("{} ({:?}): {wrong}", row.name, state(row)));
            }
        }
        let mut expected = BTreeMap::new();
        for row in &self.rows {
            expected.insert(row.id.to_string(), state(row));
        }
        let mut in_stock = BTreeSet::new();
        for seen in &self.processes {
            let id = seen.sandbox.as_str();
            if expected.contains_key(id) || left.processes {
                continue;
            }
            in_stock.insert(id.to_owned());
            if seen.running || in_stock.len() > stock {
                return Err(format!("a process is nobody's: {seen:?}"));
            }
        }
        for dir in &self.sandbox_directories {
            if !expected.contains_key(dir) && !in_stock.contains(dir) && !left.processes {
                return Err(format!("a directory is nobody's: sandboxes/{dir}"));
            }
        }
        if let Some(half) = self.templates.iter().find(|name| name.starts_with('.'))
            && !left.processes
        {
            return Err(format!("half a template is left: {half}"));
        }
        for (id, state) in &expected {
            let half = matches!(state, State::Creating | State::Destroying);
            if !half && !self.sandbox_directories.contains(id) {
                return Err(format!("a sandbox ({state:?}) has no directory: {id}"));
            }
        }
        if let Some(fork) = self.forks.first() {
            return Err(format!("what a fork captured is left: {fork}"));
        }
        self.snapshots_agree()
    }

    fn machine_agrees(&self, row: &SandboxRow, left: Left) -> Result<(), String> {
        let of_it: Vec<_> = self
            .processes
            .iter()
            .filter(|seen| seen.sandbox == row.id)
            .collect();
        if of_it.len() > 1 {
            return Err("it has two machines".to_owned());
        }
        let running = of_it.first().map(|seen| seen.running);
        match (state(row), running) {
            (State::Hot, Some(true)) | (State::Warm, Some(false)) => Ok(()),
            (State::Hot, Some(false)) | (State::Warm, Some(true)) if left.paused => Ok(()),
            (State::Cold | State::Off, None) => Ok(()),
            (State::Cold | State::Off, Some(false)) if left.processes => Ok(()),
            // A boot that could not be undone.
            (State::Off, Some(true)) if left.processes => Ok(()),
            // It has to say why.
            (State::Failed, _) if row.reason.is_none() => Err("no reason is given".to_owned()),
            // One that did not answer is left as it is.
            (State::Failed, None) => Ok(()),
            (State::Failed, Some(_)) if left.any() => Ok(()),
            (State::Creating, _) if left.processes => Ok(()),
            (State::Destroying, _) if left.destroying || left.processes => Ok(()),
            (_, running) => Err(format!("its machine runs: {running:?}")),
        }
    }

    fn snapshots_agree(&self) -> Result<(), String> {
        let mut expected = BTreeSet::new();
        for row in &self.snapshots {
            if row.status != SnapshotStatus::Ready {
                return Err(format!("checkpoint {} is half made", row.name));
            }
            expected.insert(row.id.to_string());
        }
        if expected == self.snapshot_directories {
            return Ok(());
        }
        Err(format!(
            "the checkpoints {expected:?} have the directories {:?}",
            self.snapshot_directories
        ))
    }

    /// In one line, for the story of a case.
    pub(crate) fn told(&self) -> String {
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let machine = match self.process(row) {
                    Some(seen) if seen.running => "runs",
                    Some(_) => "paused",
                    None => "none",
                };
                let reason = row.reason.as_ref().map_or("", |_| " with a reason");
                format!("{}={:?}/{machine}{reason}", row.name, state(row))
            })
            .collect();
        let snapshots: Vec<&str> = self.snapshots.iter().map(|row| row.name.as_str()).collect();
        format!(
            "{} | {} | {} templates, {} machines",
            rows.join(" "),
            snapshots.join(" "),
            self.templates.len(),
            self.processes.len()
        )
    }
}

fn files_agree(layout: &Layout, row: &SandboxRow) -> Option<String> {
    if layout.cold_half(&row.id).exists() {
        return Some("half a cold image is left".to_owned());
    }
    let cold = layout.cold(&row.id).exists();
    match state(row) {
        State::Cold if !cold => Some("it has no cold image".to_owned()),
        State::Hot | State::Warm | State::Off if cold => {
            Some("it has a cold image that is spent".to_owned())
        }
        _ => None,
    }
}

/// Names in a directory, which need not be there. What is half made counts as any other: nothing
/// is going on.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = match fs_err::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return BTreeSet::new(),
        entries => entries.expect("the data directory can be read"),
    };
    let names = entries.map(|entry| {
        let name = entry.expect("the data directory can be read").file_name();
        name.to_string_lossy().into_owned()
    });
    names.collect()
}
