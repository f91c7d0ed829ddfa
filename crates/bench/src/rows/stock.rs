//! Making machines where started clones wait in stock.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | create with a warm pool | `POST /sandboxes` at a daemon with a clone in stock | a bare machine that waits likewise: vCPUs on, an identity, one durable write |
//!
//! A daemon of its own, for the other rows are about one without a stock.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::bench::{Bench, MEMORY_MB, memory};
use crate::daemon::Daemon;
use crate::results::Side;
use crate::sample::{timed, turn};
use crate::site;

/// Clones in stock.
const STOCK: u64 = 1;
/// How long the daemon may take to fill its stock.
const FILLED_LIMIT: Duration = Duration::from_mins(1);
/// Pause between two looks at the stock.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let data = bench.site.path("pool");
    fs_err::create_dir(&data)?;
    site::install(&bench.cache, &data)?;
    let stock = STOCK.to_string();
    // The other daemon has found out already what runs the guests.
    let accelerator = bench.accelerator().as_str();
    let serve = ["--pool", &stock, "--accelerator", accelerator];
    let daemon = Daemon::start(&bench.program, data, bench.site.home(), &serve).await?;
    // This makes the template, and is the demand by which the stock is filled.
    daemon.create("first", MEMORY_MB).await?;
    daemon.client().sandbox_destroy("first").await?;
    let meter = daemon.meter()?;
    for round in bench.plan.stock.rounds() {
        for side in turn([Side::Ours, Side::Floor], round) {
            // Before the floor too: filling it takes a processor.
            let template = filled(&daemon).await?;
            match side {
                Side::Ours => {
                    bench.settle()?;
                    let name = format!("stock-{round}");
                    let made = timed(&meter, daemon.create(&name, MEMORY_MB)).await;
                    bench
                        .samples
                        .add("create-pool", Side::Ours, made.context("bhatti")?.1);
                    daemon.client().sandbox_destroy(&name).await?;
                }
                Side::Floor | Side::Peer => floor(bench, &template).await.context("floor")?,
            }
        }
    }
    daemon.stop().await
}

async fn floor(bench: &mut Bench, template: &Path) -> anyhow::Result<()> {
    let mut machine = bench.bare.stock(template, memory(MEMORY_MB)?).await?;
    bench.settle()?;
    let take = async {
        machine.go_on().await?;
        machine.identify().await?;
        bench.bare.record().await
    };
    let ((), sample) = timed(&bench.floor, take).await?;
    bench.samples.add("create-pool", Side::Floor, sample);
    machine.destroy().await
}

/// Waits until the stock is full. Gives the directory of the template.
async fn filled(daemon: &Daemon) -> anyhow::Result<PathBuf> {
    let until = Instant::now() + FILLED_LIMIT;
    loop {
        let (template, stock) = daemon.template(MEMORY_MB).await?;
        if stock >= STOCK {
            return Ok(template);
        }
        ensure!(Instant::now() < until, "the daemon did not fill its stock");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
