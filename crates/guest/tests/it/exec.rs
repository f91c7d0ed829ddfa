//! What commands do and say.

use std::collections::BTreeMap;
use std::time::Duration;

use bhatti_guest::exec::{Command, ExitStatus};
use bhatti_guest::link::{CallError, RefusedKind};
use bhatti_types::env::Env;
use bytes::Bytes;

use crate::fixture::{Guest, Ran, SOON, command, shell, wait_for_output, wait_until};

fn env(pairs: &[(&str, &str)]) -> Env {
    let vars: BTreeMap<_, _> = pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Env::new(vars).unwrap()
}

async fn refused(guest: &Guest, command: &Command) -> (RefusedKind, String) {
    match guest.link.exec(command).await {
        Err(CallError::Refused { kind, message }) => (kind, message),
        other => panic!("expected a refusal of {command:?}, got {other:?}"),
    }
}

#[tokio::test]
async fn exit_codes_come_through() {
    let guest = Guest::start().await;
    for code in [0, 3, 127, 255] {
        let ran = guest.shell(&format!("exit {code}")).await;
        assert_eq!(ran.status, ExitStatus::Code(code));
    }
}

#[tokio::test]
async fn death_by_a_signal_is_told_from_an_exit_code() {
    let guest = Guest::start().await;
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("RTMIN", 34)] {
        let ran = guest.shell(&format!("kill -{name} $$; sleep 10")).await;
        assert_eq!(ran.status, ExitStatus::Signal(number), "{name}");
    }
}

#[tokio::test]
async fn output_is_byte_exact_and_its_streams_are_apart() {
    let guest = Guest::start().await;
    let ran = guest
        .shell(r"printf '\000\377\376a\r\n\000'; printf 'err\000\200' >&2")
        .await;
    assert_eq!(&ran.stdout[..], b"\0\xff\xfea\r\n\0");
    assert_eq!(&ran.stderr[..], b"err\0\x80");
    assert_eq!(ran.status, ExitStatus::Code(0));
}

#[tokio::test]
async fn arguments_come_through_as_they_are() {
    let guest = Guest::start().await;
    let words = ["a b", "", "*", "$HOME", "ä\n", "-n"];
    let mut argv = vec!["printf", "[%s]"];
    argv.extend(words);
    let ran = Ran::of(guest.link.exec(&command(&argv)).await.unwrap()).await;
    assert_eq!(ran.text(), "[a b][][*][$HOME][ä\n][-n]");
}

#[tokio::test]
async fn the_environment_is_the_users_and_the_commands_own() {
    let guest = Guest::start().await;
    let exec = Command {
        env: env(&[("A", "1 2"), ("HOME", "/elsewhere")]),
        ..command(&["env"])
    };
    let ran = Ran::of(guest.link.exec(&exec).await.unwrap()).await;
    let mut lines: Vec<_> = ran.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "A=1 2",
            "HOME=/elsewhere",
            "LOGNAME=root",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "SHELL=/bin/bash",
            "USER=root",
        ]
    );
}

#[tokio::test]
async fn a_command_runs_in_its_directory_as_its_user_with_its_groups() {
    let guest = Guest::start().await;
    let exec = Command {
        cwd: Some("/usr/lib".into()),
        user: Some("daemon".into()),
        ..shell("pwd; id -un; id -gn; echo $HOME $USER")
    };
    let ran = Ran::of(guest.link.exec(&exec).await.unwrap()).await;
    assert_eq!(ran.text(), "/usr/lib\ndaemon\ndaemon\n/usr/sbin daemon");
    let exec = Command {
        user: Some("4242:4343".into()),
        ..shell("id -u; id -g; id -G; pwd")
    };
    let ran = Ran::of(guest.link.exec(&exec).await.unwrap()).await;
    assert_eq!(ran.text(), "4242\n4343\n4343\n/");
}

