//! Many commands, at once and one after the other.

use bhatti_testing::stream;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::iter;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::machine::{Machine, NAME, line, with_stdin};

/// Commands that run at once.
const AT_ONCE: usize = 20;
/// Quick commands, one after the other in a few rows.
const QUICK: usize = 200;
/// The rows.
const ROWS: usize = 4;

/// Says that it is there and then waits for its input.
fn waits(number: usize) -> String {
    format!("echo ready; cat; echo {number} >&2; exit {number}")
}

#[tokio::test]
async fn twenty_at_once_do_not_meet() {
    let machine = Machine::start().await;
    let starts = (0..AT_ONCE).map(|number| {
        let machine = &machine;
        async move {
            let request = with_stdin(line(&waits(number)));
            let started = machine.client.exec_start(NAME, &request).await;
            let (input, mut output) = started.expect("it starts");
            stream::until(&mut output, "ready\n").await;
            (number, input, output)
        }
    });
    // None goes on before all are there.
    let started = join_all(starts).await;
    let runs = started
        .into_iter()
        .map(async |(number, mut input, mut output)| {
            let stdin = vec![number as u8; 100_000 + number];
            input.stdin(&stdin).await.expect("it reads");
            input.stdin_end().await.expect("it reads");
            let ran = stream::rest(&mut output).await.expect("it ends");
            assert_eq!(ran.exit.code, number as i32, "{ran:?}");
            assert_eq!(ran.stderr, format!("{number}\n").as_bytes());
            assert!(ran.stdout == stdin, "{number}: not what was sent");
        });
    join_all(runs).await;

    // The same by the command line: each its own process and connection.
    let starts = (0..AT_ONCE).map(|number| {
        let text = waits(number);
        let mut command = machine
            .daemon
            .cli_command(&["exec", NAME, "--", "sh", "-c", &text]);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("bhatti starts");
        async move {
            let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
            let mut first = String::new();
            stdout.read_line(&mut first).await.expect("it is read");
            assert_eq!(first, "ready\n");
            (number, child, stdout)
        }
    });
    let started = join_all(starts).await;
    let runs = started
        .into_iter()
        .map(async |(number, mut child, mut stdout)| {
            let sent = vec![number as u8; 1000];
            let mut input = child.stdin.take().expect("it is piped");
            input.write_all(&sent).await.expect("it reads");
            drop(input);
            let mut rest = Vec::new();
            stdout.read_to_end(&mut rest).await.expect("it is read");
            assert!(rest == sent, "{number}: not what was sent");
            let ended = child.wait_with_output().await.expect("it ends");
            assert_eq!(ended.status.code(), Some(number as i32));
            assert_eq!(ended.stderr, format!("{number}\n").as_bytes());
        });
    join_all(runs).await;
    machine.check_nothing_is_left().await;
}

#[tokio::test]
async fn no_end_is_mistaken_for_another_and_the_dead_are_buried() {
    let machine = Machine::start().await;
    // Children that end before, with and after the command, some of them nobody's by then; each
    // with a code of its own that must not become the command's.
    let text = "(exit 201) & (read -r word < /tmp/never; exit 202) & ((exit 203) & exit 204) & ";
    // A pipe that is never written to: whoever waits at it is let go at the end.
    machine.sh("mkfifo /tmp/never").await;
    let runs = iter(0..QUICK).map(|number| {
        let (end, code) = match number % 4 {
            0 => ("kill -KILL $$".to_owned(), 137),
            1 => ("kill -TERM $$; read -r word < /tmp/never".to_owned(), 143),
            _ => (format!("exit {number}"), number as i32),
        };
        let request = line(&format!("{text}{end}"));
        let machine = &machine;
        async move {
            let ran = machine.run(&request, b"").await;
            assert_eq!(ran.exit.code, code, "{number}: {ran:?}");
        }
    });
    let mut runs = runs.buffer_unordered(ROWS);
    while runs.next().await.is_some() {}
    // All of those who wait end at once.
    machine.sh(": > /tmp/never").await;
    machine.check_nothing_is_left().await;
}
