//! Templates: machines that have booted once, and the creates that are forked from them.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod keep;
mod make;
mod spoilt;
mod stock;

use bhatti_api::template::Template;
use bhatti_testing::artifacts;
use bhatti_testing::daemon::Daemon;

/// A daemon with a kit and the base image and no template yet.
async fn bare(args: &[&str]) -> Daemon {
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    daemon.serve(args).await;
    daemon
}

/// The templates, the one of the latest use first.
async fn templates(daemon: &Daemon) -> Vec<Template> {
    let templates = daemon.client().template_list().await;
    templates.expect("the templates are listed")
}

/// The only template there is.
async fn only(daemon: &Daemon) -> Template {
    let all = templates(daemon).await;
    let [one] = &all[..] else {
        panic!("not one template: {all:?}");
    };
    one.clone()
}
