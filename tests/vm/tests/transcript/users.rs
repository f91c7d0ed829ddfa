//! Users with tokens, over TCP.

use std::path::{Path, PathBuf};

use bhatti_api::sandbox::Sandbox;
use bhatti_testing::cli::{self, CliOutput};
use bhatti_testing::daemon::Daemon;
use serde_json::Value;

use crate::commands::{assert_refused, quiet, refused};

/// A person with a home of their own.
struct Person {
    home: PathBuf,
}

impl Person {
    fn new(daemon: &Daemon, name: &str) -> Self {
        let home = daemon.home().join(name);
        fs_err::create_dir(&home).expect("a directory can be made");
        Self { home }
    }

    async fn cli(&self, args: &[&str]) -> CliOutput {
        cli::run_at_home(&self.home, args, b"").await
    }

    async fn quiet(&self, args: &[&str]) -> String {
        let ran = self.cli(args).await;
        assert_eq!(ran.errors(), "", "{args:?}: {ran:?}");
        ran.success()
    }

    async fn refused(&self, args: &[&str]) -> String {
        let ran = self.cli(args).await;
        assert_refused(&ran, args);
        ran.errors()
    }

    fn config(&self) -> PathBuf {
        self.home.join(".bhatti/config.yaml")
    }
}

/// A user as the administrator makes it: its token.
async fn user(daemon: &Daemon, args: &[&str]) -> String {
    let args = [&["user", "create", "--json", "--name"], args].concat();
    let created: Value =
        serde_json::from_str(&quiet_but_hints(daemon, &args).await).expect("it is JSON");
    let token = created["api_key"].as_str().expect("a token").to_owned();
    let name = created["name"].as_str().expect("a name");
    assert!(
        token.starts_with(&format!("bht_{name}_")),
        "it is not of the right form"
    );
    token
}

async fn quiet_but_hints(daemon: &Daemon, args: &[&str]) -> String {
    daemon.cli(args).await.success()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;

    let found = fs_err::metadata(path).expect("the file is there");
    found.permissions().mode() & 0o7777
}

