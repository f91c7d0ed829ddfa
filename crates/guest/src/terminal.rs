//! Terminals in a guest.

use std::time::Duration;

use bhatti_proto::codec::{self, MAX_CHUNK, MAX_MESSAGE, MessageReader};
use bhatti_proto::message::{reply, request};
use bhatti_proto::terminal::{
    Sessions as SessionsMessage, Size as SizeMessage, Terminal as TerminalMessage, TerminalInput,
};
use bytes::Bytes;

use crate::error::{CallError, printable};
use crate::exec::{Command, ExitStatus, exit_status};
use crate::link::{Link, START_LIMIT, answer, exec_message, within, wrong_answer};
use crate::stream::Stream;

/// Most sessions taken over from a guest's list, and most words of each one's command.
const MAX_LISTED: usize = 256;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// Which session is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest that runs and that nobody is attached to, else a new one.
    Free,
    /// A new one.
    New,
    /// The one of this name.
    Session(String),
    /// A new one that ends when its [`Terminal`] is dropped, as a command does.
    Ephemeral,
}

/// A terminal to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTerminal {
    /// Which one.
    pub wanted: Wanted,
    /// What runs in a new one; the user's shell if it has no arguments. Its time limit and `stdin`
    /// mean nothing.
    pub command: Command,
    /// How large it is.
    pub size: Option<Size>,
    /// Its kind, for the variable `TERM`.
    pub term: Option<String>,
}

/// An attached terminal. Dropping [`TerminalOutput`] detaches; the session goes on.
#[derive(Debug)]
pub struct Terminal {
    /// The session's name in the guest.
    pub session: String,
    /// It was there before.
    pub resumed: bool,
    /// Keys and sizes.
    pub input: TerminalKeys,
    /// What it shows.
    pub output: TerminalOutput,
}

/// The way in of a terminal.
#[derive(Debug)]
pub struct TerminalKeys(Stream);

/// The way out of a terminal.
#[derive(Debug)]
pub struct TerminalOutput {
    stream: Stream,
    replies: MessageReader<Stream>,
}

/// What a terminal does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalEvent {
    /// It shows this.
    Output(Bytes),
    /// Its program has ended. Nothing follows.
    Exit(ExitStatus),
    /// Somebody else has attached to it. Nothing follows.
    TakenOver,
}

/// A session, by the guest's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name in the guest.
    pub id: String,
    /// Program and arguments, each one printable line.
    pub argv: Vec<String>,
    /// Process id of its program.
    pub pid: u32,
    /// Somebody is attached.
    pub attached: bool,
    /// When it began, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// How its program ended, once it has.
    pub exit: Option<ExitStatus>,
}

impl TerminalKeys {
    /// Passes keys on; waits while the program does not read. Not cancel-safe.
    pub async fn keys(&mut self, bytes: Bytes) -> Result<(), CallError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(MAX_CHUNK));
            self.send(&TerminalInput::data(chunk)).await?;
        }
        Ok(())
    }

    /// Says that the terminal has another size. Not cancel-safe.
    pub async fn resize(&mut self, size: Size) -> Result<(), CallError> {
        self.send(&TerminalInput::size(size_message(size))).await
    }

    async fn send(&mut self, input: &TerminalInput) -> Result<(), CallError> {
        let written = codec::write(&mut self.0, input, MAX_MESSAGE).await;
        if written.is_ok() {
            return Ok(());
        }
        // The program's end may have closed the stream; the output's side has the reason.
        match self.0.link().stream_failed("took no keys").await {
            CallError::Protocol { .. } => Ok(()),
            error => Err(error),
        }
    }
}

impl TerminalOutput {
    /// What it does next. Cancel-safe. Nothing follows an end or an error.
    pub async fn next(&mut self) -> Result<TerminalEvent, CallError> {
        match answer(self.stream.link(), &mut self.replies).await? {
            reply::Op::Stdout(bytes) => Ok(TerminalEvent::Output(bytes)),
            reply::Op::Exited(exited) => Ok(TerminalEvent::Exit(exit_status(exited)?)),
            reply::Op::TakenOver(_) => Ok(TerminalEvent::TakenOver),
            other => Err(wrong_answer(other)),
        }
    }
}

impl Drop for TerminalOutput {
    fn drop(&mut self) {
        // The way in may live on elsewhere and hold the stream.
        self.stream.reset();
    }
}

impl Link {
    /// Attaches to a terminal.
    pub async fn terminal(&self, new: &NewTerminal) -> Result<Terminal, CallError> {
        within("open a terminal", START_LIMIT, self.attach(new)).await
    }

    async fn attach(&self, new: &NewTerminal) -> Result<Terminal, CallError> {
        let message = TerminalMessage {
            exec: Some(exec_message(&new.command)),
            session: match &new.wanted {
                Wanted::Session(id) => Some(id.clone()),
                Wanted::Free | Wanted::New | Wanted::Ephemeral => None,
            },
            new: new.wanted == Wanted::New,
            size: new.size.map(size_message),
            term: new.term.clone().unwrap_or_default(),
            ephemeral: new.wanted == Wanted::Ephemeral,
        };
        let stream = self.request(request::Op::Terminal(message)).await?;
        let mut replies = MessageReader::new(stream.clone(), MAX_MESSAGE);
        match answer(stream.link(), &mut replies).await? {
            reply::Op::Attached(attached) => Ok(Terminal {
                session: printable(&attached.session),
                resumed: attached.resumed,
                input: TerminalKeys(stream.clone()),
                output: TerminalOutput { stream, replies },
            }),
            other => Err(wrong_answer(other)),
        }
    }

    /// The guest's sessions, oldest first.
    pub async fn sessions(&self, limit: Duration) -> Result<Vec<SessionInfo>, CallError> {
        let op = request::Op::Sessions(SessionsMessage {});
        let list = match within("list its terminals", limit, self.ask(op)).await? {
            reply::Op::Sessions(list) => list.sessions,
            other => return Err(wrong_answer(other)),
        };
        let info = |session: bhatti_proto::terminal::Session| SessionInfo {
            id: printable(&session.id),
            argv: session
                .argv
                .iter()
                .take(MAX_LISTED)
                .map(|word| printable(word))
                .collect(),
            pid: session.pid,
            attached: session.attached,
            created_unix_ms: session.created_unix_ms,
            exit: session.exit.and_then(|exit| exit_status(exit).ok()),
        };
        Ok(list.into_iter().take(MAX_LISTED).map(info).collect())
    }
}

fn size_message(size: Size) -> SizeMessage {
    SizeMessage {
        rows: size.rows.into(),
        cols: size.cols.into(),
    }
}
