//! Plans: the steps of each workflow, and how a broken one is unwound.
//!
//! A step can be repeated, and its undoing too: removing what is not there is success. Each step
//! is written to the journal before it runs; that it is done shows in the next one, or in the
//! operation's being closed.

use crate::state::State;

/// The workflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlanKind {
    /// A new sandbox from an image, by booting it.
    Create,
    /// A new sandbox from a template, which has booted already.
    Clone,
    /// A new sandbox from a started clone in stock.
    Take,
    /// A started, paused clone of a template for a create to come. It has no record.
    Stock,
    /// A template: boot once, without identity, and save. It has no record.
    BuildTemplate,
    /// A new sandbox that goes on from a checkpoint, or from what a fork has captured.
    Resume,
    /// Start from the disk.
    Boot,
    /// Start from the cold image.
    Wake,
    /// Let paused vCPUs run.
    Thaw,
    /// Pause vCPUs, and keep memory.
    Cool,
    /// Put memory to disk and end the VMM.
    Sleep,
    /// Capture a machine that runs.
    Checkpoint,
    /// Capture a sandbox that sleeps, without waking it.
    CheckpointCold,
    /// Capture a machine for copies that go on from it at once.
    Fork,
    /// The same of a sandbox that sleeps, without waking it.
    ForkCold,
    /// Capture a machine that is about to be put back, and leave it paused: what it does after it
    /// was captured would be lost.
    Keep,
    /// Put a sandbox back to one of its checkpoints, in place.
    Rollback,
    /// Take all of it away.
    Destroy,
}

/// One step. What it works on is known from its sandbox and checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Make the sandbox's directory.
    MakeDirectory,
    /// Delete the sandbox's directory.
    RemoveDirectory,
    /// Make the disk from the image.
    CloneImageDisk,
    /// Make the disk from the one that goes with the saved memory.
    CloneSavedDisk,
    /// Make the disk from the template.
    CloneTemplateDisk,
    /// Make a memory file that is one hole.
    EmptyMemory,
    /// Make the saved memory the base of this one's.
    LinkSavedMemory,
    /// Make the cold image's memory the base of this one's.
    LinkColdMemory,
    /// Make the template's memory the base of this one's.
    LinkTemplateMemory,
    /// Start a VMM before its first instruction.
    Launch,
    /// Start a VMM where the saved state left off, vCPUs still paused.
    LaunchSaved,
    /// End the VMM.
    KillMachine,
    /// Let vCPUs run.
    Run,
    /// Pause vCPUs.
    Pause,
    /// Open the agent link.
    Greet,
    /// Tell the guest who it is.
    Identify,
    /// Plug its volumes in, and have the guest mount them.
    AttachVolumes,
    /// Bring the guest to where every machine of its template goes on from: its root file system
    /// grown, nothing in it that tells it from its copies.
    PrepareGuest,
    /// Set the clock of a guest that stood still, and take up the link to it if that broke.
    Refresh,
    /// Have the guest write its file systems out.
    SyncGuest,
    /// Write state and memory into the cold image's directory, not yet whole.
    SaveCold,
    /// Make the cold image whole: synced, checksummed, renamed.
    SealCold,
    /// Delete the cold image.
    RemoveCold,
    /// Make the checkpoint's directory.
    MakeSnapshotDirectory,
    /// Write state, memory and disk into it.
    SaveSnapshot,
    /// Copy the cold image and the disk into it.
    CopyCold,
    /// Make the checkpoint whole: synced, checksummed, renamed.
    SealSnapshot,
    /// Delete the checkpoint's directory.
    RemoveSnapshotDirectory,
    /// Make the directory that copies go on from. It is for this daemon alone.
    MakeForkDirectory,
    /// Write state, memory and disk into it.
    SaveFork,
    /// Put the cold image and a copy of the disk into it.
    CopyColdFork,
    /// Delete it.
    RemoveForkDirectory,
    /// Put the checkpoint's state, memory and a copy of its disk next to the sandbox's own,
    /// durably: from here on the checkpoint itself may be deleted.
    CopyAside,
    /// Put the copies of disk and volumes in the place of the sandbox's own.
    SwapDisk,
    /// Delete what is left of the copy.
    RemoveAside,
    /// Make the directory in which a template is built.
    MakeTemplateDirectory,
    /// Write the template's state and memory into it.
    SaveTemplate,
    /// Make the template whole: synced, checksummed, renamed.
    SealTemplate,
    /// Delete the template's directory, whole or half-made.
    RemoveTemplateDirectory,
    /// Record that it is hot. For a wake this is what spends the cold image: it comes before the
    /// vCPUs run (invariant 1).
    CommitHot,
    /// Record that its vCPUs run, in time.
    NoteHot,
    /// Record that its vCPUs are paused, in time.
    NoteWarm,
    /// Record that it is cold.
    CommitCold,
    /// Record that it is off.
    CommitOff,
    /// Record that it is being destroyed.
    CommitDestroying,
    /// Record that the checkpoint is ready.
    CommitSnapshot,
    /// Delete the sandbox's record.
    Forget,
    /// Delete the checkpoint's record.
    ForgetSnapshot,
}

