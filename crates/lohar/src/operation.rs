//! One stream, one operation.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bhatti_proto::codec::{self, MAX_MESSAGE, MAX_REQUEST, MessageReader};
use bhatti_proto::message::{
    Detach, Detached, Exec, FreezeVolume, Identity, RefusalKind, Reply, Request, VolumeAt, reply,
    request,
};
use bhatti_proto::service::Settled;
use futures::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout};
use yamux::Stream;

use crate::agent::Agent;
use crate::dial;
use crate::exec::attached::{self, Attached, Outputs};
use crate::exec::child::{self, FileMode, Output};
use crate::exec::refusal::Refusal;
use crate::exec::registry::MAX_ATTACHED;
use crate::exec::{detached, plan, stdin};
use crate::ports;
use crate::probe::Probe;
use crate::service::logs;
use crate::system::{System, SystemError};
use crate::terminal::sessions;

/// How long a stream may be open without having said what it is for.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long looking for timers may take, waiting for another that looks included. It bounds
/// itself below this, except where a disk hangs.
const TIMERS_LIMIT: Duration = Duration::from_secs(5);

/// Longest that a volume stands still.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);
/// The longest that the system is waited for to come up, whatever the daemon asks.
const MAX_SETTLE: Duration = Duration::from_mins(30);

/// Serves a stream that the daemon has opened, in a task of its own.
pub(crate) fn start(agent: &Agent, stream: Stream, probe: Probe) {
    agent.spawn(serve(agent.clone(), stream, probe));
}

async fn serve(agent: Agent, stream: Stream, probe: Probe) {
    let mut reader = MessageReader::new(stream, MAX_REQUEST);
    let Ok(Ok(Some(request))) = timeout(REQUEST_LIMIT, reader.next::<Request>()).await else {
        // Nothing that could be answered; dropping the stream resets it.
        return;
    };
    let (stream, rest) = reader.into_parts();
    match request.op {
        Some(request::Op::Exec(exec)) => match &exec.detach {
            Some(detach) => answer(stream, detach_exec(&agent, &exec, detach)).await,
            None => attach_exec(&agent, exec, stream, probe).await,
        },
        Some(request::Op::Stdin(op)) => {
            stdin::carry(agent.registry(), op.exec, stream, &rest, &probe).await;
        }
        Some(request::Op::Identity(identity)) => {
            answer(stream, identify(&agent, identity).await).await;
        }
        Some(request::Op::Sync(_)) => answer(stream, sync(&agent).await).await,
        Some(request::Op::PowerOff(_)) => {
            answer(stream, Reply::done()).await;
            // The answer has left for the daemon, as far as the port took it.
            probe.is_up().await;
            agent.system().power_off();
        }
        Some(request::Op::Clock(clock)) => {
            answer(stream, set_clock(&agent, clock.unix_nanos)).await;
        }
        Some(request::Op::Ping(_)) => answer(stream, Reply::done()).await,
        Some(request::Op::Status(_)) => {
            answer(
                stream,
                Reply::new(reply::Op::Status(agent.status(probe.streams()))),
            )
            .await;
        }
        Some(request::Op::NextTimer(_)) => answer(stream, next_timer(&agent).await).await,
        Some(request::Op::MountVolume(volume)) => {
            let reply = effect(&agent, move |system| system.mount_volume(&volume)).await;
            answer(stream, reply).await;
        }
        Some(request::Op::UnmountVolume(volume)) => {
            let reply = effect(&agent, move |system| system.unmount_volume(&volume)).await;
            answer(stream, reply).await;
        }
        Some(request::Op::GrowVolume(volume)) => {
            let reply = effect(&agent, move |system| system.grow_volume(&volume)).await;
            answer(stream, reply).await;
        }
        Some(request::Op::FreezeVolume(freeze)) => {
            answer(stream, freeze_volume(&agent, freeze).await).await;
        }
        Some(request::Op::ServiceStatus(_)) => {
            let status = agent.supervisor().status();
            answer(stream, Reply::new(reply::Op::ServiceStatus(status))).await;
        }
        Some(request::Op::Logs(asked)) => {
            let log = agent.supervisor().log().cloned();
            logs::give(log, asked, stream, agent.stopping()).await;
        }
        Some(request::Op::Settle(asked)) => {
            answer(stream, settle(&agent, asked.limit_ms).await).await;
        }
        Some(request::Op::Terminal(asked)) => {
            sessions::attach(&agent, asked, stream, probe).await;
        }
        Some(request::Op::Freeze(op)) => {
            let limit = Duration::from_millis(op.limit_ms);
            answer(stream, agent.freezer().freeze(agent.system(), limit).await).await;
        }
        Some(request::Op::Thaw(_)) => answer(stream, agent.freezer().thaw().await).await,
        Some(request::Op::Sessions(_)) => answer(stream, sessions::list(&agent)).await,
        Some(request::Op::Dial(to)) => dial::carry(to.port, stream, &rest).await,
        Some(request::Op::Ports(_)) => answer(stream, ports().await).await,
        None => {
            let text = "the guest's agent does not know this operation";
            answer(stream, Reply::refused(RefusalKind::Unsupported, text)).await;
        }
    }
}

