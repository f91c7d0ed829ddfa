//! When a sandbox that nobody uses is paused, and when it goes to disk.
//!
//! Nothing here reads a clock: instants are arguments.

use std::time::{Duration, Instant};

use bhatti_types::idle::{IdleSettings, IdleTime};

use crate::state::State;

/// What holds for one sandbox, everything decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdlePolicy {
    /// Without a lease for so long, it is paused; `None` is never.
    pub pause_after: Option<Duration>,
    /// Paused for so long, it goes to disk; `None` is never.
    pub cold_after: Option<Duration>,
    /// It is kept hot.
    pub keep_hot: bool,
    /// Share of a core, in per cent, above which its VMM counts as used; `None` if it never does.
    pub busy_cpu: Option<u8>,
    /// It is woken for timers of its guest.
    pub wake_timers: bool,
}

/// The design's times.
impl Default for IdlePolicy {
    fn default() -> Self {
        Self {
            pause_after: Some(Duration::from_secs(30)),
            cold_after: Some(Duration::from_mins(30)),
            keep_hot: false,
            busy_cpu: None,
            wake_timers: false,
        }
    }
}

impl IdlePolicy {
    /// This policy with what `settings` say in its place.
    #[must_use]
    pub fn with(self, settings: IdleSettings) -> Self {
        let time = |time: Option<IdleTime>, default| match time {
            Some(IdleTime::After(after)) => Some(after),
            Some(IdleTime::Never) => None,
            None => default,
        };
        Self {
            pause_after: time(settings.pause_after, self.pause_after),
            cold_after: time(settings.cold_after, self.cold_after),
            keep_hot: settings.keep_hot.unwrap_or(self.keep_hot),
            busy_cpu: match settings.busy_cpu {
                Some(0) => None,
                Some(share) => Some(share),
                None => self.busy_cpu,
            },
            wake_timers: settings.wake_timers.unwrap_or(self.wake_timers),
        }
    }
}

/// How a sandbox is being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Leases that are held.
    pub leases: usize,
    /// When the last lease ended, or it became hot without one.
    pub last_used: Instant,
    /// When its vCPUs were paused, while they are.
    pub paused_at: Option<Instant>,
}

/// What idleness does to it next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It is paused at this instant, if nothing uses it until then.
    Pause(Instant),
    /// It goes to disk at this instant, if nothing uses it until then.
    Sleep(Instant),
    /// Nothing, for this reason.
    Stays(Because),
}

/// Why idleness changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Someone uses it.
    Leased,
    /// It is kept hot.
    KeptHot,
    /// Its times say never.
    Never,
    /// It has no VMM to pause.
    NotAwake,
}

impl Because {
    /// The words as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leased => "in use",
            Self::KeptHot => "kept hot",
            Self::Never => "never",
            Self::NotAwake => "not awake",
        }
    }
}

/// What idleness does next to a sandbox in this state.
pub fn next(state: State, policy: &IdlePolicy, usage: &Usage) -> Idle {
    if !state.has_machine() {
        return Idle::Stays(Because::NotAwake);
    }
    if usage.leases > 0 {
        return Idle::Stays(Because::Leased);
    }
    if policy.keep_hot {
        return Idle::Stays(Because::KeptHot);
    }
    // A time so long that the instant can't be told is never.
    let at =
        |from: Instant, after: Option<Duration>| after.and_then(|after| from.checked_add(after));
    match (state, usage.paused_at) {
        (State::Warm, paused_at) => {
            match at(paused_at.unwrap_or(usage.last_used), policy.cold_after) {
                Some(at) => Idle::Sleep(at),
                None => Idle::Stays(Because::Never),
            }
        }
        (_, _) => match at(usage.last_used, policy.pause_after) {
            Some(at) => Idle::Pause(at),
            None => Idle::Stays(Because::Never),
        },
    }
}

/// One of the machines that could give its memory back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<I> {
    /// Which it is.
    pub id: I,
    /// Its state.
    pub state: State,
    /// Leases that are held.
    pub leases: usize,
    /// Whether it is kept hot.
    pub keep_hot: bool,
    /// When it was last used.
    pub last_used: Instant,
}

