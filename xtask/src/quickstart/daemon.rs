//! Sees to it that a daemon of the program just built runs on the data directory.
//!
//! Machines live on while a daemon is replaced: the next one adopts them.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::process::{Pid, Signal};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::program::Bhatti;
use crate::run;

/// How long a daemon may take to answer after its start. The first start on a host tries whether
/// KVM works, by booting a small guest.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a daemon may take to end: it lets its requests finish.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How often a condition outside of this process is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How much of the log is shown when the daemon does not start, in bytes.
const LOG_SHOWN: u64 = 3000;

/// A daemon that answers.
pub(super) struct Daemon {
    /// Its process.
    pub(super) pid: i32,
}

/// What to do about the daemon that is, or is not, there.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Start,
    Reuse(&'static str),
    Restart(&'static str),
}

/// Starts the daemon, or goes on with one that is running.
pub(super) async fn ensure(bhatti: &Bhatti) -> anyhow::Result<Daemon> {
    let began = run::step("daemon");
    let running = listener(&bhatti.socket()).await;
    let decision = match running {
        None => Decision::Start,
        Some(pid) => {
            let exe = fs_err::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            decide(&exe, &bhatti.program, answers(bhatti).await)
        }
    };
    match decision {
        Decision::Start => start(bhatti).await?,
        Decision::Reuse(why) => run::say(&format!("    {why}")),
        Decision::Restart(why) => {
            run::say(&format!("    {why}: starting it anew; its machines go on"));
            stop(running.context("a daemon that is restarted is running")?).await?;
            start(bhatti).await?;
        }
    }
    let pid = wait_until_answering(bhatti).await?;
    run::done(began, &format!("answers, pid {pid}"));
    Ok(Daemon { pid })
}

/// `exe` is what `/proc/PID/exe` says: a program that was built again has ` (deleted)` behind its
/// path, because cargo replaces the file.
fn decide(exe: &Path, program: &Path, answers: bool) -> Decision {
    let deleted = format!("{} (deleted)", program.display());
    if exe.as_os_str() == deleted.as_str() {
        Decision::Restart("the daemon is of an earlier build")
    } else if !answers {
        Decision::Restart("the daemon does not answer")
    } else if exe == program {
        Decision::Reuse("running already")
    } else {
        Decision::Reuse(
            "a daemon of another program is running on this data directory; used as it is",
        )
    }
}

/// The process that listens on the socket, if there is one.
async fn listener(socket: &Path) -> Option<i32> {
    UnixStream::connect(socket)
        .await
        .ok()?
        .peer_cred()
        .ok()?
        .pid()
}

async fn answers(bhatti: &Bhatti) -> bool {
    bhatti
        .ask(&["version"])
        .await
        .is_ok_and(|versions| !versions["server"].is_null())
}

async fn stop(pid: i32) -> anyhow::Result<()> {
    let process = Pid::from_raw(pid).context("the daemon has no process id")?;
    // Gone already is as good.
    if rustix::process::kill_process(process, Signal::TERM).is_err() {
        return Ok(());
    }
    let deadline = Instant::now() + STOP_LIMIT;
    while Path::new("/proc").join(pid.to_string()).exists() {
        if Instant::now() > deadline {
            bail!("the daemon (pid {pid}) did not end in {STOP_LIMIT:?}");
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Starts the daemon in a session of its own, so that it outlives this terminal.
async fn start(bhatti: &Bhatti) -> anyhow::Result<()> {
    let log = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(bhatti.log())?
        .into_parts()
        .0;
    let mut command = run::tool("setsid", Path::new("/"));
    command
        .arg(&bhatti.program)
        .arg("--data-dir")
        .arg(&bhatti.data_dir)
        .arg("serve");
    if let Some(address) = taken_address(bhatti).await? {
        run::say(&format!(
            "    {address} is taken by another program; the daemon will listen on its socket only"
        ));
        command.args(["--listen", ""]);
    }
    let errors = log
        .try_clone()
        .context("failed to open the daemon's log twice")?;
    command.stdout(log).stderr(errors).kill_on_drop(false);
    // Not waited for: it goes on when this has ended, and its socket tells how it is doing.
    command.spawn().context("failed to start the daemon")?;
    Ok(())
}

/// The configured TCP address of the API, if something else listens there.
async fn taken_address(bhatti: &Bhatti) -> anyhow::Result<Option<String>> {
    let config = bhatti.config().await?;
    let address = config["listen"]["value"].as_str().unwrap_or_default();
    if address.is_empty() || TcpListener::bind(address).is_ok() {
        return Ok(None);
    }
    Ok(Some(address.to_owned()))
}

async fn wait_until_answering(bhatti: &Bhatti) -> anyhow::Result<i32> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(pid) = listener(&bhatti.socket()).await
            && answers(bhatti).await
        {
            return Ok(pid);
        }
        if Instant::now() > deadline {
            let log = log_end(&bhatti.log()).unwrap_or_default();
            bail!("the daemon did not answer in {START_LIMIT:?}; its log ends with:\n{log}");
        }
        sleep(LOOK).await;
    }
}

fn log_end(path: &Path) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_SHOWN)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{Decision, decide};

    #[test]
    fn a_daemon_is_replaced_only_by_a_newer_build_of_itself_or_if_it_hangs() {
        let decide = |exe: &str, answers| decide(Path::new(exe), Path::new("/t/bhatti"), answers);
        assert!(matches!(decide("/t/bhatti", true), Decision::Reuse(_)));
        assert!(matches!(
            decide("/t/bhatti (deleted)", true),
            Decision::Restart(_)
        ));
        assert!(matches!(decide("/t/bhatti", false), Decision::Restart(_)));
        assert!(matches!(
            decide("/usr/bin/bhatti", true),
            Decision::Reuse(_)
        ));
    }
}
