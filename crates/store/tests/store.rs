//! The store as its callers see it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::collections::BTreeMap;

use bhatti_store::error::{Entity, StoreError};
use bhatti_store::journal::{OpId, PendingStep, Phase};
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::{SnapshotRow, SnapshotStatus};
use bhatti_store::store::Store;
use bhatti_store::user::{self, UserRow};
use bhatti_types::egress::{AllowedRanges, Egress, EgressMode};
use bhatti_types::env::Env;
use bhatti_types::id::{SandboxId, SnapshotId, UserId};
use bhatti_types::idle::{IdleSettings, IdleTime};
use bhatti_types::labels::Labels;
use bhatti_types::parent::Parent;
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
use bhatti_types::state::{Status, Thermal};
use jiff::Timestamp;
use serde_json::json;

/// A time with no more digits than the store keeps.
fn time() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

fn pairs(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn sandbox(name: &str) -> SandboxRow {
    SandboxRow {
        id: SandboxId::random(),
        user: user::local_id(),
        name: name.parse().unwrap(),
        status: Status::Creating,
        thermal: Thermal::Off,
        reason: None,
        image: "base".parse().unwrap(),
        cpus: Vcpus::default(),
        memory: MemoryMb::default(),
        disk: DiskMb::default(),
        env: Env::new(pairs("GREETING", "höla \"x\"\n")).unwrap(),
        labels: Labels::new(pairs("pool", "workers")).unwrap(),
        run_as: Some("1000:1000".to_owned()),
        workdir: Some("/workspace".to_owned()),
        kit: "0123".to_owned(),
        engine: "qemu".to_owned(),
        accelerator: Some("tcg".to_owned()),
        resumed_from: Some("pre".parse().unwrap()),
        machine: Some(r#"{"pid":1}"#.to_owned()),
        created_at: time(),
        stopped_at: Some(time()),
        idle: IdleSettings {
            pause_after: Some("90s".parse().unwrap()),
            keep_hot: Some(false),
            ..IdleSettings::default()
        },
        used_at: Some(time()),
        wake_at: Some(time()),
        parent: Some(Parent::Snapshot(SnapshotId::random())),
        init: bhatti_types::run::Init::default(),
        run: None,
        address: None,
        egress: Egress {
            mode: EgressMode::Deny,
            allow: AllowedRanges::new(["9.9.9.0/24".parse().unwrap()]).unwrap(),
        },
    }
}

fn snapshot(name: &str) -> SnapshotRow {
    SnapshotRow {
        id: SnapshotId::random(),
        user: user::local_id(),
        name: name.parse().unwrap(),
        source_sandbox: "dev".parse().unwrap(),
        source_id: SandboxId::random(),
        status: SnapshotStatus::Creating,
        cpus: Vcpus::default(),
        memory: MemoryMb::default(),
        disk: DiskMb::default(),
        image: "base".parse().unwrap(),
        env: Env::default(),
        labels: Labels::default(),
        run_as: None,
        workdir: None,
        kit: "0123".to_owned(),
        engine: "qemu".to_owned(),
        accelerator: None,
        stall_ms: 12,
        disk_bytes: 1 << 40,
        created_at: time(),
        automatic: false,
        init: bhatti_types::run::Init::default(),
        run: None,
        egress: Egress::default(),
    }
}

fn alice() -> UserRow {
    UserRow {
        id: UserId::random(),
        name: "alice".parse().unwrap(),
        token_hash: Some("ab".repeat(32)),
        max_sandboxes: user::DEFAULT_MAX_SANDBOXES,
        max_cpus_per_sandbox: user::DEFAULT_MAX_CPUS,
        max_memory_mb_per_sandbox: user::DEFAULT_MAX_MEMORY_MB,
        max_snapshots: user::DEFAULT_MAX_SNAPSHOTS,
        max_volume_mb: user::DEFAULT_MAX_VOLUME_MB,
        max_images: user::DEFAULT_MAX_IMAGES,
        created_at: time(),
        idle: IdleSettings {
            cold_after: Some(IdleTime::Never),
            ..IdleSettings::default()
        },
    }
}

#[test]
fn what_was_written_is_read_after_the_file_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let (sandbox, snapshot, user) = (sandbox("dev"), snapshot("pre"), alice());
    {
        let store = Store::open(&path).unwrap();
        store.sandbox_insert(&sandbox, 1).unwrap();
        store.snapshot_insert(&snapshot, 1).unwrap();
        store.user_insert(&user).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(
        store.sandbox_list().unwrap(),
        std::slice::from_ref(&sandbox)
    );
    assert_eq!(store.sandbox_get(&sandbox.id).unwrap(), Some(sandbox));
    assert_eq!(store.snapshot_list(None).unwrap(), [snapshot]);
    assert_eq!(store.user_by_name(&user.name).unwrap(), Some(user));
}

#[test]
fn the_file_is_private_and_its_commits_are_durable() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let store = Store::open(&path).unwrap();
    store.user_insert(&alice()).unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let mode = fs_err::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_database_of_a_newer_bhatti_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    drop(Store::open(&path).unwrap());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 999).unwrap();
    drop(raw);
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::TooNew { found: 999, .. }),
        "{error}"
    );
    let raw = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = raw
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 999);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    fs_err::write(
        &path,
        "not a database, but long enough to look like one ".repeat(100),
    )
    .unwrap();
    assert!(Store::open(&path).is_err());
}

