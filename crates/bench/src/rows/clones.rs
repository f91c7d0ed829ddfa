//! Machines made from one checkpoint.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | resume, first command | `POST /snapshots/{name}/resume`, `/bin/true` | a bare machine from the same files, as in a create, and `/bin/true` |
//! | 20 execs, 20 machines | 20 requests | 20 commands over 20 bare links |

use std::path::Path;

use bhatti_api::snapshot::{CreateSnapshot, ResumeSnapshot};
use bhatti_client::client::Client;
use futures::future::try_join_all;

use crate::bare::machine::{self, BareMachine};
use crate::bench::{Bench, MEMORY_MB, WORK, memory};
use crate::daemon;
use crate::results::Side;
use crate::sample::{Sample, timed, turn};

/// The checkpoint.
const BASE: &str = "base-of-clones";
/// How many machines run commands at once.
const MANY: usize = 20;
/// The command.
const TRUE: &[&str] = &["/bin/true"];

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let client = bench.daemon.client();
    let new = CreateSnapshot {
        name: BASE.to_owned(),
    };
    let taken = client.snapshot_create(WORK, &new).await?;
    let files = bench.daemon.data().join("snapshots").join(&taken.id);
    // Not counted: the daemon checks every byte of an image once.
    resume(&client, "clone-warm-up").await?;
    client.sandbox_destroy("clone-warm-up").await?;
    for round in bench.plan.resume.rounds() {
        for side in turn([Side::Ours, Side::Floor], round) {
            bench.settle()?;
            match side {
                Side::Ours => ours(bench, &client, round).await?,
                Side::Floor | Side::Peer => floor(bench, &files).await?,
            }
        }
    }
    many(bench, &client, &files).await?;
    client.snapshot_delete(BASE).await?;
    Ok(())
}

async fn resume(client: &Client, name: &str) -> anyhow::Result<()> {
    let new = ResumeSnapshot {
        name: Some(name.to_owned()),
    };
    client.snapshot_resume(BASE, &new).await?;
    Ok(())
}

async fn ours(bench: &mut Bench, client: &Client, round: usize) -> anyhow::Result<()> {
    let name = format!("clone-{round}");
    let first = async {
        resume(client, &name).await?;
        daemon::exec(client, &name, TRUE).await
    };
    let ((), sample) = timed(&bench.ours, first).await?;
    bench.samples.add("resume", Side::Ours, sample);
    client.sandbox_destroy(&name).await?;
    Ok(())
}

async fn floor(bench: &mut Bench, files: &Path) -> anyhow::Result<()> {
    let first = async {
        let machine = bench.bare.fork(files, memory(MEMORY_MB)?).await?;
        machine.exec(TRUE).await?;
        anyhow::Ok(machine)
    };
    let (machine, sample) = timed(&bench.floor, first).await?;
    bench.samples.add("resume", Side::Floor, sample);
    machine.destroy().await
}

/// Twenty machines on each side, all of them there while either side is measured.
async fn many(bench: &mut Bench, client: &Client, files: &Path) -> anyhow::Result<()> {
    let names: Vec<_> = (0..MANY).map(|at| format!("many-{at}")).collect();
    let mut machines = Vec::new();
    for name in &names {
        resume(client, name).await?;
        machines.push(bench.bare.fork(files, memory(MEMORY_MB)?).await?);
    }
    // A machine's first command is slow under software emulation, and not what this is about.
    at_once(bench, client, &names, &machines, Side::Ours).await?;
    at_once(bench, client, &names, &machines, Side::Floor).await?;
    for round in bench.plan.many.rounds() {
        for side in turn([Side::Ours, Side::Floor], round) {
            let sample = at_once(bench, client, &names, &machines, side).await?;
            bench.samples.add("exec-20-many", side, sample);
        }
    }
    for (name, machine) in names.iter().zip(machines) {
        client.sandbox_destroy(name).await?;
        machine.destroy().await?;
    }
    Ok(())
}

async fn at_once(
    bench: &Bench,
    client: &Client,
    names: &[String],
    machines: &[BareMachine],
    side: Side,
) -> anyhow::Result<Sample> {
    let sample = match side {
        Side::Ours => {
            let all = names.iter().map(|name| daemon::exec(client, name, TRUE));
            timed(&bench.ours, try_join_all(all)).await?.1
        }
        Side::Floor | Side::Peer => {
            let links: Vec<_> = machines.iter().map(BareMachine::link).collect();
            let all = links.iter().map(|link| machine::exec(link, TRUE));
            timed(&bench.floor, try_join_all(all)).await?.1
        }
    };
    Ok(sample)
}
