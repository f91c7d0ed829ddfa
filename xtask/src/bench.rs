//! `cargo xtask bench`: builds what is measured, and runs the bench.

use bhatti_image::guest_kit::kernel::Refresh;

use crate::environment::Environment;
use crate::{guest_kit, images, packages, pool, run};

/// Makes sure of all that is measured, and hands the arguments to the bench.
pub(crate) async fn run(environment: &Environment, args: &[String]) -> anyhow::Result<()> {
    let mut place = None;
    if boots_guests(args) {
        packages::install(environment).await?;
        let kit = guest_kit::build(environment, Refresh::IfMissing, None).await?;
        let image = images::base(environment, None).await?;
        let began = run::step("bhatti, optimised");
        let mut cargo = run::tool(&environment.cargo, &environment.root);
        cargo.args(["build", "--release", "--package", "bhatti"]);
        run::finish(cargo).await?;
        run::done(began, "built");
        if !pool::names_dir(args) {
            place = pool::Place::open(environment).await;
        }
        if let Some(place) = &place {
            place.fill_cache(&kit, &[image])?;
        }
    }
    let mut cargo = run::tool(&environment.cargo, &environment.root);
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "bhatti-bench",
        "--",
    ]);
    match &place {
        Some(place) => cargo.args(pool::bench_arguments(place, args)),
        None => cargo.args(args),
    };
    run::finish(cargo).await
}

/// Whether the arguments are those of a run: a comparison and the help need no guests.
fn boots_guests(args: &[String]) -> bool {
    let without = ["compare", "help", "-h", "--help"];
    !args.iter().any(|arg| without.contains(&arg.as_str()))
}

#[cfg(test)]
mod test {
    use super::boots_guests;

    #[test]
    fn only_a_run_needs_guests() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(boots_guests(&[]) && boots_guests(&words("--quick --only exec")));
        assert!(!boots_guests(&words("compare a b")) && !boots_guests(&words("--help")));
    }
}
