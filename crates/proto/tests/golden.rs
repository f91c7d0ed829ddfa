//! Holds the bytes of every message: agents of this version sleep inside snapshots.
//!
//! A failure prints what the file would have to be. Change an existing line only together with
//! the protocol's version and a new file; a line for a new message may be added at any time.

use std::fmt::Write as _;

use bhatti_proto::hello::{Greeting, Kind, Nonce};
use bhatti_proto::message::{
    AgentHello, Card, Clock, Control, Detach, Detached, Dial, Exec, Exited, Freeze, Identity,
    ListeningPort, NextTimer, NextTimerReply, Ping, Ports, PortsReply, PowerOff, RefusalKind,
    Reply, Request, Started, Status, StatusReply, Stdin, Sync, Thaw, Variable, control, reply,
    request,
};
use bhatti_proto::service::{
    Logs, Restart, Service, ServicePhase, ServiceStatus, ServiceStatusReply, Settle, Settled,
};
use bhatti_proto::terminal::{
    Attached, Session, SessionList, Sessions, Size, TakenOver, Terminal, TerminalInput,
};
use bhatti_proto::version::PROTOCOL;
use bytes::Bytes;
use prost::Message;

const GOLDEN: &str = include_str!("../../../contracts/proto-v1.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

fn greeting(kind: Kind, body: Bytes) -> String {
    hex(&Greeting {
        kind,
        version: PROTOCOL,
        nonce: Nonce(*b"0123456789abcdef"),
        body,
    }
    .encode())
}

fn request(op: request::Op) -> String {
    hex(&Request::new(op).encode_length_delimited_to_vec())
}

fn reply(op: reply::Op) -> String {
    hex(&Reply::new(op).encode_length_delimited_to_vec())
}

fn variable() -> Variable {
    Variable {
        name: "LANG".into(),
        value: "C.UTF-8".into(),
    }
}

fn exec() -> Exec {
    Exec {
        argv: vec!["echo".into(), "a b".into(), String::new()],
        env: vec![variable()],
        cwd: Some("/srv".into()),
        user: Some("app:users".into()),
        timeout_ms: Some(1500),
        stdin: true,
        detach: None,
    }
}

fn identity() -> Identity {
    Identity {
        hostname: "dev".into(),
        machine_id: Some("0123456789abcdef0123456789abcdef".into()),
        entropy: Bytes::from_static(&[1, 2, 3]),
        unix_nanos: Some(1_700_000_000_000_000_001),
        env: vec![variable()],
        user: Some("app".into()),
        cwd: Some("/srv".into()),
        grow_root: true,
        fresh: true,
        service: None,
        card: None,
    }
}

fn with_card() -> Identity {
    Identity {
        card: Some(Card {
            mac: Bytes::from_static(&[0x0a, 0xb7, 10, 83, 0, 2]),
            address: 0x0a53_0002,
            prefix: 21,
            gateway: 0x0a53_0001,
            mtu: 1500,
            dns: vec![0x0a53_0001],
        }),
        ..Identity::default()
    }
}

fn service() -> Service {
    Service {
        argv: vec!["web".into(), "-p".into(), "80".into()],
        restart: Restart::Always.into(),
        stop_signal: 3,
    }
}

fn terminal() -> Terminal {
    Terminal {
        exec: Some(Exec {
            argv: vec!["bash".into()],
            ..Exec::default()
        }),
        session: Some("0123456789abcdef".into()),
        new: true,
        size: Some(Size { rows: 24, cols: 80 }),
        term: "xterm".into(),
        ephemeral: true,
    }
}

fn session() -> Session {
    Session {
        id: "0123456789abcdef".into(),
        argv: vec!["bash".into()],
        pid: 42,
        attached: true,
        created_unix_ms: 1_700_000_000_000,
        exit: Some(Exited {
            code: Some(1),
            ..Exited::default()
        }),
    }
}

/// What came after the first version of the file.
fn later() -> Vec<(&'static str, String)> {
    let with_service = Identity {
        service: Some(service()),
        ..identity()
    };
    let status = ServiceStatusReply {
        phase: ServicePhase::Waiting.into(),
        pid: Some(42),
        since_unix_ms: Some(1_700_000_000_000),
        restarts: 3,
        last_exit: Some(Exited {
            code: Some(1),
            ..Exited::default()
        }),
        error: "web: command not found".into(),
    };
    let logs = Logs {
        tail: Some(10),
        follow: true,
    };
    let settled = Settled {
        state: "running".into(),
    };
    let attached = Attached {
        session: "0123456789abcdef".into(),
        pid: 42,
        resumed: true,
    };
    let keys = TerminalInput::data(Bytes::from_static(b"ls\r"));
    let size = TerminalInput::size(Size { rows: 24, cols: 80 });
    let list = SessionList {
        sessions: vec![session()],
    };
    vec![
        (
            "request.identity.service",
            request(request::Op::Identity(with_service)),
        ),
        (
            "request.service_status",
            request(request::Op::ServiceStatus(ServiceStatus {})),
        ),
        ("request.logs", request(request::Op::Logs(logs))),
        (
            "request.settle",
            request(request::Op::Settle(Settle { limit_ms: 1000 })),
        ),
        (
            "reply.service_status",
            reply(reply::Op::ServiceStatus(status)),
        ),
        ("reply.settled", reply(reply::Op::Settled(settled))),
        (
            "request.terminal",
            request(request::Op::Terminal(terminal())),
        ),
        (
            "request.sessions",
            request(request::Op::Sessions(Sessions {})),
        ),
        ("input.data", hex(&keys.encode_length_delimited_to_vec())),
        ("input.size", hex(&size.encode_length_delimited_to_vec())),
        ("reply.attached", reply(reply::Op::Attached(attached))),
        ("reply.sessions", reply(reply::Op::Sessions(list))),
        (
            "reply.taken_over",
            reply(reply::Op::TakenOver(TakenOver {})),
        ),
    ]
}

fn current() -> String {
    let hello = AgentHello {
        version: "0.1.0".into(),
        kernel: "6.1.0-53-cloud-amd64".into(),
        boot_id: "d8f0…".into(),
        init: String::new(),
    };
    let detach = Exec {
        argv: vec!["sleep".into()],
        detach: Some(Detach {
            output_file: Some("/tmp/out".into()),
        }),
        ..Exec::default()
    };
    let status = StatusReply {
        rss_bytes: 4 << 20,
        uptime_ms: 1000,
        running: 2,
        streams: 3,
        generation: 4,
    };
    let control = Control {
        op: Some(control::Op::Signal(15)),
    };
    let lines = [
        ("greeting.hello", greeting(Kind::Hello, Bytes::new())),
        (
            "greeting.ack",
            greeting(Kind::Ack, hello.encode_to_vec().into()),
        ),
        ("greeting.start", greeting(Kind::Start, Bytes::new())),
        ("request.exec", request(request::Op::Exec(exec()))),
        ("request.exec.detach", request(request::Op::Exec(detach))),
        (
            "request.stdin",
            request(request::Op::Stdin(Stdin { exec: 300 })),
        ),
        (
            "request.identity",
            request(request::Op::Identity(identity())),
        ),
        (
            "request.identity.card",
            request(request::Op::Identity(with_card())),
        ),
        ("request.sync", request(request::Op::Sync(Sync {}))),
        (
            "request.power_off",
            request(request::Op::PowerOff(PowerOff {})),
        ),
        ("request.ping", request(request::Op::Ping(Ping {}))),
        (
            "request.clock",
            request(request::Op::Clock(Clock {
                unix_nanos: 1_800_000_000_000_000_000,
            })),
        ),
        ("request.status", request(request::Op::Status(Status {}))),
        (
            "request.next_timer",
            request(request::Op::NextTimer(NextTimer {})),
        ),
        (
            "request.freeze",
            request(request::Op::Freeze(Freeze { limit_ms: 60_000 })),
        ),
        ("request.thaw", request(request::Op::Thaw(Thaw {}))),
        (
            "request.dial",
            request(request::Op::Dial(Dial { port: 8080 })),
        ),
        ("request.ports", request(request::Op::Ports(Ports {}))),
        (
            "control.signal",
            hex(&control.encode_length_delimited_to_vec()),
        ),
        (
            "reply.done",
            hex(&Reply::done().encode_length_delimited_to_vec()),
        ),
        (
            "reply.refused",
            hex(&Reply::refused(RefusalKind::NotFound, "no").encode_length_delimited_to_vec()),
        ),
        (
            "reply.started",
            reply(reply::Op::Started(Started { pid: 42, exec: 7 })),
        ),
        (
            "reply.stdout",
            reply(reply::Op::Stdout(Bytes::from_static(b"\0out"))),
        ),
        (
            "reply.stderr",
            reply(reply::Op::Stderr(Bytes::from_static(b"\xfferr"))),
        ),
        (
            "reply.exited.code",
            reply(reply::Op::Exited(Exited {
                code: Some(0),
                ..Exited::default()
            })),
        ),
        (
            "reply.exited.signal",
            reply(reply::Op::Exited(Exited {
                signal: Some(9),
                ..Exited::default()
            })),
        ),
        (
            "reply.exited.timed_out",
            reply(reply::Op::Exited(Exited {
                signal: Some(9),
                timed_out: true,
                code: None,
            })),
        ),
        (
            "reply.detached",
            reply(reply::Op::Detached(Detached {
                pid: 42,
                output_file: "/tmp/out".into(),
            })),
        ),
        ("reply.status", reply(reply::Op::Status(status))),
        (
            "reply.next_timer",
            reply(reply::Op::NextTimer(NextTimerReply {
                unix_nanos: Some(1_800_000_000_000_000_000),
                what: "cron root: 5 4 * * *".into(),
            })),
        ),
        (
            "reply.next_timer.none",
            reply(reply::Op::NextTimer(NextTimerReply::default())),
        ),
        (
            "reply.ports",
            reply(reply::Op::Ports(PortsReply {
                ports: vec![ListeningPort {
                    port: 8080,
                    address: "127.0.0.1".into(),
                }],
            })),
        ),
    ];
    let mut text = String::from(
        "# The bytes of protocol 1 between bhatti and lohar, in hexadecimal.\n\
         # Written by crates/proto/tests/golden.rs, which says when this may change.\n",
    );
    for (name, bytes) in lines.into_iter().chain(later()) {
        writeln!(text, "{name} {bytes}").expect("a String takes any text");
    }
    text
}

#[test]
fn every_message_has_the_bytes_it_always_had() {
    let current = current();
    assert!(
        current == GOLDEN,
        "contracts/proto-v1.txt would be:\n{current}"
    );
}

#[test]
fn old_bytes_still_decode() {
    for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
        let (name, digits) = line.split_once(' ').expect("each line is a name and bytes");
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits are hexadecimal"))
            .collect();
        match name.split('.').next() {
            Some("request") => {
                let request = Request::decode_length_delimited(&bytes[..]).expect(name);
                assert!(request.op.is_some(), "{name}");
            }
            Some("reply") => {
                let reply = Reply::decode_length_delimited(&bytes[..]).expect(name);
                assert!(reply.op.is_some(), "{name}");
            }
            Some("control") => {
                let control = Control::decode_length_delimited(&bytes[..]).expect(name);
                assert!(control.op.is_some(), "{name}");
            }
            Some("input") => {
                let input = TerminalInput::decode_length_delimited(&bytes[..]).expect(name);
                assert!(input.op.is_some(), "{name}");
            }
            _ => {
                let mut scanner = bhatti_proto::hello::Scanner::default();
                scanner.push(&bytes);
                assert!(scanner.next_greeting().is_some(), "{name}");
            }
        }
    }
}
