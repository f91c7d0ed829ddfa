//! The command line against a real daemon and real machines, word for word.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

use std::path::{Path, PathBuf};

use bhatti_api::image::Image;
use bhatti_api::sandbox::{Sandbox, StatusBody};
use bhatti_api::snapshot::Snapshot;
use bhatti_testing::cli::{self, CliOutput};
use bhatti_testing::daemon::Daemon;
use serde_json::Value;

/// Two machines as `bhatti list` shows them.
const LIST: &str = "\
NAME   STATUS   THERMAL  URL
dev    running  hot
retry  running  hot
";

/// Runs a command that has to succeed and say nothing but its result.
async fn quiet(daemon: &Daemon, args: &[&str]) -> String {
    let ran = daemon.cli(args).await;
    assert_eq!(ran.errors(), "", "{args:?}: {ran:?}");
    ran.success()
}

/// Runs a command that has to fail with 1, and gives its message.
async fn refused(daemon: &Daemon, args: &[&str]) -> String {
    let ran = daemon.cli(args).await;
    assert_refused(&ran, args);
    ran.errors()
}

/// One line, and a hint where there is one.
fn assert_refused(ran: &CliOutput, args: &[&str]) {
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(1), ""),
        "{args:?}: {ran:?}"
    );
    let told = ran.errors();
    let lines: Vec<_> = told.lines().collect();
    assert!(
        lines[0].starts_with("error: ") && !lines[0].ends_with('.'),
        "{args:?}: {told}"
    );
    match lines[1..] {
        [] => {}
        ["", hint] => assert!(hint.starts_with("hint: "), "{args:?}: {told}"),
        _ => panic!("{args:?}: {told}"),
    }
}

