//! Faults of the VMM, put in by a test.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The calls that can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// [`bhatti_vmm::machine::Vmm::launch`].
    Launch,
    /// [`bhatti_vmm::machine::Vmm::adopt`].
    Adopt,
    /// [`bhatti_vmm::machine::Vmm::find`].
    Find,
    /// [`bhatti_vmm::machine::Vmm::end`].
    End,
    /// [`bhatti_vmm::machine::Machine::resume`].
    Resume,
    /// [`bhatti_vmm::machine::Machine::pause`].
    Pause,
    /// [`bhatti_vmm::machine::Machine::run_state`].
    RunState,
    /// [`bhatti_vmm::machine::Machine::save`].
    Save,
    /// [`bhatti_vmm::machine::Machine::agent`].
    Agent,
    /// [`bhatti_vmm::machine::Machine::kill`].
    Kill,
    /// [`bhatti_vmm::machine::Machine::plug`].
    Plug,
    /// [`bhatti_vmm::machine::Machine::unplug`].
    Unplug,
    /// [`bhatti_vmm::machine::Machine::grow`].
    Grow,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Launch,
        Self::Adopt,
        Self::Find,
        Self::End,
        Self::Resume,
        Self::Pause,
        Self::RunState,
        Self::Save,
        Self::Agent,
        Self::Kill,
        Self::Plug,
        Self::Unplug,
        Self::Grow,
    ];

    /// The word in errors.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Adopt => "adopt",
            Self::Find => "find",
            Self::End => "end",
            Self::Resume => "resume",
            Self::Pause => "pause",
            Self::RunState => "run-state",
            Self::Save => "save",
            Self::Agent => "agent",
            Self::Kill => "kill",
            Self::Plug => "plug",
            Self::Unplug => "unplug",
            Self::Grow => "grow",
        }
    }
}

/// How a call breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// It has no effect and fails.
    Fail,
    /// It has its effect and fails all the same. A launch that fails leaves nothing running.
    FailAfter,
    /// It has no effect and fails when its time is up.
    TimeOut,
    /// It does not begin before [`Faults::release`]; then it goes on as if nothing had been.
    Hang,
    /// It has its effect, and does not come back before [`Faults::release`].
    HangAfter,
    /// The process ends, and with it the call.
    Die,
}

/// The faults of one host.
#[derive(Debug)]
pub struct Faults {
    inner: Mutex<Inner>,
    hanging: watch::Sender<u32>,
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By call: how many more are to go well, and then what happens, once.
    planned: BTreeMap<Call, (u32, Act)>,
    met: Vec<Call>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            hanging: watch::Sender::new(0),
            released: watch::Sender::new(0),
        }
    }
}

impl Faults {
    /// Breaks one call after `pass` more of its kind that go well.
    pub fn plan(&self, call: Call, pass: u32, act: Act) {
        self.inner().planned.insert(call, (pass, act));
    }

    /// Takes back what was planned, and lets go on what hangs. Gives the calls that broke since the
    /// last time.
    pub fn clear(&self) -> Vec<Call> {
        let met = {
            let mut inner = self.inner();
            inner.planned.clear();
            std::mem::take(&mut inner.met)
        };
        self.release();
        met
    }

    /// Lets go on what hangs.
    pub fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// Waits until a call hangs. Cancel-safe.
    pub async fn hanging(&self) {
        // The sender is in `self`, so it is not gone.
        let _ = self.hanging.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Waits until what hangs is released.
    pub(super) async fn hang(&self) {
        let mut released = self.released.subscribe();
        let _hangs = Hangs::begin(&self.hanging);
        // As above.
        let _ = released.changed().await;
    }

    /// Counts a call, and says how it breaks.
    pub(super) fn meet(&self, call: Call) -> Option<Act> {
        let mut inner = self.inner();
        let (pass, act) = inner.planned.get_mut(&call)?;
        if *pass > 0 {
            *pass -= 1;
            return None;
        }
        let act = *act;
        inner.planned.remove(&call);
        inner.met.push(call);
        Some(act)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as hanging until it is dropped, which the end of a runtime does too.
struct Hangs<'a>(&'a watch::Sender<u32>);

impl<'a> Hangs<'a> {
    fn begin(count: &'a watch::Sender<u32>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Hangs<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