impl PlanKind {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 18] = [
        Self::Create,
        Self::Clone,
        Self::Take,
        Self::Stock,
        Self::BuildTemplate,
        Self::Resume,
        Self::Boot,
        Self::Wake,
        Self::Thaw,
        Self::Cool,
        Self::Sleep,
        Self::Checkpoint,
        Self::CheckpointCold,
        Self::Fork,
        Self::ForkCold,
        Self::Keep,
        Self::Rollback,
        Self::Destroy,
    ];

    /// The word in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Clone => "clone",
            Self::Take => "take",
            Self::Stock => "stock",
            Self::BuildTemplate => "build-template",
            Self::Resume => "resume",
            Self::Boot => "boot",
            Self::Wake => "wake",
            Self::Thaw => "thaw",
            Self::Cool => "cool",
            Self::Sleep => "sleep",
            Self::Checkpoint => "checkpoint",
            Self::CheckpointCold => "checkpoint-cold",
            Self::Fork => "fork",
            Self::ForkCold => "fork-cold",
            Self::Keep => "keep",
            Self::Rollback => "rollback",
            Self::Destroy => "destroy",
        }
    }

    /// Its steps, in order.
    pub const fn steps(self) -> &'static [Step] {
        use Step as S;
        match self {
            Self::Create => &[
                S::MakeDirectory,
                S::CloneImageDisk,
                S::EmptyMemory,
                S::Launch,
                S::Run,
                S::Greet,
                S::Identify,
                S::AttachVolumes,
                S::CommitHot,
            ],
            Self::Clone => &[
                S::MakeDirectory,
                S::CloneTemplateDisk,
                S::LinkTemplateMemory,
                S::LaunchSaved,
                S::Run,
                S::Greet,
                S::Identify,
                S::AttachVolumes,
                S::CommitHot,
            ],
            Self::Take => &[S::Run, S::Identify, S::AttachVolumes, S::CommitHot],
            Self::Stock => &[
                S::MakeDirectory,
                S::CloneTemplateDisk,
                S::LinkTemplateMemory,
                S::LaunchSaved,
                S::Run,
                S::Greet,
                S::Pause,
            ],
            Self::BuildTemplate => &[
                S::MakeTemplateDirectory,
                S::CloneImageDisk,
                S::EmptyMemory,
                S::Launch,
                S::Run,
                S::Greet,
                S::PrepareGuest,
                S::SyncGuest,
                S::Pause,
                S::SaveTemplate,
                S::KillMachine,
                S::SealTemplate,
            ],
            Self::Resume => &[
                S::MakeDirectory,
                S::CloneSavedDisk,
                S::LinkSavedMemory,
                S::LaunchSaved,
                S::Run,
                S::Greet,
                S::Identify,
                S::CommitHot,
            ],
            Self::Boot => &[
                // One that did not answer an earlier daemon may still be there.
                S::KillMachine,
                S::EmptyMemory,
                S::Launch,
                S::CommitHot,
                S::RemoveCold,
                S::Run,
                S::Greet,
                S::Identify,
                S::AttachVolumes,
            ],
            Self::Wake => &[
                S::LinkColdMemory,
                S::LaunchSaved,
                S::CommitHot,
                S::Run,
                S::RemoveCold,
                S::Greet,
                S::Identify,
            ],
            // What the record says of a machine that is there is of no weight: a daemon that dies
            // here leaves one that is paused again, or goes on, and either can be used.
            Self::Thaw => &[S::Run, S::Refresh, S::NoteHot],
            Self::Cool => &[S::Pause, S::NoteWarm],
            Self::Sleep => &[
                S::SyncGuest,
                S::Pause,
                S::SaveCold,
                S::SealCold,
                S::CommitCold,
                S::KillMachine,
            ],
            Self::Checkpoint => &[
                S::MakeSnapshotDirectory,
                S::Pause,
                S::SaveSnapshot,
                S::Run,
                S::SealSnapshot,
                S::CommitSnapshot,
            ],
            Self::CheckpointCold => &[
                S::MakeSnapshotDirectory,
                S::CopyCold,
                S::SealSnapshot,
                S::CommitSnapshot,
            ],
            Self::Fork => &[S::MakeForkDirectory, S::Pause, S::SaveFork, S::Run],
            Self::ForkCold => &[S::MakeForkDirectory, S::CopyColdFork],
            Self::Keep => &[
                S::MakeSnapshotDirectory,
                S::Pause,
                S::SaveSnapshot,
                S::SealSnapshot,
                S::CommitSnapshot,
            ],
            // The disk is changed while the record says off, so that no memory can come over one
            // that is not its own.
            Self::Rollback => &[
                S::CopyAside,
                S::KillMachine,
                S::CommitOff,
                S::SwapDisk,
                S::RemoveCold,
                S::LinkSavedMemory,
                S::LaunchSaved,
                S::CommitHot,
                S::Run,
                S::RemoveAside,
                S::Greet,
                S::Identify,
            ],
            Self::Destroy => &[
                S::CommitDestroying,
                S::KillMachine,
                S::RemoveDirectory,
                S::Forget,
            ],
        }
    }

    /// Whether the undoing ends where this step fails: what comes after relies on it.
    pub const fn holds_up_unwinding(step: Step) -> bool {
        matches!(
            step,
            Step::KillMachine
                | Step::CommitHot
                | Step::CommitCold
                | Step::CommitOff
                | Step::Forget
                | Step::ForgetSnapshot
                | Step::NoteHot
                | Step::NoteWarm
        )
    }

    /// The steps that undo a plan of which `begun` were begun; the last of them failed and may
    /// have had part of its effect.
    ///
    /// A failed create, clone or template leaves nothing. A failed sleep or checkpoint leaves the machine as it was.
    /// A failed wake leaves the cold image as long as no vCPU has run; from then on the machine
    /// is left running, for its memory is all there is. A failed boot leaves the disk. A failed
    /// rollback leaves the sandbox as it was, or else off: its memory is kept by then in a
    /// checkpoint, and its disk is the old or the new one, whole. A failed destroy is not undone;
    /// it is done again at the next start of the daemon.
    pub fn unwind(self, before: State, begun: &[Step]) -> Vec<Step> {
        use Step as S;
        let begun_with = |step| begun.contains(&step);
        match self {
            // The record before the files: what is half deleted is not shown.
            Self::Create | Self::Clone | Self::Take | Self::Resume => {
                vec![S::KillMachine, S::Forget, S::RemoveDirectory]
            }
            Self::Stock => vec![S::KillMachine, S::RemoveDirectory],
            Self::BuildTemplate => vec![S::KillMachine, S::RemoveTemplateDirectory],
            Self::Boot if begun_with(S::CommitHot) => {
                vec![S::KillMachine, S::CommitOff, S::RemoveCold]
            }
            // Nothing was given up yet: a cold image is still there.
            Self::Boot => vec![S::KillMachine],
            Self::Wake if begun_with(S::Run) => vec![S::Run, S::RemoveCold],
            // It runs and can be asked again; idleness pauses it again.
            Self::Thaw if begun_with(S::Refresh) => vec![S::NoteHot],
            // Recorded as hot it would not be let run again.
            Self::Thaw if begun_with(S::Run) => vec![S::Pause, S::NoteWarm],
            Self::Cool if begun_with(S::Pause) => vec![S::Run, S::NoteHot],
            // The record first: hot and without a machine, its memory would count as lost.
            Self::Wake if begun_with(S::CommitHot) => vec![S::CommitCold, S::KillMachine],
            Self::Wake => vec![S::KillMachine],
            // Recorded as cold: the machine is paused for good.
            Self::Sleep if begun_with(S::KillMachine) => vec![S::KillMachine],
            Self::Sleep => {
                let mut steps = Vec::new();
                if begun_with(S::CommitCold) {
                    steps.push(match before {
                        State::Warm => S::NoteWarm,
                        _ => S::CommitHot,
                    });
                }
                // The guest first: nobody waits for the deletion.
                if before == State::Hot && begun_with(S::Pause) {
                    steps.push(S::Run);
                }
                steps.push(S::RemoveCold);
                steps
            }
            Self::Checkpoint | Self::Keep => {
                let mut steps = Vec::new();
                // The guest first: nobody waits for the deletion.
                if before == State::Hot && begun_with(S::Pause) {
                    steps.push(S::Run);
                }
                steps.extend([S::ForgetSnapshot, S::RemoveSnapshotDirectory]);
                steps
            }
            Self::CheckpointCold => vec![S::ForgetSnapshot, S::RemoveSnapshotDirectory],
            Self::Fork if before == State::Hot && begun_with(S::Pause) => {
                vec![S::Run, S::RemoveForkDirectory]
            }
            Self::Fork | Self::ForkCold => vec![S::RemoveForkDirectory],
            Self::Rollback if begun_with(S::SwapDisk) => {
                vec![S::KillMachine, S::CommitOff, S::RemoveCold, S::RemoveAside]
            }
            // Nothing of a sleeping sandbox was touched yet.
            Self::Rollback if before == State::Cold && begun_with(S::CommitOff) => {
                vec![S::CommitCold, S::RemoveAside]
            }
            Self::Rollback if before.has_machine() && begun_with(S::KillMachine) => {
                vec![S::KillMachine, S::CommitOff, S::RemoveAside]
            }
            // It has been paused since it was captured.
            Self::Rollback if before == State::Hot => vec![S::Run, S::RemoveAside],
            Self::Rollback => vec![S::RemoveAside],
            Self::Thaw | Self::Cool | Self::Destroy => Vec::new(),
        }
    }
}

