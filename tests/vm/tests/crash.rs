//! The daemon killed at every journal point of its workflows, with real guests.
//!
//! A fault ends the daemon (`abort`, like `kill -9`) before or after a step's effect. The next
//! daemon must find nothing leaked, show nothing half-made as whole, and lose no memory.

use std::collections::BTreeSet;
use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use bhatti_api::sandbox::{CreateSandbox, Sandbox, StartSandbox};
use bhatti_api::snapshot::{CreateSnapshot, ResumeSnapshot, Snapshot};
use bhatti_api::template::WarmImage;
use bhatti_client::error::Error;
use bhatti_lifecycle::plan::{PlanKind, Step};
use bhatti_testing::daemon::Daemon;
use bhatti_testing::wait::wait_for;

const MOMENTS: [&str; 2] = ["before", "after"];
/// Time for a clone to be made for later, on a host that does other things too.
const STOCK_LIMIT: Duration = Duration::from_mins(1);

/// All faults of a plan, as `--fault` takes them.
fn points(plan: PlanKind) -> Vec<(Step, &'static str, String)> {
    let mut points = Vec::new();
    for step in plan.steps() {
        for moment in MOMENTS {
            let text = format!("{}:{}:{moment}:abort", plan.as_str(), step.as_str());
            points.push((*step, moment, text));
        }
    }
    points
}

/// Whether the fault comes once `step` of the plan has had its effect.
fn past(plan: PlanKind, step: Step, fault: (Step, &str)) -> bool {
    let place = |wanted| {
        plan.steps()
            .iter()
            .position(|s| *s == wanted)
            .expect("a step of the plan")
    };
    place(fault.0) > place(step) || (fault.0 == step && fault.1 == "after")
}

async fn create(daemon: &Daemon, name: &str) {
    let new = CreateSandbox {
        name: Some(name.to_owned()),
        memory_mb: Some(256),
        ..CreateSandbox::default()
    };
    daemon
        .client()
        .sandbox_create(&new)
        .await
        .expect("a sandbox is created");
}

/// Runs a shell line in a sandbox and gives what it wrote.
async fn sh(daemon: &Daemon, name: &str, line: &str) -> String {
    let request = ExecRequest {
        cmd: ["sh", "-c", line].map(str::to_owned).to_vec(),
        ..ExecRequest::default()
    };
    let result = daemon
        .client()
        .exec(name, &request)
        .await
        .expect("a command runs");
    assert_eq!(result.exit_code, 0, "{line}: {}", result.stderr);
    result.stdout
}

/// Puts a word where only memory holds it.
async fn remember(daemon: &Daemon, name: &str, word: &str) {
    sh(daemon, name, &format!("echo {word} > /dev/shm/word")).await;
}

async fn recall(daemon: &Daemon, name: &str) -> String {
    sh(daemon, name, "cat /dev/shm/word")
        .await
        .trim()
        .to_owned()
}

async fn checkpoint(daemon: &Daemon, name: &str) -> Result<Snapshot, Error> {
    let new = CreateSnapshot {
        name: name.to_owned(),
    };
    daemon.client().snapshot_create("dev", &new).await
}

/// Resumes the checkpoint `pre`.
async fn resume(daemon: &Daemon, name: &str) -> Result<Sandbox, Error> {
    let new = ResumeSnapshot {
        name: Some(name.to_owned()),
    };
    daemon.client().snapshot_resume("pre", &new).await
}