#[tokio::test]
async fn a_command_leads_a_session_and_no_descriptor_of_the_agents_leaks_into_it() {
    let guest = Guest::start().await;
    let ran = guest
        .shell("ps -o sid= -p $$; echo $$; ls /proc/self/fd")
        .await;
    let words: Vec<_> = ran.text().split_whitespace().collect();
    assert_eq!(words[0], words[1], "the shell is its session's leader");
    assert_eq!(
        words[2..],
        ["0", "1", "2", "3"],
        "3 is the directory that ls reads"
    );
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_its_kind() {
    let guest = Guest::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.path().join(name);
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", "data", 0o644);
    let orphan = file("orphan", "#!/no/such/interpreter\n", 0o755);
    let private = file("private", "#!/bin/sh\n", 0o700);
    let cases = [
        (command(&["no-such-program"]), RefusedKind::NotFound),
        (command(&["/no/such/program"]), RefusedKind::NotFound),
        (command(&[&orphan]), RefusedKind::NotFound),
        (command(&[""]), RefusedKind::NotFound),
        (command(&[&plain]), RefusedKind::NotExecutable),
        (command(&["/etc"]), RefusedKind::NotExecutable),
        (command(&[]), RefusedKind::Invalid),
        (command(&["echo", "a\0b"]), RefusedKind::Invalid),
        (
            Command {
                user: Some("daemon".into()),
                ..command(&[&private])
            },
            RefusedKind::NotExecutable,
        ),
        (
            Command {
                user: Some("nobody-here".into()),
                ..shell("")
            },
            RefusedKind::NoSuchUser,
        ),
        (
            Command {
                user: Some("root:nogroup-here".into()),
                ..shell("")
            },
            RefusedKind::NoSuchUser,
        ),
        (
            Command {
                cwd: Some("/no/such/dir".into()),
                ..shell("")
            },
            RefusedKind::BadCwd,
        ),
        (
            Command {
                cwd: Some("/etc/passwd".into()),
                ..shell("")
            },
            RefusedKind::BadCwd,
        ),
        (
            Command {
                cwd: Some("/root".into()),
                user: Some("daemon".into()),
                ..shell("")
            },
            RefusedKind::BadCwd,
        ),
    ];
    for (command, kind) in cases {
        let (found, message) = refused(&guest, &command).await;
        assert_eq!(found, kind, "{command:?}: {message}");
        assert!(
            !message.is_empty() && !message.contains('\n'),
            "{message:?}"
        );
    }
    assert_eq!(
        guest.shell("exit 7").await.status,
        ExitStatus::Code(7),
        "the link goes on"
    );
}

#[tokio::test]
async fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
    use std::os::unix::fs::PermissionsExt as _;
    let guest = Guest::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    fs_err::write(&path, "echo hello\n").unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let exec = guest
        .link
        .exec(&command(&[path.to_str().unwrap()]))
        .await
        .unwrap();
    assert_eq!(Ran::of(exec).await.text(), "hello");
}

#[tokio::test]
async fn a_command_without_input_reads_the_end_at_once() {
    let guest = Guest::start().await;
    let ran = guest.shell("cat; echo over").await;
    assert_eq!(ran.text(), "over");
}

#[tokio::test]
async fn input_comes_through_and_its_end_too() {
    let guest = Guest::start().await;
    let mut exec = guest
        .link
        .exec(&Command {
            stdin: true,
            ..command(&["cat"])
        })
        .await
        .unwrap();
    for piece in [&b"one\0"[..], b"", b"\xfftwo"] {
        exec.input
            .write(Bytes::copy_from_slice(piece))
            .await
            .unwrap();
    }
    exec.input.finish().await.unwrap();
    exec.input.finish().await.unwrap();
    exec.input.write(Bytes::from_static(b"late")).await.unwrap();
    let ran = Ran::output(exec.output).await;
    assert_eq!(&ran.stdout[..], b"one\0\xfftwo");
}

#[tokio::test]
async fn dropping_the_input_is_its_end_and_loses_nothing() {
    let guest = Guest::start().await;
    let wc = Command {
        stdin: true,
        ..command(&["wc", "-c"])
    };
    let mut exec = guest.link.exec(&wc).await.unwrap();
    exec.input
        .write(Bytes::from(vec![7; 200_000]))
        .await
        .unwrap();
    assert_eq!(Ran::of(exec).await.text(), "200000");
}

#[tokio::test]
async fn writing_to_a_command_that_has_closed_its_input_is_no_error() {
    let guest = Guest::start().await;
    let early = Command {
        stdin: true,
        ..shell("exec 0<&-; echo closed; sleep 60")
    };
    let mut exec = guest.link.exec(&early).await.unwrap();
    wait_for_output(&mut exec, "closed").await;
    let chunk = Bytes::from(vec![1; 64 * 1024]);
    let writes = async {
        for _ in 0..64 {
            exec.input.write(chunk.clone()).await.unwrap();
        }
    };
    tokio::time::timeout(SOON, writes)
        .await
        .expect("4 MiB are taken or dropped in time");
    exec.input.signal(9).await.unwrap();
    assert_eq!(Ran::of(exec).await.status, ExitStatus::Signal(9));
}