async fn json<T: serde::de::DeserializeOwned>(daemon: &Daemon, args: &[&str]) -> T {
    let args = [args, &["--json"]].concat();
    let text = quiet(daemon, &args).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

/// The value of a line of `bhatti inspect`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[tokio::test]
async fn a_machine_from_its_first_day_to_its_last() {
    let daemon = Daemon::start().await;
    let empty = daemon.inventory().await;

    // The transcript of the README.
    let told = quiet(&daemon, &["create", "--name", "dev"]).await;
    assert_eq!(told, "sandbox/dev created (1 vCPU, 1024 MB)\n");
    let told = quiet(&daemon, &["exec", "dev", "--", "uname", "-a"]).await;
    assert!(told.starts_with("Linux dev 6.1."), "{told}");
    assert!(told.ends_with(" x86_64 GNU/Linux\n"), "{told}");
    // Only in memory.
    let keep = "echo kept > /dev/shm/word; exec sleep 1004.1";
    quiet(
        &daemon,
        &["exec", "--detach", "dev", "--", "sh", "-c", keep],
    )
    .await;
    let told = quiet(&daemon, &["snapshot", "create", "dev", "--name", "pre"]).await;
    assert_eq!(told, "✓ checkpoint \"pre\" created (1024MB)\n");
    let told = quiet(&daemon, &["snapshot", "resume", "pre", "--name", "retry"]).await;
    assert_eq!(told, "✓ restored, state intact\n");
    assert_eq!(quiet(&daemon, &["list"]).await, LIST);
    for name in ["dev", "retry"] {
        let intact = "hostname; cat /dev/shm/word; pgrep -x sleep | wc -l";
        let told = quiet(&daemon, &["exec", name, "--", "sh", "-c", intact]).await;
        assert_eq!(told, format!("{name}\nkept\n1\n"));
    }

    shown(&daemon).await;
    again(&daemon).await;
    asleep(&daemon).await;
    wrong(&daemon).await;

    // The end.
    assert_eq!(
        quiet(&daemon, &["destroy", "dev", "--yes"]).await,
        "sandbox/dev destroyed\n"
    );
    assert_eq!(
        quiet(&daemon, &["exec", "retry", "cat", "/dev/shm/word"]).await,
        "kept\n"
    );
    let gone: StatusBody = json(&daemon, &["rm", "-y", "retry"]).await;
    assert_eq!(gone.status, "destroyed");
    assert_eq!(
        quiet(&daemon, &["snap", "rm", "-y", "pre"]).await,
        "snapshot/pre deleted\n"
    );
    assert_eq!(json::<Vec<Sandbox>>(&daemon, &["list"]).await, []);
    assert_eq!(
        json::<Vec<Snapshot>>(&daemon, &["snapshot", "list"]).await,
        []
    );
    let told = refused(&daemon, &["inspect", "dev"]).await;
    assert!(told.contains("dev") && told.contains("not found"), "{told}");
    assert_eq!(daemon.inventory().await, empty);
}

/// What there is, for people and for machines.
async fn shown(daemon: &Daemon) {
    let sandboxes: Vec<Sandbox> = json(daemon, &["list"]).await;
    let [dev, retry] = &sandboxes[..] else {
        panic!("{sandboxes:?}");
    };
    assert_eq!((dev.name.as_str(), retry.name.as_str()), ("dev", "retry"));
    assert_ne!(dev.id, retry.id);
    for sandbox in [dev, retry] {
        assert_eq!(
            (sandbox.status.as_str(), sandbox.thermal.as_str()),
            ("running", "hot")
        );
        assert_eq!(
            (sandbox.cpus, sandbox.memory_mb, sandbox.disk_size_mb),
            (1.0, 1024, 2048)
        );
        assert_eq!(
            (sandbox.image.as_str(), sandbox.engine.as_str()),
            ("base", "qemu")
        );
        assert_eq!(sandbox.accelerator.as_deref(), Some("tcg"));
        assert_eq!(
            (
                &sandbox.reason,
                &sandbox.stopped_at,
                sandbox.user.as_deref()
            ),
            (&None, &None, Some("lohar"))
        );
        let created: Result<jiff::Timestamp, _> = sandbox.created_at.parse();
        assert!(created.is_ok(), "{sandbox:?}");
        assert_eq!(
            &json::<Sandbox>(daemon, &["inspect", &sandbox.name]).await,
            sandbox
        );
        assert_eq!(
            &json::<Sandbox>(daemon, &["inspect", &sandbox.id]).await,
            sandbox
        );
    }
    assert_eq!(
        (dev.resumed_from.as_deref(), retry.resumed_from.as_deref()),
        (None, Some("pre"))
    );

    let told = quiet(daemon, &["inspect", "retry"]).await;
    for (name, value) in [
        ("Name", "retry"),
        ("ID", &retry.id),
        ("Status", "running"),
        ("Thermal", "hot"),
        ("Image", "base"),
        ("Resumed from", "pre"),
        ("CPUs", "1"),
        ("Memory", "1024 MB"),
        ("Disk", "2048 MB"),
        ("Engine", "qemu (tcg)"),
    ] {
        assert_eq!(field(&told, name), value, "{told}");
    }

    let snapshots: Vec<Snapshot> = json(daemon, &["snapshot", "list"]).await;
    let [pre] = &snapshots[..] else {
        panic!("{snapshots:?}");
    };
    assert_eq!(
        (pre.name.as_str(), pre.source_sandbox.as_str(), pre.size_mb),
        ("pre", "dev", 1024)
    );
    assert!(pre.disk_bytes > 0, "{pre:?}");
    let told = quiet(daemon, &["snapshot", "list"]).await;
    let rows: Vec<Vec<_>> = told
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["NAME", "SANDBOX", "MEMORY", "ON", "DISK", "CREATED"]
    );
    assert_eq!(rows[1][..4], ["pre", "dev", "1024", "MB"]);
    assert_eq!(rows.len(), 2);

    let images: Vec<Image> = json(daemon, &["image", "list"]).await;
    let [base] = &images[..] else {
        panic!("{images:?}");
    };
    assert_eq!((base.name.as_str(), base.size_mb), ("base", 2048));
    let told = quiet(daemon, &["image", "list"]).await;
    assert!(
        told.lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("base  recipe:base  2048 MB")),
        "{told}"
    );

    let version: Value = json(daemon, &["version"]).await;
    assert_eq!(version["client"], version["server"]["version"]);
    assert!(version["server"]["kit"].is_string(), "{version}");

    // A command's output and end as one value; the code is the command's all the same.
    let text = "printf 'a\\377'; echo b >&2; exit 3";
    for args in [
        &["exec", "--json", "dev", "--", "sh", "-c", text][..],
        &["exec", "dev", "--json", "--", "sh", "-c", text],
    ] {
        let ran = daemon.cli(args).await;
        assert_eq!((ran.code, ran.errors().as_str()), (Some(3), ""));
        let value: Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
        let expected = serde_json::json!({
            "exit_code": 3, "stdout": "a\u{fffd}", "stdout_base64": "Yf8=", "stderr": "b\n"
        });
        assert_eq!(value, expected, "{args:?}");
    }
}