/// Sends the one answer of a stream. Whoever asked may have lost interest.
async fn answer(mut stream: Stream, reply: Reply) {
    if codec::write(&mut stream, &reply, MAX_MESSAGE).await.is_ok() {
        let _ = stream.close().await;
    }
}

async fn identify(agent: &Agent, identity: Identity) -> Reply {
    match agent.take_identity(identity).await {
        Ok(()) => Reply::done(),
        Err(error) => Reply::refused(RefusalKind::Failed, format!("{error}: {}", error.source)),
    }
}

fn set_clock(agent: &Agent, unix_nanos: u64) -> Reply {
    match agent.system().set_clock(unix_nanos) {
        Ok(()) => Reply::done(),
        Err(error) => Reply::refused(RefusalKind::Failed, format!("{error}: {}", error.source)),
    }
}

async fn sync(agent: &Agent) -> Reply {
    let system = Arc::clone(agent.system());
    match tokio::task::spawn_blocking(move || system.sync()).await {
        Ok(()) => Reply::done(),
        Err(error) => Reply::refused(RefusalKind::Failed, format!("failed to sync: {error}")),
    }
}

/// Has something done that blocks.
async fn effect(
    agent: &Agent,
    work: impl FnOnce(&dyn System) -> Result<(), SystemError> + Send + 'static,
) -> Reply {
    let system = Arc::clone(agent.system());
    match tokio::task::spawn_blocking(move || work(&*system)).await {
        Ok(Ok(())) => Reply::done(),
        Ok(Err(error)) => {
            let kind = match error.source.kind() {
                ErrorKind::ResourceBusy => RefusalKind::Busy,
                ErrorKind::InvalidInput => RefusalKind::Invalid,
                _ => RefusalKind::Failed,
            };
            Reply::refused(kind, format!("{error}: {}", error.source))
        }
        Err(error) => Reply::refused(RefusalKind::Failed, format!("it was cut off: {error}")),
    }
}

/// Has a volume stand still, for a time at most: a daemon may go away meanwhile, and a copy of
/// this guest has none that knows.
async fn freeze_volume(agent: &Agent, freeze: FreezeVolume) -> Reply {
    let volume = freeze.volume.unwrap_or_default();
    if freeze.limit_ms == 0 {
        return effect(agent, move |system| system.thaw_volume(&volume)).await;
    }
    let limit = Duration::from_millis(freeze.limit_ms).min(FREEZE_LIMIT);
    let frozen: VolumeAt = volume.clone();
    let reply = effect(agent, move |system| system.freeze_volume(&frozen)).await;
    if matches!(reply.op, Some(reply::Op::Done(_))) {
        let later = agent.clone();
        agent.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(limit) => {}
                () = later.stopping().cancelled() => {}
            }
            // It goes on already, as it should.
            let _ = effect(&later, move |system| system.thaw_volume(&volume)).await;
        });
    }
    reply
}

async fn settle(agent: &Agent, limit_ms: u64) -> Reply {
    let system = Arc::clone(agent.system());
    let limit = Duration::from_millis(limit_ms).min(MAX_SETTLE);
    let settling = tokio::task::spawn_blocking(move || system.settle(limit));
    tokio::select! {
        settled = settling => match settled {
            Ok(state) => Reply::new(reply::Op::Settled(Settled { state })),
            Err(error) => {
                let text = format!("failed to wait for the system: {error}");
                Reply::refused(RefusalKind::Failed, text)
            }
        },
        () = agent.stopping().cancelled() => {
            Reply::refused(RefusalKind::Failed, "the agent stops")
        }
    }
}

