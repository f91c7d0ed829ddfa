//! `cargo xtask test`: everything that CI checks.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use bhatti_host::files;
use bhatti_image::guest_kit::kernel::Refresh;

use crate::environment::Environment;
use crate::{guest_kit, images, packages, pool, run, skips};

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
    let mut failed = Vec::new();
    // Making images waits for the network more than it works, so lints and compilers go on beside.
    let (images, ()) = tokio::join!(
        images_for(environment, nextest),
        compile(environment, lints, nextest, &mut failed)
    );
    let images = images?;
    let place = pool::Place::open(environment).await;
    if let Some(place) = &place {
        place.fill_cache(&kit, &images)?;
    }
    let step = run::step("tests");
    let mut tests = run::tool(&environment.cargo, &environment.root);
    tests.args(nextest_arguments(environment, &[], nextest));
    let report = environment.target.join("nextest/default/junit.xml");
    // A report of an earlier run says nothing about this one.
    files::remove_file(&report)?;
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

/// The images that tests boot: all, unless packages are chosen that need the base image at most.
async fn images_for(environment: &Environment, nextest: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    if !names_packages(nextest) || nextest.iter().any(|arg| arg.ends_with("vm-tests")) {
        images::all(environment).await
    } else {
        Ok(vec![images::base(environment, None).await?])
    }
}

/// What needs no guest: formatting and lints, and compiling the tests.
async fn compile(
    environment: &Environment,
    lints: Lints,
    nextest: &[String],
    failed: &mut Vec<&'static str>,
) {
    if lints == Lints::Check {
        // The names of the files will do; `cargo fmt` shows what it would do by doing it.
        let format = ["fmt", "--all", "--", "--check", "--files-with-diff"];
        check(environment, "formatting", &format, failed).await;
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        check(environment, "lints", &clippy, failed).await;
    }
    let arguments = nextest_arguments(environment, &["--no-run"], nextest);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    check(environment, "compiling the tests", &arguments, failed).await;
}

/// A run of the tests; what is asked for comes last, for it may end with what is for the tests.
fn nextest_arguments(
    environment: &Environment,
    options: &[&str],
    nextest: &[String],
) -> Vec<String> {
    let additions = environment.root.join("xtask/nextest.toml");
    let additions = format!("xtask:{}", additions.display());
    let mut arguments: Vec<_> = ["nextest", "run", "--tool-config-file", &additions]
        .map(str::to_owned)
        .into();
    if !names_packages(nextest) {
        arguments.push("--workspace".to_owned());
    }
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    arguments.extend_from_slice(nextest);
    arguments
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