/// What is asked for twice is done once.
async fn again(daemon: &Daemon) {
    let dev: Sandbox = json(daemon, &["inspect", "dev"]).await;
    let told = quiet(daemon, &["create", "--name", "dev"]).await;
    assert_eq!(told, "sandbox/dev unchanged (already exists)\n");
    assert_eq!(
        json::<Sandbox>(daemon, &["create", "--name", "dev"]).await,
        dev
    );
    assert_eq!(
        quiet(daemon, &["start", "dev"]).await,
        "sandbox/dev started\n"
    );
    assert_eq!(json::<Sandbox>(daemon, &["inspect", "dev"]).await, dev);
    assert_eq!(quiet(daemon, &["list"]).await, LIST);
}

/// Stopped, started, and woken by a command.
async fn asleep(daemon: &Daemon) {
    let boot = &[
        "exec",
        "dev",
        "cat",
        "/proc/sys/kernel/random/boot_id",
        "/dev/shm/word",
    ];
    let before = quiet(daemon, boot).await;
    for _ in 0..2 {
        assert_eq!(
            quiet(daemon, &["stop", "dev"]).await,
            "sandbox/dev stopped\n"
        );
        let dev: Sandbox = json(daemon, &["inspect", "dev"]).await;
        assert_eq!(
            (dev.status.as_str(), dev.thermal.as_str()),
            ("stopped", "cold")
        );
        let told = quiet(daemon, &["list"]).await;
        assert_eq!(told.lines().nth(1), Some("dev    stopped  cold"), "{told}");
        // Its memory is on disk and nowhere else.
        let retry: Sandbox = json(daemon, &["inspect", "retry"]).await;
        assert_eq!(daemon.inventory().await.machines, [retry.id]);
    }
    assert_eq!(
        quiet(daemon, &["start", "dev"]).await,
        "sandbox/dev started\n"
    );
    assert_eq!(quiet(daemon, &["list"]).await, LIST);
    assert_eq!(quiet(daemon, boot).await, before);

    quiet(daemon, &["stop", "dev"]).await;
    let ran = daemon
        .cli_with(&["exec", "dev", "--", "cat"], b"awake\n")
        .await;
    assert_eq!(
        (ran.errors().as_str(), ran.success().as_str()),
        ("", "awake\n")
    );
    assert_eq!(quiet(daemon, boot).await, before);
    assert_eq!(quiet(daemon, &["list"]).await, LIST);
    // Many at once wake it once.
    quiet(daemon, &["stop", "dev"]).await;
    let woken = (0..5).map(|_| quiet(daemon, boot));
    for told in futures::future::join_all(woken).await {
        assert_eq!(told, before);
    }
    assert_eq!(daemon.inventory().await.machines.len(), 2);
}

/// What can't be done is said, and changes nothing.
async fn wrong(daemon: &Daemon) {
    for args in [
        &["exec", "missing", "--", "true"][..],
        &["inspect", "missing"],
        &["stop", "missing"],
        &["start", "missing"],
        &["destroy", "missing", "--yes"],
        &["snapshot", "create", "missing", "--name", "other"],
        &["snapshot", "resume", "missing"],
        &["snapshot", "delete", "missing", "--yes"],
        &["create", "--name", "other", "--image", "missing"],
    ] {
        let told = refused(daemon, args).await;
        assert!(
            told.contains("missing") && told.contains("not found"),
            "{args:?}: {told}"
        );
    }
    let told = refused(daemon, &["snapshot", "create", "dev", "--name", "pre"]).await;
    assert!(
        told.contains("pre") && told.contains("already exists"),
        "{told}"
    );
    let told = refused(daemon, &["snapshot", "resume", "pre", "--name", "dev"]).await;
    assert!(
        told.contains("dev") && told.contains("already exists"),
        "{told}"
    );
    // Nobody is there to be asked.
    let told = refused(daemon, &["destroy", "dev"]).await;
    assert!(told.contains("--yes"), "{told}");
    assert_eq!(quiet(daemon, &["list"]).await, LIST);
}

