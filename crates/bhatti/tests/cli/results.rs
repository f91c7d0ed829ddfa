//! What commands print when all goes well, and what they ask for.

use crate::daemon::Daemon;
use crate::fixture::Home;

#[test]
fn results_are_the_lines_of_the_transcripts() {
    let home = Home::new();
    let _daemon = Daemon::unix(&home.socket());
    let commands: &[&[&str]] = &[
        &["create", "--name", "dev"],
        &[
            "create",
            "--name",
            "big",
            "--cpus",
            "2",
            "--memory",
            "4096",
            "--disk-size",
            "8192",
        ],
        &["create", "--name", "taken"],
        &["create"],
        &["list"],
        &["ls", "-o", "wide"],
        &["inspect", "dev"],
        &["info", "full"],
        &["stop", "dev"],
        &["start", "dev", "--force"],
        &["destroy", "dev", "--yes"],
        &["rm", "-y", "dev"],
        &["exec", "dev", "--detach", "--", "sleep", "100"],
        &["snapshot", "create", "dev", "--name", "pre"],
        &["snap", "ls"],
        &["snapshot", "resume", "pre", "--name", "retry"],
        &["snapshot", "resume", "pre"],
        &["snap", "rm", "-y", "pre"],
        &["fork", "dev"],
        &["fork", "dev", "--name", "try", "-n", "3"],
        &["create", "--name", "try", "--from", "dev"],
        &["rollback", "dev", "--to", "pre", "--yes"],
        &["rollback", "dev", "--to", "pre", "--force", "-y"],
        &["tree"],
        &["tree", "lonely"],
        &["image", "list"],
        &["image", "warm", "base", "--memory", "1024"],
        &["template", "list"],
        &["template", "rm", "-y", "tpl_0123456789abcdef"],
        &["user", "create", "--name", "alice"],
        &["user", "list"],
        &["user", "rotate-key", "alice"],
        &["user", "delete", "alice", "-y"],
        &["version"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn json_is_the_api_s_own() {
    let home = Home::new();
    let _daemon = Daemon::unix(&home.socket());
    let commands: &[&[&str]] = &[
        &["create", "--name", "dev", "--json"],
        &["--json", "destroy", "dev", "-y"],
        &["snapshot", "create", "dev", "--name", "pre", "--json"],
        &["fork", "dev", "--name", "try", "--json"],
        &["rollback", "dev", "--to", "pre", "-y", "--json"],
        &["tree", "lonely", "--json"],
        &["user", "create", "--name", "alice", "--json"],
        &["user", "rotate-key", "alice", "--json"],
        &["exec", "--json", "--detach", "dev", "x"],
        &["version", "--json"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
    let list: serde_json::Value =
        serde_json::from_slice(&home.run(&["list", "--json"]).stdout).unwrap();
    assert_eq!(list[1]["name"], "retry");
}

#[test]
fn flags_become_the_fields_of_one_request() {
    let home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    home.run(&[
        "create",
        "--name",
        "a",
        "--image",
        "base",
        "--cpus",
        "2.0",
        "--memory",
        "0",
        "--env",
        "A=1,B=x=y",
        "--env",
        "LIST=1,2",
        "--label",
        "pool=workers",
        "--label",
        "x/y=",
        "--user",
        "root",
    ]);
    home.run(&["list", "--label", "pool=workers", "--label", "a=b"]);
    home.run(&["start", "sbx_0123456789abcdef", "--force"]);
    home.run(&["stop", "a"]);
    home.run(&["snapshot", "resume", "pre"]);
    home.run(&["fork", "a", "--name", "b", "--count", "2"]);
    home.run(&["create", "--from", "a"]);
    home.run(&["rollback", "a", "--to", "pre", "--yes"]);
    home.run(&["tree", "a"]);
    home.run(&[
        "user",
        "create",
        "--name",
        "u",
        "--max-cpus",
        "8",
        "--max-snapshots",
        "0",
    ]);
    home.run(&["user", "rotate-key", "u"]);
    home.run(&[
        "exec",
        "--detach",
        "--timeout",
        "5",
        "--env",
        "A=1",
        "a",
        "--",
        "x",
        "--",
        "-y",
    ]);
    let requests: Vec<_> = daemon
        .requests()
        .into_iter()
        .map(|request| format!("{}\n    {}\n", request.line, request.body))
        .collect();
    insta::assert_snapshot!(requests.concat());
}

#[test]
fn a_token_goes_along_and_is_said_nowhere() {
    let home = Home::new();
    let daemon = Daemon::tcp();
    let url = format!("http://127.0.0.1:{}", daemon.port());
    let args = ["--url", &url, "--token", "bht_alice_secret", "-v", "list"];
    let output = home.run(&args);
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("GET") && stderr.contains("req_0123456789abcdef"),
        "{stderr}"
    );
    assert!(!stderr.contains("secret"), "{stderr}");
    let requests = daemon.requests();
    assert_eq!(
        requests[0].header("authorization"),
        Some("Bearer bht_alice_secret")
    );
    assert_eq!(
        requests[0].header("host"),
        Some(&*format!("127.0.0.1:{}", daemon.port()))
    );
    assert_eq!(requests.len(), 1);
}

#[test]
fn colour_comes_only_when_it_is_asked_for_or_on_a_terminal() {
    let home = Home::new();
    let _daemon = Daemon::unix(&home.socket());
    let created = |args: &[&str]| {
        let args = [args, &["snapshot", "create", "dev", "--name", "pre"]].concat();
        String::from_utf8(home.run(&args).stdout).unwrap()
    };
    assert_eq!(created(&[]), "✓ checkpoint \"pre\" created (1024MB)\n");
    assert!(created(&["--color", "always"]).starts_with("\u{1b}["));
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let home = Home::new();
    let _daemon = Daemon::unix(&home.socket());
    for args in [
        vec!["list"],
        vec!["completion", "bash"],
        vec!["exec", "dev", "endless"],
    ] {
        let mut child = home.spawn(&args);
        drop(child.stdin.take());
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(
            output.stderr.is_empty(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
