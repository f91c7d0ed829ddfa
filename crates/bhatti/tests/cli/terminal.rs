//! What is different on a terminal: questions, colour, the moving line.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use rustix::termios::{Winsize, tcsetwinsize};

use crate::daemon::Daemon;
use crate::fixture::Home;

/// How long the program may say nothing.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// The program on a terminal, and the other side of that terminal.
struct Session {
    child: Child,
    keyboard: File,
    seen: String,
}

impl Session {
    fn start(home: &Home, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
            .into_file();
        let child = home
            .command(args)
            .stdin(Stdio::from(terminal.try_clone().unwrap()))
            .stdout(Stdio::from(terminal.try_clone().unwrap()))
            .stderr(Stdio::from(terminal))
            .spawn()
            .unwrap();
        Self {
            child,
            keyboard: File::from(master),
            seen: String::new(),
        }
    }

    /// Reads until the screen has shown `text`.
    fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.seen.contains(text) {
            let mut ready = [PollFd::new(&self.keyboard, PollFlags::IN)];
            assert_eq!(
                poll(&mut ready, Some(&PATIENCE)),
                Ok(1),
                "no {text:?} in {:?}",
                self.seen
            );
            let length = self.keyboard.read(&mut buffer).unwrap();
            self.seen
                .push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(line.as_bytes()).unwrap();
        self.keyboard.write_all(b"\n").unwrap();
    }

    /// The exit code and all that was on the screen.
    fn end(mut self) -> (i32, String) {
        let mut buffer = [0; 1024];
        // The read fails once the last holder of the terminal is gone.
        while let Ok(length @ 1..) = self.keyboard.read(&mut buffer) {
            self.seen
                .push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        (self.child.wait().unwrap().code().unwrap(), self.seen)
    }
}

#[test]
fn destroying_asks_and_takes_no_for_an_answer() {
    let home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    for answer in ["", "n", "yess", "no"] {
        let mut session = Session::start(&home, &["destroy", "dev"]);
        session.wait_for("destroy sandbox \"dev\"? [y/N] ");
        session.type_line(answer);
        let (code, seen) = session.end();
        assert_eq!(code, 1, "{answer:?}: {seen}");
        assert!(seen.contains("nothing was done"), "{seen}");
    }
    assert!(daemon.requests().is_empty());
    let mut session = Session::start(&home, &["destroy", "dev"]);
    session.wait_for("[y/N] ");
    session.type_line("Y");
    let (code, seen) = session.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("sandbox/dev destroyed"), "{seen}");
}

#[test]
fn setup_asks_for_what_is_missing_and_does_not_show_the_token() {
    let home = Home::new();
    let daemon = Daemon::tcp();
    let mut session = Session::start(&home, &["setup"]);
    session.wait_for("URL of the daemon: ");
    session.type_line(&format!("http://127.0.0.1:{}", daemon.port()));
    session.wait_for("Token: ");
    session.type_line("bht_alice_hidden");
    let (code, seen) = session.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("authenticated (2 sandboxes)"), "{seen}");
    assert!(!seen.contains("hidden"), "{seen}");
    assert_eq!(
        daemon.requests()[0].header("authorization"),
        Some("Bearer bht_alice_hidden")
    );
}

#[test]
fn a_terminal_gets_colour_unless_it_is_against_it() {
    let mut home = Home::new();
    let _daemon = Daemon::unix(&home.socket());
    let args = ["snapshot", "resume", "pre", "--name", "retry"];
    let (_, seen) = Session::start(&home, &args).end();
    assert!(seen.contains("\u{1b}["), "{seen:?}");
    home.set("NO_COLOR", "1");
    let (_, seen) = Session::start(&home, &args).end();
    assert_eq!(seen, "✓ restored, state intact\r\n");
}

#[test]
fn what_takes_long_is_shown_to_go_on() {
    let mut home = Home::new();
    home.set("TERM", "xterm");
    let daemon = Daemon::unix(&home.socket());
    let mut session = Session::start(&home, &["stop", "slow"]);
    session.wait_for("stopping sandbox slow");
    daemon.go_on();
    let (code, seen) = session.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.ends_with("sandbox/slow stopped\r\n"), "{seen:?}");
}
