//! Checkpoints of machines that go on.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | stall | longest silence of a program in the guest that writes its clock every 2 ms | the same |
//! | durable | `POST /sandboxes/{id}/checkpoint` | vCPUs paused, state, memory and disk written, vCPUs on; then all synced and renamed |
//!
//! The silence is timed by the host: a guest's own clock stands still while it is paused. A part
//! of it is not the checkpoint's: under software emulation the program is a few milliseconds late
//! at times.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use bhatti_api::snapshot::CreateSnapshot;
use bhatti_host::files;

use crate::bare::machine::{BareMachine, sync_all};
use crate::bench::Bench;
use crate::catalogue::{DIRTIED, durable, stall};
use crate::guest::{DIRTY, HEART, Running};
use crate::plan::CheckpointSize;
use crate::results::Side;
use crate::sample::{Sample, timed, turn};
use crate::say::say;

/// Seconds between two beats.
const BEAT: &str = "0.002";

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for size in bench.plan.checkpoints.clone() {
        one_size(bench, size)
            .await
            .with_context(|| format!("machines of {} MB", size.memory_mb))?;
    }
    Ok(())
}

async fn one_size(bench: &mut Bench, size: CheckpointSize) -> anyhow::Result<()> {
    let mb = size.memory_mb;
    let name = format!("checkpoint-{mb}");
    let client = bench.daemon.client();
    bench.daemon.create(&name, mb).await?;
    let mut machine = bench.bare_like_ours(mb).await?;
    let our_heart = Running::ours(&client, &name, HEART, &[BEAT]).await?;
    let bare_heart = Running::bare(&machine, HEART, &[BEAT]).await?;
    // Each holds its share of memory until the end, so the next adds what is missing.
    let mut holders = Vec::new();
    let mut held = 0;
    for share in DIRTIED {
        say(&format!("    {mb} MB, {share} % dirtied"));
        let wanted = mb * share / 100;
        let more = (wanted - held).to_string();
        held = wanted;
        let ours = Running::ours(&client, &name, DIRTY, &[&more]).await?;
        let bare = Running::bare(&machine, DIRTY, &[&more]).await?;
        ours.says("ready").await?;
        bare.says("ready").await?;
        holders.extend([ours, bare]);
        for round in size.bound.rounds() {
            for side in turn([Side::Ours, Side::Floor], round) {
                bench.settle()?;
                let (stalled, whole) = match side {
                    Side::Ours => ours_once(bench, &name, &our_heart)
                        .await
                        .context("bhatti")?,
                    Side::Floor | Side::Peer => bare_once(bench, &mut machine, &bare_heart)
                        .await
                        .context("floor")?,
                };
                bench.samples.add(&stall(mb, share), side, stalled);
                bench.samples.add(&durable(mb, share), side, whole);
            }
        }
    }
    drop((holders, our_heart, bare_heart));
    client.sandbox_destroy(&name).await?;
    machine.destroy().await
}

async fn ours_once(bench: &Bench, name: &str, heart: &Running) -> anyhow::Result<(Sample, Sample)> {
    let client = bench.daemon.client();
    let new = CreateSnapshot {
        name: format!("of-{name}"),
    };
    let began = Instant::now();
    let (_, whole) = timed(&bench.ours, client.snapshot_create(name, &new)).await?;
    let stalled = heart.longest_gap(began, Instant::now()).await?;
    client.snapshot_delete(&new.name).await?;
    Ok((Sample::bare(stalled.as_secs_f64()), whole))
}

async fn bare_once(
    bench: &Bench,
    machine: &mut BareMachine,
    heart: &Running,
) -> anyhow::Result<(Sample, Sample)> {
    let (half, whole) = (bench.site.path("half"), bench.site.path("whole"));
    fs_err::create_dir(&half)?;
    let began = Instant::now();
    let take = async {
        machine.capture(&half).await?;
        seal(&half, &whole).await
    };
    let ((), sample) = timed(&bench.floor, take).await?;
    let stalled = heart.longest_gap(began, Instant::now()).await?;
    files::remove_tree(&whole)?;
    Ok((Sample::bare(stalled.as_secs_f64()), sample))
}

async fn seal(half: &Path, whole: &Path) -> anyhow::Result<()> {
    let (half, whole) = (half.to_owned(), whole.to_owned());
    let work = move || {
        sync_all(&half)?;
        files::rename_durable(&half, &whole)
    };
    Ok(tokio::task::spawn_blocking(work).await??)
}
