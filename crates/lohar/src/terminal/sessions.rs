//! All terminals of a guest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bhatti_proto::codec::{self, MAX_MESSAGE};
use bhatti_proto::message::{Exec, RefusalKind, Reply, Variable, reply};
use bhatti_proto::terminal::{SessionList, Terminal};
use futures::io::AsyncWriteExt as _;
use yamux::Stream;

use super::pty::Pty;
use super::session::Session;
use crate::agent::Agent;
use crate::exec::child::{self, Output};
use crate::exec::plan;
use crate::exec::refusal::Refusal;
use crate::exec::users;
use crate::probe::Probe;

/// Sessions that may be there at once, those that have ended and were not looked at included.
const MAX: usize = 64;
/// Of those that have ended, so many are kept for whoever comes back to see how.
const MAX_ENDED: usize = 8;
/// Shells that are looked for where the user's own is not there.
const SHELLS: [&str; 3] = ["/bin/bash", "/bin/sh", "/bin/busybox"];
/// The terminal's kind if none is given.
const USUAL_TERM: &str = "xterm-256color";

/// The sessions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: Mutex<Vec<Arc<Session>>>,
}

impl Sessions {
    pub(crate) fn told(&self) -> SessionList {
        SessionList {
            sessions: self.all().iter().map(|session| session.told()).collect(),
        }
    }

    fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.all().iter().find(|session| session.id == id).cloned()
    }

    /// The newest that runs and that nobody is attached to.
    fn free(&self) -> Option<Arc<Session>> {
        let free = |session: &&Arc<Session>| {
            session.is_running() && !session.is_attached() && !session.is_ephemeral()
        };
        self.all().iter().rev().find(free).cloned()
    }

    fn add(&self, session: Arc<Session>) {
        self.all().push(session);
    }

    fn remove(&self, id: &str) {
        self.all().retain(|session| session.id != id);
    }

    /// Forgets the oldest of those that have ended.
    fn tidy(&self) {
        let mut all = self.all();
        let ended = all.iter().filter(|session| !session.is_running()).count();
        let mut excess = ended.saturating_sub(MAX_ENDED);
        all.retain(|session| {
            let goes = excess > 0 && !session.is_running();
            excess -= usize::from(goes);
            !goes
        });
    }

    fn is_full(&self) -> bool {
        self.all().len() >= MAX
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        // Whole after every statement, so a poisoned lock is as good.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Attaches a stream to the session that is asked for, or to a new one.
pub(crate) async fn attach(agent: &Agent, asked: Terminal, stream: Stream, probe: Probe) {
    let found = match session(agent, asked) {
        Ok(found) => found,
        Err(refusal) => {
            let mut stream = stream;
            let reply = Reply::from(refusal);
            if codec::write(&mut stream, &reply, MAX_MESSAGE).await.is_ok() {
                // Whoever asked may have lost interest.
                let _ = stream.close().await;
            }
            return;
        }
    };
    let Found { session, resumed } = found;
    session.attach(stream, resumed).await;
    if !session.is_running() {
        // Its end was told.
        agent.sessions().remove(&session.id);
    } else if session.is_ephemeral() && probe.is_up().await {
        session.kill();
    }
}

pub(crate) fn list(agent: &Agent) -> Reply {
    Reply::new(reply::Op::Sessions(agent.sessions().told()))
}

struct Found {
    session: Arc<Session>,
    resumed: bool,
}

fn session(agent: &Agent, asked: Terminal) -> Result<Found, Refusal> {
    let sessions = agent.sessions();
    sessions.tidy();
    let found = match &asked.session {
        Some(id) => {
            let none = || Refusal::invalid(format!("there is no session {id:?}"));
            Some(sessions.find(id).ok_or_else(none)?)
        }
        None if asked.new || asked.ephemeral => None,
        None => sessions.free(),
    };
    match found {
        Some(session) => Ok(Found {
            session,
            resumed: true,
        }),
        None => begin(agent, asked),
    }
}

fn begin(agent: &Agent, asked: Terminal) -> Result<Found, Refusal> {
    if agent.sessions().is_full() {
        let text = format!("{MAX} terminals are open in this guest already");
        return Err(Refusal::new(RefusalKind::Busy, text));
    }
    let mut exec = asked.exec.unwrap_or_default();
    if exec.argv.is_empty() {
        exec.argv = shell(agent, &exec)?;
    }
    let term = if asked.term.is_empty() {
        USUAL_TERM.to_owned()
    } else {
        asked.term
    };
    exec.env.insert(
        0,
        Variable {
            name: "TERM".to_owned(),
            value: term,
        },
    );
    let plan = plan::plan(agent.etc(), &agent.defaults(), &exec)?;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Refusal::new(RefusalKind::Failed, format!("cannot {what}: {error}"))
    };
    let (pty, end) =
        Pty::open(asked.size, plan.user.uid).map_err(|error| failed("make a terminal", &error))?;
    let id = getrandom::u64().map_err(|error| failed("name the session", &error))?;
    let started = child::start(&plan, Output::Terminal(&end), agent.reaper())?;
    drop(end);
    let session = Session::new(
        format!("{id:016x}"),
        plan.argv,
        started.pid,
        pty,
        asked.ephemeral,
    );
    agent.sessions().add(Arc::clone(&session));
    let (owner, running) = (agent.clone(), Arc::clone(&session));
    let place = agent.registry().detach();
    agent.spawn(async move {
        running.run(started.ended, owner.stopping()).await;
        drop(place);
    });
    Ok(Found {
        session,
        resumed: false,
    })
}

/// The user's shell as a login shell, or another that is there.
fn shell(agent: &Agent, exec: &Exec) -> Result<Vec<String>, Refusal> {
    let defaults = agent.defaults();
    let own = nix::unistd::geteuid().to_string();
    let spec = exec.user.as_deref().or(defaults.user.as_deref());
    let user = users::find(agent.etc(), spec.unwrap_or(&own))?;
    let there = |path: &&str| std::path::Path::new(path).is_file();
    let shell = std::iter::once(user.shell.as_str())
        .filter(|shell| !shell.is_empty())
        .chain(SHELLS)
        .find(there);
    match shell {
        Some("/bin/busybox") => Ok(["/bin/busybox", "sh"].map(str::to_owned).to_vec()),
        Some(shell) => Ok([shell, "-l"].map(str::to_owned).to_vec()),
        None => Err(Refusal::new(
            RefusalKind::NotFound,
            "the image has no shell; name a program with `exec -t`",
        )),
    }
}
