//! A run from its arguments to its files.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bhatti_host::files::{self, Cloned};
use jiff::Timestamp;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Peer, RunArgs};
use crate::bench::{Bench, Setup};
use crate::machine::MachineFacts;
use crate::plan::Plan;
use crate::plot::plot;
use crate::results::{Results, Unit};
use crate::say::{give, say};
use crate::table;
use crate::trace;

/// Time for work in threads to end once a run has.
const LAST_LIMIT: Duration = Duration::from_secs(5);
/// Creates are measured without clones in stock, and once with: the row for that has a daemon of
/// its own.
pub(crate) const WITHOUT_STOCK: &[&str] = &["--pool", "0"];
/// The repository.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Where things are, once all defaults are filled in.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) program: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) parent: PathBuf,
    pub(crate) out: PathBuf,
}

/// Runs the bench.
pub(crate) fn main(args: &RunArgs) -> anyhow::Result<()> {
    let places = places(args)?;
    // One thread: it waits for one thing at a time, and what it starts has the cores.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(unless_interrupted(async {
        if args.trace {
            trace::script::run(args, &places).await
        } else {
            run(args, &places).await
        }
    }));
    runtime.shutdown_timeout(LAST_LIMIT);
    result
}

/// Runs until it is done or a signal comes. Dropping the run cleans up after it.
async fn unless_interrupted(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = run => result,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

fn places(args: &RunArgs) -> anyhow::Result<Places> {
    let beside = || -> anyhow::Result<PathBuf> {
        let mine = std::env::current_exe()?;
        Ok(mine
            .parent()
            .context("this program has no path")?
            .join("bhatti"))
    };
    let home_cache = || -> anyhow::Result<PathBuf> {
        let home = std::env::home_dir().context("there is no home directory; give --cache")?;
        Ok(home.join(".cache/bhatti"))
    };
    let given = |path: &Option<PathBuf>, default: &dyn Fn() -> anyhow::Result<PathBuf>| {
        path.clone().map_or_else(default, Ok)
    };
    let out = || Ok(Path::new(SOURCES).join("bench/results"));
    Ok(Places {
        program: given(&args.program, &beside)?,
        cache: given(&args.cache, &home_cache)?,
        parent: given(&args.dir, &|| Ok(std::env::temp_dir()))?,
        out: given(&args.out, &out)?,
    })
}

async fn run(args: &RunArgs, places: &Places) -> anyhow::Result<()> {
    let began = Instant::now();
    let taken_at = Timestamp::now();
    let plan = if args.quick {
        Plan::quick()
    } else {
        Plan::full()
    };
    let reflink = shares_blocks(&places.parent)?;
    let machine = MachineFacts::gather(&places.parent, reflink, Path::new(SOURCES)).await;
    let mut results = Results::new(taken_at.to_string(), plan.name, machine);
    if let Some(program) = &args.program {
        // Nobody knows what that was built from.
        results.machine.commit = format!("unknown ({})", program.display());
    }

    say("==> a daemon and two machines");
    let setup = Setup {
        program: &places.program,
        cache: &places.cache,
        parent: &places.parent,
        plan,
        serve: WITHOUT_STOCK,
        with_libvirt: args.peer == Some(Peer::Libvirt),
    };
    let mut bench = Bench::prepare(setup).await?;
    let accelerator = bench.accelerator().as_str();
    accelerator.clone_into(&mut results.machine.accelerator);
    results.machine.storage = bench.daemon.storage().await?;
    results.machine.kit = bench.artifacts().kit.id.to_string();
    let (rows, failed) = bench.measure(&args.only).await;
    bench.finish().await?;
    results.rows = rows;
    results.took = began.elapsed().as_secs_f64();

    keep(&results, &places.out)?;
    give(&table::page(&results))?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Writes the results: all values, the table, the pictures.
fn keep(results: &Results, out: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(out)?;
    let day = results.taken_at.split('T').next().unwrap_or_default();
    let name = free_name(out, &format!("{day}-{}", results.machine.host));
    let path = |end: &str| out.join(format!("{name}{end}"));
    results.write(&path(".json"))?;
    files::write_durable(&path(".md"), table::page(results).as_bytes())?;
    for (unit, end) in [(Unit::Seconds, "-times.svg"), (Unit::Bytes, "-sizes.svg")] {
        if let Some(picture) = plot(results, unit) {
            files::write_durable(&path(end), picture.as_bytes())?;
        }
    }
    say(&format!("results: {}", path(".json").display()));
    Ok(())
}

/// A name that no results have yet: the second run of a day is `…-2`.
fn free_name(out: &Path, wanted: &str) -> String {
    let is_free = |name: &String| !out.join(format!("{name}.json")).exists();
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.to_owned())
        .chain(numbered)
        .find(is_free)
        .unwrap_or_default()
}

/// Whether files in a directory can share their blocks.
fn shares_blocks(dir: &Path) -> anyhow::Result<bool> {
    let probe = tempfile::tempdir_in(dir)
        .with_context(|| format!("failed to make a directory in {}", dir.display()))?;
    let (from, to) = (probe.path().join("a"), probe.path().join("b"));
    fs_err::write(&from, [1; 8192])?;
    Ok(files::clone_file(&from, &to)? == Cloned::Reflink)
}

#[cfg(test)]
mod test {
    use super::{free_name, keep};
    use crate::results::made_up;

    #[test]
    fn results_are_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let results = made_up::results(vec![made_up::row("create", &[1.0], &[0.9])]);
        keep(&results, dir.path()).unwrap();
        keep(&results, dir.path()).unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        for name in [
            "2026-01-01-anvil.json",
            "2026-01-01-anvil.md",
            "2026-01-01-anvil-times.svg",
            "2026-01-01-anvil-2.json",
        ] {
            assert!(there(name), "{name}");
        }
        assert!(!there("2026-01-01-anvil-sizes.svg"));
        assert_eq!(
            free_name(dir.path(), "2026-01-01-anvil"),
            "2026-01-01-anvil-3"
        );
    }
}
