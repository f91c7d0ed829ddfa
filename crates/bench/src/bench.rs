//! A run: what it works with, and its groups one after another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bhatti_types::size::MemoryMb;
use bhatti_vmm::machine::Accelerator;

use crate::bare::machine::{Bare, BareMachine};
use crate::bare::round_trip::Answerer;
use crate::catalogue::{Group, RowSpec, Source, rows};
use crate::daemon::Daemon;
use crate::peer::libvirt::Libvirt;
use crate::plan::Plan;
use crate::processor::Meter;
use crate::results::{Outcome, Row};
use crate::rows;
use crate::sample::Samples;
use crate::say::say;
use crate::site::{self, Artifacts, Site};

/// Memory of the machines, where a row does not say otherwise.
pub(crate) const MEMORY_MB: u64 = 512;
/// The sandbox that commands run in.
pub(crate) const WORK: &str = "work";

/// What a run works with.
///
/// The order of the fields is that of their end: the site, last, ends all machines and deletes
/// all files.
pub(crate) struct Bench {
    /// The daemon.
    pub(crate) daemon: Daemon,
    /// The bare machine that commands run in.
    pub(crate) work: BareMachine,
    /// Makes bare machines.
    pub(crate) bare: Bare,
    /// Answers bare round trips.
    pub(crate) answerer: Answerer,
    /// The other product.
    pub(crate) peer: Option<Libvirt>,
    /// The program.
    pub(crate) program: PathBuf,
    /// Where guest kits and images are cached.
    pub(crate) cache: PathBuf,
    /// How much is measured.
    pub(crate) plan: Plan,
    /// What was measured.
    pub(crate) samples: Samples,
    /// Rows that this host can't have, by name, with the reasons.
    pub(crate) left_out: BTreeMap<String, String>,
    /// Counts the daemon's time and that of its machines.
    pub(crate) ours: Meter,
    /// Counts the time of the bare operations.
    pub(crate) floor: Meter,
    /// The place all this is in.
    pub(crate) site: Site,
}

/// What a run is made from.
pub(crate) struct Setup<'a> {
    /// The `bhatti` program.
    pub(crate) program: &'a Path,
    /// Where guest kits and images are cached.
    pub(crate) cache: &'a Path,
    /// Where the directory of the run is made.
    pub(crate) parent: &'a Path,
    /// How much is measured.
    pub(crate) plan: Plan,
    /// More arguments to `bhatti serve`.
    pub(crate) serve: &'a [&'a str],
    /// Whether to measure libvirt too.
    pub(crate) with_libvirt: bool,
}

impl Bench {
    /// Makes the place, the daemon, and a machine on each side. This is the warm-up: the probe of
    /// the accelerator, the making of the template and the page cache come before anything is
    /// counted.
    pub(crate) async fn prepare(setup: Setup<'_>) -> anyhow::Result<Self> {
        let site = Site::make(setup.parent)?;
        let artifacts = site::install(setup.cache, &site.data())?;
        let answerer = Answerer::start(site.path("answerer.sock"))?;
        let daemon = Daemon::start(setup.program, site.data(), site.home(), setup.serve).await?;
        let created = daemon.create(WORK, MEMORY_MB).await?;
        let accelerator = match created.accelerator.as_deref() {
            Some("kvm") => Accelerator::Kvm,
            _ => Accelerator::Tcg,
        };
        say(&format!("    guests run under {}", accelerator.as_str()));
        let bare = Bare::new(artifacts, site.bare(), site.bare_id.clone(), accelerator);
        let (template, _) = daemon.template(MEMORY_MB).await?;
        let work = bare.fork(&template, memory(MEMORY_MB)?).await?;
        let peer = if setup.with_libvirt {
            Some(Libvirt::connect(&bare.artifacts, &site, accelerator).await?)
        } else {
            None
        };
        Ok(Self {
            ours: daemon.meter()?,
            floor: Meter::own(bare.mark()),
            daemon,
            work,
            bare,
            answerer,
            peer,
            program: setup.program.to_owned(),
            cache: setup.cache.to_owned(),
            plan: setup.plan,
            samples: Samples::default(),
            left_out: BTreeMap::new(),
            site,
        })
    }

