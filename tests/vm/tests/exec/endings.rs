//! How commands end: by themselves, by signals, by a time limit, or not at all for now.

use std::time::{Duration, Instant};

use bhatti_api::exec::{EXIT_TIMED_OUT, ExecRequest};
use bhatti_client::exec::ExecExit;
use bhatti_testing::stream;
use bhatti_testing::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::machine::{LIMIT, Machine, NAME, command, line};

/// What signals there are on the way to an end, by name and number on Linux.
const SIGNALS: [(&str, i32); 6] = [
    ("HUP", 1),
    ("INT", 2),
    ("ABRT", 6),
    ("KILL", 9),
    ("SEGV", 11),
    ("TERM", 15),
];
/// Says that it is ready, and ends with 7 on the signal.
const TRAPS: &str = "trap 'echo got; exit 7' SIGNAL; echo ready; while :; do sleep 0.05; done";

fn by_itself(code: i32) -> ExecExit {
    ExecExit {
        code,
        signal: None,
        timed_out: false,
    }
}

#[tokio::test]
async fn every_end_is_told_as_it_was() {
    let machine = Machine::start().await;

    for code in [0, 1, 2, 3, 124, 125, 126, 127, 128, 137, 254, 255] {
        let ran = machine.run(&line(&format!("exit {code}")), b"").await;
        assert_eq!(ran.exit, by_itself(code));
    }
    for code in [0, 3, 255] {
        let ran = machine
            .daemon
            .cli(&["exec", NAME, "sh", "-c", &format!("exit {code}")])
            .await;
        assert_eq!((ran.code, ran.errors().as_str()), (Some(code), ""));
    }
    for (name, number) in SIGNALS {
        let ran = machine
            .run(&line(&format!("kill -{name} $$; sleep 5")), b"")
            .await;
        let expected = ExecExit {
            code: 128 + number,
            signal: Some(number),
            timed_out: false,
        };
        assert_eq!(ran.exit, expected, "{name}");
    }
    for (name, code) in [("KILL", 137), ("SEGV", 139), ("TERM", 143)] {
        let text = format!("kill -{name} $$");
        let ran = machine
            .daemon
            .cli(&["exec", NAME, "--", "sh", "-c", &text])
            .await;
        assert_eq!(
            (ran.code, ran.errors().as_str()),
            (Some(code), ""),
            "{name}"
        );
    }
    // Signals are as any program expects them: none ignored, none blocked.
    let masks = machine
        .sh("grep -E '^Sig(Blk|Ign):' /proc/self/status")
        .await;
    for mask in masks.lines() {
        assert!(mask.ends_with("0000000000000000"), "{masks}");
    }

    // What can't be run.
    for (cmd, code) in [
        ("no-such-program", 127),
        ("/no/such/program", 127),
        ("/etc/passwd", 126),
        ("/etc", 126),
    ] {
        let ran = machine.daemon.cli(&["exec", NAME, "--", cmd]).await;
        assert_eq!(ran.code, Some(code), "{cmd}: {ran:?}");
        assert!(
            ran.errors().contains(cmd) && ran.stdout.is_empty(),
            "{cmd}: {ran:?}"
        );
    }

    machine.check_nothing_is_left().await;
}

#[tokio::test]
async fn time_limits_signals_and_children_that_stay() {
    let machine = Machine::start().await;
    time_limits(&machine).await;
    signals(&machine).await;
    background_children(&machine).await;
    detached(&machine).await;
    machine.check_nothing_is_left().await;
}

async fn time_limits(machine: &Machine) {
    // All of the group goes, also what would not go by itself.
    let text = "trap '' TERM HUP INT; sleep 1001.1 & sleep 1001.1 | cat & echo out; wait; wait";
    let request = ExecRequest {
        timeout_sec: Some(2),
        ..line(text)
    };
    let started = Instant::now();
    let ran = machine.run(&request, b"").await;
    let took = started.elapsed();
    assert_eq!(
        (ran.exit.code, ran.exit.timed_out),
        (EXIT_TIMED_OUT, true),
        "{ran:?}"
    );
    assert_eq!(ran.stdout, b"out\n");
    assert!(took >= Duration::from_secs(2) && took < LIMIT, "{took:?}");
    machine.wait_for_processes("1001[.]1", 0).await;

    let ran = machine
        .daemon
        .cli(&["exec", "--timeout", "1", NAME, "sleep", "1001.2"])
        .await;
    assert_eq!(ran.code, Some(EXIT_TIMED_OUT), "{ran:?}");
    let told = "error: the command was ended after 1 s, its time limit\n\nhint: ";
    assert!(ran.errors().starts_with(told), "{ran:?}");
    machine.wait_for_processes("1001[.]2", 0).await;

    // A command that ends in time is not told to have been ended, whatever its code.
    let request = ExecRequest {
        timeout_sec: Some(20),
        ..line("sleep 0.3; exit 124")
    };
    assert_eq!(machine.run(&request, b"").await.exit, by_itself(124));
}

