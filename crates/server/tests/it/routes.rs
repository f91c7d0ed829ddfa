//! What holds for every route, read from the table of routes.

use bhatti_api::routes::{Auth, LimitClass, Operation, ROUTES, Route};
use bhatti_server::app::Options;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::{SnapshotRow, SnapshotStatus};
use bhatti_store::store::Store;
use bhatti_store::user::UserRow;
use bhatti_types::egress::Egress;
use bhatti_types::env::Env;
use bhatti_types::id::{RequestId, SandboxId, SnapshotId, UserId, hex};
use bhatti_types::idle::IdleSettings;
use bhatti_types::labels::Labels;
use bhatti_types::run::Init;
use bhatti_types::secret::Token;
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
use bhatti_types::state::{Status, Thermal};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Api, Who};

/// `METHOD /path` of a route, with something in the place of its variable.
fn line(route: &Route) -> String {
    let path = route
        .path
        .replace("{id}", "nosuch")
        .replace("{name}", "nosuch");
    format!("{} {path}", route.method.as_str())
}

#[tokio::test]
async fn every_route_but_health_needs_a_token() {
    let api = Api::start(Options::default()).await;
    for route in ROUTES {
        let answer = api.call(&Who::Nobody, &line(route), "").await;
        match route.auth {
            Auth::Nobody => assert_eq!(answer.status, 200, "{}", line(route)),
            Auth::User | Auth::Admin => {
                assert_eq!(answer.status, 401, "{}", line(route));
                assert_eq!(answer.error(), "authorization required");
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            }
        }
    }
}

/// A user with a sandbox `dev` and a checkpoint `pre`; there is no machine behind them.
fn furnish(dir: &std::path::Path) -> (Token, SandboxId) {
    let store = Store::open(&dir.join("state.db")).unwrap();
    let token = Token::random(&"alice".parse().unwrap());
    let user = UserRow {
        id: UserId::random(),
        name: "alice".parse().unwrap(),
        token_hash: Some(hex(&Sha256::digest(token.reveal()))),
        max_sandboxes: 1,
        max_cpus_per_sandbox: 1,
        max_memory_mb_per_sandbox: 1024,
        max_snapshots: 1,
        max_images: 1,
        max_volume_mb: 1000,
        created_at: Timestamp::UNIX_EPOCH,
        idle: IdleSettings::default(),
    };
    let sandbox = SandboxRow {
        id: SandboxId::random(),
        user: user.id.clone(),
        name: "dev".parse().unwrap(),
        status: Status::Stopped,
        thermal: Thermal::Off,
        reason: None,
        image: "base".parse().unwrap(),
        cpus: Vcpus::default(),
        memory: MemoryMb::default(),
        disk: DiskMb::default(),
        env: Env::default(),
        labels: Labels::default(),
        run_as: None,
        workdir: None,
        kit: "0123456789abcdef".to_owned(),
        engine: "qemu".to_owned(),
        accelerator: None,
        resumed_from: None,
        machine: None,
        created_at: Timestamp::UNIX_EPOCH,
        stopped_at: Some(Timestamp::UNIX_EPOCH),
        idle: IdleSettings::default(),
        used_at: None,
        wake_at: None,
        parent: None,
        init: Init::default(),
        run: None,
        address: None,
        egress: Egress::default(),
    };
    let snapshot = SnapshotRow {
        id: SnapshotId::random(),
        user: user.id.clone(),
        name: "pre".parse().unwrap(),
        source_sandbox: sandbox.name.clone(),
        source_id: sandbox.id.clone(),
        status: SnapshotStatus::Ready,
        cpus: sandbox.cpus,
        memory: sandbox.memory,
        disk: sandbox.disk,
        image: sandbox.image.clone(),
        env: Env::default(),
        labels: Labels::default(),
        run_as: None,
        workdir: None,
        kit: sandbox.kit.clone(),
        engine: sandbox.engine.clone(),
        accelerator: None,
        stall_ms: 7,
        disk_bytes: 4096,
        created_at: Timestamp::UNIX_EPOCH,
        automatic: false,
        init: Init::default(),
        run: None,
        egress: Egress::default(),
    };
    store.user_insert(&user).unwrap();
    store.sandbox_insert(&sandbox, 1).unwrap();
    store.snapshot_insert(&snapshot, 1).unwrap();
    (token, sandbox.id)
}

/// The same with every id checked and replaced by its prefix.
fn without_ids(mut shown: Value) -> Value {
    for (field, prefix) in [("id", "s"), ("user_id", "usr_"), ("created_by", "usr_")] {
        if let Some(id) = shown.get_mut(field) {
            assert!(id.as_str().unwrap().starts_with(prefix));
            *id = json!(prefix);
        }
    }
    shown
}

