//! Copies of a machine that runs.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | fork xN | `POST /sandboxes/{id}/fork` with this count | vCPUs paused, state, memory and disk captured, vCPUs on; then bare machines from that as in a create, as many at once as there are cores |

use std::num::NonZero;
use std::thread;

use anyhow::{Context as _, ensure};
use bhatti_api::sandbox::ForkSandbox;
use bhatti_host::{facts, files};
use bhatti_types::size::MemoryMb;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::bare::machine::BareMachine;
use crate::bench::{Bench, memory};
use crate::catalogue::fork;
use crate::plan::ForkSize;
use crate::processor::Meter;
use crate::results::Side;
use crate::sample::{Sample, timed, turn};
use crate::say::say;

/// Memory that is left to the host, in bytes.
const RESERVE: u64 = 2 << 30;

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for size in bench.plan.forks.clone() {
        let available = facts::available_memory()?;
        let needed = (size.copies + 2) * memory(size.memory_mb)?.bytes() + RESERVE;
        if available < needed {
            let gib = needed.div_ceil(1 << 30);
            let reason = format!("needs {gib} GiB of memory that can be had");
            bench.left_out.insert(fork(size.copies), reason);
            continue;
        }
        one_size(bench, size)
            .await
            .with_context(|| format!("{} copies", size.copies))?;
    }
    Ok(())
}

async fn one_size(bench: &mut Bench, size: ForkSize) -> anyhow::Result<()> {
    say(&format!(
        "    {} copies of {} MB",
        size.copies, size.memory_mb
    ));
    let source = format!("source-{}", size.copies);
    bench.daemon.create(&source, size.memory_mb).await?;
    let mut bare = bench.bare_like_ours(size.memory_mb).await?;
    for round in size.bound.rounds() {
        for side in turn([Side::Ours, Side::Floor], round) {
            bench.settle()?;
            let sample = match side {
                Side::Ours => ours(bench, &source, size.copies).await.context("bhatti")?,
                Side::Floor | Side::Peer => floor(bench, &mut bare, size).await.context("floor")?,
            };
            bench.samples.add(&fork(size.copies), side, sample);
        }
    }
    bench.daemon.client().sandbox_destroy(&source).await?;
    bare.destroy().await
}

async fn ours(bench: &Bench, source: &str, copies: u64) -> anyhow::Result<Sample> {
    let client = bench.daemon.client();
    let new = ForkSandbox {
        name: Some(format!("of-{source}")),
        count: Some(copies),
        ..ForkSandbox::default()
    };
    let (made, sample) = timed(&bench.ours, client.sandbox_fork(source, &new)).await?;
    ensure!(
        made.len() as u64 == copies,
        "{} copies were made",
        made.len()
    );
    for copy in made {
        client.sandbox_destroy(&copy.id).await?;
    }
    Ok(sample)
}

async fn floor(bench: &Bench, source: &mut BareMachine, size: ForkSize) -> anyhow::Result<Sample> {
    let point = bench.site.path("fork-point");
    fs_err::create_dir(&point)?;
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let memory: MemoryMb = memory(size.memory_mb)?;
    let meter: &Meter = &bench.floor;
    let copy = async {
        source.capture(&point).await?;
        source.set_clock().await?;
        let copies = (0..size.copies).map(|_| bench.bare.fork(&point, memory));
        let copies = stream::iter(copies).buffered(at_once);
        copies.try_collect::<Vec<BareMachine>>().await
    };
    let (machines, sample) = timed(meter, copy).await?;
    for machine in machines {
        machine.destroy().await?;
    }
    files::remove_tree(&point)?;
    Ok(sample)
}
