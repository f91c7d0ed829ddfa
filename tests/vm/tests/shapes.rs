//! Machines of all sizes, and one that is made of a single file.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

use std::path::Path;
use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use bhatti_api::sandbox::CreateSandbox;
use bhatti_client::client::Client;
use bhatti_host::command::Command;
use bhatti_image::catalog::Catalog;
use bhatti_image::image::{DISK, FORMAT, ImageConfig, ImageManifest, MANIFEST};
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::stream;
use bhatti_types::id::ImageId;
use bhatti_types::size::DiskMb;

/// A program that needs nothing else; Debian's package `busybox-static` has it.
const STATIC_PROGRAM: &str = "/bin/busybox";
/// Its place in the image. Not the name of any applet.
const PROGRAM: &str = "/busybox-and-nothing-else";
/// Time for making a small file system.
const MAKE_LIMIT: Duration = Duration::from_secs(30);

/// A number that a line like `MemTotal:  1234 kB` tells.
async fn memory_kb(guest: &Guest, name: &str) -> u64 {
    let told = guest.sh(&format!("grep ^{name}: /proc/meminfo")).await;
    let number = told.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

/// Size of the root file system in MiB.
async fn root_mb(guest: &Guest) -> u64 {
    let told = guest.sh("df -BM --output=size / | tail -n 1").await;
    let number = told.trim().strip_suffix('M').expect("a size");
    number.parse().expect("a number")
}

#[tokio::test]
async fn a_small_and_a_large_machine_have_what_was_asked_for() {
    let daemon = Daemon::start().await;
    let small = [
        "create", "--name", "small", "--memory", "256", "--user", "nobody",
    ];
    let told = daemon.cli(&small).await.success();
    assert_eq!(told, "sandbox/small created (1 vCPU, 256 MB)\n");
    let large = "create --name large --memory 4096 --cpus 2 --disk-size 4096 --label tier=1 \
                 --env STAGE=test,A=1 --env B=2";
    let told = daemon
        .cli(&large.split(' ').collect::<Vec<_>>())
        .await
        .success();
    assert_eq!(
        told,
        "sandbox/large created (2 vCPU, 4096 MB, 4096 MB disk)\n"
    );

    for (name, memory_mb, cpus, disk_mb) in [("small", 256, 1, 2048), ("large", 4096, 2, 4096)] {
        let guest = Guest::new(daemon.client(), name);
        let view = guest.view().await;
        assert_eq!(
            (view.memory_mb, view.cpus, view.disk_size_mb),
            (memory_mb, f64::from(cpus), disk_mb)
        );
        // The kernel keeps some of it for itself: its own code, and 1/64 to describe the rest.
        let total = memory_kb(&guest, "MemTotal").await;
        let range = memory_mb * 1024 * 15 / 16 - 40 * 1024..memory_mb * 1024;
        assert!(
            range.contains(&total),
            "{name}: {total} kB of {memory_mb} MiB"
        );
        assert_eq!(guest.sh("nproc").await, cpus.to_string());
        assert_eq!(
            guest.sh("grep -c ^processor /proc/cpuinfo").await,
            cpus.to_string()
        );
        // A file system takes a few percent for itself.
        let size = root_mb(&guest).await;
        assert!(
            (disk_mb * 15 / 16..=disk_mb).contains(&size),
            "{name}: {size} of {disk_mb}"
        );
    }

    // Each processor works, and the room is there.
    let large = Guest::new(daemon.client(), "large");
    for cpu in ["0", "1"] {
        assert_eq!(large.sh(&format!("taskset -c {cpu} echo {cpu}")).await, cpu);
    }
    large
        .sh("head -c 500M /dev/zero > /dev/shm/much && rm /dev/shm/much")
        .await;
    large
        .sh("fallocate -l 2500M /var/tmp/much && rm /var/tmp/much")
        .await;
    assert_eq!(large.sh("echo $STAGE $A $B").await, "test 1 2");
    assert_eq!(large.view().await.labels["tier"], "1");
    let told = daemon.cli(&["list", "--label", "tier=1"]).await.success();
    assert!(told.contains("large") && !told.contains("small"), "{told}");

    // The small one's commands run as the user it was made with.
    let told = daemon.cli(&["exec", "small", "id", "-un"]).await.success();
    assert_eq!(told, "nobody\n");
    let told = daemon
        .cli(&["exec", "--user", "lohar", "small", "id", "-un"])
        .await
        .success();
    assert_eq!(told, "lohar\n");
    assert_eq!(
        Guest::new(daemon.client(), "small")
            .view()
            .await
            .user
            .as_deref(),
        Some("nobody")
    );
}

/// Makes an image that holds one program and nothing else, not even a directory.
async fn make_tiny_image(data_dir: &Path) {
    let work = tempfile::tempdir().expect("a temporary directory can be made");
    let root = work.path().join("root");
    let image = work.path().join("image");
    for dir in [&root, &image] {
        fs_err::create_dir(dir).expect("a directory can be made");
    }
    fs_err::copy(STATIC_PROGRAM, root.join(&PROGRAM[1..])).expect("the program is copied");
    let size_mb = DiskMb::new(64).expect("a size of the range");
    let disk = fs_err::File::create(image.join(DISK)).expect("a file can be made");
    disk.set_len(size_mb.bytes()).expect("it can be that long");
    Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&root)
        .arg(image.join(DISK))
        .limit(MAKE_LIMIT)
        .run()
        .await
        .expect("a file system is made");
    let manifest = ImageManifest {
        format: FORMAT,
        id: ImageId::random(),
        name: "tiny".parse().expect("a name"),
        source: "recipe:tiny".parse().expect("a source"),
        digest: "tiny".to_owned(),
        size_mb,
        created_at: jiff::Timestamp::now(),
        config: ImageConfig::default(),
        layers: Vec::new(),
    };
    let manifest = serde_json::to_vec(&manifest).expect("it has text keys only");
    fs_err::write(image.join(MANIFEST), manifest).expect("the manifest is written");
    let catalog = Catalog::open(data_dir.join("images")).expect("the catalog opens");
    catalog.install(&image).expect("the image is installed");
}

