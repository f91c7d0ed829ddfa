//! The steps, and what is said at the end.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use bhatti_image::guest_kit::kernel::Refresh;

use super::program::{self, Bhatti};
use super::{daemon, link, tour};
use crate::environment::Environment;
use crate::{guest_kit, images, packages, run};

/// Goes through all steps.
pub(crate) async fn run(
    environment: &Environment,
    data_dir: Option<PathBuf>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let default_dir = environment.home.join(".bhatti");
    let data_dir = std::path::absolute(data_dir.unwrap_or_else(|| default_dir.clone()))
        .context("the data directory has no absolute path")?;
    program::make_private_dir(&data_dir)?;

    packages::install(environment).await?;
    let program = program::build(environment).await?;
    let kit = guest_kit::build(environment, Refresh::IfMissing, Some(&data_dir)).await?;
    images::base(environment, Some(&data_dir)).await?;
    let linked = link::make(environment, &program)?;
    let bhatti = Bhatti { program, data_dir };
    let daemon = daemon::ensure(&bhatti).await?;
    let machines = tour::run(&bhatti).await?;

    let typed = if bhatti.data_dir == default_dir {
        linked.typed()
    } else {
        format!(
            "{} --data-dir {}",
            linked.typed(),
            bhatti.data_dir.display()
        )
    };
    run::say(&format!(
        "\nDone in {time}. What is there now:\n  \
           daemon     pid {pid}, data in {data}, log in {log}\n  \
           guest kit  {kit} (Linux {kernel})\n  \
           image      base\n  \
           machines   {machines}\n  \
           command    {command}\n\
         \nThree things to try:\n  \
           {typed} exec dev -- sudo apt-get --version\n  \
           {typed} snapshot resume pre --name another\n  \
           {typed} inspect retry",
        time = run::seconds(began.elapsed()),
        pid = daemon.pid,
        data = bhatti.data_dir.display(),
        log = bhatti.log().display(),
        kit = kit.id,
        kernel = kit.manifest.kernel_version,
        command = linked.describe(),
    ));
    Ok(())
}