/// A person with a home of their own.
struct Person {
    home: PathBuf,
}

impl Person {
    fn new(daemon: &Daemon, name: &str) -> Self {
        let home = daemon.home().join(name);
        fs_err::create_dir(&home).expect("a directory can be made");
        Self { home }
    }

    async fn cli(&self, args: &[&str]) -> CliOutput {
        cli::run_at_home(&self.home, args, b"").await
    }

    async fn quiet(&self, args: &[&str]) -> String {
        let ran = self.cli(args).await;
        assert_eq!(ran.errors(), "", "{args:?}: {ran:?}");
        ran.success()
    }

    async fn refused(&self, args: &[&str]) -> String {
        let ran = self.cli(args).await;
        assert_refused(&ran, args);
        ran.errors()
    }

    fn config(&self) -> PathBuf {
        self.home.join(".bhatti/config.yaml")
    }
}

/// A user as the administrator makes it: its token.
async fn user(daemon: &Daemon, args: &[&str]) -> String {
    let args = [&["user", "create", "--json", "--name"], args].concat();
    let created: Value =
        serde_json::from_str(&quiet_but_hints(daemon, &args).await).expect("it is JSON");
    let token = created["api_key"].as_str().expect("a token").to_owned();
    let name = created["name"].as_str().expect("a name");
    assert!(
        token.starts_with(&format!("bht_{name}_")),
        "it is not of the right form"
    );
    token
}

async fn quiet_but_hints(daemon: &Daemon, args: &[&str]) -> String {
    daemon.cli(args).await.success()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;

    let found = fs_err::metadata(path).expect("the file is there");
    found.permissions().mode() & 0o7777
}

