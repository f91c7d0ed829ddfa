//! `bhatti serve`, the program itself. What it serves is tested elsewhere.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::Home;

/// A daemon that has said that it is ready.
struct Serving {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Serving {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut child = home.spawn(&[&["serve"], args].concat());
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"ready\"") {
            line.clear();
            assert_ne!(
                log.read_line(&mut line).unwrap(),
                0,
                "it ended before it was ready"
            );
        }
        Self { child, log }
    }

    /// Sends a signal and gives the exit code and the rest of the log.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

#[test]
fn the_daemon_answers_and_goes_when_it_is_told_to() {
    let home = Home::new();
    for signal in [Signal::TERM, Signal::INT] {
        let serving = Serving::start(&home, &["--listen", "127.0.0.1:0"]);
        assert_eq!(
            home.transcript(&["list"]),
            "$ bhatti list\nNAME  STATUS  THERMAL  URL\n"
        );
        let mode = |path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.socket()), 0o600);
        assert_eq!(mode(home.path().join(".bhatti")), 0o700);
        let (code, log) = serving.end(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("\"stopping\""), "{log}");
        assert!(!home.socket().exists());
    }
}

#[test]
fn one_data_directory_has_one_daemon() {
    let home = Home::new();
    let serving = Serving::start(&home, &["--listen", ""]);
    assert_eq!(
        home.transcript(&["serve", "--listen", ""]),
        "$ bhatti serve --listen \"\"\n\
         2| error: a daemon is already running on [HOME]/.bhatti\n\
         2|\n\
         2| hint: stop it first, or choose another --data-dir\n\
         [exit 1]\n",
    );
    assert!(home.run(&["list"]).status.success());
    assert_eq!(serving.end(Signal::TERM).0, Some(0));
}

#[test]
fn a_socket_that_outlived_its_daemon_is_replaced() {
    let home = Home::new();
    let serving = Serving::start(&home, &["--listen", ""]);
    let (code, _) = serving.end(Signal::KILL);
    assert_eq!(code, None);
    assert!(home.socket().exists());
    let serving = Serving::start(&home, &["--listen", ""]);
    assert!(home.run(&["list"]).status.success());
    assert_eq!(serving.end(Signal::TERM).0, Some(0));
}

#[test]
fn a_daemon_that_cannot_begin_says_why() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    home.write("file", "");
    let deep = home.path().join("d".repeat(100));
    let deep = deep.to_str().unwrap();
    let mut text = home
        .transcript(&["serve", "--listen", &address])
        .replace(&address, "[ADDRESS]");
    text.push_str(&home.transcript(&["serve", "--data-dir", "file/x"]));
    text.push_str(&home.transcript(&["serve", "--listen=", "--data-dir", deep]));
    text.push_str(&home.transcript(&["serve", "--fault", "x"]));
    assert!(!Path::new(deep).exists());
    insta::assert_snapshot!(text);
}
