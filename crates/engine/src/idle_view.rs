//! Why a sandbox is awake, and when it will not be.

use std::time::Instant;

use bhatti_lifecycle::idle::{self, Because, Idle, IdlePolicy, Usage};
use jiff::Timestamp;

use crate::clock;
use crate::sandbox::handle::Published;
use crate::sandbox::leases::Held;

/// Why a sandbox is awake, and when it will not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleView {
    /// Who uses it, oldest first.
    pub leases: Vec<Held>,
    /// When it was last used, or became hot.
    pub last_used: Timestamp,
    /// What holds for it.
    pub policy: IdlePolicy,
    /// What idleness does next.
    pub next: Next,
    /// When its guest wants to be woken, if it sleeps and is woken for timers.
    pub wake_at: Option<Timestamp>,
}

/// What idleness does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is paused then.
    Pause(Timestamp),
    /// It goes to disk then.
    Sleep(Timestamp),
    /// Nothing, because of this.
    Stays(Because),
}

impl IdleView {
    pub(crate) fn of(now: &Published, leases: Vec<Held>, last_used: Instant) -> Self {
        let usage = Usage {
            leases: leases.len(),
            last_used,
            paused_at: now.paused_at,
        };
        let next = match idle::next(now.state(), &now.policy, &usage) {
            Idle::Pause(at) => Next::Pause(on_the_wall(at)),
            Idle::Sleep(at) => Next::Sleep(on_the_wall(at)),
            Idle::Stays(because) => Next::Stays(because),
        };
        Self {
            leases,
            last_used: if now.state().has_machine() {
                on_the_wall(last_used)
            } else {
                let known = now.view.used_at.or(now.view.stopped_at);
                known.unwrap_or(now.view.created_at)
            },
            policy: now.policy,
            next,
            wake_at: now.view.wake_at,
        }
    }
}

/// When an instant is, or was, by the wall clock.
fn on_the_wall(at: Instant) -> Timestamp {
    let (now, clock) = (clock::now(), Timestamp::now());
    let shown = match at.checked_duration_since(now) {
        Some(ahead) => clock.checked_add(ahead),
        None => clock.checked_sub(now.saturating_duration_since(at)),
    };
    // Times past the calendar's end are as good as its end.
    shown.unwrap_or(Timestamp::MAX)
}