#[test]
fn the_name_is_looked_at_before_the_quota() {
    let store = Store::open_in_memory().unwrap();
    store.sandbox_insert(&sandbox("dev"), 1).unwrap();
    let taken = store.sandbox_insert(&sandbox("dev"), 1).unwrap_err();
    assert!(
        matches!(
            taken,
            StoreError::Exists {
                entity: Entity::Sandbox,
                ..
            }
        ),
        "{taken}"
    );
    let full = store.sandbox_insert(&sandbox("other"), 1).unwrap_err();
    assert!(
        matches!(
            full,
            StoreError::Quota {
                entity: Entity::Sandbox,
                limit: 1
            }
        ),
        "{full}"
    );

    store.snapshot_insert(&snapshot("pre"), 1).unwrap();
    let taken = store.snapshot_insert(&snapshot("pre"), 1).unwrap_err();
    assert!(
        matches!(
            taken,
            StoreError::Exists {
                entity: Entity::Snapshot,
                ..
            }
        ),
        "{taken}"
    );
    let full = store.snapshot_insert(&snapshot("other"), 1).unwrap_err();
    assert!(
        matches!(
            full,
            StoreError::Quota {
                entity: Entity::Snapshot,
                limit: 1
            }
        ),
        "{full}"
    );
}

#[test]
fn a_sandbox_that_is_being_destroyed_gives_up_its_name_but_not_its_place() {
    let store = Store::open_in_memory().unwrap();
    let mut old = sandbox("dev");
    store.sandbox_insert(&old, 2).unwrap();
    old.status = Status::Destroying;
    store.sandbox_update(&old).unwrap();
    let new = sandbox("dev");
    store.sandbox_insert(&new, 2).unwrap();
    assert_eq!(
        store
            .sandbox_by_name(&new.user, &new.name)
            .unwrap()
            .unwrap()
            .id,
        new.id
    );
    assert!(matches!(
        store.sandbox_insert(&sandbox("third"), 2),
        Err(StoreError::Quota { .. })
    ));
    old.status = Status::Failed;
    assert!(matches!(
        store.sandbox_update(&old),
        Err(StoreError::Exists { .. })
    ));
}

