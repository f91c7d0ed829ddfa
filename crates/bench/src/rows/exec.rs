//! Commands.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | exec by API | `POST /sandboxes/{id}/exec` | a round trip, and the command over a bare link |
//! | exec by CLI | `bhatti exec` | that, and the start of a program that does nothing |
//! | exec by the bare link | the command over a bare link | `posix_spawn` inside the guest |
//! | 20 at once | 20 requests | 20 commands over one bare link |
//!
//! The parts of a floor are measured in the same round and added up.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;

use crate::bare::machine;
use crate::bare::round_trip;
use crate::bench::{Bench, WORK};
use crate::daemon::{self, Daemon};
use crate::guest::{Running, SPAWN};
use crate::processor::Meter;
use crate::results::Side;
use crate::sample::{Sample, timed, turn};

/// The command: the least that a process can do.
const TRUE: &[&str] = &["/bin/true"];
/// Commands at once.
const AT_ONCE: usize = 20;
/// Length of the answer to an exec, in bytes, with its head.
const ANSWER: usize = 250;

#[derive(Debug, Clone, Copy)]
enum Part {
    Api,
    Cli,
    Floor,
}

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let mut spawner = Running::bare(&bench.work, SPAWN, &[]).await?;
    spawner.says("ready").await?;
    // Code that has not run yet is slow under software emulation.
    for _ in 0..3 {
        bench.daemon.exec(WORK, TRUE).await?;
        bench.daemon.cli(&["exec", WORK, "/bin/true"]).await?;
        bench.work.exec(TRUE).await?;
        spawner.ask().await?;
    }
    for round in bench.plan.exec.rounds() {
        for part in turn([Part::Api, Part::Cli, Part::Floor], round) {
            one(bench, part, &mut spawner).await?;
        }
    }
    drop(spawner);
    for round in bench.plan.parallel.rounds() {
        for side in turn([Side::Ours, Side::Floor], round) {
            at_once(bench, side).await?;
        }
    }
    Ok(())
}

async fn one(bench: &mut Bench, part: Part, spawner: &mut Running) -> anyhow::Result<()> {
    match part {
        Part::Api => {
            let ((), sample) = timed(&bench.ours, bench.daemon.exec(WORK, TRUE)).await?;
            bench.samples.add("exec-api", Side::Ours, sample);
        }
        Part::Cli => {
            let meter = bench.ours.and_programs();
            let run = bench.daemon.cli(&["exec", WORK, "/bin/true"]);
            let ((), sample) = timed(&meter, run).await?;
            bench.samples.add("exec-cli", Side::Ours, sample);
        }
        Part::Floor => {
            let meter = &bench.floor;
            let ((), command) = timed(meter, bench.work.exec(TRUE)).await?;
            let asked = round_trip::ask(bench.answerer.socket(), ANSWER);
            let ((), trip) = timed(meter, asked).await?;
            let program = program(&bench.daemon, meter).await?;
            let spawned: u64 = spawner.ask().await?.trim().parse().context("spawn.py")?;
            let spawned = Duration::from_nanos(spawned).as_secs_f64();
            let samples = &mut bench.samples;
            samples.add("exec-api", Side::Floor, command + trip);
            samples.add("exec-cli", Side::Floor, command + trip + program);
            samples.add("exec-agent", Side::Ours, command);
            samples.add("exec-agent", Side::Floor, Sample::bare(spawned));
            samples.add("bare-round-trip", Side::Floor, trip);
            samples.add("bare-program", Side::Floor, program);
        }
    }
    Ok(())
}

/// The start and end of the program, with nothing in between.
pub(super) async fn program(daemon: &Daemon, meter: &Meter) -> anyhow::Result<Sample> {
    let ((), sample) = timed(meter, daemon.cli(&["--version"])).await?;
    Ok(sample)
}

async fn at_once(bench: &mut Bench, side: Side) -> anyhow::Result<()> {
    let sample = match side {
        Side::Ours => {
            let client = bench.daemon.client();
            let all = (0..AT_ONCE).map(|_| daemon::exec(&client, WORK, TRUE));
            timed(&bench.ours, try_join_all(all)).await?.1
        }
        Side::Floor | Side::Peer => {
            let link = bench.work.link();
            let all = (0..AT_ONCE).map(|_| machine::exec(&link, TRUE));
            timed(&bench.floor, try_join_all(all)).await?.1
        }
    };
    bench.samples.add("exec-20-one", side, sample);
    Ok(())
}
