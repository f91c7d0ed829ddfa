//! Builds the guest kit.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bhatti_image::guest_kit::build::{Built, KitInputs};
use bhatti_image::guest_kit::kernel::{self, Refresh};
use bhatti_image::kit::{Kit, KitStore};

use crate::environment::Environment;
use crate::run;

/// What the agent is built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the flag `--refresh` asks for.
pub(crate) fn refresh(asked: bool) -> Refresh {
    if asked {
        Refresh::Always
    } else {
        Refresh::IfMissing
    }
}

/// Builds the guest kit into the cache, and installs it into a data directory if one is given.
pub(crate) async fn build(
    environment: &Environment,
    refresh: Refresh,
    data_dir: Option<&Path>,
) -> anyhow::Result<Kit> {
    let began = run::step("guest kit");
    let lohar = build_lohar(environment).await?;
    run::say("    kernel of Debian");
    let kernel_package = kernel::fetch(
        &environment.cache.join("kernel"),
        refresh,
        &environment.proxies,
    )
    .await?;
    let store = KitStore::open(environment.cache.join("kits"))?;
    // All crates of the workspace have one version.
    let lohar_version = env!("CARGO_PKG_VERSION").to_owned();
    let inputs = KitInputs {
        kernel_package,
        lohar,
        lohar_version,
    };
    let built = bhatti_image::guest_kit::build::build(&inputs, &store).await?;
    let what = match built {
        Built::UpToDate(_) => "up to date",
        Built::New(_) => "built",
    };
    let kit = built.kit().clone();
    run::done(
        began,
        &format!(
            "kit {} {what}: Linux {}",
            kit.id, kit.manifest.kernel_version
        ),
    );
    if let Some(data_dir) = data_dir {
        KitStore::open(data_dir.join("kits"))?.install(&kit.dir)?;
        run::say(&format!("    installed into {}", data_dir.display()));
    }
    Ok(kit)
}

/// Builds the agent without shared libraries, in a target directory of its own: its flags would
/// make cargo build everything else anew.
async fn build_lohar(environment: &Environment) -> anyhow::Result<PathBuf> {
    let target = environment.target.join("agent");
    let mut cargo = run::tool(&environment.cargo, &environment.root);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.args([
        "build",
        "--package",
        "lohar",
        "--profile",
        "agent",
        "--target",
        TARGET,
    ]);
    cargo.arg("--target-dir").arg(&target);
    run::finish(cargo)
        .await
        .context("failed to build the guest agent")?;
    Ok(target.join(TARGET).join("agent/lohar"))
}
