//! Who sees whose images.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use bhatti_store::image_share::ImageShareRow;
use bhatti_store::store::Store;
use bhatti_store::user::{self, UserRow, local_id};
use bhatti_types::id::UserId;
use bhatti_types::idle::IdleSettings;

fn add_user(store: &Store, name: &str) -> UserId {
    let row = UserRow {
        id: UserId::random(),
        name: name.parse().unwrap(),
        token_hash: None,
        max_sandboxes: 1,
        max_cpus_per_sandbox: 1,
        max_memory_mb_per_sandbox: 128,
        max_snapshots: 1,
        max_volume_mb: 0,
        max_images: user::DEFAULT_MAX_IMAGES,
        created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        idle: IdleSettings::default(),
    };
    store.user_insert(&row).unwrap();
    row.id
}

fn share(owner: &UserId, image: &str, user: &UserId, at: &str) -> ImageShareRow {
    ImageShareRow {
        owner: owner.clone(),
        image: image.parse().unwrap(),
        user: user.clone(),
        shared_at: at.parse().unwrap(),
    }
}

#[test]
fn the_longest_shared_comes_first_and_sharing_twice_changes_nothing() {
    let store = Store::open_in_memory().unwrap();
    let (ann, bob) = (add_user(&store, "ann"), add_user(&store, "bob"));
    let later = share(&local_id(), "app:1", &bob, "2026-02-01T00:00:00Z");
    let first = share(&ann, "app:1", &bob, "2026-01-01T00:00:00Z");
    store.image_share(&later).unwrap();
    store.image_share(&first).unwrap();
    let again = share(&ann, "app:1", &bob, "2026-03-01T00:00:00Z");
    store.image_share(&again).unwrap();
    let seen = store.images_shared_with(&bob).unwrap();
    assert_eq!(seen, [first.clone(), later]);
    assert_eq!(
        store.images_shared_by(&ann).unwrap(),
        std::slice::from_ref(&first)
    );
    assert_eq!(store.images_shared_with(&ann).unwrap(), []);
    store.image_unshare(&ann, &first.image, &bob).unwrap();
    store.image_unshare(&ann, &first.image, &bob).unwrap();
    assert_eq!(store.images_shared_by(&ann).unwrap(), []);
}

#[test]
fn shares_end_with_the_image_and_with_either_user() {
    let store = Store::open_in_memory().unwrap();
    let (ann, bob) = (add_user(&store, "ann"), add_user(&store, "bob"));
    let at = "2026-01-01T00:00:00Z";
    for image in ["one", "two"] {
        store.image_share(&share(&ann, image, &bob, at)).unwrap();
    }
    store
        .image_unshare_all(&ann, &"one".parse().unwrap())
        .unwrap();
    assert_eq!(store.images_shared_by(&ann).unwrap().len(), 1);
    store.image_share(&share(&bob, "three", &ann, at)).unwrap();
    store.user_delete(&ann).unwrap();
    assert_eq!(store.images_shared_by(&bob).unwrap(), []);
    assert_eq!(store.images_shared_with(&bob).unwrap(), []);
}

#[test]
fn how_many_images_a_user_may_have_can_be_set() {
    let store = Store::open_in_memory().unwrap();
    let ann = add_user(&store, "ann");
    store.user_set_max_images(&ann, 3).unwrap();
    assert_eq!(store.user_by_id(&ann).unwrap().unwrap().max_images, 3);
    assert!(store.user_set_max_images(&UserId::random(), 3).is_err());
    let local = store.user_by_id(&local_id()).unwrap().unwrap();
    assert_eq!(local.max_images, u32::MAX);
}