async fn tiny(client: &Client, cmd: &[&str]) -> stream::Streamed {
    let request = ExecRequest {
        cmd: cmd.iter().map(|arg| (*arg).to_owned()).collect(),
        timeout_sec: Some(60),
        ..ExecRequest::default()
    };
    let ran = stream::run(client, "tiny", &request, b"").await;
    ran.unwrap_or_else(|error| panic!("{cmd:?}: {error:?}"))
}

#[tokio::test]
async fn a_machine_without_a_shell_runs_commands() {
    if !Path::new(STATIC_PROGRAM).exists() {
        println!("skipped: needs the package busybox-static");
        return;
    }
    let mut daemon = Daemon::start().await;
    make_tiny_image(&daemon.data_dir()).await;
    let client = daemon.client();
    let told = daemon.cli(&["image", "list"]).await.success();
    assert!(
        told.lines()
            .any(|line| line.starts_with("tiny  recipe:tiny  64 MB")),
        "{told}"
    );
    let new = CreateSandbox {
        name: Some("tiny".to_owned()),
        image: Some("tiny".to_owned()),
        memory_mb: Some(256),
        env: [("HERE".to_owned(), "yes".to_owned())].into(),
        ..CreateSandbox::default()
    };
    let created = client
        .sandbox_create(&new)
        .await
        .expect("a sandbox is created");
    assert_eq!(created.sandbox.disk_size_mb, 64);

    // Only what the agent itself mounts or makes is there besides.
    let ran = tiny(&client, &[PROGRAM, "ls", "-a", "/"]).await;
    for entry in ["busybox-and-nothing-else", "dev", "proc", "sys"] {
        assert!(ran.text().lines().any(|line| line == entry), "{ran:?}");
    }
    for entry in ["bin", "sbin", "usr", "lib", "init"] {
        assert!(!ran.text().lines().any(|line| line == entry), "{ran:?}");
    }
    let ran = tiny(&client, &[PROGRAM, "id"]).await;
    assert!(ran.text().starts_with("uid=0"), "{ran:?}");
    let ran = tiny(&client, &[PROGRAM, "hostname"]).await;
    assert_eq!(ran.text(), "tiny\n");
    let ran = tiny(&client, &[PROGRAM, "env"]).await;
    assert!(
        ran.text().contains("HERE=yes\n") && ran.text().contains("PATH="),
        "{ran:?}"
    );

    // All ends are told, without a shell to tell them.
    let ran = tiny(&client, &[PROGRAM, "false"]).await;
    assert_eq!(ran.exit.code, 1);
    let ran = tiny(&client, &[PROGRAM, "sh", "-c", "echo err >&2; exit 255"]).await;
    assert_eq!((ran.errors().as_str(), ran.exit.code), ("err\n", 255));
    let ran = tiny(&client, &[PROGRAM, "sh", "-c", "kill -9 $$"]).await;
    assert_eq!((ran.exit.code, ran.exit.signal), (137, Some(9)));
    for cmd in ["sh", "/bin/sh"] {
        let ran = daemon.cli(&["exec", "tiny", "--", cmd, "-c", "true"]).await;
        assert_eq!(ran.code, Some(127), "{ran:?}");
        assert!(ran.errors().contains(cmd), "{ran:?}");
    }
    // There is no /etc/passwd: numbers do, names don't.
    let ran = daemon
        .cli(&["exec", "--user", "1000:1000", "tiny", PROGRAM, "id", "-u"])
        .await;
    assert_eq!(ran.success(), "1000\n");
    let ran = daemon
        .cli(&["exec", "--user", "lohar", "tiny", PROGRAM, "id"])
        .await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.errors().contains("lohar"), "{ran:?}");
    // A detached command needs a place for its output: it is made.
    let ran = daemon
        .cli(&["exec", "--detach", "tiny", PROGRAM, "echo", "told"])
        .await
        .success();
    let file = ran
        .lines()
        .find_map(|line| line.strip_prefix("output: "))
        .expect("a file");
    bhatti_testing::wait::wait_for("its output", Duration::from_secs(30), async || {
        let ran = tiny(&client, &[PROGRAM, "cat", file]).await;
        if ran.stdout == b"told\n" {
            Ok(())
        } else {
            Err(ran)
        }
    })
    .await;

    // It sleeps, wakes, is copied and outlives its daemon like any other.
    tiny(&client, &[PROGRAM, "touch", "/dev/shm/word"]).await;
    daemon.cli(&["stop", "tiny"]).await.success();
    assert_eq!(
        tiny(&client, &[PROGRAM, "ls", "/dev/shm"]).await.text(),
        "word\n"
    );
    daemon
        .cli(&["snapshot", "create", "tiny", "--name", "pre"])
        .await
        .success();
    daemon
        .cli(&["snapshot", "resume", "pre", "--name", "copy"])
        .await
        .success();
    let told = daemon
        .cli(&["exec", "copy", PROGRAM, "ls", "/dev/shm"])
        .await
        .success();
    assert_eq!(told, "word\n");
    let told = daemon
        .cli(&["exec", "copy", PROGRAM, "hostname"])
        .await
        .success();
    assert_eq!(told, "copy\n");
    daemon.stop().await;
    daemon.serve(&[]).await;
    assert_eq!(
        tiny(&client, &[PROGRAM, "ls", "/dev/shm"]).await.text(),
        "word\n"
    );
    let left = tiny(&client, &[PROGRAM, "grep", "VmRSS", "/proc/1/status"])
        .await
        .text();
    let resident = left
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse::<u64>().ok());
    assert!(resident.is_some_and(|kb| kb < 8192), "{left}");
}