#[tokio::test]
async fn another_users_things_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (token, id) = furnish(dir.path());
    let api = Api::start_in(dir, Options::default()).await;
    let alice = Who::token(token.reveal());
    let bob = Who::token(&api.user("bob").await);
    for route in ROUTES.iter().filter(|route| route.auth == Auth::User) {
        let body = match route.operation {
            Operation::SandboxExec => r#"{"cmd": ["true"]}"#,
            Operation::SandboxEdit => r#"{"keep_hot": true}"#,
            Operation::SandboxCheckpoint => r#"{"name": "mine"}"#,
            Operation::SandboxRollback => r#"{"to": "pre"}"#,
            Operation::SandboxSaveImage => r#"{"name": "mine"}"#,
            _ => "",
        };
        let path = route.path;
        let paths = if path.starts_with("/snapshots/") {
            vec![path.replace("{name}", "pre")]
        } else if path.contains("{id}") {
            vec![
                path.replace("{id}", "dev"),
                path.replace("{id}", id.as_str()),
            ]
        } else {
            continue;
        };
        for path in paths {
            let line = format!("{} {path}", route.method.as_str());
            for who in [&bob, &Who::Local] {
                let answer = api.call(who, &line, body).await;
                assert_eq!(answer.status, 404, "{line} {answer:?}");
            }
        }
    }
    for (list, own) in [
        ("GET /sandboxes", 1),
        ("GET /snapshots", 1),
        ("GET /tree", 2),
    ] {
        assert_eq!(api.call(&bob, list, "").await.json(), json!([]));
        let shown = api.call(&alice, list, "").await.json();
        assert_eq!(shown.as_array().unwrap().len(), own, "{list}");
    }
    for key in ["dev", id.as_str()] {
        let line = format!("GET /tree?sandbox={key}");
        assert_eq!(api.call(&bob, &line, "").await.status, 404);
        let shown = api.call(&alice, &line, "").await.json();
        assert_eq!(shown.as_array().unwrap().len(), 2);
    }
    let in_use = api.call(&Who::Local, "DELETE /users/alice", "").await;
    assert_eq!(in_use.status, 409, "{in_use:?}");
    let sandbox = api.call(&alice, "GET /sandboxes/dev", "").await.json();
    insta::assert_json_snapshot!("sandbox", without_ids(sandbox));
    let snapshot = api.call(&alice, "GET /snapshots/pre", "").await.json();
    insta::assert_json_snapshot!("snapshot", without_ids(snapshot));
}

#[tokio::test]
async fn a_line_of_a_list_has_four_fields_and_is_of_the_callers_own() {
    let dir = tempfile::tempdir().unwrap();
    let (token, _) = furnish(dir.path());
    let api = Api::start_in(dir, Options::default()).await;
    let alice = Who::token(token.reveal());
    let line = json!({"name": "dev", "status": "stopped", "thermal": "off", "urls": []});
    let lines = async |who, path| api.call(who, path, "").await.json();
    assert_eq!(
        lines(&alice, "GET /sandboxes?fields=line").await,
        json!([line])
    );
    for none in [
        "GET /sandboxes?fields=line&label=a=1",
        "GET /sandboxes?label=a=1&fields=line",
    ] {
        assert_eq!(lines(&alice, none).await, json!([]), "{none}");
    }
    let others = lines(&Who::Local, "GET /sandboxes?fields=line").await;
    assert_eq!(others, json!([]));
}

#[tokio::test]
async fn a_create_of_a_taken_name_gives_the_one_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (token, id) = furnish(dir.path());
    let api = Api::start_in(dir, Options::default()).await;
    let alice = Who::token(token.reveal());
    let answer = api
        .call(&alice, "POST /sandboxes", r#"{"name": "dev"}"#)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-bhatti-existing"], "true");
    assert_eq!(answer.json()["id"], id.as_str());
}

#[tokio::test]
async fn a_websocket_that_is_none_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (token, _) = furnish(dir.path());
    let api = Api::start_in(dir, Options::default()).await;
    let alice = Who::token(token.reveal());
    let answer = api.call(&alice, "GET /sandboxes/dev/exec/ws", "").await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.headers["upgrade"], "websocket");
}

#[tokio::test]
async fn routes_of_the_administrator_are_closed_to_users() {
    let api = Api::start(Options::default()).await;
    let alice = Who::token(&api.user("alice").await);
    for route in ROUTES {
        let status = api.call(&alice, &line(route), "{}").await.status;
        let forbidden = status == 403;
        assert_eq!(
            forbidden,
            route.auth == Auth::Admin,
            "{} {status}",
            line(route)
        );
    }
}

#[tokio::test]
async fn every_answer_names_its_request_and_the_version() {
    let api = Api::start(Options::default()).await;
    for line in ROUTES
        .iter()
        .map(line)
        .chain(["GET /nosuch".to_owned(), "PUT /health".to_owned()])
    {
        for who in [Who::Local, Who::Nobody] {
            let answer = api.call(&who, &line, "{}").await;
            let id = answer.headers["x-request-id"].to_str().unwrap();
            id.parse::<RequestId>().unwrap();
            assert_eq!(
                answer.headers["x-bhatti-version"],
                env!("CARGO_PKG_VERSION")
            );
            assert_eq!(answer.headers["content-type"], "application/json", "{line}");
        }
    }
}