#[tokio::test]
async fn a_hundred_megabytes_go_each_way_at_once() {
    const SIZE: usize = 100 << 20;
    let guest = Guest::start().await;
    let mut exec = guest
        .link
        .exec(&Command {
            stdin: true,
            ..command(&["cat"])
        })
        .await
        .unwrap();
    let writer = async {
        let mut sent = 0;
        while sent < SIZE {
            let chunk: Bytes = (sent..sent + 65536)
                .map(|at| (at * 7 + at / 251) as u8)
                .collect::<Vec<_>>()
                .into();
            sent += chunk.len();
            exec.input.write(chunk).await.unwrap();
        }
        exec.input.finish().await.unwrap();
    };
    let ((), ran) = tokio::join!(writer, Ran::output(exec.output));
    assert_eq!(ran.status, ExitStatus::Code(0));
    assert_eq!(ran.stdout.len(), SIZE);
    let exact = ran
        .stdout
        .iter()
        .enumerate()
        .all(|(at, byte)| *byte == (at * 7 + at / 251) as u8);
    assert!(exact, "every byte is where it was");
}

#[tokio::test]
async fn signals_reach_the_command_even_while_it_does_not_read_its_input() {
    let guest = Guest::start().await;
    let deaf = Command {
        stdin: true,
        ..shell("trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.05; done")
    };
    let mut exec = guest.link.exec(&deaf).await.unwrap();
    wait_for_output(&mut exec, "ready").await;
    let flood = async {
        loop {
            exec.input.write(Bytes::from(vec![0; 65536])).await.unwrap();
        }
    };
    let blocked = tokio::time::timeout(Duration::from_millis(300), flood).await;
    assert!(blocked.is_err(), "the command does not read");
    exec.input.signal(10).await.unwrap();
    let ran = Ran::output(exec.output).await;
    assert_eq!((ran.text(), ran.status), ("got it", ExitStatus::Code(9)));
}

#[tokio::test]
async fn a_signal_that_does_not_exist_harms_nobody() {
    let guest = Guest::start().await;
    let mut exec = guest
        .link
        .exec(&Command {
            stdin: true,
            ..command(&["cat"])
        })
        .await
        .unwrap();
    for number in [0, -1, 65, i32::MAX, i32::MIN] {
        exec.input.signal(number).await.unwrap();
    }
    assert_eq!(Ran::of(exec).await.status, ExitStatus::Code(0));
}

#[tokio::test]
async fn a_background_child_that_holds_the_output_does_not_hold_the_exit() {
    let guest = Guest::start().await;
    let script = "(trap '' PIPE; while echo noise; do sleep 0.02; done) & echo pid=$!; exit 5";
    let ran = guest.shell(script).await;
    assert_eq!(ran.status, ExitStatus::Code(5));
    let text = ran.text();
    let pid = text
        .split("pid=")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse::<u32>()
        .unwrap();
    // It writes on into the void; a broken pipe would end its loop.
    let ticks = || fs_err::read_to_string(format!("/proc/{pid}/io")).ok();
    let first = ticks().expect("the child lives on");
    wait_until("the child writes on", || {
        ticks().is_some_and(|now| now != first)
    })
    .await;
    nix_kill(pid);
}

#[tokio::test]
async fn all_output_comes_before_the_exit() {
    let guest = Guest::start().await;
    for _ in 0..20 {
        let ran = guest
            .shell("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2")
            .await;
        assert_eq!((ran.stdout.len(), ran.stderr.len()), (60_000, 60_000));
    }
}

#[tokio::test]
async fn fifty_commands_run_at_once() {
    let guest = Guest::start().await;
    let link = &guest.link;
    let runs = (0..50).map(|number| async move {
        let exec = link
            .exec(&shell(&format!("sleep 0.2; echo {number}")))
            .await
            .unwrap();
        assert_eq!(Ran::of(exec).await.text(), number.to_string());
    });
    futures::future::join_all(runs).await;
    let status = link.status(SOON).await.unwrap();
    assert_eq!(status.running, 0);
}

#[tokio::test]
async fn a_large_environment_comes_through_and_one_too_large_is_refused_here() {
    let guest = Guest::start().await;
    let large = Command {
        env: env(&[("BIG", &"x".repeat(100_000))]),
        ..shell("echo ${#BIG}")
    };
    let exec = guest.link.exec(&large).await.unwrap();
    assert_eq!(Ran::of(exec).await.text(), "100000");
    let argv: Vec<_> = std::iter::repeat_n("x".repeat(100_000), 12).collect();
    let error = guest
        .link
        .exec(&Command {
            argv,
            ..Command::default()
        })
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
}

#[expect(clippy::disallowed_methods, reason = "a test cleans up after itself")]
fn nix_kill(pid: u32) {
    let status = std::process::Command::new("kill")
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(status.success());
}
