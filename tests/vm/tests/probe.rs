//! What the host has to have: an accelerator that works, QEMU, a guest kit, an image, memory.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bhatti_testing::artifacts;
use bhatti_testing::cli::CliOutput;
use bhatti_testing::daemon::Daemon;

/// The QEMU program.
const QEMU: &str = "/usr/bin/qemu-system-x86_64";
const CREATE: [&str; 5] = ["create", "--name", "dev", "--memory", "256"];

/// A program that notes how it was called and is then QEMU, unless it is `broken` for what it was
/// called with.
struct Witness {
    program: PathBuf,
    notes: PathBuf,
}

impl Witness {
    /// `broken` is a case in a shell's `case`, such as `*-accel*kvm*) exit 1`.
    fn new(dir: &Path, broken: &str) -> Self {
        let program = dir.join("qemu");
        let notes = dir.join("qemu.notes");
        let text = format!(
            "#!/bin/sh\nprintf '%s ' \"$@\" >> {notes}\necho >> {notes}\n\
             case \"$*\" in {broken};; esac\nexec {QEMU} \"$@\"\n",
            notes = notes.display()
        );
        fs_err::write(&program, text).expect("the program is written");
        let executable = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(&program, executable).expect("it is made executable");
        fs_err::write(&notes, "").expect("the notes are begun");
        Self { program, notes }
    }

    fn program(&self) -> &str {
        self.program.to_str().expect("the path is text")
    }

    /// The machines that were started: one line of arguments each.
    fn machines(&self) -> Vec<String> {
        let notes = fs_err::read_to_string(&self.notes).expect("the notes are read");
        notes
            .lines()
            .filter(|line| line.contains("-kernel"))
            .map(str::to_owned)
            .collect()
    }
}

/// The accelerator of a machine as QEMU was told.
fn accelerator(machine: &str) -> &'static str {
    let under = |name| machine.contains(&format!("-accel {name}"));
    match (under("kvm"), under("tcg")) {
        (true, false) => "kvm",
        (false, true) => "tcg",
        _ => panic!("no accelerator in {machine}"),
    }
}

/// Whether there is anything to be tried out.
fn claims_kvm() -> bool {
    Path::new("/dev/kvm").exists()
}

/// What is remembered about this host's accelerators, as text. Without KVM there is nothing to
/// remember.
fn remembered(daemon: &Daemon) -> Option<String> {
    let path = daemon.data_dir().join("accel.json");
    path.exists()
        .then(|| fs_err::read_to_string(path).expect("it is read"))
}

#[track_caller]
fn assert_remembered(daemon: &Daemon, accelerator: &str) {
    let found = remembered(daemon);
    assert_eq!(found.is_some(), claims_kvm(), "{found:?}");
    assert!(
        found.as_ref().is_none_or(|text| text.contains(accelerator)),
        "{found:?}"
    );
}

async fn shown(daemon: &Daemon) -> String {
    let sandbox = daemon.client().sandbox_get("dev").await;
    let sandbox = sandbox.expect("it is there");
    sandbox.accelerator.expect("it runs on one")
}

#[tokio::test]
async fn the_accelerator_is_the_one_under_which_a_guest_really_boots() {
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    let witness = Witness::new(&daemon.home(), "nothing) exit 1");
    // Every machine boots: it is the machines that are counted here.
    let arguments = [
        "--accelerator",
        "auto",
        "--qemu",
        witness.program(),
        "--max-templates",
        "0",
    ];
    daemon.serve(&arguments).await;
    daemon.cli(&CREATE).await.success();
    let chosen = shown(&daemon).await;
    assert!(["kvm", "tcg"].contains(&chosen.as_str()), "{chosen}");

    // It was tried out by booting a guest, KVM first if the host claims to have it.
    let machines = witness.machines();
    let (own, tried) = machines.split_last().expect("a machine was started");
    assert_eq!(accelerator(own), chosen);
    assert!(own.contains("disk.raw"), "{own}");
    if claims_kvm() {
        assert_eq!(
            tried.first().map(|machine| accelerator(machine)),
            Some("kvm")
        );
    }
    assert!(
        tried.iter().all(|machine| !machine.contains("disk.raw")),
        "{tried:?}"
    );
    assert_remembered(&daemon, &chosen);
    if chosen == "tcg" {
        let log = fs_err::read_to_string(daemon.log()).expect("the log is read");
        let warned = log
            .lines()
            .any(|line| line.contains("WARN") && line.contains("software emulation"));
        assert!(warned, "the log does not warn that guests are emulated");
    }
    assert_eq!(daemon.inventory().await.machines.len(), 1);

    // And is remembered: neither the next machine nor the next daemon tries again.
    let before = (remembered(&daemon), machines.len());
    daemon.stop().await;
    daemon.serve(&arguments).await;
    let told = daemon
        .cli(&["create", "--name", "other", "--memory", "256"])
        .await
        .success();
    assert_eq!(told, "sandbox/other created (1 vCPU, 256 MB)\n");
    assert_eq!(
        (remembered(&daemon), witness.machines().len()),
        (before.0, before.1 + 1)
    );
}

