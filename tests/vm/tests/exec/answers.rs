//! `POST /sandboxes/{id}/exec`: the answer in one piece, and line by line.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bhatti_api::exec::{EXIT_TIMED_OUT, ExecEvent, ExecRequest, MAX_BUFFERED};
use bhatti_api::routes::NDJSON;
use bhatti_testing::http::{self, Answer};

use crate::machine::{Machine, NAME, command, line};

/// Every kind of end, and what the answer says of it.
const ENDS: [(&str, i32, Option<i32>); 5] = [
    ("exit 0", 0, None),
    ("exit 3", 3, None),
    ("exit 255", 255, None),
    ("kill -KILL $$", 137, Some(9)),
    ("kill -SEGV $$", 139, Some(11)),
];

async fn post(machine: &Machine, accept: &str, request: &ExecRequest) -> Answer {
    let body = serde_json::to_vec(request).expect("a request is JSON");
    let path = format!("/sandboxes/{NAME}/exec");
    http::post(&machine.daemon.socket(), &path, accept, body).await
}

async fn events(machine: &Machine, request: &ExecRequest) -> Vec<ExecEvent> {
    let answer = post(machine, NDJSON, request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some(NDJSON));
    let text = String::from_utf8(answer.rest().await).expect("JSON is UTF-8");
    assert!(text.ends_with('\n'), "{text:?}");
    text.lines().map(event).collect()
}

