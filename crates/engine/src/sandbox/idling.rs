//! What a sandbox's task does when nobody asks anything of it, and what its owner sets about that.

use std::time::{Duration, Instant};

use bhatti_guest::agent::NextTimer;
use bhatti_lifecycle::decide::Request;
use bhatti_lifecycle::idle::{self, Idle, Usage};
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_types::labels::Labels;
use jiff::Timestamp;

use super::actor::Actor;
use crate::clock;
use crate::error::Error;
use crate::request::EditSandbox;

/// How long a machine's use of the processor is watched before it is paused.
const BUSY_WATCH: Duration = Duration::from_secs(2);
/// How long after a failed sleep it is tried again.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// How often the clock is looked at while a timer is waited for: the host's may be set.
const CLOCK_LOOK: Duration = Duration::from_secs(30);

impl Actor {
    /// What idleness does next.
    pub(super) fn idle(&self) -> Idle {
        let (leases, last_used) = self.work.leases.usage();
        let usage = Usage {
            leases,
            last_used,
            paused_at: self.work.warm_since(),
        };
        let not_before = |at: Instant| match self.idle_not_before {
            Some(other) => at.max(other),
            None => at,
        };
        match idle::next(self.work.state(), &self.work.policy(), &usage) {
            Idle::Pause(at) => Idle::Pause(not_before(at)),
            Idle::Sleep(at) => Idle::Sleep(not_before(at)),
            stays @ Idle::Stays(_) => stays,
        }
    }

    /// Nobody has used it for its time.
    pub(super) async fn is_idle(&mut self, idle: Idle) {
        self.idle_not_before = None;
        let result = match idle {
            Idle::Stays(_) => return,
            Idle::Pause(_) => {
                if self.is_busy() || self.has_timer_soon().await {
                    return;
                }
                if !self.work.leases.close_if_unused() {
                    return;
                }
                self.work.run(PlanKind::Cool).await
            }
            Idle::Sleep(_) => {
                if !self.work.leases.close_if_unused() {
                    return;
                }
                self.decided(Request::Stop).await
            }
        };
        match result {
            Ok(()) | Err(Error::Woken) => {}
            Err(error) => {
                tracing::warn!(
                    sandbox = %self.work.row.id,
                    error = &error as &dyn std::error::Error,
                    "it stays as it is for now"
                );
                self.idle_not_before = Some(clock::now() + RETRY_AFTER);
            }
        }
    }

    /// Whether its VMM takes more of the processor than its policy lets an idle one take. The
    /// first call only begins to watch.
    fn is_busy(&mut self) -> bool {
        let Some(share) = self.work.policy().busy_cpu else {
            return false;
        };
        let Some(used) = self.work.cpu_time() else {
            return false;
        };
        let now = clock::now();
        let Some((since, before)) = self.cpu_watch.take() else {
            self.cpu_watch = Some((now, used));
            self.idle_not_before = Some(now + BUSY_WATCH);
            return true;
        };
        let (passed, used) = (now - since, used.saturating_sub(before));
        let busy = used.as_secs_f64() * 100.0 > passed.as_secs_f64() * f64::from(share);
        if busy {
            self.work.leases.touch();
        }
        busy
    }

    /// Is paused by hand. What is in use is not: whoever uses it would wait for nobody knows what.
    pub(super) async fn pause(&mut self) -> Result<(), Error> {
        if self.work.state() == State::Hot && !self.work.leases.close_unless_held() {
            let name = &self.work.row.name;
            return Err(Error::Conflict {
                message: format!("sandbox {:?} is in use", name.as_str()),
                hint: Some(format!(
                    "`bhatti inspect {name}` says by whom; `bhatti sleep {name}` puts it to disk \
                     all the same"
                )),
            });
        }
        self.decided(Request::Pause).await
    }

    /// Goes to disk for others' sake, if nobody uses it; whether it did.
    pub(super) async fn relieve(&mut self) -> Result<bool, Error> {
        if !self.work.state().has_machine() || self.work.policy().keep_hot {
            return Ok(false);
        }
        if !self.work.leases.close_if_unused() {
            return Ok(false);
        }
        match self.decided(Request::Stop).await {
            Ok(()) => Ok(true),
            Err(Error::Woken) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until its guest wants to be woken, if it is to be.
    pub(super) fn timer(&self) -> impl Future<Output = ()> + use<> {
        let sleeps = matches!(self.work.state(), State::Warm | State::Cold);
        let wanted = sleeps && self.work.policy().wake_timers;
        let due = self.work.row.wake_at.filter(|_| wanted);
        async move {
            let Some(due) = due else {
                return std::future::pending().await;
            };
            loop {
                let left = due.duration_since(Timestamp::now());
                match Duration::try_from(left) {
                    Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(CLOCK_LOOK)).await,
                    _ => return,
                }
            }
        }
    }

    /// Its guest wanted to be woken now.
    pub(super) async fn timer_is_due(&mut self) {
        // Once, whatever comes of it: the guest says the next one when it goes to sleep again.
        self.work.row.wake_at = None;
        if let Err(error) = self.wake(Request::Wake).await {
            tracing::warn!(
                sandbox = %self.work.row.id,
                error = &error as &dyn std::error::Error,
                "it was not woken for a timer of its guest"
            );
            self.work.row.reason = Some(format!("it was not woken for a timer: {error}"));
            return;
        }
        // It is woken a margin early, and left awake for another.
        self.idle_not_before = Some(clock::now() + 2 * NextTimer::MARGIN);
    }

    /// Whether its guest wants to run so soon that it is left awake for it.
    async fn has_timer_soon(&mut self) -> bool {
        self.work.ask_timers().await;
        let soon = |at: &mut Timestamp| *at <= Timestamp::now();
        let is_soon = self.work.row.wake_at.take_if(soon).is_some();
        if is_soon {
            self.idle_not_before = Some(clock::now() + 2 * NextTimer::MARGIN);
        }
        is_soon
    }

    /// Changes what its owner may change. A sandbox that is to be kept hot is woken.
    pub(super) async fn edit(&mut self, edit: EditSandbox) -> Result<(), Error> {
        self.refuse_if_going()?;
        let mut row = self.work.row.clone();
        if let Some(name) = edit.name {
            row.name = name;
        }
        let mut labels = row.labels.as_map().clone();
        for key in &edit.labels_remove {
            labels.remove(key);
        }
        labels.extend(edit.labels_add.as_map().clone());
        row.labels = Labels::new(labels)?;
        row.idle = edit.idle.onto(row.idle);
        row.egress = edit.egress.onto(row.egress);
        self.work.ctx.network.check(&row.egress)?;
        // What is recorded is enforced, and so it is enforced first.
        self.work.enforce(&row.egress).await?;
        let written = row.clone();
        let recorded = self
            .work
            .ctx
            .db(move |store| store.sandbox_update(&written))
            .await;
        if let Err(error) = recorded {
            let before = self.work.row.egress.clone();
            self.work.enforce(&before).await?;
            return Err(error);
        }
        let renamed = row.name != self.work.row.name;
        self.work.row = row;
        if renamed
            && self.work.state() == State::Hot
            && let Err(error) = self.work.identify(PlanKind::Wake).await
        {
            tracing::warn!(
                sandbox = %self.work.row.id,
                error = &error as &dyn std::error::Error,
                "its guest keeps its old hostname until it wakes the next time"
            );
        }
        if edit.idle.keep_hot == Some(true) {
            self.wake(Request::Wake).await?;
        }
        Ok(())
    }
}
