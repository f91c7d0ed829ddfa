//! Volumes and who has them, as the store's callers see it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use bhatti_store::attachment::AttachmentRow;
use bhatti_store::error::StoreError;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::store::Store;
use bhatti_store::user;
use bhatti_store::volume::{VolumeRow, VolumeStatus};
use bhatti_types::env::Env;
use bhatti_types::id::{SandboxId, VolumeId};
use bhatti_types::idle::IdleSettings;
use bhatti_types::labels::Labels;
use bhatti_types::run::Init;
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus, VolumeMb};
use bhatti_types::state::{Status, Thermal};
use jiff::Timestamp;

fn store() -> Store {
    Store::open_in_memory().unwrap()
}

fn sandbox(store: &Store, name: &str) -> SandboxId {
    let row = SandboxRow {
        id: SandboxId::random(),
        user: user::local_id(),
        name: name.parse().unwrap(),
        status: Status::Running,
        thermal: Thermal::Hot,
        reason: None,
        image: "base".parse().unwrap(),
        cpus: Vcpus::default(),
        memory: MemoryMb::default(),
        disk: DiskMb::default(),
        env: Env::default(),
        labels: Labels::default(),
        run_as: None,
        workdir: None,
        kit: String::new(),
        engine: "qemu".to_owned(),
        accelerator: None,
        resumed_from: None,
        machine: None,
        created_at: Timestamp::UNIX_EPOCH,
        stopped_at: None,
        idle: IdleSettings::default(),
        used_at: None,
        wake_at: None,
        parent: None,
        init: Init::Lohar,
        run: None,
        address: None,
        egress: bhatti_types::egress::Egress::default(),
    };
    store.sandbox_insert(&row, 100).unwrap();
    row.id
}

fn row(name: &str, size: u64) -> VolumeRow {
    VolumeRow {
        id: VolumeId::random(),
        user: user::local_id(),
        name: name.parse().unwrap(),
        status: VolumeStatus::Ready,
        size: VolumeMb::new(size).unwrap(),
        generation: 0,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn volume(store: &Store, name: &str) -> VolumeId {
    let row = row(name, 100);
    store.volume_insert(&row, 10_000).unwrap();
    row.id
}

fn at(volume: &VolumeId, sandbox: &SandboxId, slot: u8) -> AttachmentRow {
    AttachmentRow {
        volume: volume.clone(),
        sandbox: sandbox.clone(),
        slot,
        serial: volume.to_string(),
        mount: format!("/data{slot}").parse().unwrap(),
        read_only: false,
        owned: false,
    }
}

fn reading(at: AttachmentRow) -> AttachmentRow {
    AttachmentRow {
        read_only: true,
        ..at
    }
}

#[test]
fn a_volume_has_one_writer_or_many_readers() {
    let store = store();
    let (a, b) = (sandbox(&store, "a"), sandbox(&store, "b"));
    let data = volume(&store, "data");
    store.attach(&at(&data, &a, 0)).unwrap();
    for other in [at(&data, &b, 0), reading(at(&data, &b, 0))] {
        let refused = store.attach(&other).unwrap_err();
        let said = refused.to_string();
        assert_eq!(said, "volume \"data\" is attached to sandbox \"a\"");
    }
    store.detach(&data, &a).unwrap();
    store.attach(&reading(at(&data, &a, 0))).unwrap();
    store.attach(&reading(at(&data, &b, 3))).unwrap();
    let c = sandbox(&store, "c");
    assert!(matches!(
        store.attach(&at(&data, &c, 0)),
        Err(StoreError::Attached { sandboxes, .. }) if sandboxes == ["a", "b"]
    ));
    // Not twice to one either, under whatever number.
    assert!(store.attach(&reading(at(&data, &a, 1))).is_err());
}

#[test]
fn a_generation_ends_when_someone_may_write() {
    let store = store();
    let a = sandbox(&store, "a");
    let data = volume(&store, "data");
    let generation = || store.volume_get(&data).unwrap().unwrap().generation;
    store.attach(&reading(at(&data, &a, 0))).unwrap();
    assert_eq!(generation(), 0);
    store.detach(&data, &a).unwrap();
    store.attach(&at(&data, &a, 0)).unwrap();
    assert_eq!(generation(), 1);
}

#[test]
fn a_sandbox_has_its_volumes_at_different_places() {
    let store = store();
    let a = sandbox(&store, "a");
    let (one, two) = (volume(&store, "one"), volume(&store, "two"));
    store.attach(&at(&one, &a, 0)).unwrap();
    let same_path = AttachmentRow {
        slot: 1,
        ..at(&two, &a, 0)
    };
    assert!(matches!(
        store.attach(&same_path),
        Err(StoreError::NoPlace { .. })
    ));
    let same_number = AttachmentRow {
        mount: "/other".parse().unwrap(),
        ..at(&two, &a, 0)
    };
    assert!(store.attach(&same_number).is_err());
    assert!(store.attach(&at(&two, &a, 24)).is_err());
    store.attach(&at(&two, &a, 23)).unwrap();
    let names: Vec<_> = store.attached_to(&a).unwrap();
    let names: Vec<_> = names.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn what_is_attached_is_not_deleted_and_goes_free_with_its_sandbox() {
    let store = store();
    let a = sandbox(&store, "a");
    let (data, own) = (volume(&store, "data"), volume(&store, "own"));
    store.attach(&at(&data, &a, 0)).unwrap();
    let of_it = AttachmentRow {
        owned: true,
        ..at(&own, &a, 1)
    };
    store.attach(&of_it).unwrap();
    assert!(matches!(
        store.volume_delete(&data),
        Err(StoreError::Attached { .. })
    ));
    store.sandbox_delete(&a).unwrap();
    let left = store.volume_list(None).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, data);
    store.volume_delete(&data).unwrap();
    store.volume_delete(&data).unwrap();
}

#[test]
fn a_users_volumes_have_no_more_than_the_limit_together() {
    let store = store();
    store.volume_insert(&row("a", 600), 1000).unwrap();
    let over = store.volume_insert(&row("b", 401), 1000).unwrap_err();
    assert!(matches!(over, StoreError::Storage { limit: 1000 }));
    let b = row("b", 400);
    store.volume_insert(&b, 1000).unwrap();
    let size = |size| VolumeMb::new(size).unwrap();
    assert!(store.volume_grow(&b.id, size(401), 1000).is_err());
    assert_eq!(
        store.volume_grow(&b.id, size(500), 1100).unwrap().size,
        size(500)
    );
    // Never smaller.
    assert_eq!(
        store.volume_grow(&b.id, size(16), 1100).unwrap().size,
        size(500)
    );
    assert!(matches!(
        store.volume_insert(&row("a", 16), 2000),
        Err(StoreError::Exists { .. })
    ));
}
