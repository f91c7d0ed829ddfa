//! `cargo xtask test`: everything that CI checks.

use std::time::Instant;

use anyhow::{Context as _, bail};
use bhatti_host::files;
use bhatti_image::guest_kit::kernel::Refresh;

use crate::environment::Environment;
use crate::{base_image, guest_kit, packages, pool, run, skips};

/// Whether formatting and lints are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lints {
    /// Yes.
    Check,
    /// Only the tests.
    Skip,
}

/// Installs what the tests need, and runs all checks; a failed one does not keep the others from
/// running. An error names those that failed.
pub(crate) async fn run(
    environment: &Environment,
    lints: Lints,
    nextest: &[String],
) -> anyhow::Result<()> {
    let began = Instant::now();
    packages::install(environment).await?;
    install_nextest(environment).await?;
    // Tests that boot guests take these from the cache.
    let kit = guest_kit::build(environment, Refresh::IfMissing, None).await?;
    let image = base_image::build(environment, None).await?;

    let mut failed = Vec::new();
    if lints == Lints::Check {
        // The names of the files will do; `cargo fmt` shows what it would do by doing it.
        let format = ["fmt", "--all", "--", "--check", "--files-with-diff"];
        check(environment, "formatting", &format, &mut failed).await;
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        check(environment, "lints", &clippy, &mut failed).await;
    }
    let place = pool::Place::open(environment).await;
    if let Some(place) = &place {
        place.fill_cache(&kit, &image)?;
    }
    let step = run::step("tests");
    let mut tests = run::tool(&environment.cargo, &environment.root);
    let additions = environment.root.join("xtask/nextest.toml");
    let additions = format!("xtask:{}", additions.display());
    tests.args(["nextest", "run", "--tool-config-file", &additions]);
    if !names_packages(nextest) {
        tests.arg("--workspace");
    }
    let report = environment.target.join("nextest/default/junit.xml");
    // A report of an earlier run says nothing about this one.
    files::remove_file(&report)?;
    tests.args(nextest);
    if let Some(place) = &place {
        tests.envs(pool::variables(place));
    }
    conclude(step, "tests", run::finish(tests).await, &mut failed);
    drop(place);
    let skips = skips::read(&report);
    for skip in &skips {
        run::say(&format!("    skipped: {}: {}", skip.test, skip.reason));
    }
    if nextest.is_empty() {
        let documentation = ["test", "--workspace", "--doc", "--quiet"];
        check(
            environment,
            "documentation tests",
            &documentation,
            &mut failed,
        )
        .await;
    }

    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    let time = run::seconds(began.elapsed());
    run::say(&format!("all good, {} skipped ({time})", skips.len()));
    Ok(())
}

/// Whether the arguments choose packages; `--workspace` would choose all of them again.
fn names_packages(args: &[String]) -> bool {
    let chooses = |arg: &str| arg.starts_with("-p") || arg.starts_with("--package");
    args.iter().any(|arg| chooses(arg))
}

async fn check(
    environment: &Environment,
    what: &'static str,
    args: &[&str],
    failed: &mut Vec<&'static str>,
) {
    let step = run::step(what);
    let mut cargo = run::tool(&environment.cargo, &environment.root);
    cargo.args(args);
    conclude(step, what, run::finish(cargo).await, failed);
}

fn conclude(
    step: Instant,
    what: &'static str,
    result: anyhow::Result<()>,
    failed: &mut Vec<&'static str>,
) {
    match result {
        Ok(()) => run::done(step, "good"),
        Err(error) => {
            run::say(&format!("    {error:#}"));
            failed.push(what);
        }
    }
}

async fn install_nextest(environment: &Environment) -> anyhow::Result<()> {
    if environment.has_program("cargo-nextest") {
        return Ok(());
    }
    let began = run::step("cargo-nextest");
    let mut cargo = run::tool(&environment.cargo, &environment.root);
    cargo.args(["install", "--locked", "cargo-nextest"]);
    run::finish(cargo)
        .await
        .context("failed to install cargo-nextest")?;
    run::done(began, "installed");
    Ok(())
}
