//! One or two requests that were made at the same time, and what comes of them.

use bhatti_engine::error::Error;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_types::id::SandboxId;
use bhatti_types::parent::Parent;

use crate::daemon::Answer;
use crate::expect::{self, Before};
use crate::found::{Found, Left, state};
use crate::known::{Guest, Known, Remembered};
use crate::op::{Name, Request, Snap};

/// A request and what it gave; `None` if the daemon was killed before.
struct Made {
    request: Request,
    number: u64,
    before: Before,
    outcome: Option<Result<Answer, Error>>,
}

/// Requests made at the same time.
#[derive(Default)]
pub(crate) struct Batch {
    made: Vec<Made>,
    /// Something broke meanwhile.
    pub(crate) broken: bool,
    /// Something had broken before.
    pub(crate) disturbed: bool,
}

impl Made {
    fn is_good(&self) -> bool {
        matches!(self.outcome, Some(Ok(_)))
    }

    /// Whether it may have had an effect.
    fn may_be_done(&self) -> bool {
        !matches!(
            self.outcome,
            Some(Err(Error::NotFound { .. }
                | Error::Exists { .. }
                | Error::Conflict { .. }))
        )
    }
}

impl Batch {
    pub(crate) fn add(&mut self, request: Request, number: u64, before: Before) {
        self.made.push(Made {
            request,
            number,
            before,
            outcome: None,
        });
    }

    pub(crate) fn numbers(&self) -> Vec<(Request, u64)> {
        let numbers = self.made.iter().map(|made| (made.request, made.number));
        numbers.collect()
    }

    pub(crate) fn done(&mut self, outcomes: Vec<Option<Result<Answer, Error>>>) {
        for (made, outcome) in self.made.iter_mut().zip(outcomes) {
            made.outcome = outcome;
        }
    }

    pub(crate) fn told(&self) -> Vec<String> {
        let told = self.made.iter().map(|made| {
            let outcome = made
                .outcome
                .as_ref()
                .map_or("no answer".to_owned(), expect::shown);
            format!("    {:?} ({}): {outcome}", made.request, made.number)
        });
        told.collect()
    }

    /// Whether the answers are what they may be.
    pub(crate) fn answers(&self, known: &Known) -> Result<(), String> {
        for made in &self.made {
            let Some(outcome) = &made.outcome else {
                continue;
            };
            if self.broken {
                continue;
            }
            if self.made.len() == 1 && !self.disturbed {
                expect::exactly(made.request, made.before, outcome)?;
            } else {
                expect::clearly(made.request, outcome)?;
            }
        }
        for made in &self.made {
            if let (Request::Read(name), Some(Ok(answer))) = (made.request, &made.outcome) {
                self.heard(known, name, answer)
                    .map_err(|wrong| format!("{name:?}: {wrong}"))?;
            }
        }
        Ok(())
    }

    /// Whether a guest may have said this, given what was asked of it at the same time.
    fn heard(&self, known: &Known, name: Name, answer: &Answer) -> Result<(), String> {
        if let Answer::Said { hostname, .. } = answer
            && hostname != name.as_str()
        {
            return Err(format!("it says that it is {hostname:?}"));
        }
        let replaced = self.made.iter().any(|made| {
            let back = matches!(made.request, Request::Rollback(of, _) if of == name);
            (back || made.request.makes() == Some(name)) && made.may_be_done()
        });
        if replaced {
            // It may be another than the one that is known, or what that was.
            return Ok(());
        }
        let Some(guest) = known.guests.get(&name) else {
            return Err("there is no such guest".to_owned());
        };
        let mut remembered = guest.remembered.clone();
        self.write(name, &mut remembered, false);
        if self.broken || self.gives_up(name) {
            remembered.may_reboot();
        }
        remembered.hear(answer)
    }

    /// What the writes of this batch do to what is remembered; `surely` when all is done.
    fn write(&self, name: Name, remembered: &mut Remembered, surely: bool) {
        let of_it = |wanted: fn(Name) -> Request| {
            let (mut acknowledged, mut others) = (Vec::new(), Vec::new());
            for made in &self.made {
                if made.request == wanted(name) {
                    if surely && made.is_good() {
                        acknowledged.push(made.number);
                    } else {
                        others.push(made.number);
                    }
                }
            }
            (acknowledged, others)
        };
        let (acknowledged, others) = of_it(Request::Remember);
        remembered.remember(&acknowledged, &others);
        let (acknowledged, others) = of_it(Request::Store);
        remembered.store(&acknowledged, &others);
    }