#[tokio::test]
async fn every_counted_route_has_its_limit() {
    for route in ROUTES {
        let burst = match (route.auth, route.limit) {
            (Auth::Nobody, _) | (_, LimitClass::Free) => continue,
            // Whoever may call these is not counted.
            (Auth::Admin, _) => continue,
            (Auth::User, LimitClass::Create) => 10,
            (Auth::User, LimitClass::Exec) => 30,
            (Auth::User, LimitClass::Other) => 60,
        };
        let api = Api::start(Options::default()).await;
        let alice = Who::token(&api.user("alice").await);
        let bob = Who::token(&api.user("bob").await);
        // An empty name keeps creates from getting far; tokens trickle in while this runs.
        let mut taken = 0;
        let refused = loop {
            let answer = api.call(&alice, &line(route), "{").await;
            if answer.status == 429 {
                break answer;
            }
            taken += 1;
            assert!(taken < 2 * burst, "{} is not limited", line(route));
        };
        assert!(taken >= burst, "{} was limited after {taken}", line(route));
        assert_eq!(refused.error(), "rate limit exceeded");
        let after: u64 = refused.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=2).contains(&after));
        assert_ne!(
            api.call(&bob, &line(route), "{").await.status,
            429,
            "another user is free"
        );
        assert_ne!(api.call(&Who::Local, &line(route), "{").await.status, 429);
    }
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let options = Options {
        rate_limits: false,
        ..Options::default()
    };
    let api = Api::start(options).await;
    let alice = Who::token(&api.user("alice").await);
    for _ in 0..100 {
        assert_eq!(api.call(&alice, "POST /sandboxes", "{").await.status, 400);
    }
}

#[tokio::test]
async fn a_token_counts_over_the_unix_socket_too() {
    let api = Api::start(Options::default()).await;
    let token = api.user("alice").await;
    let request = http::Request::get("/users").header("authorization", format!("Bearer {token}"));
    let request = request.body(axum::body::Body::empty()).unwrap();
    assert_eq!(api.send(&Who::Local, request).await.status, 403);
}

#[tokio::test]
async fn users_come_and_go_and_change_their_tokens() {
    let api = Api::start(Options::default()).await;
    let body = json!({"name": "alice", "max_sandboxes": 2}).to_string();
    let made = api.call(&Who::Local, "POST /users", body).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.headers["cache-control"], "no-store");
    let first = made.json()["api_key"].as_str().unwrap().to_owned();
    assert!(first.starts_with("bht_alice_"));

    let shown = api.call(&Who::Local, "GET /users/alice", "").await.json();
    assert_eq!(shown["max_sandboxes"], 2);
    assert_eq!(shown["max_cpus_per_sandbox"], 4);
    assert_eq!(shown.get("api_key"), None, "a token is shown once");
    let listed = api.call(&Who::Local, "GET /users", "").await.json();
    assert_eq!(listed, json!([shown]), "the built-in user is not listed");

    assert_eq!(
        api.call(&Who::token(&first), "GET /sandboxes", "")
            .await
            .json(),
        json!([])
    );
    let rotated = api
        .call(&Who::Local, "POST /users/alice/rotate-key", "")
        .await;
    let second = rotated.json()["api_key"].as_str().unwrap().to_owned();
    let old = api.call(&Who::token(&first), "GET /sandboxes", "").await;
    assert_eq!(
        (old.status.as_u16(), old.error().as_str()),
        (401, "invalid api key")
    );
    assert_eq!(
        api.call(&Who::token(&second), "GET /sandboxes", "")
            .await
            .status,
        200
    );

    let deleted = api.call(&Who::Local, "DELETE /users/alice", "").await;
    assert_eq!(deleted.json(), json!({"status": "deleted"}));
    assert_eq!(
        api.call(&Who::token(&second), "GET /sandboxes", "")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn the_daemon_says_what_it_is() {
    let api = Api::start(Options::default()).await;
    let health = api.call(&Who::Nobody, "GET /health", "").await.json();
    assert_eq!(health["status"], "ok");
    let mut version = api.call(&Who::Local, "GET /version", "").await.json();
    let storage = version["storage"].take();
    let kind = storage["kind"].as_str();
    assert!(matches!(kind, Some("reflink" | "copy")), "{storage}");
    let (free, size) = (
        storage["free_bytes"].as_u64(),
        storage["size_bytes"].as_u64(),
    );
    assert!(free.is_some() && free < size, "{storage}");
    assert_eq!(
        version,
        json!({"version": env!("CARGO_PKG_VERSION"), "api": "1", "storage": null})
    );
}

#[tokio::test]
async fn without_a_guest_kit_a_create_says_what_is_missing() {
    let api = Api::start(Options::default()).await;
    let answer = api.call(&Who::Local, "POST /sandboxes", "").await;
    assert_eq!(answer.json()["error"], r#"image "base" not found"#);
}
