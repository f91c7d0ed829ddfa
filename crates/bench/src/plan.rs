//! How much is measured: how often at most, and how long at most.
//!
//! The limits are for two cores under software emulation, where a guest takes about 4 s of
//! processor time to boot. Where guests boot faster the numbers of rounds are the bound.

use std::time::Duration;

use crate::sample::Rounds;

/// How often and how long something is measured at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    most: usize,
    limit: Duration,
}

impl Bound {
    const fn new(most: usize, seconds: u64) -> Self {
        Self {
            most,
            limit: Duration::from_secs(seconds),
        }
    }

    /// Rounds within this bound, from now on.
    pub(crate) fn rounds(self) -> Rounds {
        Rounds::new(self.most, self.limit)
    }
}

/// Checkpoints of machines of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointSize {
    /// Memory of the machines.
    pub(crate) memory_mb: u64,
    /// How often, for each share of memory that is dirtied.
    pub(crate) bound: Bound,
}

/// Copies of machines of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForkSize {
    /// How many at once.
    pub(crate) copies: u64,
    /// Memory of each.
    pub(crate) memory_mb: u64,
    /// How often.
    pub(crate) bound: Bound,
}

impl ForkSize {
    const fn new(copies: u64, memory_mb: u64, bound: Bound) -> Self {
        Self {
            copies,
            memory_mb,
            bound,
        }
    }
}

/// How much of everything is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Its name in results.
    pub(crate) name: &'static str,
    /// Machines made and taken away.
    pub(crate) life: Bound,
    /// Machines made where clones wait in stock.
    pub(crate) stock: Bound,
    /// Copies of a machine that runs.
    pub(crate) forks: Vec<ForkSize>,
    /// Commands.
    pub(crate) exec: Bound,
    /// Twenty commands at once, in one machine.
    pub(crate) parallel: Bound,
    /// Machines made from a checkpoint.
    pub(crate) resume: Bound,
    /// Twenty commands at once, in twenty machines.
    pub(crate) many: Bound,
    /// Waking paused machines.
    pub(crate) warm: Bound,
    /// Going cold and waking.
    pub(crate) cold: Bound,
    /// Checkpoints.
    pub(crate) checkpoints: Vec<CheckpointSize>,
    /// Lists, for each number of sandboxes.
    pub(crate) list: Bound,
}

impl Plan {
    /// Under 3 minutes.
    pub(crate) fn quick() -> Self {
        Self {
            name: "quick",
            life: Bound::new(4, 30),
            stock: Bound::new(4, 8),
            forks: vec![
                ForkSize::new(1, 512, Bound::new(4, 6)),
                ForkSize::new(10, 512, Bound::new(2, 8)),
            ],
            exec: Bound::new(40, 8),
            parallel: Bound::new(4, 6),
            resume: Bound::new(4, 6),
            many: Bound::new(3, 6),
            warm: Bound::new(20, 3),
            cold: Bound::new(4, 12),
            checkpoints: vec![CheckpointSize {
                memory_mb: 512,
                bound: Bound::new(3, 5),
            }],
            list: Bound::new(30, 2),
        }
    }

    /// Under 30 minutes.
    pub(crate) fn full() -> Self {
        let checkpoint = |memory_mb, most, seconds| CheckpointSize {
            memory_mb,
            bound: Bound::new(most, seconds),
        };
        Self {
            name: "full",
            life: Bound::new(30, 300),
            stock: Bound::new(30, 60),
            forks: vec![
                ForkSize::new(1, 512, Bound::new(20, 40)),
                ForkSize::new(10, 512, Bound::new(8, 60)),
                ForkSize::new(100, 128, Bound::new(2, 120)),
            ],
            exec: Bound::new(400, 120),
            parallel: Bound::new(30, 60),
            resume: Bound::new(30, 60),
            many: Bound::new(10, 45),
            warm: Bound::new(100, 20),
            cold: Bound::new(30, 180),
            checkpoints: vec![
                checkpoint(512, 15, 45),
                checkpoint(1024, 10, 50),
                checkpoint(4096, 5, 75),
            ],
            list: Bound::new(300, 15),
        }
    }
}
