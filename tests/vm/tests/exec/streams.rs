//! What goes in and what comes out.

use bhatti_testing::stream;

use crate::machine::{Machine, NAME, command, line, with_stdin};

#[tokio::test]
async fn each_stream_carries_every_byte_and_no_other() {
    let machine = Machine::start().await;

    let both = r"printf 'out\000\377\376\n\r\033' ; printf 'err\000\200\303\050' >&2";
    let ran = machine.run(&line(both), b"").await;
    assert_eq!(ran.stdout, b"out\0\xff\xfe\n\r\x1b");
    assert_eq!(ran.stderr, b"err\0\x80\xc3(");
    assert_eq!(ran.exit.code, 0);
    let ran = machine
        .daemon
        .cli(&["exec", NAME, "--", "sh", "-c", both])
        .await;
    assert_eq!(ran.stdout, b"out\0\xff\xfe\n\r\x1b");
    assert_eq!(ran.stderr, b"err\0\x80\xc3(");
    assert_eq!(ran.code, Some(0));

    // All values, in an order in which none follows itself, more than fits into one message.
    let all: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 + n / 256) as u8).collect();
    assert!((0..=255).all(|byte| all[..256].contains(&byte)));
    let ran = machine.run(&with_stdin(command(&["cat"])), &all).await;
    assert_eq!(
        (ran.stdout == all, ran.stderr.len(), ran.exit.code),
        (true, 0, 0)
    );
    let ran = machine
        .daemon
        .cli_with(&["exec", NAME, "--", "cat"], &all)
        .await;
    assert_eq!(
        (ran.stdout == all, ran.stderr.len(), ran.code),
        (true, 0, Some(0))
    );
    let ran = machine.run(&with_stdin(line("cat >&2")), &all).await;
    assert_eq!(
        (ran.stderr == all, ran.stdout.len(), ran.exit.code),
        (true, 0, 0)
    );

    // No input is the end of the input, and so is an empty one.
    let ran = machine.run(&command(&["cat"]), b"").await;
    assert_eq!((ran.stdout.as_slice(), ran.exit.code), (b"".as_slice(), 0));
    let ran = machine.run(&with_stdin(command(&["cat"])), b"").await;
    assert_eq!((ran.stdout.as_slice(), ran.exit.code), (b"".as_slice(), 0));
    let ran = machine.daemon.cli(&["exec", NAME, "--", "wc", "-c"]).await;
    assert_eq!(ran.success(), "0\n");

    // Input that nobody reads is no failure, however much there is.
    for (request, expected) in [
        (line("head -c 10 | wc -c; exit 4"), "10\n"),
        (line("exec <&-; echo closed; exit 4"), "closed\n"),
        (line("exit 4"), ""),
    ] {
        let much = vec![b'x'; 4 << 20];
        let ran = machine.run(&with_stdin(request.clone()), &much).await;
        assert_eq!(
            (ran.text().as_str(), ran.exit.code),
            (expected, 4),
            "{request:?}"
        );
        let args: Vec<_> = request.cmd.iter().map(String::as_str).collect();
        let args = [&["exec", NAME, "--"], args.as_slice()].concat();
        let ran = machine.daemon.cli_with(&args, &much).await;
        assert_eq!(
            (ran.text().as_str(), ran.code),
            (expected, Some(4)),
            "{ran:?}"
        );
    }

    // A conversation: each answer comes before the next question is there.
    let request = with_stdin(line(
        "while read -r word; do echo \"<$word>\"; done; echo end",
    ));
    let started = machine.client.exec_start(NAME, &request).await;
    let (mut input, mut output) = started.expect("it starts");
    for word in ["one", "two", "three"] {
        input
            .stdin(format!("{word}\n").as_bytes())
            .await
            .expect("it reads");
        stream::until(&mut output, &format!("<{word}>\n")).await;
    }
    input.stdin_end().await.expect("it reads");
    let ran = stream::rest(&mut output).await.expect("it ends");
    assert_eq!((ran.text().as_str(), ran.exit.code), ("end\n", 0));

    // What was written before the end comes before the end: last words are not lost.
    for turn in 0..20 {
        let ran = machine
            .run(&line("seq 1 400; printf last; exit 6"), b"")
            .await;
        let text = ran.text();
        assert!(
            text.starts_with("1\n2\n") && text.ends_with("400\nlast"),
            "{turn}: {text}"
        );
        assert_eq!(ran.exit.code, 6, "{turn}");
    }

    machine.check_nothing_is_left().await;
}

#[tokio::test]
async fn a_slow_reader_waits_alone() {
    let machine = Machine::start().await;
    let request = line("head -c 20000000 /dev/zero; printf end");
    let started = machine.client.exec_start(NAME, &request).await;
    let (input, mut slow) = started.expect("it starts");
    // Its output stands in the way of its own, wherever it stands; the command has not ended.
    stream_is_stuck(&machine).await;

    let ran = machine
        .run(&line("head -c 5000000 /dev/zero | tr '\\0' x; exit 3"), b"")
        .await;
    assert_eq!((ran.stdout.len(), ran.exit.code), (5_000_000, 3));
    let ran = machine
        .run(&with_stdin(command(&["wc", "-c"])), &vec![7; 3_000_000])
        .await;
    assert_eq!(ran.text(), "3000000\n");
    let ran = machine
        .daemon
        .cli(&["exec", NAME, "--", "echo", "through"])
        .await;
    assert_eq!(ran.success(), "through\n");

    let rest = stream::rest(&mut slow).await.expect("it goes on");
    assert_eq!((rest.stdout.len(), rest.exit.code), (20_000_003, 0));
    assert!(rest.stdout.ends_with(b"\0end"));
    drop(input);
    machine.check_nothing_is_left().await;
}

/// Waits until the writer of the unread output has stood still for a while.
async fn stream_is_stuck(machine: &Machine) {
    use bhatti_testing::wait::wait_for;

    let mut before = String::new();
    wait_for(
        "the writer to stand still",
        crate::machine::LIMIT,
        async || {
            let now = machine
                .guest
                .sh("cat /proc/$(pgrep -x head)/io | grep wchar; sleep 0.3")
                .await;
            let still = now == before;
            before.clone_from(&now);
            if still { Ok(()) } else { Err(now) }
        },
    )
    .await;
}