async fn ports() -> Reply {
    let found = tokio::task::spawn_blocking(|| ports::listening(Path::new("/proc/net")));
    match found.await.map_err(std::io::Error::other).flatten() {
        Ok(found) => Reply::new(reply::Op::Ports(found)),
        Err(error) => {
            let text = format!("failed to look for ports: {error}");
            Reply::refused(RefusalKind::Failed, text)
        }
    }
}

async fn next_timer(agent: &Agent) -> Reply {
    match timeout(TIMERS_LIMIT, agent.next_timer()).await {
        Ok(Ok(next)) => Reply::new(reply::Op::NextTimer(next)),
        Ok(Err(error)) => {
            let text = format!("failed to look for timers: {error}");
            Reply::refused(RefusalKind::Failed, text)
        }
        Err(_elapsed) => {
            let text = format!("looking for timers took more than {TIMERS_LIMIT:?}");
            Reply::refused(RefusalKind::Failed, text)
        }
    }
}

async fn attach_exec(agent: &Agent, exec: Exec, stream: Stream, probe: Probe) {
    match start_attached(agent, &exec) {
        Ok(attached) => attached::run(attached, stream, probe).await,
        Err(refusal) => answer(stream, refusal.into()).await,
    }
}

fn start_attached(agent: &Agent, exec: &Exec) -> Result<Attached, Refusal> {
    let plan = plan::plan(agent.etc(), &agent.defaults(), exec)?;
    let place = agent.registry().attach().ok_or_else(|| {
        Refusal::new(
            RefusalKind::Busy,
            format!("{MAX_ATTACHED} commands run in this guest already"),
        )
    })?;
    let started = child::start(&plan, Output::Pipes, agent.reaper())?;
    // The pipes are ours and fresh: what fails here is a lack of descriptors or memory. The
    // command is then without its pipes, and is ended.
    let wired = Outputs::new(started.stdout, started.stderr).and_then(|outputs| {
        if let Some(pipe) = started.stdin {
            let pipe = pipe::Sender::from_owned_fd(pipe.into())?;
            agent.registry().keep_stdin(place.id(), pipe);
        }
        Ok(outputs)
    });
    let outputs = wired.map_err(|error| {
        crate::exec::kill::session(started.pid);
        Refusal::new(
            RefusalKind::Failed,
            format!("cannot take the command's output: {error}"),
        )
    })?;
    Ok(Attached {
        pid: started.pid,
        outputs,
        ended: started.ended,
        // A limit beyond the end of time is none.
        deadline: limit(exec).and_then(|limit| Instant::now().checked_add(limit)),
        place,
        stop: agent.stopping().clone(),
    })
}

fn detach_exec(agent: &Agent, exec: &Exec, detach: &Detach) -> Reply {
    match start_detached(agent, exec, detach) {
        Ok(detached) => Reply::new(reply::Op::Detached(detached)),
        Err(refusal) => refusal.into(),
    }
}

fn start_detached(agent: &Agent, exec: &Exec, detach: &Detach) -> Result<Detached, Refusal> {
    let mut plan = plan::plan(agent.etc(), &agent.defaults(), exec)?;
    plan.stdin = false;
    let (path, how) = match detach.output_file.as_deref() {
        // Seen from the command's directory.
        Some(file) if !file.is_empty() => (plan.cwd.join(file), FileMode::Overwrite),
        _ => {
            let file = detached::output_file().map_err(|error| {
                Refusal::new(
                    RefusalKind::Failed,
                    format!("cannot name an output file: {error}"),
                )
            })?;
            (file, FileMode::New)
        }
    };
    let output = Output::File {
        path: Path::new(&path),
        how,
    };
    let started = child::start(&plan, output, agent.reaper())?;
    agent.spawn(detached::watch(
        started.pid,
        started.ended,
        limit(exec),
        agent.stopping().clone(),
        agent.registry().detach(),
    ));
    Ok(Detached {
        pid: started.pid,
        output_file: path.to_string_lossy().into_owned(),
    })
}

fn limit(exec: &Exec) -> Option<Duration> {
    exec.timeout_ms.map(Duration::from_millis)
}