async fn names(daemon: &Daemon) -> BTreeSet<String> {
    let list = daemon
        .client()
        .sandbox_list(&[])
        .await
        .expect("the list is given");
    list.into_iter().map(|sandbox| sandbox.name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What is on the host is what the records say: no more, no less.
async fn check_no_leak(daemon: &Daemon, told: &str) {
    let client = daemon.client();
    let sandboxes = client.sandbox_list(&[]).await.expect("the list is given");
    let snapshots = client.snapshot_list().await.expect("the list is given");
    let found = daemon.inventory().await;
    let ids: BTreeSet<String> = sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
    assert_eq!(found.sandboxes, ids, "{told}");
    let ids: BTreeSet<String> = snapshots
        .iter()
        .map(|snapshot| snapshot.id.clone())
        .collect();
    assert_eq!(found.snapshots, ids, "{told}");
    let mut running: Vec<String> = sandboxes
        .iter()
        .filter(|sandbox| sandbox.status == "running")
        .map(|sandbox| sandbox.id.clone())
        .collect();
    running.sort();
    assert_eq!(found.machines, running, "{told}");
    for sandbox in &sandboxes {
        assert!(
            ["running", "stopped"].contains(&sandbox.status.as_str()),
            "{told}: {sandbox:?}"
        );
    }
}

/// Starts the daemon with a fault, does `action`, and starts it again once the fault has ended it.
async fn crash(daemon: &mut Daemon, fault: &str, action: impl AsyncFnOnce(&Daemon)) {
    crash_with(daemon, fault, &[], action).await;
}

/// [`crash`] of a daemon with more arguments.
async fn crash_with(
    daemon: &mut Daemon,
    fault: &str,
    args: &[&str],
    action: impl AsyncFnOnce(&Daemon),
) {
    daemon.stop().await;
    daemon.serve(&[&["--fault", fault], args].concat()).await;
    action(daemon).await;
    let status = daemon.ended().await;
    assert!(!status.success(), "{fault} did not strike");
    daemon.serve(&[]).await;
}

/// Makes the sandbox `new` under every fault of a plan that makes one.
async fn create_cut_off(plan: PlanKind, args: &[&str]) {
    let mut daemon = Daemon::start().await;
    for (step, moment, fault) in points(plan) {
        crash_with(&mut daemon, &fault, args, async |daemon| {
            let new = CreateSandbox {
                name: Some("new".to_owned()),
                memory_mb: Some(256),
                ..CreateSandbox::default()
            };
            daemon
                .client()
                .sandbox_create(&new)
                .await
                .expect_err("the daemon is gone");
        })
        .await;
        check_no_leak(&daemon, &fault).await;
        if past(plan, Step::CommitHot, (step, moment)) {
            assert_eq!(names(&daemon).await, set(&["new"]), "{fault}");
            assert_eq!(sh(&daemon, "new", "hostname").await.trim(), "new");
            daemon
                .client()
                .sandbox_destroy("new")
                .await
                .expect("it is destroyed");
        } else {
            assert_eq!(names(&daemon).await, set(&[]), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_create_by_a_boot_that_is_cut_off_leaves_nothing_or_a_whole_sandbox() {
    create_cut_off(PlanKind::Create, &["--max-templates", "0"]).await;
}

#[tokio::test]
async fn a_create_from_a_template_that_is_cut_off_leaves_nothing_or_a_whole_sandbox() {
    create_cut_off(PlanKind::Clone, &[]).await;
}

/// Waits until a clone of 256 MB is in stock.
async fn stocked(daemon: &Daemon) {
    wait_for("a clone in stock", STOCK_LIMIT, async || {
        let all = daemon.client().template_list().await;
        let all = all.map_err(|error| format!("{error:?}"))?;
        if all.iter().any(|template| template.pool > 0) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_clone_for_later_that_is_cut_off_or_taken_leaves_nothing_or_a_whole_sandbox() {
    let mut daemon = Daemon::start().await;
    for plan in [PlanKind::Stock, PlanKind::Take] {
        for (step, moment, fault) in points(plan) {
            crash_with(&mut daemon, &fault, &["--pool", "1"], async |daemon| {
                let new = |name: &str| CreateSandbox {
                    name: Some(name.to_owned()),
                    memory_mb: Some(256),
                    ..CreateSandbox::default()
                };
                // It asks for a clone for later, whose making may end the daemon before it has
                // answered.
                let client = daemon.client();
                let first = client.sandbox_create(&new("first")).await;
                if plan == PlanKind::Take {
                    first.expect("a sandbox is created");
                    stocked(daemon).await;
                    let second = client.sandbox_create(&new("second")).await;
                    second.expect_err("the daemon is gone");
                }
            })
            .await;
            check_no_leak(&daemon, &fault).await;
            let whole = plan == PlanKind::Take && past(plan, Step::CommitHot, (step, moment));
            let left: &[&str] = if whole {
                &["first", "second"]
            } else {
                &["first"]
            };
            assert_eq!(names(&daemon).await, set(left), "{fault}");
            for name in left {
                assert_eq!(sh(&daemon, name, "hostname").await.trim(), *name);
                let gone = daemon.client().sandbox_destroy(name).await;
                gone.expect("it is destroyed");
            }
        }
    }
}

#[tokio::test]
async fn a_template_whose_making_is_cut_off_is_not_there_or_whole() {
    let mut daemon = Daemon::start().await;
    // Not one of those that the data directory was given.
    let size = WarmImage {
        memory_mb: Some(200),
        ..WarmImage::default()
    };
    let given = daemon.inventory().await.templates;
    for (step, moment, fault) in points(PlanKind::BuildTemplate) {
        crash(&mut daemon, &fault, async |daemon| {
            let made = daemon.client().image_warm("base", &size).await;
            made.expect_err("the daemon is gone");
        })
        .await;
        check_no_leak(&daemon, &fault).await;
        let mut left = daemon.inventory().await.templates;
        left.retain(|name| !given.contains(name));
        let whole = past(PlanKind::BuildTemplate, Step::SealTemplate, (step, moment));
        assert_eq!(left.len(), usize::from(whole), "{fault}: {left:?}");
        if whole {
            let new = CreateSandbox {
                name: Some("new".to_owned()),
                memory_mb: Some(200),
                ..CreateSandbox::default()
            };
            let client = daemon.client();
            client.sandbox_create(&new).await.expect("it is created");
            assert_eq!(sh(&daemon, "new", "hostname").await.trim(), "new");
            let list = client.template_list().await.expect("the list is given");
            let used = list.iter().find(|template| template.uses == 1);
            assert!(used.is_some_and(|template| left.contains(&template.id)));
        }
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_cut_off_leaves_its_source_undisturbed() {
    let mut daemon = Daemon::start().await;
    create(&daemon, "dev").await;
    remember(&daemon, "dev", "kept").await;
    for (step, moment, fault) in points(PlanKind::Checkpoint) {
        crash(&mut daemon, &fault, async |daemon| {
            checkpoint(daemon, "pre")
                .await
                .expect_err("the daemon is gone");
        })
        .await;
        check_no_leak(&daemon, &fault).await;
        assert_eq!(recall(&daemon, "dev").await, "kept", "{fault}");
        let whole = past(PlanKind::Checkpoint, Step::CommitSnapshot, (step, moment));
        let snapshots = daemon
            .client()
            .snapshot_list()
            .await
            .expect("the list is given");
        assert_eq!(snapshots.len(), usize::from(whole), "{fault}");
        if whole {
            resume(&daemon, "copy").await.expect("it resumes");
            assert_eq!(recall(&daemon, "copy").await, "kept");
        }
    }
}

#[tokio::test]
async fn a_resume_that_is_cut_off_leaves_nothing_or_a_whole_copy() {
    let mut daemon = Daemon::start().await;
    create(&daemon, "dev").await;
    remember(&daemon, "dev", "kept").await;
    checkpoint(&daemon, "pre")
        .await
        .expect("a checkpoint is taken");
    for (step, moment, fault) in points(PlanKind::Resume) {
        crash(&mut daemon, &fault, async |daemon| {
            resume(daemon, "copy").await.expect_err("it is gone");
        })
        .await;
        check_no_leak(&daemon, &fault).await;
        if past(PlanKind::Resume, Step::CommitHot, (step, moment)) {
            assert_eq!(names(&daemon).await, set(&["copy", "dev"]), "{fault}");
            assert_eq!(recall(&daemon, "copy").await, "kept", "{fault}");
            daemon
                .client()
                .sandbox_destroy("copy")
                .await
                .expect("it is destroyed");
        } else {
            assert_eq!(names(&daemon).await, set(&["dev"]), "{fault}");
        }
    }
    assert_eq!(recall(&daemon, "dev").await, "kept");
}

#[tokio::test]
async fn a_destroy_that_is_cut_off_is_finished_or_was_not_begun() {
    let mut daemon = Daemon::start().await;
    create(&daemon, "dev").await;
    checkpoint(&daemon, "pre")
        .await
        .expect("a checkpoint is taken");
    for (step, moment, fault) in points(PlanKind::Destroy) {
        if !names(&daemon).await.contains("victim") {
            resume(&daemon, "victim").await.expect("it resumes");
        }
        crash(&mut daemon, &fault, async |daemon| {
            daemon
                .client()
                .sandbox_destroy("victim")
                .await
                .expect_err("the daemon is gone");
        })
        .await;
        check_no_leak(&daemon, &fault).await;
        let begun = past(PlanKind::Destroy, Step::CommitDestroying, (step, moment));
        let left = if begun {
            set(&["dev"])
        } else {
            set(&["dev", "victim"])
        };
        assert_eq!(names(&daemon).await, left, "{fault}");
    }
}

#[tokio::test]
async fn memory_outlives_a_daemon_that_is_cut_off_while_a_machine_falls_asleep_or_wakes() {
    let mut daemon = Daemon::start().await;
    create(&daemon, "dev").await;
    remember(&daemon, "dev", "kept").await;
    let boot = sh(&daemon, "dev", "cat /proc/sys/kernel/random/boot_id").await;
    for plan in [PlanKind::Sleep, PlanKind::Wake] {
        for (_, _, fault) in points(plan) {
            // What the plan begins with.
            match plan {
                PlanKind::Sleep => {
                    daemon
                        .client()
                        .sandbox_start("dev", &StartSandbox::default())
                        .await
                        .expect("it starts");
                }
                _ => {
                    daemon.client().sandbox_stop("dev").await.expect("it stops");
                }
            }
            crash(&mut daemon, &fault, async |daemon| {
                let client = daemon.client();
                match plan {
                    PlanKind::Sleep => client.sandbox_stop("dev").await.map(drop),
                    _ => client
                        .sandbox_start("dev", &StartSandbox::default())
                        .await
                        .map(drop),
                }
                .expect_err("the daemon is gone");
            })
            .await;
            check_no_leak(&daemon, &fault).await;
            assert_eq!(recall(&daemon, "dev").await, "kept", "{fault}");
            let now = sh(&daemon, "dev", "cat /proc/sys/kernel/random/boot_id").await;
            assert_eq!(now, boot, "{fault}");
        }
    }
}

#[tokio::test]
async fn a_step_that_fails_leaves_what_was_there_before() {
    let mut daemon = Daemon::start().await;
    create(&daemon, "dev").await;
    remember(&daemon, "dev", "kept").await;
    checkpoint(&daemon, "pre")
        .await
        .expect("a checkpoint is taken");
    let plans = [
        PlanKind::Resume,
        PlanKind::Checkpoint,
        PlanKind::Sleep,
        PlanKind::Wake,
    ];
    for plan in plans {
        for (_, moment, fault) in points(plan) {
            if moment == "after" {
                continue;
            }
            let fault = fault.replace(":abort", ":fail");
            daemon.stop().await;
            daemon.serve(&["--fault", &fault]).await;
            let client = daemon.client();
            if plan == PlanKind::Wake {
                client.sandbox_stop("dev").await.expect("it stops");
            }
            let result = match plan {
                PlanKind::Resume => resume(&daemon, "copy").await.map(drop),
                PlanKind::Checkpoint => checkpoint(&daemon, "other").await.map(drop),
                PlanKind::Sleep => client.sandbox_stop("dev").await.map(drop),
                _ => client
                    .sandbox_start("dev", &StartSandbox::default())
                    .await
                    .map(drop),
            };
            result.expect_err("the step failed");
            check_no_leak(&daemon, &fault).await;
            assert_eq!(recall(&daemon, "dev").await, "kept", "{fault}");
            assert_eq!(names(&daemon).await, set(&["dev"]), "{fault}");
        }
    }
}
