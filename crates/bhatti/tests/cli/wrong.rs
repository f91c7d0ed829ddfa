//! Wrong calls: what each of them says, and that it ends with the right code.

use crate::daemon::Daemon;
use crate::fixture::Home;

#[test]
fn wrong_command_lines_say_what_is_wrong() {
    let home = Home::new();
    let long = "x".repeat(64);
    let commands: &[&[&str]] = &[
        &["grumble"],
        &["lst"],
        &["create", "dev"],
        &["create", "--nmae", "x"],
        &["create", "--name"],
        &["create", "--name", ""],
        &["create", "--name", "a/b"],
        &["create", "--name", ".."],
        &["create", "--name", &long],
        &["create", "--image", "a b"],
        &["create", "--cpus", "1.5"],
        &["create", "--cpus", "0"],
        &["create", "--cpus", "33"],
        &["create", "--cpus", "-1"],
        &["create", "--memory", "1G"],
        &["create", "--memory", "64"],
        &["create", "--disk-size", "99999999999999999999"],
        &["create", "--env", "A"],
        &["create", "--env", "=x"],
        &["create", "--label", "a"],
        &["create", "--label", "a=x y"],
        &["create", "--label", "a=1", "--label", "a=2"],
        &["create", "--label", "bhatti.sh/x=1"],
        &["create", "--name", "a", "--name", "b"],
        &["create", "--from", "dev", "--memory", "512"],
        &["fork"],
        &["fork", "dev", "-n", "many"],
        &["fork", "dev", "--name", "a/b"],
        &["rollback", "dev"],
        &["rollback", "dev", "--to", "pre"],
        &["tree", "a/b"],
        &["list", "-o", "json"],
        &["list", "extra"],
        &["list", "--label", "x"],
        &["inspect"],
        &["inspect", "a/../b"],
        &["stop", "a", "b"],
        &["start", "--forced", "a"],
        &["destroy"],
        &["destroy", "dev"],
        &["exec"],
        &["exec", "dev"],
        &["exec", "dev", "--"],
        &["exec", "dev", "--tiemout", "3", "ls"],
        &["exec", "dev", "--timeout", "0", "ls"],
        &["exec", "dev", "--timeout", "86401", "ls"],
        &["exec", "--env", "x", "dev", "ls"],
        &["snapshot", "create", "dev"],
        &["snapshot", "create", "--name", "x"],
        &["snapshot", "resume"],
        &["snapshot", "resume", "pre", "--name", "-x"],
        &["snapshot", "delete", "pre"],
        &["snapshot", "take", "dev"],
        &["image", "fetch", "alpine"],
        &["user", "create"],
        &["user", "create", "--name", "a", "--max-cpus", "many"],
        &["user", "delete", "alice"],
        &["setup"],
        &["setup", "--url", "http://localhost:1"],
        &["setup", "--url", "localhost", "--token", "x"],
        &["setup", "--url", "http://localhost:1", "--token", "a b"],
        &["completion", "tcsh"],
        &["config", "set", "x"],
        &["--color", "blue", "list"],
        &["--url", "", "list"],
        &["--url", "ftp://x", "list"],
        &["--url", "http://user:pw@host", "list"],
        &["serve", "--listen", "8080"],
        &["serve", "--accelerator", "xen"],
        &["serve", "--log-level", "loud"],
        &["serve", "extra"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn wrong_answers_say_what_is_wrong() {
    let home = Home::new();
    let _daemon = Daemon::unix(&home.socket());
    let commands: &[&[&str]] = &[
        &["inspect", "missing"],
        &["stop", "busy"],
        &["start", "broken"],
        &["inspect", "odd"],
        &["inspect", "page"],
        &["inspect", "words"],
        &["inspect", "shape"],
        &["inspect", "silent"],
        &["inspect", "cut"],
        &["inspect", "noise"],
        &["create", "--name", "toomany"],
        &["--token", "bht_wrong", "list"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_daemon_that_is_not_there_is_said_to_be_so() {
    let home = Home::new();
    let mut text = home.transcript(&["list"]);
    text.push_str(&home.transcript(&["version"]));
    text.push_str(&home.transcript(&["--data-dir", "/nonexistent", "list"]));
    // Port 1 belongs to a service that nobody runs.
    text.push_str(&home.transcript(&["--url", "http://127.0.0.1:1", "list"]));
    text.push_str(&home.transcript(&["--url", "unix:///nonexistent/x.sock", "list"]));
    // A socket that outlived its daemon.
    drop(std::os::unix::net::UnixListener::bind(home.socket()).unwrap());
    text.push_str(&home.transcript(&["list"]));
    // A file where the socket should be.
    fs_err::remove_file(home.socket()).unwrap();
    home.write(".bhatti/bhatti.sock", "");
    text.push_str(&home.transcript(&["list"]));
    insta::assert_snapshot!(text);
}

#[test]
fn a_server_without_tls_is_not_taken_for_one_with() {
    let home = Home::new();
    let daemon = Daemon::tcp();
    let output = home.run(&[
        "--url",
        &format!("https://127.0.0.1:{}", daemon.port()),
        "list",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("error: failed to connect to https://127.0.0.1:"),
        "{stderr}"
    );
}

/// Runs `bhatti list` under a configuration file and variables.
fn under(file: Option<&str>, variables: &[(&str, &str)]) -> String {
    let mut home = Home::new();
    if let Some(text) = file {
        home.write(".bhatti/config.yaml", text);
    }
    let mut text = String::new();
    for (name, value) in variables {
        home.set(name, value);
        text.push_str(&[name, "=", value, "\n"].concat());
    }
    for line in file.unwrap_or_default().lines() {
        text.push_str(&["| ", line, "\n"].concat());
    }
    text.push_str(&home.transcript(&["list"]));
    text
}

#[test]
fn wrong_configurations_say_what_is_wrong_and_where() {
    let text = [
        under(Some("lisen: 127.0.0.1:1\n"), &[]),
        under(Some("listen: 127.0.0.1\n"), &[]),
        under(Some("listen: 8080\n"), &[]),
        under(Some("listen: [a\n"), &[]),
        under(Some("- a\n- b\n"), &[]),
        under(Some("just words\n"), &[]),
        under(Some("engine: vmware\n"), &[]),
        under(Some("accelerator: xen\n"), &[]),
        under(Some("rate_limit: sometimes\n"), &[]),
        under(Some("pool: many\n"), &[]),
        under(None, &[("BHATTI_MAX_TEMPLATES", "-1")]),
        under(Some("log_level: 5\n"), &[]),
        under(Some("auth_token: 123456\n"), &[]),
        under(Some("auth_token: \"a b\"\n"), &[]),
        under(Some("api_url: localhost:8080\n"), &[]),
        under(Some("listen: a\nlisten: b\n"), &[]),
        under(Some("data_dir:\n  x: y\n"), &[]),
        under(None, &[("BHATTI_CONFIG", "/nonexistent/config.yaml")]),
        under(None, &[("BHATTI_CONFIG", "[HOME]")]),
        under(None, &[("BHATTI_URL", "nonsense")]),
        under(None, &[("BHATTI_TOKEN", "bht_nearly a token")]),
        under(None, &[("BHATTI_RATE_LIMIT", "maybe")]),
        under(None, &[("BHATTI_ACCELERATOR", "KVM")]),
        under(None, &[("HOME", "")]),
        // An empty file and empty variables are no mistake; the daemon is missing all the same.
        under(Some(""), &[]),
        under(Some("# nothing\n"), &[("BHATTI_URL", "")]),
    ];
    insta::assert_snapshot!(text.join("\n"));
}
