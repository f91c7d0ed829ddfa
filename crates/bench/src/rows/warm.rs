//! Waking machines whose vCPUs are paused.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | warm wake to first answer | `/bin/true` by the API in a paused sandbox | vCPUs on, the clock set, `/bin/true` over the link |

use anyhow::Context as _;

use crate::bench::{Bench, WORK};
use crate::results::Side;
use crate::sample::{timed, turn};

/// The command.
const TRUE: &[&str] = &["/bin/true"];

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let client = bench.daemon.client();
    for round in bench.plan.warm.rounds() {
        for side in turn([Side::Ours, Side::Floor], round) {
            match side {
                Side::Ours => {
                    let paused = client.sandbox_pause(WORK).await?;
                    anyhow::ensure!(paused.thermal == "warm", "it is {}", paused.thermal);
                    let answer = timed(&bench.ours, bench.daemon.exec(WORK, TRUE)).await;
                    let sample = answer.context("bhatti")?.1;
                    bench.samples.add("wake-warm", Side::Ours, sample);
                }
                Side::Floor | Side::Peer => floor(bench).await.context("floor")?,
            }
        }
    }
    Ok(())
}

async fn floor(bench: &mut Bench) -> anyhow::Result<()> {
    bench.work.pause().await?;
    let work = &mut bench.work;
    let wake = async {
        work.go_on().await?;
        work.set_clock().await?;
        work.exec(TRUE).await
    };
    let ((), woken) = timed(&bench.floor, wake).await?;
    bench.samples.add("wake-warm", Side::Floor, woken);
    Ok(())
}
