//! What is traced: one create, one exec by API and by CLI, one sleep, one wake, one checkpoint,
//! one list and one destroy, each for the second time, when nothing is done for the first time
//! any more.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bhatti_api::snapshot::CreateSnapshot;
use bhatti_host::files;

use super::events::{Span, parse};
use super::tree::Tree;
use crate::args::RunArgs;
use crate::bench::MEMORY_MB;
use crate::daemon::Daemon;
use crate::figures::seconds;
use crate::run::{Places, WITHOUT_STOCK};
use crate::say::{give, say};
use crate::site::{self, Site};

/// The sandbox.
const NAME: &str = "traced";
/// The command.
const TRUE: &[&str] = &["/bin/true"];
/// Time for the daemon to write a span after it has answered.
const WRITTEN: Duration = Duration::from_secs(5);
/// Pause between two looks at the file.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    ExecApi,
    ExecCli,
    List,
    Checkpoint,
    Sleep,
    Wake,
    Destroy,
}

impl Operation {
    /// In an order in which each can be done after the one before.
    const ALL: [Self; 8] = [
        Self::Create,
        Self::ExecApi,
        Self::ExecCli,
        Self::List,
        Self::Checkpoint,
        Self::Sleep,
        Self::Wake,
        Self::Destroy,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::ExecApi => "exec by API",
            Self::ExecCli => "exec by CLI",
            Self::List => "list by CLI",
            Self::Checkpoint => "checkpoint",
            Self::Sleep => "go cold",
            Self::Wake => "wake and exec by API",
            Self::Destroy => "destroy",
        }
    }

    async fn perform(self, daemon: &Daemon) -> anyhow::Result<()> {
        let client = daemon.client();
        match self {
            Self::Create => daemon.create(NAME, MEMORY_MB).await.map(drop),
            Self::ExecApi | Self::Wake => daemon.exec(NAME, TRUE).await,
            Self::ExecCli => daemon.cli(&["exec", NAME, "/bin/true"]).await,
            Self::List => daemon.cli(&["list"]).await,
            Self::Checkpoint => {
                let name = "traced".to_owned();
                let taken = client
                    .snapshot_create(NAME, &CreateSnapshot { name })
                    .await?;
                client.snapshot_delete(&taken.name).await?;
                Ok(())
            }
            Self::Sleep => Ok(client.sandbox_stop(NAME).await.map(drop)?),
            Self::Destroy => Ok(client.sandbox_destroy(NAME).await.map(drop)?),
        }
    }

    /// Whether a span without a parent is this operation's.
    fn is(self, name: &str) -> bool {
        let ends = |end: &str| name.ends_with(end);
        match self {
            Self::Create => ends("POST /sandboxes"),
            Self::ExecApi | Self::Wake => ends("/exec"),
            Self::ExecCli => ends("/exec/ws"),
            Self::List => ends("GET /sandboxes"),
            Self::Checkpoint => ends("/checkpoint"),
            Self::Sleep => ends("/stop"),
            Self::Destroy => name.contains("DELETE /sandboxes"),
        }
    }
}

/// Traces each operation and shows where its time went.
pub(crate) async fn run(_args: &RunArgs, places: &Places) -> anyhow::Result<()> {
    say("==> a daemon that writes down what it does");
    let site = Site::make(&places.parent)?;
    site::install(&places.cache, &site.data())?;
    let file = site.path("trace.json");
    let to = file.to_str().context("the path is not text")?;
    let serve = [WITHOUT_STOCK, &["--trace-file", to]].concat();
    let daemon = Daemon::start(&places.program, site.data(), site.home(), &serve).await?;
    say("    once without looking");
    for operation in Operation::ALL {
        operation.perform(&daemon).await?;
    }
    let mut page = String::new();
    for operation in Operation::ALL {
        say(&format!("==> {}", operation.as_str()));
        let from = read(&file)?.iter().map(Span::end).fold(0.0, f64::max);
        let began = Instant::now();
        operation.perform(&daemon).await?;
        let took = began.elapsed().as_secs_f64();
        let tree = written(&file, from, operation).await?;
        let inside = tree.length() / 1e6;
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "{}: {} for the client, {} of them in the daemon\n\n{}",
            operation.as_str(),
            seconds(took),
            seconds(inside),
            tree.table()
        );
    }
    daemon.stop().await?;
    give(&page)?;
    let kept = keep(&file, &places.out)?;
    say(&format!(
        "trace: {} (open it in https://ui.perfetto.dev or chrome://tracing)",
        kept.display()
    ));
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<Span>> {
    parse(&fs_err::read_to_string(file)?)
}

/// Waits until the daemon has written the operation's span, which ends after its answer.
async fn written(file: &Path, from: f64, operation: Operation) -> anyhow::Result<Tree> {
    let until = Instant::now() + WRITTEN;
    loop {
        let tree = Tree::last(&read(file)?, from, |name| operation.is(name));
        match tree {
            Some(tree) => return Ok(tree),
            None if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
            None => anyhow::bail!("the daemon wrote no span of this operation"),
        }
    }
}

/// Keeps the file beside the results; the last one is replaced.
fn keep(file: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    fs_err::create_dir_all(out)?;
    let to = out.join("trace.json");
    files::write_durable(&to, &fs_err::read(file)?)?;
    Ok(to)
}