impl Step {
    /// Whether all it does is to change a record.
    pub const fn is_record(self) -> bool {
        matches!(
            self,
            Self::CommitHot
                | Self::NoteHot
                | Self::NoteWarm
                | Self::CommitCold
                | Self::CommitOff
                | Self::CommitDestroying
                | Self::CommitSnapshot
                | Self::Forget
                | Self::ForgetSnapshot
        )
    }

    /// The word in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MakeDirectory => "make-directory",
            Self::RemoveDirectory => "remove-directory",
            Self::CloneImageDisk => "clone-image-disk",
            Self::CloneSavedDisk => "clone-saved-disk",
            Self::CloneTemplateDisk => "clone-template-disk",
            Self::EmptyMemory => "empty-memory",
            Self::LinkSavedMemory => "link-saved-memory",
            Self::LinkColdMemory => "link-cold-memory",
            Self::LinkTemplateMemory => "link-template-memory",
            Self::Launch => "launch",
            Self::LaunchSaved => "launch-saved",
            Self::KillMachine => "kill-machine",
            Self::Run => "run",
            Self::Pause => "pause",
            Self::Greet => "greet",
            Self::Identify => "identify",
            Self::AttachVolumes => "attach-volumes",
            Self::PrepareGuest => "prepare-guest",
            Self::Refresh => "refresh",
            Self::SyncGuest => "sync-guest",
            Self::SaveCold => "save-cold",
            Self::SealCold => "seal-cold",
            Self::RemoveCold => "remove-cold",
            Self::MakeSnapshotDirectory => "make-snapshot-directory",
            Self::SaveSnapshot => "save-snapshot",
            Self::CopyCold => "copy-cold",
            Self::SealSnapshot => "seal-snapshot",
            Self::RemoveSnapshotDirectory => "remove-snapshot-directory",
            Self::MakeForkDirectory => "make-fork-directory",
            Self::SaveFork => "save-fork",
            Self::CopyColdFork => "copy-cold-fork",
            Self::RemoveForkDirectory => "remove-fork-directory",
            Self::CopyAside => "copy-aside",
            Self::SwapDisk => "swap-disk",
            Self::RemoveAside => "remove-aside",
            Self::MakeTemplateDirectory => "make-template-directory",
            Self::SaveTemplate => "save-template",
            Self::SealTemplate => "seal-template",
            Self::RemoveTemplateDirectory => "remove-template-directory",
            Self::CommitHot => "commit-hot",
            Self::NoteHot => "note-hot",
            Self::NoteWarm => "note-warm",
            Self::CommitCold => "commit-cold",
            Self::CommitOff => "commit-off",
            Self::CommitDestroying => "commit-destroying",
            Self::CommitSnapshot => "commit-snapshot",
            Self::Forget => "forget",
            Self::ForgetSnapshot => "forget-snapshot",
        }
    }
}