#[tokio::test]
async fn users_with_tokens_never_meet() {
    let daemon = Daemon::start_with(&["--listen", "127.0.0.1:0"]).await;
    let url = daemon.url();
    let alice_token = user(&daemon, &["alice"]).await;
    let bob_token = user(
        &daemon,
        &["bob", "--max-sandboxes", "1", "--max-memory", "512"],
    )
    .await;
    assert_ne!(alice_token, bob_token);
    let (alice, bob) = (Person::new(&daemon, "alice"), Person::new(&daemon, "bob"));

    // Without a token, and with a wrong one, there is nothing.
    let told = alice.refused(&["--url", &url, "list"]).await;
    assert!(
        told.starts_with("error: authorization required\n"),
        "{told}"
    );
    let wrong = format!("bht_alice_{}", "0".repeat(64));
    for token in [wrong.as_str(), "bht_carol_00", "x"] {
        let told = alice
            .refused(&["setup", "--url", &url, "--token", token])
            .await;
        assert!(told.starts_with("error: invalid api key\n"), "{told}");
        assert!(!alice.config().exists());
    }

    for (person, token) in [(&alice, &alice_token), (&bob, &bob_token)] {
        let told = person
            .cli(&["setup", "--url", &url, "--token", token])
            .await;
        assert!(
            told.text().contains("✓ authenticated (0 sandboxes)\n"),
            "{told:?}"
        );
        assert_eq!(told.code, Some(0));
        assert_eq!(mode(&person.config()), 0o600);
    }

    // Each has a machine; the names may be the same.
    let create = ["create", "--name", "dev", "--memory", "256"];
    let (one, two) = tokio::join!(alice.quiet(&create), bob.quiet(&create));
    assert_eq!(one, "sandbox/dev created (1 vCPU, 256 MB)\n");
    assert_eq!(two, one);
    let write = |name: &'static str| ["exec", "dev", "--", "sh", "-c", name];
    alice.quiet(&write("echo alice > /tmp/who")).await;
    bob.quiet(&write("echo bob > /tmp/who")).await;
    assert_eq!(
        alice.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "alice\n"
    );
    assert_eq!(
        bob.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "bob\n"
    );
    let told = alice
        .quiet(&["snapshot", "create", "dev", "--name", "hers"])
        .await;
    assert_eq!(told, "✓ checkpoint \"hers\" created (256MB)\n");

    for person in [&alice, &bob] {
        let list = person.quiet(&["list"]).await;
        assert_eq!(list, "NAME  STATUS   THERMAL  URL\ndev   running  hot\n");
    }
    let told = alice
        .cli(&["setup", "--url", &url, "--token", &alice_token])
        .await;
    assert!(
        told.text().contains("✓ authenticated (1 sandbox)\n"),
        "{told:?}"
    );

    // Not by id either, and whatever it is.
    let hers: Sandbox = serde_json::from_str(&alice.quiet(&["inspect", "dev", "--json"]).await)
        .expect("it is JSON");
    for args in [
        &["inspect", &hers.id][..],
        &["exec", &hers.id, "--", "true"],
        &["stop", &hers.id],
        &["start", &hers.id],
        &["destroy", &hers.id, "--yes"],
        &["snapshot", "create", &hers.id, "--name", "stolen"],
        &["snapshot", "resume", "hers", "--name", "stolen"],
        &["snapshot", "delete", "hers", "--yes"],
    ] {
        let told = bob.refused(args).await;
        assert!(told.contains("not found"), "{args:?}: {told}");
        // Nothing tells it from what does not exist.
        let unknown: Vec<_> = args
            .iter()
            .map(|arg| match *arg {
                arg if arg == hers.id => "sbx_0000000000000000",
                "hers" => "none",
                arg => arg,
            })
            .collect();
        let unknown = bob.refused(&unknown).await;
        let unknown = unknown
            .replace("sbx_0000000000000000", &hers.id)
            .replace("none", "hers");
        assert_eq!(told, unknown, "{args:?}");
    }
    assert!(!bob.quiet(&["snapshot", "list"]).await.contains("hers"));
    for args in [
        &["user", "list"][..],
        &["user", "create", "--name", "mallory"],
        &["user", "rotate-key", "alice"],
        &["user", "delete", "alice", "--yes"],
    ] {
        let ran = bob.cli(args).await;
        assert_refused(&ran, args);
    }
    assert_eq!(
        alice.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "alice\n"
    );

    // What a user may have.
    let told = bob
        .refused(&["create", "--name", "second", "--memory", "256"])
        .await;
    assert!(told.contains('1') && told.contains("sandbox"), "{told}");
    let told = alice
        .refused(&["create", "--name", "huge", "--memory", "8192"])
        .await;
    assert!(told.contains("4096"), "{told}");

    // A new token makes the old one void.
    let rotated: Value = serde_json::from_str(
        &quiet_but_hints(&daemon, &["user", "rotate-key", "bob", "--json"]).await,
    )
    .expect("it is JSON");
    let told = bob.refused(&["list"]).await;
    assert!(told.starts_with("error: invalid api key\n"), "{told}");
    let token = rotated["api_key"].as_str().expect("a token");
    let told = bob.cli(&["setup", "--url", &url, "--token", token]).await;
    assert!(
        told.text().contains("✓ authenticated (1 sandbox)\n"),
        "{told:?}"
    );

    // A user who has something stays.
    let told = refused(&daemon, &["user", "delete", "bob", "--yes"]).await;
    assert!(told.contains("bob"), "{told}");
    assert_eq!(
        bob.quiet(&["destroy", "dev", "--yes"]).await,
        "sandbox/dev destroyed\n"
    );
    assert_eq!(
        quiet(&daemon, &["user", "delete", "bob", "--yes"]).await,
        "user/bob deleted\n"
    );
    let told = bob.refused(&["list"]).await;
    assert!(told.starts_with("error: invalid api key\n"), "{told}");
    assert_eq!(
        alice.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "alice\n"
    );

    // No token is in the log.
    let log = fs_err::read_to_string(daemon.log()).expect("the log is read");
    for secret in [alice_token.as_str(), &bob_token, token, &wrong] {
        let secret = secret.rsplit('_').next().expect("its secret part");
        assert!(!log.contains(secret), "a token is in the log");
    }
}