async fn signals(machine: &Machine) {
    for (name, number) in [("INT", 2), ("TERM", 15), ("USR1", 10)] {
        let request = line(&TRAPS.replace("SIGNAL", name));
        let started = machine.client.exec_start(NAME, &request).await;
        let (mut input, mut output) = started.expect("it starts");
        stream::until(&mut output, "ready\n").await;
        input.signal(number).await.expect("it is there");
        let ran = stream::rest(&mut output).await.expect("it ends");
        assert_eq!(
            (ran.text().as_str(), ran.exit),
            ("got\n", by_itself(7)),
            "{name}"
        );
    }
    // The signal reaches all of the group.
    let started = machine
        .client
        .exec_start(NAME, &line("sleep 1001.3 & echo ready; wait"))
        .await;
    let (mut input, mut output) = started.expect("it starts");
    stream::until(&mut output, "ready\n").await;
    input.signal(9).await.expect("it is there");
    let ran = stream::rest(&mut output).await.expect("it ends");
    assert_eq!(
        ran.exit,
        ExecExit {
            code: 137,
            signal: Some(9),
            timed_out: false
        }
    );
    machine.wait_for_processes("1001[.]3", 0).await;

    for (name, signal) in [("INT", Signal::INT), ("TERM", Signal::TERM)] {
        let text = TRAPS.replace("SIGNAL", name);
        let mut cli = cli(machine, &text);
        let mut lines = BufReader::new(cli.stdout.take().expect("it is piped")).lines();
        assert_eq!(
            lines.next_line().await.expect("it is read").as_deref(),
            Some("ready")
        );
        send(&cli, signal);
        assert_eq!(
            lines.next_line().await.expect("it is read").as_deref(),
            Some("got")
        );
        let status = cli.wait().await.expect("it ends");
        assert_eq!(status.code(), Some(7), "{name}");
    }

    // A command that does not go at the first is given up at the second.
    let mut cli = cli(
        machine,
        "trap 'echo caught' INT; echo ready; while :; do sleep 0.053; done",
    );
    let mut lines = BufReader::new(cli.stdout.take().expect("it is piped")).lines();
    assert_eq!(
        lines.next_line().await.expect("it is read").as_deref(),
        Some("ready")
    );
    send(&cli, Signal::INT);
    assert_eq!(
        lines.next_line().await.expect("it is read").as_deref(),
        Some("caught")
    );
    send(&cli, Signal::INT);
    let status = tokio::time::timeout(LIMIT, cli.wait())
        .await
        .expect("it gives up");
    assert_eq!(status.expect("it ends").code(), Some(130));
    machine.wait_for_processes("0[.]053", 0).await;
}

fn cli(machine: &Machine, text: &str) -> Child {
    let mut command = machine
        .daemon
        .cli_command(&["exec", NAME, "--", "sh", "-c", text]);
    command.spawn().expect("bhatti starts")
}

fn send(process: &Child, signal: Signal) {
    let pid = process.id().and_then(|id| Pid::from_raw(id as i32));
    kill_process(pid.expect("it runs"), signal).expect("it can be signalled");
}

