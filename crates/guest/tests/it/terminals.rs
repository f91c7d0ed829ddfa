//! Terminals: what a person at one relies on.

use bhatti_guest::exec::ExitStatus;
use bhatti_guest::link::{CallError, Link};
use bhatti_guest::terminal::{NewTerminal, Size, Terminal, TerminalEvent, Wanted};
use bytes::Bytes;
use tokio::time::timeout;

use crate::fixture::{Guest, SOON, greeting, serve, shell};

fn script(wanted: Wanted, text: &str) -> NewTerminal {
    NewTerminal {
        wanted,
        command: shell(text),
        size: Some(Size { rows: 30, cols: 99 }),
        term: Some("vt100".to_owned()),
    }
}

/// Reads until `text` was shown.
async fn shown(terminal: &mut Terminal, text: &str) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(text) {
            match terminal.output.next().await.unwrap() {
                TerminalEvent::Output(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} after {seen:?}"),
            }
        }
    };
    let found = timeout(SOON, reading).await;
    assert!(found.is_ok(), "{text:?} is not in {seen:?}");
    seen
}

/// Reads to the end.
async fn rest(terminal: &mut Terminal) -> (String, TerminalEvent) {
    let mut seen = String::new();
    loop {
        match timeout(SOON, terminal.output.next())
            .await
            .unwrap()
            .unwrap()
        {
            TerminalEvent::Output(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            end => return (seen, end),
        }
    }
}

async fn keys(terminal: &mut Terminal, text: &'static str) {
    let bytes = Bytes::from_static(text.as_bytes());
    terminal.input.keys(bytes).await.unwrap();
}

#[tokio::test]
async fn a_program_has_a_terminal_of_its_own_with_size_kind_and_signals() {
    let guest = Guest::start().await;
    let text = "tty -s && echo tty $TERM; stty size; trap 'stty size; exit 7' WINCH; \
                trap 'echo got int' INT; echo ready; while :; do sleep 0.01; done";
    let mut terminal = guest
        .link
        .terminal(&script(Wanted::New, text))
        .await
        .unwrap();
    assert!(!terminal.resumed);
    let seen = shown(&mut terminal, "ready\r\n").await;
    assert_eq!(seen, "tty vt100\r\n30 99\r\nready\r\n");
    // Ctrl+C is the terminal's to turn into a signal.
    keys(&mut terminal, "\x03").await;
    shown(&mut terminal, "got int").await;
    let size = Size { rows: 10, cols: 20 };
    terminal.input.resize(size).await.unwrap();
    let (seen, end) = rest(&mut terminal).await;
    assert!(seen.contains("10 20"), "{seen:?}");
    assert_eq!(end, TerminalEvent::Exit(ExitStatus::Code(7)));
    assert_eq!(guest.link.sessions(SOON).await.unwrap(), []);
}

#[tokio::test]
async fn a_session_outlives_who_began_it_and_the_link_and_shows_what_it_showed() {
    let guest = Guest::start().await;
    let text = "echo first; read line; echo got $line; read line; echo $line > /dev/tty; exit 3";
    let mut terminal = guest
        .link
        .terminal(&script(Wanted::Free, text))
        .await
        .unwrap();
    shown(&mut terminal, "first").await;
    let session = terminal.session.clone();
    let list = guest.link.sessions(SOON).await.unwrap();
    assert_eq!(
        (list.len(), list[0].attached, list[0].exit),
        (1, true, None)
    );
    drop(terminal);
    // Detached; another call finds it free again, once the agent has noticed.
    let free = async {
        while guest.link.sessions(SOON).await.unwrap()[0].attached {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, free).await.unwrap();

    // The daemon goes, and another comes.
    let agent = guest.agent.clone();
    drop(guest);
    let (host, _server) = serve(&agent);
    let link = Link::open(host, greeting(false)).await.unwrap();
    let mut again = link
        .terminal(&script(Wanted::Free, "exit 9"))
        .await
        .unwrap();
    assert!(again.resumed);
    assert_eq!(again.session, session);
    shown(&mut again, "first").await;
    keys(&mut again, "a b\r").await;
    shown(&mut again, "got a b").await;
    // Another that asks for it by name takes it over.
    let mut third = link
        .terminal(&script(Wanted::Session(session.clone()), ""))
        .await
        .unwrap();
    let (_, end) = rest(&mut again).await;
    assert_eq!(end, TerminalEvent::TakenOver);
    keys(&mut third, "end\r").await;
    let (_, end) = rest(&mut third).await;
    assert_eq!(end, TerminalEvent::Exit(ExitStatus::Code(3)));
    let error = link
        .terminal(&script(Wanted::Session(session), ""))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Refused { .. }), "{error:?}");
    agent.stop().await;
}

#[tokio::test]
async fn an_ephemeral_one_ends_with_who_began_it_and_is_nobody_elses() {
    let guest = Guest::start().await;
    let new = script(Wanted::Ephemeral, "echo up; exec sleep 4321.5");
    let mut terminal = guest.link.terminal(&new).await.unwrap();
    shown(&mut terminal, "up").await;
    let pid = guest.link.sessions(SOON).await.unwrap()[0].pid;
    drop(terminal);
    let path = format!("/proc/{pid}/cmdline");
    let gone = async {
        while fs_err::read_to_string(&path).is_ok_and(|line| line.contains("4321.5")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_refused() {
    let guest = Guest::start().await;
    let mut new = script(Wanted::New, "");
    new.command.argv = vec!["no-such-program".to_owned()];
    let error = guest.link.terminal(&new).await.unwrap_err();
    assert_eq!(error.to_string(), "no-such-program: command not found");
}