#[tokio::test]
async fn a_kvm_that_does_not_boot_guests_is_not_used_and_a_qemu_that_does_not_is_told() {
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    // What is asked to run under KVM starts well, but its agent never answers: this guest has no
    // port to answer on.
    let pid = daemon.home().join("pid");
    let silent = format!(
        "*-accel*kvm*) echo $$ > {}; for a in \"$@\"; do shift; case \"$a\" in kvm*) a=tcg;; host*) a=max;; \
         *org.bhatti.agent*) a=virtserialport,chardev=agent,name=other;; esac; \
         set -- \"$@\" \"$a\"; done",
        pid.display()
    );
    let witness = Witness::new(&daemon.home(), &silent);
    // Every machine boots: it is the machines that are counted here.
    let arguments = [
        "--accelerator",
        "auto",
        "--qemu",
        witness.program(),
        "--max-templates",
        "0",
    ];
    daemon.serve(&arguments).await;
    let before = daemon.inventory().await;
    daemon.cli(&CREATE).await.success();
    assert_eq!(shown(&daemon).await, "tcg");
    if claims_kvm() {
        let pid = fs_err::read_to_string(&pid).expect("KVM was tried");
        let process = Path::new("/proc").join(pid.trim());
        assert!(!process.exists(), "what was tried still runs");
    }
    assert_remembered(&daemon, "tcg");
    assert_eq!(daemon.inventory().await.machines.len(), 1);
    daemon.cli(&["destroy", "dev", "--yes"]).await.success();
    assert_eq!(daemon.inventory().await, before);
    daemon.stop().await;

    // Asked for by name it is not replaced by another.
    let fails = "*-accel*kvm*) echo 'it is broken' >&2; exit 1";
    let witness = Witness::new(&daemon.home(), fails);
    daemon
        .serve(&[
            "--accelerator",
            "kvm",
            "--qemu",
            witness.program(),
            "--max-templates",
            "0",
        ])
        .await;
    let ran = daemon.cli(&CREATE).await;
    assert_fails(&daemon, &ran, &before).await;
    daemon.stop().await;

    // A QEMU that starts nothing at all.
    let witness = Witness::new(&daemon.home(), "*) echo 'it is broken' >&2; exit 1");
    if remembered(&daemon).is_some() {
        fs_err::remove_file(daemon.data_dir().join("accel.json")).expect("it can be deleted");
    }
    for accelerator in ["auto", "tcg"] {
        daemon
            .serve(&[
                "--accelerator",
                accelerator,
                "--qemu",
                witness.program(),
                "--max-templates",
                "0",
            ])
            .await;
        let ran = daemon.cli(&CREATE).await;
        assert_fails(&daemon, &ran, &before).await;
        daemon.stop().await;
    }
    // What failed is not remembered as an answer.
    daemon
        .serve(&[
            "--accelerator",
            "auto",
            "--qemu",
            QEMU,
            "--max-templates",
            "0",
        ])
        .await;
    daemon.cli(&CREATE).await.success();
}

/// A clear error in one line, without the host's secrets, and nothing left of what was begun.
async fn assert_fails(
    daemon: &Daemon,
    ran: &CliOutput,
    before: &bhatti_testing::daemon::Inventory,
) -> String {
    assert_eq!((ran.code, ran.text().as_str()), (Some(1), ""), "{ran:?}");
    let told = ran.errors();
    assert!(
        told.starts_with("error: ") && !told.contains("internal error"),
        "{told}"
    );
    let root = daemon.data_dir();
    let root = root.to_str().expect("the path is text");
    assert!(!told.contains(root), "it shows a path of the host: {told}");
    assert!(
        !told.contains("it is broken"),
        "it shows what a program said: {told}"
    );
    assert_eq!(&daemon.inventory().await, before, "{told}");
    let list = daemon
        .client()
        .sandbox_list(&[])
        .await
        .expect("they are listed");
    assert_eq!(list, [], "{told}");
    told
}

#[tokio::test]
async fn what_is_missing_is_said_before_anything_is_made() {
    // No QEMU.
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    for accelerator in ["tcg", "auto"] {
        let arguments = ["--accelerator", accelerator, "--qemu", "/nonexistent/qemu"];
        daemon.serve(&arguments).await;
        let before = daemon.inventory().await;
        let told = assert_fails(&daemon, &daemon.cli(&CREATE).await, &before).await;
        assert!(told.to_lowercase().contains("qemu"), "{told}");
        assert!(told.contains("\n\nhint: "), "{told}");
        daemon.stop().await;
    }

    // No such image, too much memory, no room at all: the daemon as such is fine.
    daemon.serve(&[]).await;
    let before = daemon.inventory().await;
    let ran = daemon
        .cli(&[&CREATE[..], &["--image", "nosuch"]].concat())
        .await;
    let told = assert_fails(&daemon, &ran, &before).await;
    assert!(
        told.contains("nosuch") && told.contains("not found"),
        "{told}"
    );
    let create = ["create", "--name", "dev", "--memory", "200000"];
    let told = assert_fails(&daemon, &daemon.cli(&create).await, &before).await;
    assert!(told.contains("memory"), "{told}");
    // The disk cannot become smaller than what is in it.
    let ran = daemon
        .cli(&[&CREATE[..], &["--disk-size", "64"]].concat())
        .await;
    let told = assert_fails(&daemon, &ran, &before).await;
    assert!(told.contains("disk") && told.contains("2048"), "{told}");
    // The name is not taken by what failed.
    let told = daemon.cli(&CREATE).await.success();
    assert_eq!(told, "sandbox/dev created (1 vCPU, 256 MB)\n");

    // No guest kit.
    let mut bare = Daemon::prepare();
    artifacts::install_base_image(&bare.data_dir());
    bare.serve(&[]).await;
    let before = bare.inventory().await;
    let told = assert_fails(&bare, &bare.cli(&CREATE).await, &before).await;
    assert!(told.contains("guest kit"), "{told}");
    assert!(told.contains("\n\nhint: "), "{told}");
    // With one it goes on, without a restart.
    artifacts::install_kit(&bare.data_dir());
    let told = bare.cli(&CREATE).await.success();
    assert_eq!(told, "sandbox/dev created (1 vCPU, 256 MB)\n");
}