    /// Whether memory was given up on purpose.
    fn gives_up(&self, name: Name) -> bool {
        self.made.iter().any(|made| {
            let needless = made.before.state == Some(State::Hot) && self.made.len() == 1;
            made.request == Request::Force(name) && !needless
        })
    }

    fn asked(&self, what: impl Fn(&Made) -> bool) -> bool {
        self.made.iter().any(what)
    }

    /// Whether a request that something broke left the sandbox as it may be.
    pub(crate) fn leaves(&self, found: &Found, deaths: &[SandboxId]) -> Result<(), String> {
        let [made] = &self.made[..] else {
            return Ok(());
        };
        let failed = matches!(made.outcome, Some(Err(_)));
        if !failed || !self.broken || self.disturbed || !deaths.is_empty() {
            return Ok(());
        }
        let Some(name) = made.request.name() else {
            return Ok(());
        };
        expect::leaves(made.request, made.before, found.row(name).map(state))
    }

    /// Takes in what came of it, and looks whether it may be so.
    pub(crate) fn take_in(
        &self,
        known: &mut Known,
        found: &Found,
        deaths: &[SandboxId],
        left: Left,
    ) -> Result<(), String> {
        let before = known.clone();
        for name in Name::ALL {
            self.guest(known, &before, found, name, left)
                .map_err(|wrong| format!("{name:?}: {wrong}"))?;
        }
        for (name, guest) in &mut known.guests {
            self.write(*name, &mut guest.remembered, true);
            self.put_back(&before, *name, &mut guest.remembered);
            let now = found.row(*name).map(state);
            // What sleeps has its memory, however its machine ended.
            let died = deaths.contains(&guest.id) && now != Some(State::Cold);
            if died || self.gives_up(*name) {
                let of_it = self
                    .made
                    .iter()
                    .filter(|made| made.request == Request::Remember(*name));
                let numbers: Vec<u64> = of_it.map(|made| made.number).collect();
                let earlier = before.guests.get(name).map(|guest| &guest.remembered);
                guest.remembered.may_have_rebooted(earlier, &numbers);
            }
            self.honest(found, *name, died)
                .map_err(|wrong| format!("{name:?}: {wrong}"))?;
            if let [
                Made {
                    request: Request::Read(read),
                    outcome: Some(Ok(answer)),
                    ..
                },
            ] = &self.made[..]
                && read == name
            {
                guest.remembered.learn(answer);
                if died {
                    guest.remembered.may_reboot();
                }
            }
        }
        for snap in Snap::ALL {
            self.snapshot(known, &before, found, snap)
                .map_err(|wrong| format!("{snap:?}: {wrong}"))?;
        }
        Ok(())
    }

    /// A machine that has ended is off, and says why.
    fn honest(&self, found: &Found, name: Name, died: bool) -> Result<(), String> {
        let Some(row) = found.row(name) else {
            return Ok(());
        };
        let silent = matches!(state(row), State::Off | State::Failed) && row.reason.is_none();
        if silent {
            return Err("it has no memory and does not say why".to_owned());
        }
        if died && self.made.is_empty() && state(row) == State::Hot {
            return Err("its machine has ended, and it is hot".to_owned());
        }
        Ok(())
    }

    fn guest(
        &self,
        known: &mut Known,
        before: &Known,
        found: &Found,
        name: Name,
        left: Left,
    ) -> Result<(), String> {
        let made_new = self.asked(|made| made.request.makes() == Some(name) && made.may_be_done());
        let destroyed = |good: bool| {
            self.asked(|made| made.request == Request::Destroy(name) && (!good || made.is_good()))
        };
        let row = found.row(name);
        if let Some(guest) = known.guests.get_mut(&name) {
            guest.going |= destroyed(false);
        }
        let there = known.guests.get(&name).cloned();
        match (there, row) {
            (None, None) => {
                let good = self.asked(|made| made.request.makes() == Some(name) && made.is_good());
                if good && !destroyed(false) {
                    return Err("it was made and is not there".to_owned());
                }
            }
            (Some(guest), Some(row)) if row.id == guest.id => {
                if destroyed(true) && !made_new {
                    return Err("it was destroyed and is there".to_owned());
                }
            }
            (Some(guest), _) if !guest.going => {
                return Err("it is gone, or another".to_owned());
            }
            (_, Some(row)) => {
                if !made_new && !left.any() {
                    return Err("it is there and nobody made it".to_owned());
                }
                let remembered = self.made_of(before, found, row)?;
                let id = row.id.clone();
                let going = false;
                known.guests.insert(
                    name,
                    Guest {
                        id,
                        remembered,
                        going,
                    },
                );
            }
            (Some(_), None) => {
                known.guests.remove(&name);
            }
        }
        Ok(())
    }