#[cfg(test)]
mod test {
    use super::{PlanKind, Step};

    fn place(kind: PlanKind, step: Step) -> usize {
        kind.steps().iter().position(|s| *s == step).unwrap()
    }

    #[test]
    fn a_cold_image_is_spent_before_a_vcpu_runs_and_deleted_after() {
        let at = |step| place(PlanKind::Wake, step);
        assert!(at(Step::CommitHot) < at(Step::Run));
        assert!(at(Step::CommitHot) < at(Step::RemoveCold));
        assert!(place(PlanKind::Boot, Step::CommitHot) < place(PlanKind::Boot, Step::RemoveCold));
    }

    #[test]
    fn a_disk_is_exchanged_only_while_the_record_says_that_there_is_no_memory() {
        let at = |step| place(PlanKind::Rollback, step);
        assert!(at(Step::KillMachine) < at(Step::CommitOff));
        assert!(at(Step::CommitOff) < at(Step::SwapDisk));
        assert!(at(Step::SwapDisk) < at(Step::CommitHot));
        assert!(at(Step::CommitHot) < at(Step::Run));
    }

    #[test]
    fn a_copy_gets_its_identity_before_anyone_can_use_it() {
        for kind in [PlanKind::Clone, PlanKind::Take, PlanKind::Resume] {
            assert!(place(kind, Step::Identify) < place(kind, Step::CommitHot));
        }
        // And what copies are made of has none.
        for kind in [PlanKind::BuildTemplate, PlanKind::Stock] {
            assert!(!kind.steps().contains(&Step::Identify));
        }
    }

    #[test]
    fn volumes_are_there_before_a_new_machine_is_and_never_where_others_are_copied_from() {
        for kind in [PlanKind::Create, PlanKind::Clone, PlanKind::Take] {
            assert!(place(kind, Step::AttachVolumes) < place(kind, Step::CommitHot));
        }
        for kind in [PlanKind::BuildTemplate, PlanKind::Stock] {
            assert!(!kind.steps().contains(&Step::AttachVolumes));
        }
    }

    #[test]
    fn a_templates_disk_is_taken_only_when_no_vmm_writes_to_it() {
        let at = |step| place(PlanKind::BuildTemplate, step);
        assert!(at(Step::SyncGuest) < at(Step::SaveTemplate));
        assert!(at(Step::KillMachine) < at(Step::SealTemplate));
    }

    #[test]
    fn a_machine_is_ended_only_after_its_memory_is_durable() {
        let at = |step| place(PlanKind::Sleep, step);
        assert!(at(Step::SealCold) < at(Step::CommitCold));
        assert!(at(Step::CommitCold) < at(Step::KillMachine));
    }
}