    /// Waits until the disk has nothing left to do for this run: what one side has written or
    /// deleted would be paid for by the next one's sync.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let dir = fs_err::File::open(self.site.path(""))?;
        Ok(rustix::fs::syncfs(&dir)?)
    }

    /// A bare machine from the template that the daemon's machines of this size have.
    pub(crate) async fn bare_like_ours(&self, memory_mb: u64) -> anyhow::Result<BareMachine> {
        let (template, _) = self.daemon.template(memory_mb).await?;
        self.bare.fork(&template, memory(memory_mb)?).await
    }

    /// What runs the guests.
    pub(crate) fn accelerator(&self) -> Accelerator {
        self.bare.accelerator()
    }

    /// What guests are made of.
    pub(crate) fn artifacts(&self) -> &Artifacts {
        &self.bare.artifacts
    }

    /// Measures the rows whose names contain one of these words, all if there are none, and gives
    /// them all with what became of them. Groups that failed are named.
    pub(crate) async fn measure(&mut self, only: &[String]) -> (Vec<Row>, Vec<&'static str>) {
        let wanted = |row: &RowSpec| {
            only.is_empty() || only.iter().any(|word| row.id.contains(word.as_str()))
        };
        let specs: Vec<_> = rows(&self.plan).into_iter().filter(wanted).collect();
        let mut failures: Vec<(Group, String)> = Vec::new();
        for group in Group::ALL {
            let has_rows = |row: &RowSpec| row.source == Source::Group(group);
            if !specs.iter().any(has_rows) {
                continue;
            }
            say(&format!("==> {}", group.as_str()));
            let began = std::time::Instant::now();
            let result = match group {
                Group::Life => rows::life::measure(self).await,
                Group::Stock => rows::stock::measure(self).await,
                Group::Forks => rows::forks::measure(self).await,
                Group::Exec => rows::exec::measure(self).await,
                Group::Clones => rows::clones::measure(self).await,
                Group::Warm => rows::warm::measure(self).await,
                Group::Cold => rows::cold::measure(self).await,
                Group::Checkpoint => rows::checkpoint::measure(self).await,
                Group::List => rows::list::measure(self).await,
            };
            if let Err(error) = result {
                say(&format!("    failed: {error:#}"));
                failures.push((group, format!("{error:#}")));
            }
            say(&format!("    {:.1} s", began.elapsed().as_secs_f64()));
        }
        let found = specs.into_iter().map(|row| self.row(row, &failures));
        let rows = found.collect();
        (
            rows,
            failures.iter().map(|(group, _)| group.as_str()).collect(),
        )
    }

    fn row(&self, spec: RowSpec, failures: &[(Group, String)]) -> Row {
        let outcome = match spec.source {
            Source::NotYet(feature) => Outcome::NotYet(feature.to_owned()),
            Source::Group(group) => {
                let series = self.samples.of(&spec.id);
                let failure = failures.iter().find(|(failed, _)| *failed == group);
                let failure = failure.map(|(_, reason)| reason);
                match self.left_out.get(&spec.id).or(failure) {
                    Some(reason) if series.is_empty() => Outcome::Missing(reason.clone()),
                    Some(_) | None => Outcome::Measured(series),
                }
            }
        };
        Row {
            id: spec.id,
            title: spec.title,
            unit: spec.unit,
            outcome,
        }
    }

    /// Ends what was begun. What this does not end, dropping does.
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        if let Some(peer) = self.peer {
            peer.leave().await?;
        }
        self.daemon.stop().await
    }
}

/// A size of memory.
pub(crate) fn memory(mb: u64) -> anyhow::Result<MemoryMb> {
    MemoryMb::new(mb).context("no machine has that much memory")
}
