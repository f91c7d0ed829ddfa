//! Commands as the administrator of the host gives them.

use bhatti_testing::cli::CliOutput;
use bhatti_testing::daemon::Daemon;

/// Runs a command that has to succeed and say nothing but its result.
pub(crate) async fn quiet(daemon: &Daemon, args: &[&str]) -> String {
    let ran = daemon.cli(args).await;
    assert_eq!(ran.errors(), "", "{args:?}: {ran:?}");
    ran.success()
}

/// Runs a command that has to fail with 1, and gives its message.
pub(crate) async fn refused(daemon: &Daemon, args: &[&str]) -> String {
    let ran = daemon.cli(args).await;
    assert_refused(&ran, args);
    ran.errors()
}

/// One line, and a hint where there is one.
pub(crate) fn assert_refused(ran: &CliOutput, args: &[&str]) {
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(1), ""),
        "{args:?}: {ran:?}"
    );
    let told = ran.errors();
    let lines: Vec<_> = told.lines().collect();
    assert!(
        lines[0].starts_with("error: ") && !lines[0].ends_with('.'),
        "{args:?}: {told}"
    );
    match lines[1..] {
        [] => {}
        ["", hint] => assert!(hint.starts_with("hint: "), "{args:?}: {told}"),
        _ => panic!("{args:?}: {told}"),
    }
}

pub(crate) async fn json<T: serde::de::DeserializeOwned>(daemon: &Daemon, args: &[&str]) -> T {
    let args = [args, &["--json"]].concat();
    let text = quiet(daemon, &args).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}