fn event(line: &str) -> ExecEvent {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// What the events carry of each stream, byte for byte, and the last of them.
fn joined(events: Vec<ExecEvent>) -> (Vec<u8>, Vec<u8>, ExecEvent) {
    fn add(to: &mut Vec<u8>, data: &str, exact: Option<&String>) {
        match exact {
            Some(exact) => to.extend(BASE64_STANDARD.decode(exact).expect("it is base64")),
            None => to.extend_from_slice(data.as_bytes()),
        }
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut ends = Vec::new();
    for event in events {
        assert!(ends.is_empty(), "{event:?} comes after {ends:?}");
        match event {
            ExecEvent::Stdout { data, data_base64 } => {
                add(&mut stdout, &data, data_base64.as_ref());
            }
            ExecEvent::Stderr { data, data_base64 } => {
                add(&mut stderr, &data, data_base64.as_ref());
            }
            end => ends.push(end),
        }
    }
    (
        stdout,
        stderr,
        ends.pop().expect("the last line is the end"),
    )
}

#[tokio::test]
async fn answers_hold_every_byte_and_every_end() {
    let machine = Machine::start().await;

    for (text, exit_code, signal) in ENDS {
        let said = format!("echo out; echo err >&2; {text}");
        let result = machine
            .client
            .exec(NAME, &line(&said))
            .await
            .expect("it runs");
        assert_eq!(
            (result.exit_code, result.signal),
            (exit_code, signal),
            "{text}"
        );
        assert_eq!(
            (result.stdout.as_str(), result.stderr.as_str()),
            ("out\n", "err\n"),
            "{text}"
        );
        assert!(!result.timed_out && !result.truncated, "{text}: {result:?}");
        let (stdout, stderr, end) = joined(events(&machine, &line(&said)).await);
        assert_eq!(
            (stdout.as_slice(), stderr.as_slice()),
            (b"out\n".as_slice(), b"err\n".as_slice())
        );
        let expected = ExecEvent::Exit {
            exit_code,
            signal,
            timed_out: false,
        };
        assert_eq!(end, expected, "{text}");
    }

    // Bytes that are not text.
    let raw = line(r"printf '\000\377\n'; printf '\200' >&2");
    let result = machine.client.exec(NAME, &raw).await.expect("it runs");
    assert_eq!(result.stdout, "\0\u{fffd}\n");
    assert_eq!(
        result.stdout_base64,
        Some(BASE64_STANDARD.encode(b"\0\xff\n"))
    );
    assert_eq!(result.stderr_base64, Some(BASE64_STANDARD.encode(b"\x80")));
    let (stdout, stderr, _) = joined(events(&machine, &raw).await);
    assert_eq!(
        (stdout.as_slice(), stderr.as_slice()),
        (b"\0\xff\n".as_slice(), b"\x80".as_slice())
    );
    let text = line("printf 'gr\\303\\274n\\000'");
    let result = machine.client.exec(NAME, &text).await.expect("it runs");
    assert_eq!(
        (result.stdout.as_str(), result.stdout_base64),
        ("grün\0", None)
    );

    // A time limit.
    let slow = ExecRequest {
        timeout_sec: Some(1),
        ..line("echo early; exec sleep 1001.7")
    };
    let result = machine.client.exec(NAME, &slow).await.expect("it runs");
    assert_eq!(
        (result.exit_code, result.timed_out),
        (EXIT_TIMED_OUT, true),
        "{result:?}"
    );
    assert_eq!(result.stdout, "early\n");
    let (stdout, _, end) = joined(events(&machine, &slow).await);
    assert_eq!(stdout, b"early\n");
    assert!(
        matches!(
            end,
            ExecEvent::Exit {
                exit_code: EXIT_TIMED_OUT,
                timed_out: true,
                ..
            }
        ),
        "{end:?}"
    );
    machine.wait_for_processes("1001[.]7", 0).await;

    // More than fits into one answer. The command runs to its end all the same.
    let request = line(&format!(
        "head -c {} /dev/zero; echo full > /tmp/full; exit 8",
        MAX_BUFFERED + 1
    ));
    let result = machine.client.exec(NAME, &request).await.expect("it runs");
    assert_eq!(
        (result.stdout.len(), result.truncated),
        (MAX_BUFFERED, true)
    );
    assert_eq!(result.exit_code, 8);
    assert_eq!(machine.sh("cat /tmp/full").await, "full");
    let request = line(&format!("head -c {MAX_BUFFERED} /dev/zero"));
    let result = machine.client.exec(NAME, &request).await.expect("it runs");
    assert_eq!(
        (result.stdout.len(), result.truncated),
        (MAX_BUFFERED, false)
    );
    let request = line(&format!("head -c {} /dev/zero", MAX_BUFFERED + 1));
    let (stdout, _, _) = joined(events(&machine, &request).await);
    assert_eq!(stdout.len(), MAX_BUFFERED + 1);

    // What can't be run was never begun: that is the request's fault and not a command's end.
    for cmd in ["no-such-program", "/etc/passwd"] {
        let refused = machine.client.exec(NAME, &command(&[cmd])).await;
        let refused = refused.expect_err("it can't be run");
        assert!(
            refused.status().is_some_and(|status| status == 400),
            "{refused:?}"
        );
        assert!(refused.to_string().contains(cmd), "{refused:?}");
        let answer = post(&machine, NDJSON, &command(&[cmd])).await;
        assert_eq!(answer.status(), 400);
    }

    machine.check_nothing_is_left().await;
}

#[tokio::test]
async fn lines_come_as_they_are_written() {
    let machine = Machine::start().await;
    // One for each time: a reader that comes back quickly still sees the writer from before.
    machine
        .sh("mkfifo /tmp/gate-1 /tmp/gate-2 /tmp/gate-3")
        .await;

    // The first line is there while the command waits for the gate.
    let request = line("echo one; read -r word < /tmp/gate-1; echo $word");
    let mut answer = post(&machine, NDJSON, &request).await;
    let first = answer.piece().await.expect("the answer goes on");
    let first = event(
        std::str::from_utf8(&first)
            .expect("JSON is UTF-8")
            .trim_end(),
    );
    assert_eq!(
        first,
        ExecEvent::Stdout {
            data: "one\n".to_owned(),
            data_base64: None
        }
    );
    machine.sh("echo two > /tmp/gate-1").await;
    let rest = String::from_utf8(answer.rest().await).expect("JSON is UTF-8");
    let rest: Vec<_> = rest.lines().map(event).collect();
    let (stdout, _, end) = joined(rest);
    assert_eq!(stdout, b"two\n");
    assert_eq!(
        end,
        ExecEvent::Exit {
            exit_code: 0,
            signal: None,
            timed_out: false
        }
    );

    // A character of which one half is written later stays whole.
    let request = line(
        r"printf 'a\303'; read -r word < /tmp/gate-2; printf '\274b'; read -r word < /tmp/gate-3; printf '\342\202'",
    );
    let mut answer = post(&machine, NDJSON, &request).await;
    let first = answer.piece().await.expect("the answer goes on");
    let first = event(
        std::str::from_utf8(&first)
            .expect("JSON is UTF-8")
            .trim_end(),
    );
    assert_eq!(
        first,
        ExecEvent::Stdout {
            data: "a".to_owned(),
            data_base64: None
        }
    );
    machine.sh("echo go > /tmp/gate-2").await;
    let second = answer.piece().await.expect("the answer goes on");
    let second = event(
        std::str::from_utf8(&second)
            .expect("JSON is UTF-8")
            .trim_end(),
    );
    assert_eq!(
        second,
        ExecEvent::Stdout {
            data: "üb".to_owned(),
            data_base64: None
        }
    );
    machine.sh("echo go > /tmp/gate-3").await;
    let rest = String::from_utf8(answer.rest().await).expect("JSON is UTF-8");
    let (stdout, _, _) = joined(rest.lines().map(event).collect());
    assert_eq!(stdout, b"\xe2\x82");

    machine.check_nothing_is_left().await;
}
