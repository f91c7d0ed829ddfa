//! Going to disk and coming back.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | go cold | `POST /sandboxes/{id}/stop` | guest synced, vCPUs paused, state and memory written and synced with the disk, one durable write, QEMU killed |
//! | cold wake, from disk | `/bin/true` by the API, its files dropped from the page cache before | QEMU started on the files, state loaded, one durable write (used once), vCPUs on, the agent's hello, the clock set, `/bin/true`; dropped too |
//! | cold wake, cached | the same with its files in the page cache | the same |
//! | sleeping image on disk | blocks of state, memory and manifest | blocks of state and memory |

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bhatti_host::files;
use rustix::fs::{Advice, fadvise};

use crate::bare::machine::{BareMachine, image};
use crate::bench::{Bench, MEMORY_MB, memory};
use crate::results::Side;
use crate::sample::{Sample, timed, turn};

/// The sandbox that sleeps.
const SLEEPER: &str = "sleeper";
/// The command.
const TRUE: &[&str] = &["/bin/true"];

/// Where the files of a sleeping machine are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cache {
    /// On the disk only.
    Dropped,
    /// In the page cache.
    Kept,
}

impl Cache {
    const fn row(self) -> &'static str {
        match self {
            Self::Dropped => "wake-first",
            Self::Kept => "wake-again",
        }
    }
}

/// What one sleep and the wake after it took.
struct Night {
    slept: Sample,
    size: f64,
    cache: Cache,
    woken: Sample,
}

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let created = bench.daemon.create(SLEEPER, MEMORY_MB).await?;
    let ours = bench.daemon.data().join("sandboxes").join(&created.id);
    let bare = bench.bare_like_ours(MEMORY_MB).await?;
    // Once without a clock: the first sleep also writes what the first command has dirtied.
    our_night(bench, &ours, Cache::Kept).await?;
    let (machine, _) = bare_night(bench, bare, Cache::Kept).await?;
    let mut bare = Some(machine);
    for round in bench.plan.cold.rounds() {
        let cache = turn([Cache::Dropped, Cache::Kept], round)[0];
        for side in turn([Side::Ours, Side::Floor], round / 2) {
            bench.settle()?;
            let night = match side {
                Side::Ours => our_night(bench, &ours, cache).await.context("bhatti")?,
                Side::Floor | Side::Peer => {
                    let machine = bare.take().context("the bare machine is gone")?;
                    let night = bare_night(bench, machine, cache).await.context("floor")?;
                    bare = Some(night.0);
                    night.1
                }
            };
            keep(bench, side, &night);
        }
        bench.settle()?;
        if let Some(peer) = &mut bench.peer
            && cache == Cache::Kept
        {
            let meter = peer.meter();
            let ((), slept) = timed(&meter, peer.save()).await.context("libvirt")?;
            let ((), woken) = timed(&meter, peer.wake(TRUE)).await.context("libvirt")?;
            bench.samples.add("cold", Side::Peer, slept);
            bench.samples.add("wake-again", Side::Peer, woken);
        }
    }
    bench.daemon.client().sandbox_destroy(SLEEPER).await?;
    if let Some(machine) = bare {
        machine.destroy().await?;
    }
    Ok(())
}

fn keep(bench: &mut Bench, side: Side, night: &Night) {
    let samples = &mut bench.samples;
    samples.add("cold", side, night.slept);
    samples.add("cold-size", side, Sample::bare(night.size));
    samples.add(night.cache.row(), side, night.woken);
}

async fn our_night(bench: &Bench, dir: &Path, cache: Cache) -> anyhow::Result<Night> {
    let client = bench.daemon.client();
    let (_, slept) = timed(&bench.ours, client.sandbox_stop(SLEEPER)).await?;
    let cold = dir.join("cold");
    let size = size(&cold)?;
    if cache == Cache::Dropped {
        drop_from_cache(&cold)?;
        drop_file(&dir.join(image::DISK))?;
    }
    let ((), woken) = timed(&bench.ours, bench.daemon.exec(SLEEPER, TRUE)).await?;
    Ok(Night {
        slept,
        size,
        cache,
        woken,
    })
}

async fn bare_night(
    bench: &Bench,
    machine: BareMachine,
    cache: Cache,
) -> anyhow::Result<(BareMachine, Night)> {
    let cold = bench.site.path("bare-cold");
    fs_err::create_dir(&cold)?;
    let (disk, slept) = timed(&bench.floor, machine.sleep(&cold, &bench.bare)).await?;
    let size = size(&cold)?;
    if cache == Cache::Dropped {
        drop_from_cache(&cold)?;
        drop_file(&disk)?;
    }
    let wake = async {
        let memory = memory(MEMORY_MB)?;
        let machine = bench.bare.wake(&cold, memory, &disk).await?;
        machine.set_clock().await?;
        machine.exec(TRUE).await?;
        anyhow::Ok(machine)
    };
    let (machine, woken) = timed(&bench.floor, wake).await?;
    // It maps its memory by another name.
    files::remove_tree(&cold)?;
    if let Some(old) = disk.parent() {
        files::remove_tree(old)?;
    }
    let night = Night {
        slept,
        size,
        cache,
        woken,
    };
    Ok((machine, night))
}

fn paths(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs_err::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn size(dir: &Path) -> std::io::Result<f64> {
    let sizes = paths(dir)?.into_iter().map(|path| files::disk_usage(&path));
    Ok(sizes.sum::<std::io::Result<u64>>()? as f64)
}

/// Has the files of a directory read from the disk when they are next read. They are synced
/// already, so the kernel may drop their pages; no privilege is needed for one's own files.
fn drop_from_cache(dir: &Path) -> anyhow::Result<()> {
    paths(dir)?.iter().try_for_each(|path| drop_file(path))
}

fn drop_file(path: &Path) -> anyhow::Result<()> {
    let file = fs_err::File::open(path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}
