//! Making machines and taking them away.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | create | `POST /sandboxes` | disk cloned and synced, QEMU started, the agent's hello |
//! | create and first command | the same, then `/bin/true` by the API | then over the link |
//! | destroy | `DELETE /sandboxes/{id}` | QEMU killed and reaped, files deleted, one durable write |

use std::time::Instant;

use anyhow::Context as _;
use bhatti_host::files;

use crate::bench::{Bench, MEMORY_MB, memory};
use crate::results::Side;
use crate::sample::{Sample, timed, turn};

/// The command that is run first.
const TRUE: &[&str] = &["/bin/true"];

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for round in bench.plan.life.rounds() {
        for side in turn([Side::Ours, Side::Floor, Side::Peer], round) {
            bench.settle()?;
            match side {
                Side::Ours => ours(bench, round).await.context("bhatti")?,
                Side::Floor => floor(bench).await.context("floor")?,
                Side::Peer => peer(bench, round).await.context("libvirt")?,
            }
        }
    }
    Ok(())
}

async fn ours(bench: &mut Bench, round: usize) -> anyhow::Result<()> {
    let name = format!("life-{round}");
    let (daemon, meter) = (&bench.daemon, &bench.ours);
    let (_, created) = timed(meter, daemon.create(&name, MEMORY_MB)).await?;
    let ((), first) = timed(meter, daemon.exec(&name, TRUE)).await?;
    let client = daemon.client();
    let (_, destroyed) = timed(meter, client.sandbox_destroy(&name)).await?;
    keep(bench, Side::Ours, created, first, destroyed);
    Ok(())
}

async fn floor(bench: &mut Bench) -> anyhow::Result<()> {
    bare_clone(bench)?;
    let (bare, meter) = (&bench.bare, &bench.floor);
    let (machine, created) = timed(meter, bare.boot(memory(MEMORY_MB)?)).await?;
    let ((), first) = timed(meter, machine.exec(TRUE)).await?;
    let record = bench.site.path("record");
    let destroy = async {
        machine.destroy().await?;
        // That it is gone has to be written down, once.
        tokio::task::spawn_blocking(move || {
            fs_err::write(&record, b"gone")?;
            files::sync_file(&record)
        })
        .await??;
        anyhow::Ok(())
    };
    let ((), destroyed) = timed(meter, destroy).await?;
    keep(bench, Side::Floor, created, first, destroyed);
    Ok(())
}

async fn peer(bench: &mut Bench, round: usize) -> anyhow::Result<()> {
    let Some(peer) = &mut bench.peer else {
        return Ok(());
    };
    let meter = peer.meter();
    let name = format!("life-{round}");
    let (machine, created) = timed(&meter, peer.create(&name)).await?;
    let ((), first) = timed(&meter, machine.exec(TRUE)).await?;
    let ((), destroyed) = timed(&meter, peer.destroy(machine)).await?;
    keep(bench, Side::Peer, created, first, destroyed);
    Ok(())
}

fn keep(bench: &mut Bench, side: Side, created: Sample, first: Sample, destroyed: Sample) {
    bench.samples.add("create", side, created);
    bench.samples.add("create-exec", side, created + first);
    bench.samples.add("destroy", side, destroyed);
}

/// How long the disk alone takes.
fn bare_clone(bench: &mut Bench) -> anyhow::Result<()> {
    let copy = bench.site.path("clone.raw");
    let began = Instant::now();
    files::clone_file(&bench.artifacts().image.disk, &copy)?;
    files::sync_file(&copy)?;
    let took = began.elapsed().as_secs_f64();
    files::remove_file(&copy)?;
    bench
        .samples
        .add("bare-clone", Side::Floor, Sample::bare(took));
    Ok(())
}
