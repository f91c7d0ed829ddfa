//! The table of wrong calls: what each is answered with.

use std::fmt::Write as _;

use bhatti_server::app::Options;

use crate::support::{Api, Who};

/// Longest body that is shown in the table whole, in bytes.
const SHOWN: usize = 120;

/// One wrong call.
struct Call {
    line: &'static str,
    body: String,
    who: Option<Who>,
}

fn call(line: &'static str) -> Call {
    body(line, "")
}

fn body(line: &'static str, body: impl Into<String>) -> Call {
    Call {
        line,
        body: body.into(),
        who: None,
    }
}

impl Call {
    fn by(self, who: Who) -> Self {
        Self {
            who: Some(who),
            ..self
        }
    }
}

/// Says who calls, if not an ordinary user.
fn label(who: &Who) -> String {
    match who {
        Who::Local => " (unix socket)".to_owned(),
        Who::Nobody => " (no token)".to_owned(),
        Who::Header(header) => format!(" (authorization: {})", header.replace(&digits(), "…")),
    }
}

/// The digits of a token that is nobody's.
fn digits() -> String {
    "0".repeat(64)
}

/// Makes the calls, as an ordinary user unless they say otherwise, and writes the table.
async fn table(calls: Vec<Call>) -> String {
    let options = Options {
        rate_limits: false,
        ..Options::default()
    };
    let api = Api::start(options).await;
    let alice = Who::token(&api.user("alice").await);
    let mut table = String::new();
    for call in calls {
        let who = call.who.as_ref().unwrap_or(&alice);
        let answer = api.call(who, call.line, call.body.clone()).await;
        assert!(
            answer.status.as_u16() >= 400,
            "{} is not wrong: {answer:?}",
            call.line
        );
        assert!(answer.headers.contains_key("x-request-id"), "{}", call.line);
        let message = answer.error();
        assert!(!message.contains('\n') && message.len() < 500, "{message}");
        let data_dir = api.dir().to_str().unwrap();
        assert!(
            !answer.body.contains(data_dir),
            "no paths of the host: {}",
            answer.body
        );
        let shown = match call.body.len() {
            0..=SHOWN => call.body.clone(),
            length => format!("<{length} bytes>"),
        };
        writeln!(
            table,
            "{}{} {shown}\n    {} {message}",
            call.line,
            call.who.as_ref().map_or_else(String::new, label),
            answer.status.as_u16()
        )
        .unwrap();
        if let Some(allow) = answer.headers.get("allow") {
            writeln!(table, "    allow: {}", allow.to_str().unwrap()).unwrap();
        }
    }
    table
}

