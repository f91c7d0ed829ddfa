//! Many commands, at once and one after the other.

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::iter;

use crate::machine::{Machine, NAME, line, with_stdin};

/// Commands that run at once.
const AT_ONCE: usize = 20;
/// Quick commands, one after the other in a few rows.
const QUICK: usize = 200;
/// The rows.
const ROWS: usize = 4;

#[tokio::test]
async fn twenty_at_once_do_not_meet() {
    let machine = Machine::start().await;
    machine.sh("mkdir /tmp/here").await;
    // None ends before all are there.
    let text =
        "touch /tmp/here/$$; while test $(ls /tmp/here | wc -l) -lt COUNT; do sleep 0.1; done; \
                cat; echo NUMBER >&2; exit NUMBER"
            .replace("COUNT", &AT_ONCE.to_string());
    let runs = (0..AT_ONCE).map(|number| {
        let request = with_stdin(line(&text.replace("NUMBER", &number.to_string())));
        let stdin = vec![number as u8; 10_000 + number];
        let machine = &machine;
        async move {
            let ran = machine.run(&request, &stdin).await;
            assert_eq!(ran.exit.code, number as i32, "{ran:?}");
            assert_eq!(ran.stderr, format!("{number}\n").as_bytes());
            assert!(ran.stdout == stdin, "{number}: not what was sent");
        }
    });
    join_all(runs).await;

    // The same by the command line: each its own process and connection.
    machine.sh("rm /tmp/here/*").await;
    let runs = (0..AT_ONCE).map(|number| {
        let text = text.replace("NUMBER", &number.to_string());
        let machine = &machine;
        async move {
            let stdin = vec![number as u8; 1000];
            let ran = machine
                .daemon
                .cli_with(&["exec", NAME, "--", "sh", "-c", &text], &stdin)
                .await;
            assert_eq!(ran.code, Some(number as i32), "{ran:?}");
            assert_eq!(ran.stderr, format!("{number}\n").as_bytes());
            assert!(ran.stdout == stdin, "{number}: not what was sent");
        }
    });
    join_all(runs).await;
    machine.check_nothing_is_left().await;
}

#[tokio::test]
async fn no_end_is_mistaken_for_another_and_the_dead_are_buried() {
    let machine = Machine::start().await;
    // Children that end before, with and after the command, some of them nobody's by then; each
    // with a code of its own that must not become the command's.
    let text = "(exit 201) & (sleep 0.01; exit 202) & (sleep 0.2; exit 203) & \
                sh -c '(sleep 0.05; exit 204) & (exit 205) &' & exit NUMBER";
    let runs = iter(0..QUICK).map(|number| {
        let code = (number % 200) as i32;
        let request = line(&text.replace("NUMBER", &code.to_string()));
        let machine = &machine;
        async move {
            let ran = machine.run(&request, b"").await;
            assert_eq!(
                (ran.exit.code, ran.exit.signal),
                (code, None),
                "{number}: {ran:?}"
            );
        }
    });
    let mut runs = runs.buffer_unordered(ROWS);
    while runs.next().await.is_some() {}

    // Of 200 that die at once each is told its own way to die.
    let runs = iter(0..QUICK).map(|number| {
        let signal = [0, 9, 15, 6][number % 4];
        let end = if signal == 0 {
            "exit 77".to_owned()
        } else {
            format!("kill -{signal} $$")
        };
        let request = line(&format!("(exit 3) & {end}"));
        let machine = &machine;
        async move {
            let ran = machine.run(&request, b"").await;
            let expected = if signal == 0 { 77 } else { 128 + signal };
            assert_eq!(ran.exit.code, expected, "{number}: {ran:?}");
        }
    });
    let mut runs = runs.buffer_unordered(ROWS);
    while runs.next().await.is_some() {}

    machine.check_nothing_is_left().await;
}