#[tokio::test]
async fn users_with_tokens_never_meet() {
    let daemon = Daemon::start_with(&["--listen", "127.0.0.1:0"]).await;
    let url = daemon.url();
    let alice_token = user(&daemon, &["alice"]).await;
    let bob_token = user(
        &daemon,
        &["bob", "--max-sandboxes", "1", "--max-memory", "512"],
    )
    .await;
    assert_ne!(alice_token, bob_token);
    let (alice, bob) = (Person::new(&daemon, "alice"), Person::new(&daemon, "bob"));

    // Without a token, and with a wrong one, there is nothing.
    let told = alice.refused(&["--url", &url, "list"]).await;
    assert!(
        told.starts_with("error: authorization required\n"),
        "{told}"
    );
    let wrong = format!("bht_alice_{}", "0".repeat(64));
    for token in [wrong.as_str(), "bht_carol_00", "x"] {
        let told = alice
            .refused(&["setup", "--url", &url, "--token", token])
            .await;
        assert!(told.starts_with("error: invalid api key\n"), "{told}");
        assert!(!alice.config().exists());
    }

    for (person, token) in [(&alice, &alice_token), (&bob, &bob_token)] {
        let told = person
            .cli(&["setup", "--url", &url, "--token", token])
            .await;
        assert!(
            told.text().contains("✓ authenticated (0 sandboxes)\n"),
            "{told:?}"
        );
        assert_eq!(told.code, Some(0));
        assert_eq!(mode(&person.config()), 0o600);
    }

    // Each has a machine; the names may be the same.
    let create = ["create", "--name", "dev", "--memory", "256"];
    let (one, two) = tokio::join!(alice.quiet(&create), bob.quiet(&create));
    assert_eq!(one, "sandbox/dev created (1 vCPU, 256 MB)\n");
    assert_eq!(two, one);
    let write = |name: &'static str| ["exec", "dev", "--", "sh", "-c", name];
    alice.quiet(&write("echo alice > /tmp/who")).await;
    bob.quiet(&write("echo bob > /tmp/who")).await;
    assert_eq!(
        alice.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "alice\n"
    );
    assert_eq!(
        bob.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "bob\n"
    );
    let told = alice
        .quiet(&["snapshot", "create", "dev", "--name", "hers"])
        .await;
    assert_eq!(told, "✓ checkpoint \"hers\" created (256MB)\n");

    for person in [&alice, &bob] {
        let list = person.quiet(&["list"]).await;
        assert_eq!(list, "NAME  STATUS   THERMAL  URL\ndev   running  hot\n");
    }
    let told = alice
        .cli(&["setup", "--url", &url, "--token", &alice_token])
        .await;
    assert!(
        told.text().contains("✓ authenticated (1 sandbox)\n"),
        "{told:?}"
    );

    // Not by id either, and whatever it is.
    let hers: Sandbox = serde_json::from_str(&alice.quiet(&["inspect", "dev", "--json"]).await)
        .expect("it is JSON");
    for args in [
        &["inspect", &hers.id][..],
        &["exec", &hers.id, "--", "true"],
        &["stop", &hers.id],
        &["start", &hers.id],
        &["destroy", &hers.id, "--yes"],
        &["snapshot", "create", &hers.id, "--name", "stolen"],
        &["snapshot", "resume", "hers", "--name", "stolen"],
        &["snapshot", "delete", "hers", "--yes"],
    ] {
        let told = bob.refused(args).await;
        assert!(told.contains("not found"), "{args:?}: {told}");
        // Nothing tells it from what does not exist.
        let unknown: Vec<_> = args
            .iter()
            .map(|arg| match *arg {
                arg if arg == hers.id => "sbx_0000000000000000",
                "hers" => "none",
                arg => arg,
            })
            .collect();
        let unknown = bob.refused(&unknown).await;
        let unknown = unknown
            .replace("sbx_0000000000000000", &hers.id)
            .replace("none", "hers");
        assert_eq!(told, unknown, "{args:?}");
    }
    assert!(!bob.quiet(&["snapshot", "list"]).await.contains("hers"));
    for args in [
        &["user", "list"][..],
        &["user", "create", "--name", "mallory"],
        &["user", "rotate-key", "alice"],
        &["user", "delete", "alice", "--yes"],
    ] {
        let ran = bob.cli(args).await;
        assert_refused(&ran, args);
    }
    assert_eq!(
        alice.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "alice\n"
    );

    // What a user may have.
    let told = bob
        .refused(&["create", "--name", "second", "--memory", "256"])
        .await;
    assert!(told.contains('1') && told.contains("sandbox"), "{told}");
    let told = alice
        .refused(&["create", "--name", "huge", "--memory", "8192"])
        .await;
    assert!(told.contains("4096"), "{told}");

    // A new token makes the old one void.
    let rotated: Value = serde_json::from_str(
        &quiet_but_hints(&daemon, &["user", "rotate-key", "bob", "--json"]).await,
    )
    .expect("it is JSON");
    let told = bob.refused(&["list"]).await;
    assert!(told.starts_with("error: invalid api key\n"), "{told}");
    let token = rotated["api_key"].as_str().expect("a token");
    let told = bob.cli(&["setup", "--url", &url, "--token", token]).await;
    assert!(
        told.text().contains("✓ authenticated (1 sandbox)\n"),
        "{told:?}"
    );

    // A user who has something stays.
    let told = refused(&daemon, &["user", "delete", "bob", "--yes"]).await;
    assert!(told.contains("bob"), "{told}");
    assert_eq!(
        bob.quiet(&["destroy", "dev", "--yes"]).await,
        "sandbox/dev destroyed\n"
    );
    assert_eq!(
        quiet(&daemon, &["user", "delete", "bob", "--yes"]).await,
        "user/bob deleted\n"
    );
    let told = bob.refused(&["list"]).await;
    assert!(told.starts_with("error: invalid api key\n"), "{told}");
    assert_eq!(
        alice.quiet(&["exec", "dev", "cat", "/tmp/who"]).await,
        "alice\n"
    );

    // No token is in the log.
    let log = fs_err::read_to_string(daemon.log()).expect("the log is read");
    for secret in [alice_token.as_str(), &bob_token, token, &wrong] {
        let secret = secret.rsplit('_').next().expect("its secret part");
        assert!(!log.contains(secret), "a token is in the log");
    }
}