async fn background_children(machine: &Machine) {
    // The end does not wait for a child that holds the output open, and the child can go on
    // writing.
    let text = "(while ! test -e /tmp/more; do sleep 0.1; done; echo late; echo $? > /tmp/late) & \
                echo done; exit 5";
    let ran = machine.run(&line(text), b"").await;
    assert_eq!((ran.text().as_str(), ran.exit), ("done\n", by_itself(5)));
    machine.sh("touch /tmp/more").await;
    wait_for("the child's last word", LIMIT, async || {
        let ran = machine.run(&line("cat /tmp/late"), b"").await;
        if ran.stdout == b"0\n" {
            Ok(())
        } else {
            Err(ran)
        }
    })
    .await;
    let ran = machine
        .daemon
        .cli(&["exec", NAME, "sh", "-c", "sleep 1001.6 & exit 5"])
        .await;
    assert_eq!(ran.code, Some(5), "{ran:?}");
    machine.wait_for_processes("^sleep 1001[.]6", 1).await;
    machine.sh("pkill -f '^sleep 1001[.]6'").await;
}

async fn detached(machine: &Machine) {
    let client = &machine.client;
    let detach = |text: &str| ExecRequest {
        detach: true,
        timeout_sec: None,
        ..line(text)
    };
    let text = "echo out; echo err >&2; readlink /proc/self/fd/0; while ! test -e /tmp/go; do sleep 0.05; done; echo end";
    let request = ExecRequest {
        output_file: Some("/tmp/told.log".to_owned()),
        ..detach(text)
    };
    let started = client
        .exec_detached(NAME, &request)
        .await
        .expect("it starts");
    assert!(started.detached);
    assert_eq!(started.output_file, "/tmp/told.log");
    let args = machine
        .sh(&format!("tr '\\0' ' ' < /proc/{}/cmdline", started.pid))
        .await;
    assert!(args.starts_with("sh -c echo out;"), "{args}");
    machine.sh("touch /tmp/go").await;
    wait_for("the end of the detached", LIMIT, async || {
        let told = machine.sh("cat /tmp/told.log").await;
        if told == "out\nerr\n/dev/null\nend" {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    assert_eq!(
        machine.sh("stat -c '%U %F' /tmp/told.log").await,
        "lohar regular file"
    );

    // Without a file one is chosen; the command outlives the command line that started it.
    let ran = machine
        .daemon
        .cli(&[
            "exec",
            "--detach",
            NAME,
            "--",
            "sh",
            "-c",
            "echo mine; exec sleep 1001.4",
        ])
        .await;
    let told = ran.success();
    let mut lines = told.lines();
    let pid = lines
        .next()
        .and_then(|line| line.strip_prefix("pid: "))
        .expect("the process id");
    let file = lines
        .next()
        .and_then(|line| line.strip_prefix("output: "))
        .expect("the file");
    assert_eq!(lines.next(), None, "{told}");
    wait_for("its output", LIMIT, async || {
        let told = machine.sh(&format!("cat {file}")).await;
        if told == "mine" { Ok(()) } else { Err(told) }
    })
    .await;
    wait_for("the program", LIMIT, async || {
        let found = machine.processes("1001[.]4").await;
        if found == format!("{pid} sleep 1001.4\n") {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
    machine.sh(&format!("kill {pid}")).await;
    machine.wait_for_processes("1001[.]4", 0).await;

    // A time limit holds for it if it is given.
    let request = ExecRequest {
        timeout_sec: Some(1),
        ..detach("exec sleep 1001.5")
    };
    client
        .exec_detached(NAME, &request)
        .await
        .expect("it starts");
    machine.wait_for_processes("1001[.]5", 0).await;

    // What can't be is said at once.
    for request in [
        ExecRequest {
            output_file: Some("/no/such/directory/log".to_owned()),
            ..detach("true")
        },
        ExecRequest {
            output_file: Some("/root/log".to_owned()),
            ..detach("true")
        },
    ] {
        client
            .exec_detached(NAME, &request)
            .await
            .expect_err("there is no such place");
    }
    // A file that another user laid out as a trap is not written through.
    machine
        .guest
        .sh("echo safe > /root/safe; ln -s /root/safe /tmp/trap.log")
        .await;
    let request = ExecRequest {
        output_file: Some("/tmp/trap.log".to_owned()),
        user: Some("root".to_owned()),
        ..detach("echo broken")
    };
    client
        .exec_detached(NAME, &request)
        .await
        .expect_err("it is a symbolic link");
    assert_eq!(machine.guest.sh("cat /root/safe").await, "safe");
    let missing = ExecRequest {
        detach: true,
        ..command(&["no-such-program"])
    };
    client
        .exec_detached(NAME, &missing)
        .await
        .expect_err("there is no such program");
}
