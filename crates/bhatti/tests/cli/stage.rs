//! The answers: which one comes goes by what is asked for. A sandbox called `missing` is missing.

use std::io::Write as _;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

use crate::daemon::{Request, Stream};
use crate::stage_images;

/// Answers a request.
pub(crate) fn play(request: &Request, mut stream: Box<dyn Stream>) {
    let (method, path) = request.line.split_once(' ').unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let usage = query.split('&').any(|part| part == "usage=true");
    let parts: Vec<_> = path.split('/').skip(1).collect();
    if let Some(trouble) = parts.get(1).and_then(|name| trouble(name)) {
        // A client that gave up is no trouble of the daemon's.
        let _ = stream.write_all(trouble.as_bytes());
        return;
    }
    if request.header("authorization") == Some("Bearer bht_wrong") {
        let _ = stream.write_all(answer(401, &json!({"error": "invalid api key"})).as_bytes());
        return;
    }
    if let ("GET", ["sandboxes", _, "exec", "ws"]) = (method, parts.as_slice()) {
        exec(request, stream);
        return;
    }
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let name = |default: &str| body["name"].as_str().unwrap_or(default).to_owned();
    let (status, reply) = match (method, parts.as_slice()) {
        ("GET", ["sandboxes"]) if usage => {
            (200, json!([with_usage(sandbox("dev")), sandbox("retry")]))
        }
        ("GET", ["sandboxes"]) => (200, json!([sandbox("dev"), sandbox("retry")])),
        ("POST", ["sandboxes"]) if body["name"] == "taken" => (200, sandbox("taken")),
        ("POST", ["sandboxes"]) if body["name"] == "toomany" => {
            let hint = "destroy what is no longer used, or ask for a higher limit";
            (
                429,
                json!({"error": "sandboxes limit reached (5)", "hint": hint}),
            )
        }
        ("POST", ["sandboxes"]) => {
            let mut made = sandbox(&name("made-up"));
            for (key, shown) in [
                ("cpus", "cpus"),
                ("memory_mb", "memory_mb"),
                ("disk_size_mb", "disk_size_mb"),
            ] {
                if !body[key].is_null() {
                    made[shown] = body[key].clone();
                }
            }
            (201, made)
        }
        ("GET", ["sandboxes", "full"]) => (200, full()),
        ("GET", ["sandboxes", name]) if usage => (200, with_usage(sandbox(name))),
        ("GET", ["sandboxes", name]) => (200, sandbox(name)),
        ("DELETE", ["sandboxes", _]) => (200, json!({"status": "destroyed"})),
        ("POST", ["sandboxes", source, "fork"]) => {
            let count = body["count"].as_u64().unwrap();
            let name = name(&format!("{source}-fork"));
            let copies = (1..=count).map(|number| match count {
                1 => sandbox(&name),
                _ => sandbox(&format!("{name}-{number}")),
            });
            (201, copies.collect())
        }
        ("POST", ["sandboxes", name, "rollback"]) => {
            let mut back = sandbox(name);
            if body["force"] != true {
                let to = body["to"].as_str().unwrap();
                back["kept_as"] = format!("{name}-before-{to}-1").into();
            }
            (200, back)
        }
        ("GET", ["tree"]) if query == "sandbox=lonely" => (200, json!([])),
        ("GET", ["tree"]) => (200, tree()),
        ("POST", ["sandboxes", name, "stop" | "start"]) => (200, sandbox(name)),
        ("POST", ["sandboxes", _, "exec"]) => (
            200,
            json!({"pid": 4711, "output_file": "/tmp/out.log", "detached": true}),
        ),
        ("POST", ["sandboxes", name_of, "checkpoint"]) => (201, snapshot(&name("?"), name_of)),
        ("GET", ["snapshots"]) => (200, json!([snapshot("pre", "dev")])),
        ("POST", ["snapshots", _, "resume"]) => (201, sandbox(&name("made-up"))),
        ("DELETE", ["snapshots" | "users" | "machine-templates", _]) => {
            (200, json!({"status": "deleted"}))
        }
        ("POST", ["images", name, "warm"]) => (200, template(name, 0)),
        ("GET", ["machine-templates"]) => (200, json!([template("base", 7), template("mine", 0)])),
        ("GET", ["users"]) => (200, json!([user("alice")])),
        ("POST", ["users"]) => {
            let mut made = user(&name("?"));
            made["api_key"] = "bht_alice_0123".into();
            (201, made)
        }
        ("POST", ["users", _, "rotate-key"]) => (200, json!({"api_key": "bht_alice_4567"})),
        ("GET", ["version"]) => (200, json!({"version": "0.9.0", "api": "1", "kit": "k1"})),
        (method, parts) => stage_images::answer(method, parts, query, &body)
            .unwrap_or_else(|| (404, json!({"error": "no such route"}))),
    };
    let mut text = answer(status, &reply);
    if body["name"] == "taken" {
        text = text.replacen("\r\n", "\r\nX-Bhatti-Existing: true\r\n", 1);
    }
    let _ = stream.write_all(text.as_bytes());
}

