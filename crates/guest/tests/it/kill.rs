//! When commands are killed, and when they are not.

use std::time::Duration;

use bhatti_guest::exec::{Command, ExitStatus};
use bhatti_guest::link::Link;
use bytes::Bytes;
use tokio::time::Instant;

use crate::fixture::{
    Guest, Ran, SOON, greeting, lives, serve, shell, wait_for_output, wait_until,
};

/// A command with a family: a child in its group, and one in a group of its own in its session.
const FAMILY: &str =
    "exec bash -c 'sleep 300 & a=$!; set -m; sleep 300 & b=$!; echo pids $a $b end; wait'";

async fn family(link: &Link, command: &Command) -> (bhatti_guest::exec::Exec, Vec<u32>) {
    let mut exec = link.exec(command).await.unwrap();
    let text = wait_for_output(&mut exec, "end").await;
    let mut pids: Vec<u32> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(pids.len(), 2, "{text}");
    pids.push(exec.pid);
    assert!(pids.iter().all(|pid| lives(*pid)));
    (exec, pids)
}

#[tokio::test]
async fn the_whole_family_dies_when_nobody_wants_the_command_any_more() {
    let guest = Guest::start().await;
    let (exec, pids) = family(&guest.link, &shell(FAMILY)).await;
    drop(exec);
    wait_until("all are dead", || !pids.iter().any(|pid| lives(*pid))).await;
    let status = || async { guest.link.status(SOON).await.unwrap().running };
    while status().await != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropping_the_output_kills_even_if_the_input_is_kept() {
    let guest = Guest::start().await;
    let (exec, pids) = family(
        &guest.link,
        &Command {
            stdin: true,
            ..shell(FAMILY)
        },
    )
    .await;
    drop(exec.output);
    wait_until("all are dead", || !pids.iter().any(|pid| lives(*pid))).await;
    let mut input = exec.input;
    input.write(Bytes::from_static(b"late")).await.unwrap();
    input.signal(15).await.unwrap();
}

#[tokio::test]
async fn dropping_the_last_handle_with_the_command_kills_it_too() {
    let guest = Guest::start().await;
    let (exec, pids) = family(&guest.link, &shell(FAMILY)).await;
    drop(guest.link);
    assert!(lives(pids[0]), "the command holds the link open");
    drop(exec);
    wait_until("all are dead", || !pids.iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn a_command_with_a_full_input_is_killed_as_soon() {
    let guest = Guest::start().await;
    let command = Command {
        stdin: true,
        ..shell(FAMILY)
    };
    let (mut exec, pids) = family(&guest.link, &command).await;
    let flood = async {
        loop {
            exec.input.write(Bytes::from(vec![0; 65536])).await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(300), flood)
            .await
            .is_err()
    );
    drop(exec);
    wait_until("all are dead", || !pids.iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn a_command_whose_output_nobody_reads_is_killed_as_soon() {
    let guest = Guest::start().await;
    let exec = guest.link.exec(&shell("yes")).await.unwrap();
    let pid = exec.pid;
    // Long enough for the window to be full.
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(exec);
    wait_until("it is dead", || !lives(pid)).await;
}

#[tokio::test]
async fn time_is_kept_and_the_family_dies_with_it() {
    let guest = Guest::start().await;
    let began = Instant::now();
    let command = Command {
        timeout: Some(Duration::from_millis(600)),
        ..shell(&format!("trap '' TERM INT; echo before; {FAMILY}"))
    };
    let (exec, pids) = family(&guest.link, &command).await;
    let ran = Ran::of(exec).await;
    assert_eq!(ran.status, ExitStatus::TimedOut);
    assert!(began.elapsed() >= Duration::from_millis(600));
    wait_until("all are dead", || !pids.iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn time_is_kept_while_nobody_reads_the_output() {
    let guest = Guest::start().await;
    let command = Command {
        timeout: Some(Duration::from_millis(300)),
        ..shell("yes")
    };
    let exec = guest.link.exec(&command).await.unwrap();
    let pid = exec.pid;
    wait_until("it is dead", || !lives(pid)).await;
    assert_eq!(Ran::of(exec).await.status, ExitStatus::TimedOut);
}

#[tokio::test]
async fn a_command_in_time_is_not_timed_out() {
    let guest = Guest::start().await;
    for timeout in [Duration::from_mins(1), Duration::MAX] {
        let command = Command {
            timeout: Some(timeout),
            ..shell("exit 4")
        };
        let exec = guest.link.exec(&command).await.unwrap();
        assert_eq!(Ran::of(exec).await.status, ExitStatus::Code(4));
    }
}

#[tokio::test]
async fn commands_live_on_when_the_daemon_dies_and_the_next_one_finds_the_agent_well() {
    let guest = Guest::start().await;
    let dir = tempfile::tempdir().unwrap();
    let done = dir.path().join("done");
    // Writes far more than any pipe holds after its reader is gone, and reads its input to the end.
    let script = format!(
        "echo ready; while ! test -e {0}.go; do sleep 0.02; done; \
         head -c 1000000 /dev/zero && (read x; echo \"$?$x\") </dev/null; echo ok > {0}; exec cat",
        done.display()
    );
    let mut exec = guest
        .link
        .exec(&Command {
            stdin: true,
            ..shell(&script)
        })
        .await
        .unwrap();
    wait_for_output(&mut exec, "ready").await;
    let pid = exec.pid;
    // The daemon dies: its end of the socket closes, no reset is sent.
    guest.server.abort();
    let _ = guest.server.await;
    let closed = guest.link.closed().await;
    assert_eq!(
        closed.to_string(),
        "the guest's end of the agent link is closed"
    );
    assert!(exec.output.next().await.is_err());
    drop(exec);

    let (host, _server) = serve(&guest.agent);
    let link = Link::open(host, greeting(true)).await.unwrap();
    assert!(lives(pid));
    fs_err::write(dir.path().join("done.go"), "").unwrap();
    wait_until("it has written all", || done.exists()).await;
    assert!(lives(pid), "its input is still open");
    assert_eq!(link.status(SOON).await.unwrap().running, 1);
    guest.agent.stop().await;
    assert!(!lives(pid));
}

#[tokio::test]
async fn time_is_kept_for_a_command_whose_daemon_died() {
    let guest = Guest::start().await;
    let command = Command {
        timeout: Some(Duration::from_millis(500)),
        ..shell("exec sleep 300")
    };
    let exec = guest.link.exec(&command).await.unwrap();
    let pid = exec.pid;
    guest.server.abort();
    wait_until("it is dead", || !lives(pid)).await;
}

#[tokio::test]
async fn a_detached_command_lives_on_with_its_output_in_a_file() {
    let guest = Guest::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let path = file.to_str().unwrap();
    fs_err::write(&file, "old").unwrap();
    let script = "echo out; echo err >&2; exec sleep 300";
    let detached = guest
        .link
        .exec_detached(&shell(script), Some(path))
        .await
        .unwrap();
    assert_eq!(detached.output_file, path);
    wait_until("it has written", || {
        fs_err::read_to_string(&file).is_ok_and(|text| text == "out\nerr\n")
    })
    .await;
    drop(guest.link);
    let (host, _server) = serve(&guest.agent);
    let link = Link::open(host, greeting(false)).await.unwrap();
    assert_eq!(link.status(SOON).await.unwrap().running, 1);
    assert!(lives(detached.pid));
    guest.agent.stop().await;
    assert!(!lives(detached.pid));
}

#[tokio::test]
async fn a_detached_commands_file_is_its_users_and_no_link_is_followed() {
    use std::os::unix::fs::MetadataExt as _;
    let guest = Guest::start().await;
    let as_daemon = Command {
        user: Some("daemon".into()),
        ..shell("echo hello")
    };
    let detached = guest.link.exec_detached(&as_daemon, None).await.unwrap();
    assert!(
        detached.output_file.starts_with("/tmp/bhatti-exec-"),
        "{}",
        detached.output_file
    );
    let file = std::path::Path::new(&detached.output_file);
    assert_eq!(
        fs_err::metadata(file).unwrap().uid(),
        1,
        "daemon's uid on Debian"
    );
    wait_until("it has written", || {
        fs_err::read_to_string(file).is_ok_and(|text| text == "hello\n")
    })
    .await;
    fs_err::remove_file(file).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/etc/target", &link).unwrap();
    for path in [link.to_str().unwrap(), "/root/not-daemons"] {
        let error = guest
            .link
            .exec_detached(&as_daemon, Some(path))
            .await
            .unwrap_err();
        let bhatti_guest::link::CallError::Refused { kind, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(kind, bhatti_guest::link::RefusedKind::BadOutput);
    }
}