    /// What a new sandbox remembers.
    fn made_of(
        &self,
        before: &Known,
        found: &Found,
        row: &SandboxRow,
    ) -> Result<Remembered, String> {
        if let Some(Parent::Sandbox(source)) = &row.parent {
            let known = before.guests.iter().find(|(_, guest)| guest.id == *source);
            if let Some(remembered) = known.and_then(|(name, _)| self.somewhen(before, *name)) {
                return Ok(remembered);
            }
            // Made in this batch itself.
            let source = found.rows.iter().find(|found| found.id == *source);
            return match source {
                Some(source) if source.id != row.id => self.made_of(before, found, source),
                _ => Err("it is a copy of nothing that was there".to_owned()),
            };
        }
        let Some(snapshot) = &row.resumed_from else {
            return Ok(Remembered::new());
        };
        let snap = Snap::ALL
            .into_iter()
            .find(|snap| snap.as_str() == snapshot.as_str());
        snap.and_then(|snap| self.held(before, snap))
            .ok_or_else(|| format!("it comes from checkpoint {snapshot}, which was not there"))
    }

    /// What a checkpoint holds, which may have been taken in this batch.
    fn held(&self, before: &Known, snap: Snap) -> Option<Remembered> {
        before.snaps.get(&snap).cloned().or_else(|| {
            self.made.iter().find_map(|made| match made.request {
                Request::Checkpoint(name, of) if of == snap => self.somewhen(before, name),
                _ => None,
            })
        })
    }

    /// What a guest remembers at some time in this batch.
    fn somewhen(&self, before: &Known, name: Name) -> Option<Remembered> {
        let mut remembered = before.guests.get(&name)?.remembered.clone();
        self.write(name, &mut remembered, false);
        if self.broken || self.gives_up(name) {
            remembered.may_reboot();
        }
        Some(remembered)
    }

    /// Puts what is known of a guest back with it, as far as that is certain.
    fn put_back(&self, before: &Known, name: Name, remembered: &mut Remembered) {
        for made in &self.made {
            let Request::Rollback(of, snap) = made.request else {
                continue;
            };
            if of != name || !made.may_be_done() {
                continue;
            }
            let Some(held) = self.held(before, snap) else {
                continue;
            };
            if made.is_good() && self.made.len() == 1 {
                *remembered = held;
                continue;
            }
            let now = remembered.or(&held);
            *remembered = self
                .somewhen(before, name)
                .map_or(now.clone(), |old| now.or(&old));
            self.write(name, remembered, false);
            remembered.may_reboot();
        }
    }

    fn snapshot(
        &self,
        known: &mut Known,
        before: &Known,
        found: &Found,
        snap: Snap,
    ) -> Result<(), String> {
        let forgotten = |good: bool| {
            self.asked(|made| made.request == Request::Forget(snap) && (!good || made.is_good()))
        };
        let taken: Vec<_> = self
            .made
            .iter()
            .filter_map(|made| match made.request {
                Request::Checkpoint(name, of) if of == snap && made.may_be_done() => {
                    Some((name, made.is_good()))
                }
                _ => None,
            })
            .collect();
        match (known.snaps.contains_key(&snap), found.snapshot(snap)) {
            (true, None) if !forgotten(false) => Err("it is gone".to_owned()),
            (true, None) => {
                known.snaps.remove(&snap);
                Ok(())
            }
            (true, Some(_)) if forgotten(true) && taken.is_empty() => {
                Err("it was forgotten and is there".to_owned())
            }
            (false, None) if taken.iter().any(|(_, good)| *good) && !forgotten(false) => {
                Err("it was taken and is not there".to_owned())
            }
            (true, Some(_)) if taken.is_empty() => Ok(()),
            (_, Some(_)) => {
                let mut remembered = known.snaps.get(&snap).cloned();
                for (name, _) in &taken {
                    for guest in [before.guests.get(name), known.guests.get(name)]
                        .into_iter()
                        .flatten()
                    {
                        remembered = Some(match remembered {
                            Some(other) => other.or(&guest.remembered),
                            None => guest.remembered.clone(),
                        });
                    }
                }
                match remembered {
                    Some(remembered) => {
                        known.snaps.insert(snap, remembered);
                        Ok(())
                    }
                    None => Err("it is there and nobody took it".to_owned()),
                }
            }
            (false, None) => Ok(()),
        }
    }
}
