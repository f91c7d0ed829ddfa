//! Making machines and taking them away.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | create | `POST /sandboxes`, which has a template | a bare machine from that same template: its disk cloned and synced, its memory linked, QEMU started, its state loaded, the agent's hello, an identity, one durable write |
//! | create, against a cold boot | the same | the image's disk cloned and synced, QEMU started, the agent's hello |
//! | create and first command | the same, then `/bin/true` by the API | from the template, then over the link |
//! | destroy | `DELETE /sandboxes/{id}` | QEMU killed and reaped, files deleted, one durable write |
//! | own memory of an idle clone | private pages of its VMM after that command | the same of a bare one |

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use bhatti_host::files;

use crate::bench::{Bench, MEMORY_MB, memory};
use crate::private::own_memory;
use crate::results::Side;
use crate::sample::{Sample, timed, turn};

/// The command that is run first.
const TRUE: &[&str] = &["/bin/true"];

#[derive(Debug, Clone, Copy)]
enum Part {
    Ours,
    Template,
    Boot,
    Peer,
}

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    // The first create, of the sandbox that commands run in, made it.
    let (template, _) = bench.daemon.template(MEMORY_MB).await?;
    for round in bench.plan.life.rounds() {
        for part in turn([Part::Ours, Part::Template, Part::Boot, Part::Peer], round) {
            bench.settle()?;
            match part {
                Part::Ours => ours(bench, round).await.context("bhatti")?,
                Part::Template => floor(bench, &template).await.context("floor")?,
                Part::Boot => boot(bench).await.context("a bare boot")?,
                Part::Peer => peer(bench, round).await.context("libvirt")?,
            }
        }
    }
    Ok(())
}

async fn ours(bench: &mut Bench, round: usize) -> anyhow::Result<()> {
    let name = format!("life-{round}");
    let (daemon, meter) = (&bench.daemon, &bench.ours);
    let (sandbox, created) = timed(meter, daemon.create(&name, MEMORY_MB)).await?;
    let ((), first) = timed(meter, daemon.exec(&name, TRUE)).await?;
    let own = daemon.own_memory_of(&sandbox.id)?;
    let client = daemon.client();
    let (_, destroyed) = timed(meter, client.sandbox_destroy(&name)).await?;
    let samples = &mut bench.samples;
    samples.add("create-cold", Side::Ours, created);
    samples.add("clone-memory", Side::Ours, Sample::bare(own));
    keep(bench, Side::Ours, created, first, destroyed);
    Ok(())
}

async fn floor(bench: &mut Bench, template: &Path) -> anyhow::Result<()> {
    let (bare, meter) = (&bench.bare, &bench.floor);
    let (machine, created) = timed(meter, bare.fork(template, memory(MEMORY_MB)?)).await?;
    let ((), first) = timed(meter, machine.exec(TRUE)).await?;
    let own = own_memory(machine.pid())?;
    let destroy = async {
        machine.destroy().await?;
        // That it is gone has to be written down, once.
        bare.record().await
    };
    let ((), destroyed) = timed(meter, destroy).await?;
    bench
        .samples
        .add("clone-memory", Side::Floor, Sample::bare(own));
    keep(bench, Side::Floor, created, first, destroyed);
    Ok(())
}

async fn boot(bench: &mut Bench) -> anyhow::Result<()> {
    bare_clone(bench)?;
    let booted = bench.bare.boot(memory(MEMORY_MB)?);
    let (machine, booted) = timed(&bench.floor, booted).await?;
    machine.destroy().await?;
    bench.samples.add("create-cold", Side::Floor, booted);
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
    let copy: PathBuf = bench.site.path("clone.raw");
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