/// An answer with its length, after which the connection is closed.
fn answer(status: u16, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nX-Request-Id: req_0123456789abcdef\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
    )
}

/// What goes wrong with the thing of this name.
fn trouble(name: &str) -> Option<String> {
    let kind = json!({"error": format!("sandbox {name:?} not found")});
    Some(match name {
        "missing" => answer(404, &kind),
        "busy" => answer(
            409,
            &json!({"error": "sandbox \"busy\" is being stopped", "hint": "try again"}),
        ),
        "broken" => answer(
            500,
            &json!({"error": "internal error", "request_id": "req_00000000deadbeef"}),
        ),
        "odd" => answer(400, &json!({"error": "line one\nline \u{1b}[2Jtwo"})),
        "page" => {
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 15\r\n\r\n<h1>Sorry</h1>\n".to_owned()
        }
        "words" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "shape" => answer(200, &json!({"name": 5})),
        "silent" => String::new(),
        "cut" => "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\"".to_owned(),
        "noise" => "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        _ => return None,
    })
}

fn sandbox(name: &str) -> Value {
    json!({
        "id": "sbx_0123456789abcdef", "name": name, "status": "running", "thermal": "hot",
        "engine": "qemu", "accelerator": "tcg", "ip": "", "urls": [], "cpus": 1.0,
        "memory_mb": 1024, "disk_size_mb": 2048, "image": "base", "labels": {},
        "created_by": "usr_00000000", "created_at": "2026-11-24T09:00:00.000Z",
    })
}

fn with_usage(mut sandbox: Value) -> Value {
    sandbox["disk_own_bytes"] = 12_000_000.into();
    sandbox["disk_shared_bytes"] = 230_000_000.into();
    sandbox
}

fn full() -> Value {
    let mut full = sandbox("full");
    full["status"] = "failed".into();
    full["thermal"] = "off".into();
    full["reason"] = "its machine ended with signal 9".into();
    full["resumed_from"] = "pre".into();
    full["stopped_at"] = "2026-11-24T10:00:00.000Z".into();
    full["labels"] = json!({"pool": "workers", "tier": "1"});
    full["urls"] = json!(["https://full.example.com"]);
    full["user"] = "1000:1000".into();
    full["ip"] = "10.1.2.3".into();
    full["a_later_field"] = json!({"x": 1});
    full
}

fn snapshot(name: &str, source: &str) -> Value {
    json!({
        "id": "snp_0123456789abcdef", "user_id": "usr_00000000", "name": name,
        "source_sandbox": source, "size_mb": 1024, "disk_bytes": 157_286_401,
        "disk_own_bytes": 1_048_577, "disk_shared_bytes": 156_237_824, "stall_ms": 12,
        "created_at": "2026-11-24T09:05:00.000Z",
    })
}

fn tree() -> Value {
    let line = |kind: &str, id: &str, parent: Option<&str>, depth: u32, name: &str| {
        let mut line = json!({
            "kind": kind, "id": id, "depth": depth, "name": name, "memory_mb": 1024,
            "created_at": "2026-11-24T09:00:00.000Z",
        });
        if let Some(parent) = parent {
            line["parent"] = parent.into();
        }
        if kind == "sandbox" {
            line["status"] = "running".into();
            line["thermal"] = "hot".into();
        } else {
            line["disk_own_bytes"] = 57_286_401.into();
        }
        line
    };
    let (dev, pre) = ("sbx_0123456789abcdef", "snp_0123456789abcdef");
    json!([
        line("sandbox", dev, None, 0, "dev"),
        line("snapshot", pre, Some(dev), 1, "pre"),
        line("sandbox", "sbx_0000000000000001", Some(pre), 2, "retry"),
        line("sandbox", "sbx_0000000000000002", Some(dev), 1, "try-1"),
        {"kind": "sandbox", "id": "sbx_0000000000000003", "depth": 0, "deleted": true},
        line("snapshot", "snp_0000000000000001", Some("sbx_0000000000000003"), 1, "old"),
    ])
}

