//! `bhatti exec`: bytes, codes and signals.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::Daemon;
use crate::fixture::Home;

fn home() -> (Home, Daemon) {
    let home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    (home, daemon)
}

#[test]
fn the_end_of_a_command_is_that_of_the_program() {
    let (home, _daemon) = home();
    let commands: &[&[&str]] = &[
        &["exec", "dev", "--", "both"],
        &["exec", "dev", "both", "--json"],
        &["exec", "--json", "dev", "--", "both"],
        &["exec", "--json", "dev", "--", "bytes"],
        &["exec", "dev", "--", "killed"],
        &["exec", "--timeout", "7", "dev", "--", "slow"],
        &["exec", "--json", "dev", "--", "slow"],
        &["exec", "dev", "--", "nosuch"],
        &["exec", "dev", "--", "gone"],
        &["exec", "missing", "--", "true"],
        &["exec", "page", "--", "true"],
        &["exec", "words", "--", "true"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn what_follows_the_command_goes_through_untouched() {
    let (home, _daemon) = home();
    let commands: &[&[&str]] = &[
        &[
            "exec", "dev", "--", "show", "-l", "--json", "--", "-v", "", "a b", "é",
        ],
        &["exec", "dev", "show", "-l", "--timeout", "x", "--help"],
        &["exec", "dev", "show", "--", "-y"],
        &[
            "exec",
            "dev",
            "--timeout",
            "5",
            "--user",
            "root",
            "--workdir",
            "/srv",
            "show",
            "-t",
        ],
        &["exec", "--env", "A=1", "dev", "--env", "B=2", "--", "show"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn standard_input_comes_back_byte_for_byte() {
    let (home, _daemon) = home();
    let mut bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    bytes.extend(b"\x00\xff\r\n");
    let output = home.run_with(&["exec", "dev", "--", "cat"], &bytes);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout == bytes);
    assert!(
        home.run_with(&["exec", "dev", "--", "cat"], b"")
            .stdout
            .is_empty()
    );
}

/// Starts a command that says when it is ready.
fn started(home: &Home, command: &str) -> (Child, Pid) {
    let mut child = home.spawn(&["exec", "dev", "--", command]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let pid = Pid::from_child(&child);
    (child, pid)
}

#[test]
fn signals_are_the_command_s_to_handle() {
    let (home, _daemon) = home();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let (mut child, pid) = started(&home, "trap");
        kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal:?}");
    }
}

#[test]
fn the_second_signal_gives_up() {
    let (home, _daemon) = home();
    let (mut child, pid) = started(&home, "stubborn");
    // Two equal signals may become one if the first has not been taken yet; two kinds do not.
    kill_process(pid, Signal::TERM).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let code = child.wait().unwrap().code().unwrap();
    assert!(code == 130 || code == 143, "{code}");
}