#[test]
fn deleting_what_is_not_there_is_success_and_changing_it_is_not() {
    let store = Store::open_in_memory().unwrap();
    let (sandbox, snapshot) = (sandbox("dev"), snapshot("pre"));
    store.sandbox_delete(&sandbox.id).unwrap();
    store.snapshot_delete(&snapshot.id).unwrap();
    store.user_delete(&UserId::random()).unwrap();
    store.journal_close(&OpId::random()).unwrap();
    assert!(matches!(
        store.sandbox_update(&sandbox),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.snapshot_update(&snapshot),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.user_set_token_hash(&UserId::random(), Some("x")),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.journal_step(&OpId::random(), 0, "boot", Phase::Begun),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn every_status_and_thermal_survives_the_way_through_the_file() {
    let store = Store::open_in_memory().unwrap();
    let mut row = sandbox("dev");
    store.sandbox_insert(&row, 1).unwrap();
    for status in [
        Status::Creating,
        Status::Running,
        Status::Stopped,
        Status::Failed,
        Status::Destroying,
    ] {
        for thermal in [Thermal::Hot, Thermal::Warm, Thermal::Cold, Thermal::Off] {
            row.status = status;
            row.thermal = thermal;
            store.sandbox_update(&row).unwrap();
            assert_eq!(store.sandbox_get(&row.id).unwrap().as_ref(), Some(&row));
        }
    }
}

#[test]
fn the_built_in_user_is_there_from_the_start_and_cannot_be_taken_away() {
    let store = Store::open_in_memory().unwrap();
    let local = store.user_by_id(&user::local_id()).unwrap().unwrap();
    assert_eq!(local.name.as_str(), user::LOCAL_NAME);
    assert!(local.is_builtin() && local.token_hash.is_none());
    assert!(matches!(
        store.user_delete(&local.id),
        Err(StoreError::BuiltIn { .. })
    ));
    assert!(matches!(
        store.user_set_token_hash(&local.id, Some("x")),
        Err(StoreError::BuiltIn { .. })
    ));
}

#[test]
fn a_user_with_things_left_is_not_deleted() {
    let store = Store::open_in_memory().unwrap();
    let user = alice();
    store.user_insert(&user).unwrap();
    assert!(matches!(
        store.user_insert(&alice()),
        Err(StoreError::Exists { .. })
    ));
    let sandbox = SandboxRow {
        user: user.id.clone(),
        ..sandbox("dev")
    };
    let snapshot = SnapshotRow {
        user: user.id.clone(),
        ..snapshot("pre")
    };
    store.sandbox_insert(&sandbox, 1).unwrap();
    store.snapshot_insert(&snapshot, 1).unwrap();
    let error = store.user_delete(&user.id).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"user "alice" still has 1 sandboxes, 1 snapshots and 0 volumes"#
    );
    store.sandbox_delete(&sandbox.id).unwrap();
    assert!(matches!(
        store.user_delete(&user.id),
        Err(StoreError::InUse { .. })
    ));
    store.snapshot_delete(&snapshot.id).unwrap();
    store.user_delete(&user.id).unwrap();
    assert_eq!(store.user_by_id(&user.id).unwrap(), None);
}

#[test]
fn two_users_may_use_the_same_name() {
    let store = Store::open_in_memory().unwrap();
    let user = alice();
    store.user_insert(&user).unwrap();
    store.sandbox_insert(&sandbox("dev"), 1).unwrap();
    store
        .sandbox_insert(
            &SandboxRow {
                user: user.id.clone(),
                ..sandbox("dev")
            },
            1,
        )
        .unwrap();
    store.snapshot_insert(&snapshot("pre"), 1).unwrap();
    let own = SnapshotRow {
        user: user.id.clone(),
        ..snapshot("pre")
    };
    store.snapshot_insert(&own, 1).unwrap();
    assert_eq!(store.snapshot_list(Some(&user.id)).unwrap(), [own]);
}

#[test]
fn a_new_token_voids_the_one_before() {
    let store = Store::open_in_memory().unwrap();
    let user = alice();
    store.user_insert(&user).unwrap();
    store.user_set_token_hash(&user.id, Some("new")).unwrap();
    let read = store.user_by_name(&user.name).unwrap().unwrap();
    assert_eq!(read.token_hash.as_deref(), Some("new"));
    assert!(!format!("{read:?}").contains("new"));
}

#[test]
fn what_is_written_together_fails_together() {
    let store = Store::open_in_memory().unwrap();
    let op = OpId::random();
    let row = sandbox("dev");
    let result = store.write(|txn| {
        txn.journal_open(&op, "create", row.id.as_str(), &json!({}))?;
        txn.sandbox_insert(&row, 0)
    });
    assert!(matches!(result, Err(StoreError::Quota { .. })));
    assert_eq!(store.journal_pending().unwrap(), []);
    store
        .write(|txn| {
            txn.journal_open(&op, "create", row.id.as_str(), &json!({}))?;
            txn.sandbox_insert(&row, 1)
        })
        .unwrap();
    assert_eq!(store.journal_pending().unwrap().len(), 1);
    assert_eq!(store.sandbox_list().unwrap().len(), 1);
}

#[test]
fn a_panic_inside_a_transaction_undoes_it_and_the_store_goes_on() {
    let store = Store::open_in_memory().unwrap();
    let inner = store.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        inner.write(|txn| -> Result<(), StoreError> {
            txn.sandbox_insert(&sandbox("dev"), 1)?;
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(store.sandbox_list().unwrap(), []);
    store.sandbox_insert(&sandbox("dev"), 1).unwrap();
}

#[test]
fn the_journal_tells_what_was_begun_and_not_finished() {
    let store = Store::open_in_memory().unwrap();
    let (first, second) = (OpId::random(), OpId::random());
    store
        .journal_open(&first, "create", "sbx_1", &json!({"name": "dev"}))
        .unwrap();
    store
        .journal_open(&second, "destroy", "sbx_2", &json!(null))
        .unwrap();
    assert!(matches!(
        store.journal_open(&first, "create", "sbx_1", &json!({})),
        Err(StoreError::Exists {
            entity: Entity::Operation,
            ..
        })
    ));
    store
        .journal_step(&first, 0, "clone disk", Phase::Begun)
        .unwrap();
    store
        .journal_step(&first, 0, "clone disk", Phase::Done)
        .unwrap();
    store.journal_step(&first, 1, "boot", Phase::Begun).unwrap();

    let pending = store.journal_pending().unwrap();
    assert_eq!(pending.len(), 2);
    assert_eq!(pending[0].op, first);
    assert_eq!(pending[0].detail, json!({"name": "dev"}));
    let step = |index, name: &str, phase| PendingStep {
        index,
        name: name.to_owned(),
        phase,
    };
    assert_eq!(
        pending[0].steps,
        [
            step(0, "clone disk", Phase::Done),
            step(1, "boot", Phase::Begun)
        ]
    );
    assert_eq!(
        (pending[1].kind.as_str(), pending[1].steps.len()),
        ("destroy", 0)
    );

    store.journal_close(&first).unwrap();
    assert_eq!(store.journal_pending().unwrap().len(), 1);
    store
        .journal_open(&first, "create", "sbx_1", &json!({}))
        .unwrap();
    assert_eq!(
        store.journal_pending().unwrap()[1].steps,
        [],
        "old steps are gone"
    );
}

#[test]
fn threads_that_race_for_the_last_place_get_it_once() {
    let store = Store::open_in_memory().unwrap();
    let won = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|index| {
                let store = store.clone();
                scope.spawn(move || store.sandbox_insert(&sandbox(&format!("dev{index}")), 3))
            })
            .collect();
        racers
            .into_iter()
            .filter_map(|racer| racer.join().unwrap().ok())
            .count()
    });
    assert_eq!(won, 3);
}

#[test]
fn each_sandbox_of_a_user_has_an_address_of_its_own_and_keeps_it() {
    let store = Store::open_in_memory().unwrap();
    let alice = alice();
    store.user_insert(&alice).unwrap();
    let range = ([10, 0, 0, 2].into(), [10, 0, 0, 3].into());
    let (one, two, three) = (sandbox("one"), sandbox("two"), sandbox("three"));
    let other = SandboxRow {
        user: alice.id,
        ..sandbox("other")
    };
    for row in [&one, &two, &three, &other] {
        store.sandbox_insert(row, u32::MAX).unwrap();
    }
    let take = |row: &SandboxRow| store.sandbox_take_address(&row.id, range).unwrap();
    assert_eq!(take(&one), Some([10, 0, 0, 2].into()));
    assert_eq!(take(&two), Some([10, 0, 0, 3].into()));
    assert_eq!(take(&one), Some([10, 0, 0, 2].into()));
    assert_eq!(take(&other), Some([10, 0, 0, 2].into()));
    assert_eq!(take(&three), None);
    store.sandbox_delete(&one.id).unwrap();
    assert_eq!(take(&three), Some([10, 0, 0, 2].into()));
    // Another range: it gets one that is in it.
    let moved = ([10, 9, 0, 2].into(), [10, 9, 0, 9].into());
    let address = store.sandbox_take_address(&two.id, moved).unwrap();
    assert_eq!(address, Some([10, 9, 0, 2].into()));
    let row = store.sandbox_get(&two.id).unwrap().unwrap();
    assert_eq!(row.address, address);
}