fn template(image: &str, uses: u64) -> Value {
    let mut template = json!({
        "id": "tpl_0123456789abcdef", "image": image, "cpus": 1.0, "memory_mb": 1024,
        "disk_size_mb": 2048, "kit": "0123456789abcdef", "engine": "qemu", "accelerator": "tcg",
        "uses": uses, "created_at": "2026-11-24T08:00:00.000Z", "disk_own_bytes": 68_000_000,
        "disk_shared_bytes": 237_080_576,
        "pool": uses.min(2),
    });
    if uses > 0 {
        template["last_used_at"] = "2026-11-24T09:00:00.000Z".into();
    }
    template
}

fn user(name: &str) -> Value {
    json!({
        "id": "usr_00000001", "name": name, "max_sandboxes": 5, "max_cpus_per_sandbox": 4,
        "max_memory_mb_per_sandbox": 4096, "max_snapshots": 5, "max_images": 10,
        "created_at": "2026-11-24T08:30:00.000Z",
    })
}

/// Plays a command over the WebSocket; which one goes by its name.
fn exec(request: &Request, mut stream: Box<dyn Stream>) {
    let accept = derive_accept_key(request.header("sec-websocket-key").unwrap().as_bytes());
    let protocol = request.header("sec-websocket-protocol").unwrap();
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n",
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let asked: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
    let say = |socket: &mut WebSocket<_>, message| {
        let _ = socket.send(message);
    };
    let exit = |code: i32| json!({"type": "exit", "exit_code": code});
    let end = match asked["cmd"][0].as_str().unwrap() {
        "cat" => {
            cat(&mut socket);
            exit(0)
        }
        "show" => {
            say(&mut socket, out(1, format!("{asked}\n").as_bytes()));
            exit(0)
        }
        "both" => {
            say(&mut socket, out(1, b"out\n"));
            say(&mut socket, out(2, b"err\n"));
            exit(3)
        }
        "bytes" => {
            say(&mut socket, out(1, b"\x00\xff\xfe\n"));
            exit(0)
        }
        "endless" => {
            while socket.send(out(1, &[b'y'; 4096])).is_ok() {}
            return;
        }
        "killed" => json!({"type": "exit", "exit_code": 137, "signal": 9}),
        "slow" => json!({"type": "exit", "exit_code": 124, "signal": 9, "timed_out": true}),
        "nosuch" => json!({"type": "error", "data": "nosuch: no such program", "hint": "look"}),
        "trap" => trap(&mut socket),
        "stubborn" => {
            say(&mut socket, out(1, b"ready\n"));
            while socket.read().is_ok() {}
            return;
        }
        // The machine is gone.
        _ => return,
    };
    say(&mut socket, Message::text(end.to_string()));
    let _ = socket.close(None);
    while socket.read().is_ok() {}
}

fn out(channel: u8, bytes: &[u8]) -> Message {
    Message::binary([&[channel], bytes].concat())
}

/// Gives standard input back until it ends.
fn cat(socket: &mut WebSocket<Box<dyn Stream>>) {
    loop {
        let bytes = match socket.read().unwrap() {
            Message::Binary(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(bytes[0], 0);
        if bytes.len() == 1 {
            return;
        }
        socket.send(out(1, &bytes[1..])).unwrap();
    }
}

/// Says it is ready, then ends by the signal that comes.
fn trap(socket: &mut WebSocket<Box<dyn Stream>>) -> Value {
    socket.send(out(1, b"ready\n")).unwrap();
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            let control: Value = serde_json::from_str(&text).unwrap();
            let signal = control["signal"].as_i64().unwrap();
            return json!({"type": "exit", "exit_code": 128 + signal, "signal": signal});
        }
    }
}