/// Which machine goes to disk early when the host is short of memory: the least recently used of
/// the warm ones, and if there is none, of the hot ones that nobody uses.
pub fn first_to_sleep<I: Copy>(candidates: &[Candidate<I>]) -> Option<I> {
    let idle = |candidate: &&Candidate<I>| candidate.leases == 0 && !candidate.keep_hot;
    let least_recent = |state: State| {
        candidates
            .iter()
            .filter(idle)
            .filter(|candidate| candidate.state == state)
            .min_by_key(|candidate| candidate.last_used)
    };
    least_recent(State::Warm)
        .or_else(|| least_recent(State::Hot))
        .map(|candidate| candidate.id)
}

#[cfg(test)]
mod test {
    use std::time::{Duration, Instant};

    use bhatti_types::idle::{IdleSettings, IdleTime};
    use proptest::prelude::*;

    use super::{Because, Candidate, Idle, IdlePolicy, Usage, first_to_sleep, next};
    use crate::state::State;

    fn unused(now: Instant) -> Usage {
        Usage {
            leases: 0,
            last_used: now,
            paused_at: None,
        }
    }

    #[test]
    fn it_is_paused_after_the_last_lease_and_sleeps_after_the_pause() {
        let (now, policy) = (Instant::now(), IdlePolicy::default());
        let seconds = |n| now + Duration::from_secs(n);
        assert_eq!(
            next(State::Hot, &policy, &unused(now)),
            Idle::Pause(seconds(30))
        );
        let paused = Usage {
            paused_at: Some(seconds(30)),
            ..unused(now)
        };
        assert_eq!(
            next(State::Warm, &policy, &paused),
            Idle::Sleep(seconds(30 + 30 * 60))
        );
    }

    #[test]
    fn settings_stand_over_the_policy_and_never_is_never() {
        let now = Instant::now();
        let settings = IdleSettings {
            pause_after: Some(IdleTime::Never),
            ..IdleSettings::default()
        };
        let policy = IdlePolicy::default().with(settings);
        assert_eq!(
            next(State::Hot, &policy, &unused(now)),
            Idle::Stays(Because::Never)
        );
        let off = IdleSettings {
            busy_cpu: Some(0),
            ..IdleSettings::default()
        };
        let busy = IdlePolicy {
            busy_cpu: Some(50),
            ..policy
        };
        assert_eq!(busy.with(off).busy_cpu, None);
    }

    #[test]
    fn memory_is_taken_from_the_warm_before_the_hot_and_never_from_the_used() {
        let now = Instant::now();
        let candidate = |id, state, leases, age: u64| Candidate {
            id,
            state,
            leases,
            keep_hot: false,
            last_used: now + Duration::from_secs(100 - age),
        };
        let mut all = vec![
            candidate(1, State::Hot, 0, 90),
            candidate(2, State::Warm, 0, 50),
            candidate(3, State::Warm, 0, 60),
            candidate(4, State::Warm, 1, 99),
            candidate(5, State::Cold, 0, 99),
        ];
        assert_eq!(first_to_sleep(&all), Some(3));
        all.retain(|candidate| candidate.state != State::Warm);
        assert_eq!(first_to_sleep(&all), Some(1));
        all.retain(|candidate| candidate.state != State::Hot);
        assert_eq!(first_to_sleep(&all), None);
    }

    proptest! {
        #[test]
        fn what_is_used_or_kept_hot_is_left_alone(
            state in prop::sample::select(State::ALL.to_vec()),
            leases in 0_usize..3,
            keep_hot: bool,
            pause in prop::option::of(0_u64..1_000_000),
            cold in prop::option::of(0_u64..1_000_000),
        ) {
            let now = Instant::now();
            let policy = IdlePolicy {
                pause_after: pause.map(Duration::from_millis),
                cold_after: cold.map(Duration::from_millis),
                keep_hot,
                ..IdlePolicy::default()
            };
            let usage = Usage { leases, ..unused(now) };
            match next(state, &policy, &usage) {
                Idle::Pause(at) => {
                    prop_assert!(leases == 0 && !keep_hot && state == State::Hot);
                    prop_assert_eq!(Some(at - now), policy.pause_after);
                }
                Idle::Sleep(at) => {
                    prop_assert!(leases == 0 && !keep_hot && state == State::Warm);
                    prop_assert_eq!(Some(at - now), policy.cold_after);
                }
                Idle::Stays(Because::NotAwake) => prop_assert!(!state.has_machine()),
                Idle::Stays(_) => {}
            }
        }
    }
}