#[tokio::test]
async fn wrong_creates() {
    let with =
        |field: &str, value: &str| body("POST /sandboxes", format!(r#"{{"{field}": {value}}}"#));
    let long_name = format!(r#""{}""#, "x".repeat(64));
    let many_labels: Vec<_> = (0..17).map(|index| format!(r#""k{index}": "v""#)).collect();
    let many_vars: Vec<_> = (0..257)
        .map(|index| format!(r#""K{index}": "v""#))
        .collect();
    let table = table(vec![
        with("name", r#""-dev""#),
        with("name", r#""a/b""#),
        with("name", r#""..""#),
        with("name", r#""dev\u0000""#),
        with("name", r#""dev\nlist""#),
        with("name", r#""größe""#),
        with("name", &long_name),
        with("name", "7"),
        with("image", r#""nosuch""#),
        with("image", r#""../../etc/passwd""#),
        with("image", "[]"),
        with("cpus", "0.5"),
        with("cpus", "-1"),
        with("cpus", "33"),
        with("cpus", "5"),
        with("cpus", "1e300"),
        with("cpus", "1e999"),
        with("cpus", r#""two""#),
        with("memory_mb", "127"),
        with("memory_mb", "-512"),
        with("memory_mb", "512.5"),
        with("memory_mb", "8192"),
        with("memory_mb", "262145"),
        with("memory_mb", "18446744073709551615"),
        with("memory_mb", "18446744073709551616"),
        with("disk_size_mb", "63"),
        with("disk_size_mb", "4194305"),
        with("env", r#"{"A=B": "x"}"#),
        with("env", r#"{"": "x"}"#),
        with("env", r#"{"A": "x\u0000"}"#),
        with("env", r#"{"A": 1}"#),
        with("env", r#"["A=x"]"#),
        with("env", &format!("{{{}}}", many_vars.join(","))),
        with("labels", r#"{"bhatti.sh/owner": "me"}"#),
        with("labels", r#"{"a/b/c": "x"}"#),
        with("labels", r#"{"a": "x y"}"#),
        with("labels", &format!(r#"{{"a": "{}"}}"#, "x".repeat(257))),
        with("labels", &format!("{{{}}}", many_labels.join(","))),
        with("user", r#""""#),
        with("user", r#""a:b:c""#),
        with("user", r#""root; reboot""#),
        with("hugepages", "true"),
        with("na\\nme", r#""x""#),
        body("POST /sandboxes", "{"),
        body("POST /sandboxes", r#"{"name": "de"#),
        body("POST /sandboxes", r#"{"name": "dev"} {}"#),
        body("POST /sandboxes", r#"{"name": "dev", "name": "dev"}"#),
        body("POST /sandboxes", "[]"),
        body("POST /sandboxes", "null"),
        body("POST /sandboxes", r#""dev""#),
        body("POST /sandboxes", "name=dev"),
        body(
            "POST /sandboxes",
            format!("{}{}", "[".repeat(5000), "]".repeat(5000)),
        ),
        body(
            "POST /sandboxes",
            format!("{{}}{}", " ".repeat(1024 * 1024)),
        ),
        body("POST /sandboxes", " ".repeat(9 * 1024 * 1024)),
        body("POST /sandboxes", " "),
    ])
    .await;
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn wrong_commands() {
    let exec = |text: &str| body("POST /sandboxes/dev/exec", text);
    let long = "x".repeat(128 * 1024);
    let table = table(vec![
        exec(""),
        exec("{}"),
        exec(r#"{"cmd": []}"#),
        exec(r#"{"cmd": [""]}"#),
        exec(r#"{"cmd": "ls"}"#),
        exec(r#"{"cmd": ["ls", 1]}"#),
        exec(r#"{"cmd": ["ls", "a\u0000b"]}"#),
        exec(&format!(r#"{{"cmd": ["echo", "{long}"]}}"#)),
        exec(r#"{"cmd": ["ls"], "timeout_sec": 86401}"#),
        exec(r#"{"cmd": ["ls"], "timeout_sec": -1}"#),
        exec(r#"{"cmd": ["ls"], "timeout_sec": "5"}"#),
        exec(r#"{"cmd": ["ls"], "timeout_sec": 0.5}"#),
        exec(r#"{"cmd": ["ls"], "workdir": "tmp"}"#),
        exec(r#"{"cmd": ["ls"], "workdir": "/tmp\u0000"}"#),
        exec(r#"{"cmd": ["ls"], "env": {"A=": "x"}}"#),
        exec(r#"{"cmd": ["ls"], "user": "a b"}"#),
        exec(r#"{"cmd": ["ls"], "tty": true}"#),
        exec(r#"{"cmd": ["ls"], "stdin": true}"#),
        exec(r#"{"cmd": ["ls"], "output_file": "/tmp/out"}"#),
        exec(r#"{"cmd": ["ls"], "detach": true, "output_file": "out"}"#),
        exec(r#"{"cmd": ["ls"], "detach": "yes"}"#),
        exec(r#"{"cmd": ["ls"]}"#),
        call("GET /sandboxes/dev/exec/ws"),
    ])
    .await;
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn wrong_paths_and_methods() {
    let table = table(vec![
        call("GET /"),
        call("GET /sandbox"),
        call("GET /sandboxes/"),
        call("GET //sandboxes"),
        call("GET /sandboxes/../users"),
        call("GET /sandboxes/.."),
        call("GET /sandboxes/%2e%2e%2fetc%2fpasswd"),
        call("GET /sandboxes/..%2F..%2Fstate.db"),
        call("GET /sandboxes/a%00b"),
        call("GET /sandboxes/%ff"),
        call("GET /sandboxes/a%0Ab"),
        call("GET /sandboxes/nosuch"),
        call("GET /sandboxes/sbx_0123456789abcdef"),
        call("GET /sandboxes/dev/files"),
        call("GET /snapshots/.."),
        call("GET /snapshots/nosuch"),
        call("GET /images/%2e%2e"),
        call("GET /images/base"),
        call("PUT /sandboxes"),
        call("PATCH /sandboxes/dev"),
        call("GET /sandboxes/dev/stop"),
        call("DELETE /sandboxes"),
        call("POST /health"),
        call("TRACE /sandboxes"),
        call("FROBNICATE /sandboxes"),
        call("OPTIONS /users"),
        call("GET /sandboxes?label=a"),
        call("GET /sandboxes?label=bhatti.sh/a=b"),
        call("GET /sandboxes?label==b"),
        call("GET /sandboxes?label=a=1&label=a=2"),
        call("GET /sandboxes?limit=5"),
        call("DELETE /sandboxes/nosuch"),
        call("POST /sandboxes/nosuch/stop"),
        body("POST /sandboxes/nosuch/start", "{}"),
        body("POST /sandboxes/nosuch/start", r#"{"force": 1}"#),
        body("POST /sandboxes/nosuch/start", r#"{"fast": true}"#),
        body("POST /sandboxes/nosuch/checkpoint", ""),
        body("POST /sandboxes/nosuch/checkpoint", "{}"),
        body("POST /sandboxes/nosuch/checkpoint", r#"{"name": ""}"#),
        body("POST /sandboxes/nosuch/checkpoint", r#"{"name": "a b"}"#),
        body("POST /sandboxes/nosuch/checkpoint", r#"{"name": "pre"}"#),
        body("POST /sandboxes/nosuch/fork", ""),
        body("POST /sandboxes/nosuch/fork", r#"{"count": 0}"#),
        body("POST /sandboxes/nosuch/fork", r#"{"count": 101}"#),
        body("POST /sandboxes/nosuch/fork", r#"{"count": -1}"#),
        body("POST /sandboxes/nosuch/fork", r#"{"name": "a b"}"#),
        body("POST /sandboxes/nosuch/rollback", ""),
        body("POST /sandboxes/nosuch/rollback", r#"{"to": ""}"#),
        body(
            "POST /sandboxes/nosuch/rollback",
            r#"{"to": "pre", "keep": false}"#,
        ),
        body("POST /sandboxes/nosuch/rollback", r#"{"to": "pre"}"#),
        body("POST /sandboxes", r#"{"from": "nosuch"}"#),
        body("POST /sandboxes", r#"{"from": "nosuch", "memory_mb": 512}"#),
        call("DELETE /snapshots/nosuch"),
        body("POST /snapshots/nosuch/resume", r#"{"name": "../x"}"#),
        body("POST /snapshots/nosuch/resume", r#"{"keep": 1}"#),
        body("POST /snapshots/nosuch/resume", r#"{"name": "retry"}"#),
    ])
    .await;
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn wrong_users_and_tokens() {
    let header = |text: &str| Who::Header(text.to_owned());
    let digits = digits();
    let list = || call("GET /sandboxes");
    let local = |line, text: &str| body(line, text).by(Who::Local);
    let table = table(vec![
        list().by(Who::Nobody),
        list().by(header("")),
        list().by(header("Bearer")),
        list().by(header("Bearer ")),
        list().by(header("Basic YWxpY2U6eA==")),
        list().by(header("Bearer hello")),
        list().by(header("Bearer bht_alice_short")),
        list().by(header(&format!("Bearer bht_alice_{digits}"))),
        list().by(header(&format!("Bearer bht_nobody_{digits}"))),
        list().by(header(&format!("Bearer bht_local_{digits}"))),
        list().by(header(&format!("Bearer bht_../x_{digits}"))),
        call("GET /version").by(Who::Nobody),
        call("GET /users").by(Who::Nobody),
        call("GET /users"),
        body("POST /users", r#"{"name": "eve"}"#),
        call("GET /users/alice"),
        call("DELETE /users/alice"),
        call("POST /users/alice/rotate-key"),
        local("POST /users", ""),
        local("POST /users", "{}"),
        local("POST /users", r#"{"name": ""}"#),
        local("POST /users", r#"{"name": "alice"}"#),
        local("POST /users", r#"{"name": "local"}"#),
        local("POST /users", r#"{"name": "a b"}"#),
        local("POST /users", r#"{"name": "eve", "role": "admin"}"#),
        local("POST /users", r#"{"name": "eve", "max_sandboxes": -1}"#),
        local(
            "POST /users",
            r#"{"name": "eve", "max_sandboxes": 4294967296}"#,
        ),
        local("GET /users/nosuch", ""),
        local("GET /users/..", ""),
        local("DELETE /users/nosuch", ""),
        local("DELETE /users/local", ""),
        local("POST /users/nosuch/rotate-key", ""),
        local("POST /users/local/rotate-key", ""),
    ])
    .await;
    insta::assert_snapshot!(table);
}
