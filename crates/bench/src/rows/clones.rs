//! Machines made from one checkpoint.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | resume, first command | `POST /snapshots/{name}/resume`, `/bin/true` | disk cloned, QEMU started on the same files, state loaded, the agent's hello, `/bin/true` |
//! | 20 execs, 20 machines | 20 requests | 20 commands over 20 bare links |
//! | own memory of an idle clone | private pages of its VMM | the same of a bare one |

use std::path::Path;

use anyhow::Context as _;
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
    let id = client.sandbox_get(&name).await?.id;
    let own = own_memory(vmm(&bench.daemon.mark()?, &id)?)?;
    bench
        .samples
        .add("clone-memory", Side::Ours, Sample::bare(own));
    client.sandbox_destroy(&name).await?;
    Ok(())
}

async fn floor(bench: &mut Bench, files: &Path) -> anyhow::Result<()> {
    let first = async {
        let machine = bench.bare.load(files, memory(MEMORY_MB)?, None).await?;
        machine.exec(TRUE).await?;
        anyhow::Ok(machine)
    };
    let (machine, sample) = timed(&bench.floor, first).await?;
    bench.samples.add("resume", Side::Floor, sample);
    let own = own_memory(machine.pid())?;
    bench
        .samples
        .add("clone-memory", Side::Floor, Sample::bare(own));
    machine.destroy().await
}

/// Twenty machines on each side, all of them there while either side is measured.
async fn many(bench: &mut Bench, client: &Client, files: &Path) -> anyhow::Result<()> {
    let names: Vec<_> = (0..MANY).map(|at| format!("many-{at}")).collect();
    let mut machines = Vec::new();
    for name in &names {
        resume(client, name).await?;
        machines.push(bench.bare.load(files, memory(MEMORY_MB)?, None).await?);
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

/// The pid of a sandbox's VMM.
fn vmm(mark: &str, id: &str) -> anyhow::Result<u32> {
    let found = bhatti_host::process::find_by_argument(&format!("{mark}{id}"))?;
    let vmm = found.first().context("the clone has no VMM")?;
    Ok(vmm.id.pid)
}

/// Memory that no other process shares, in bytes.
pub(super) fn own_memory(pid: u32) -> anyhow::Result<f64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    private(&text).context("no private memory in /proc/PID/smaps_rollup")
}

fn private(rollup: &str) -> Option<f64> {
    let kib = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        let kib = line.trim().strip_suffix("kB")?.trim();
        kib.parse::<f64>().ok()
    };
    Some((kib("Private_Clean:")? + kib("Private_Dirty:")?) * 1024.0)
}

#[cfg(test)]
mod test {
    use super::private;

    #[test]
    fn private_memory_is_what_is_clean_and_what_is_dirty() {
        let rollup = "55d-7ff ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\n\
                      Private_Clean:         10 kB\nPrivate_Dirty:         30 kB\n";
        assert_eq!(private(rollup), Some(40.0 * 1024.0));
        assert_eq!(private(""), None);
    }
}
