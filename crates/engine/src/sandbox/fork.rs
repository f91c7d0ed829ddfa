//! What a sandbox's task does for a fork: the one capture that all copies go on from.

use std::time::Duration;

use bhatti_lifecycle::decide::{Decision, Request, decide};

use super::actor::Actor;
use super::work::{ForkPoint, Material, Saved, Trust};
use crate::error::Error;
use crate::volumes::copies;

/// A captured source.
#[derive(Debug)]
pub(crate) struct Forked {
    /// What copies go on from.
    pub(crate) saved: Saved,
    /// How long the source stood still; zero if it slept.
    pub(crate) stall: Duration,
}

impl Actor {
    /// Captures the sandbox into a directory, from which copies are to go on at once. It is
    /// neither woken nor thawed for it.
    pub(super) async fn fork(&mut self, point: ForkPoint) -> Result<Forked, Error> {
        let kind = match decide(self.work.state(), Request::Fork) {
            Decision::Accept(kind) => kind,
            Decision::Deny(denied) => return Err(self.denied(denied)),
            Decision::Already => return Err(Error::internal("a fork is never there already")),
        };
        let dir = point.dir.clone();
        self.work.material = Material::Fork(point);
        let result = self.work.run(kind).await;
        let material = std::mem::replace(&mut self.work.material, Material::None);
        result?;
        let stall = match material {
            Material::Fork(point) => point.stall,
            _ => Duration::ZERO,
        };
        Ok(Forked {
            saved: Saved {
                dir,
                trust: Trust::JustWritten,
                accelerator: self.work.row.accelerator.clone(),
                snapshot: None,
                volumes: copies::saved(&self.work.volumes),
            },
            stall,
        })
    }
}
