//! The transcript of the README, and all else that can be done with one's own machines.

use bhatti_api::image::Image;
use bhatti_api::sandbox::{Sandbox, StatusBody};
use bhatti_api::snapshot::Snapshot;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::lasting;
use serde_json::Value;

use crate::commands::{json, quiet, refused};

/// Two machines as `bhatti list` shows them.
const LIST: &str = "\
NAME   STATUS   THERMAL  URL
dev    running  hot
retry  running  hot
";

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
            lasting(json::<Sandbox>(daemon, &["inspect", &sandbox.name]).await),
            lasting(sandbox.clone())
        );
        assert_eq!(
            lasting(json::<Sandbox>(daemon, &["inspect", &sandbox.id]).await),
            lasting(sandbox.clone())
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
        ["NAME", "SANDBOX", "MEMORY", "OWN", "SHARED", "CREATED"]
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
    let dev: Sandbox = lasting(json(daemon, &["inspect", "dev"]).await);
    let told = quiet(daemon, &["create", "--name", "dev"]).await;
    assert_eq!(told, "sandbox/dev unchanged (already exists)\n");
    assert_eq!(
        lasting(json(daemon, &["create", "--name", "dev"]).await),
        dev
    );
    assert_eq!(
        quiet(daemon, &["start", "dev"]).await,
        "sandbox/dev started\n"
    );
    assert_eq!(lasting(json(daemon, &["inspect", "dev"]).await), dev);
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
