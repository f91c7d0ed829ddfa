//! Lists, and the daemon's memory, with few and with many sandboxes.
//!
//! | row | ours | floor |
//! |---|---|---|
//! | list by API | `GET /sandboxes` | a round trip with an answer of the same length |
//! | list by CLI | `bhatti list` | the same of a list of lines, reading that as JSON and making text of it, and the start of a program that does nothing |
//! | daemon memory | private memory of the daemon | none |
//!
//! The sandboxes are off, and were never made: they are put into the database before the daemon
//! starts, which is what it finds after a restart of the host.

use std::path::Path;

use anyhow::Context as _;
use bhatti_client::lines::SandboxLines;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::store::Store;
use bhatti_store::user::local_id;
use bhatti_types::env::Env;
use bhatti_types::id::SandboxId;
use bhatti_types::idle::IdleSettings;
use bhatti_types::labels::Labels;
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
use bhatti_types::state::{Status, Thermal};
use jiff::Timestamp;

use super::exec::program;
use crate::bare::round_trip;
use crate::bench::Bench;
use crate::catalogue::{HELD, LISTED};
use crate::daemon::Daemon;
use crate::private::own_memory;
use crate::results::Side;
use crate::sample::{Sample, timed, turn};

/// Length of the head of an HTTP answer, in bytes.
const HEAD: usize = 200;

#[derive(Debug, Clone, Copy)]
enum Part {
    Api,
    Cli,
    Floor,
}

pub(crate) async fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let mut counts: Vec<usize> = HELD.iter().chain(&LISTED).copied().collect();
    counts.sort_unstable();
    counts.dedup();
    for count in counts {
        let daemon = with_sandboxes(bench, count)
            .await
            .with_context(|| format!("a daemon with {count} sandboxes"))?;
        one_count(bench, &daemon, count).await?;
        daemon.stop().await?;
    }
    Ok(())
}

/// A daemon of its own that has this many sandboxes.
async fn with_sandboxes(bench: &Bench, count: usize) -> anyhow::Result<Daemon> {
    let data = bench.site.path(&format!("list-{count}"));
    fs_err::create_dir(&data)?;
    seed(&data.join("state.db"), count)?;
    // No guest is booted here, and without a kit none is to find the accelerator.
    let args = ["--accelerator", "tcg"];
    Daemon::start(&bench.program, data, bench.site.home(), &args).await
}

fn seed(database: &Path, count: usize) -> anyhow::Result<()> {
    let store = Store::open(database)?;
    let rows: Vec<_> = (0..count).map(row).collect::<Result<_, _>>()?;
    store.write(|txn| {
        rows.iter()
            .try_for_each(|row| txn.sandbox_insert(row, u32::MAX))
    })?;
    Ok(())
}

fn row(number: usize) -> anyhow::Result<SandboxRow> {
    let (status, thermal) = (Status::Stopped, Thermal::Off);
    Ok(SandboxRow {
        id: SandboxId::random(),
        user: local_id(),
        name: format!("listed-{number}").parse()?,
        status,
        thermal,
        reason: None,
        image: "base".parse()?,
        cpus: Vcpus::default(),
        memory: MemoryMb::default(),
        disk: DiskMb::default(),
        env: Env::default(),
        labels: Labels::default(),
        run_as: Some("lohar".to_owned()),
        workdir: Some("/workspace".to_owned()),
        kit: "0123456789abcdef".to_owned(),
        engine: "qemu".to_owned(),
        accelerator: Some("tcg".to_owned()),
        resumed_from: None,
        machine: None,
        created_at: Timestamp::now(),
        stopped_at: Some(Timestamp::now()),
        idle: IdleSettings::default(),
        used_at: None,
        wake_at: None,
        parent: None,
        init: bhatti_types::run::Init::default(),
        run: None,
        address: None,
        egress: bhatti_types::egress::Egress::default(),
    })
}

async fn one_count(bench: &mut Bench, daemon: &Daemon, count: usize) -> anyhow::Result<()> {
    let client = daemon.client();
    let listed = client.sandbox_list(&[]).await?;
    anyhow::ensure!(
        listed.len() == count,
        "the daemon lists {} of {count} sandboxes",
        listed.len()
    );
    let length = serde_json::to_vec(&listed)?.len() + HEAD;
    // What the command line asks for.
    let answer = client.sandbox_lines(&[]).await?;
    let lines = answer.bytes() + HEAD;
    let meter = daemon.meter()?;
    if LISTED.contains(&count) {
        daemon.cli(&["list"]).await?;
        let (by_api, by_cli) = (format!("list-api-{count}"), format!("list-cli-{count}"));
        for round in bench.plan.list.rounds() {
            for part in turn([Part::Api, Part::Cli, Part::Floor], round) {
                match part {
                    Part::Api => {
                        let (_, sample) = timed(&meter, client.sandbox_list(&[])).await?;
                        bench.samples.add(&by_api, Side::Ours, sample);
                    }
                    Part::Cli => {
                        let run = daemon.cli(&["list"]);
                        let ((), sample) = timed(&meter.and_programs(), run).await?;
                        bench.samples.add(&by_cli, Side::Ours, sample);
                    }
                    Part::Floor => {
                        let asked = round_trip::ask(bench.answerer.socket(), length);
                        let ((), trip) = timed(&bench.floor, asked).await?;
                        bench.samples.add(&by_api, Side::Floor, trip);
                        let asked = round_trip::ask(bench.answerer.socket(), lines);
                        let ((), trip) = timed(&bench.floor, asked).await?;
                        let (_, read) = timed(&bench.floor, async { text(&answer) }).await?;
                        let program = program(daemon, &bench.floor).await?;
                        bench
                            .samples
                            .add(&by_cli, Side::Floor, trip + read + program);
                    }
                }
            }
        }
    }
    if HELD.contains(&count) {
        let row = format!("daemon-memory-{count}");
        let memory = Sample::bare(own_memory(daemon.pid()?)?);
        bench.samples.add(&row, Side::Ours, memory);
    }
    Ok(())
}

/// What whoever shows such an answer has to do: read it as JSON, and make lines of it.
fn text(answer: &SandboxLines) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in answer.read()? {
        for cell in [&*line.name, &*line.status, &*line.thermal] {
            text.push_str(cell);
            text.push(' ');
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod test {
    use bhatti_store::store::Store;

    use super::seed;

    #[test]
    fn seeded_sandboxes_are_off_and_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        seed(&path, 3).unwrap();
        let rows = Store::open(&path).unwrap().sandbox_list().unwrap();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.machine.is_none()));
    }
}
