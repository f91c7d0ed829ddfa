//! `bhatti setup`.

use std::os::unix::fs::PermissionsExt as _;

use crate::daemon::Daemon;
use crate::fixture::Home;

#[test]
fn a_url_and_a_token_that_are_good_are_kept() {
    let home = Home::new();
    let daemon = Daemon::tcp();
    let url = format!("http://127.0.0.1:{}", daemon.port());
    home.write(
        ".bhatti/config.yaml",
        "# mine\nlog_level: debug\napi_url: http://old:1\n",
    );
    let output = home.run(&["setup", "--url", &url, "--token", "bht_alice_0123"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "✓ authenticated (2 sandboxes)\n"
    );
    let path = home.path().join(".bhatti/config.yaml");
    let text = fs_err::read_to_string(&path).unwrap();
    let expected =
        format!("# mine\nlog_level: debug\napi_url: \"{url}\"\nauth_token: \"bht_alice_0123\"\n");
    assert_eq!(text, expected);
    assert_eq!(
        fs_err::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(home.run(&["list"]).status.success());
    let requests = daemon.requests();
    assert_eq!(
        requests.last().unwrap().header("authorization"),
        Some("Bearer bht_alice_0123")
    );
}

#[test]
fn nothing_is_kept_of_a_token_that_is_refused() {
    let home = Home::new();
    let daemon = Daemon::tcp();
    let url = format!("http://127.0.0.1:{}", daemon.port());
    let output = home.run(&["setup", "--url", &url, "--token", "bht_wrong"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: invalid api key\n"), "{stderr}");
    assert!(!home.path().join(".bhatti/config.yaml").exists());
}

#[test]
fn the_environment_can_hold_the_token() {
    let mut home = Home::new();
    let daemon = Daemon::tcp();
    home.set("BHATTI_TOKEN", "bht_alice_0123");
    home.set("BHATTI_CONFIG", "[HOME]/new/config.yaml");
    let url = format!("http://127.0.0.1:{}", daemon.port());
    let output = home.run(&["setup", "--url", &url]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(home.path().join("new/config.yaml").exists());
}
