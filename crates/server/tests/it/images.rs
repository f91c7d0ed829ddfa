//! Images and tasks over an engine without machines.

use bhatti_host::files;
use bhatti_image::catalog::{Catalog, Owner, Taken};
use bhatti_image::image::{FORMAT, ImageConfig, ImageManifest};
use bhatti_server::app::Options;
use bhatti_types::id::{ImageId, TaskId, UserId};
use bhatti_types::size::DiskMb;
use serde_json::{Value, json};

use crate::support::{Api, Who};

/// Puts an image with an empty disk into a data directory.
fn put(api: &Api, owner: &Owner, name: &str) -> String {
    let catalog = Catalog::open(api.dir().join("images")).unwrap();
    let new = catalog.begin(owner).unwrap();
    files::create_sparse(&new.disk(), DiskMb::MIN.bytes()).unwrap();
    let manifest = ImageManifest {
        format: FORMAT,
        id: ImageId::random(),
        name: name.parse().unwrap(),
        source: "recipe:base".parse().unwrap(),
        digest: "d".to_owned(),
        size_mb: DiskMb::MIN,
        created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        config: ImageConfig::default(),
        layers: Vec::new(),
    };
    let image = new.finish(&manifest, Taken::Replace).unwrap();
    image.id.into()
}

/// A user, and its id.
async fn user(api: &Api, name: &str) -> (Who, UserId) {
    let token = api.user(name).await;
    let shown = api
        .call(&Who::Local, &format!("GET /users/{name}"), "")
        .await;
    let id = shown.json()["id"].as_str().unwrap().parse().unwrap();
    (Who::token(&token), id)
}

/// What a user sees: names with their scopes, in order.
async fn seen(api: &Api, who: &Who) -> Vec<String> {
    let list = api.call(who, "GET /images", "").await.json();
    let line = |image: &Value| {
        let hidden = if image["hidden"] == true {
            " hidden"
        } else {
            ""
        };
        let text = |key: &str| image[key].as_str().unwrap().to_owned();
        format!("{} {}{hidden}", text("name"), text("scope"))
    };
    list.as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn a_name_means_ones_own_image_then_a_shared_one_then_the_hosts() {
    let api = Api::start(Options::default()).await;
    let (ann, ann_id) = user(&api, "ann").await;
    let (bob, bob_id) = user(&api, "bob").await;
    let host = put(&api, &Owner::Host, "app:1");
    let anns = put(&api, &Owner::User(ann_id), "app:1");
    let get = async |who: &Who, name: &str| {
        let shown = api.call(who, &format!("GET /images/{name}"), "").await;
        shown.json()["id"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(get(&bob, "app%3A1").await, host);
    assert_eq!(get(&ann, "app%3A1").await, anns);
    assert_eq!(get(&ann, &host).await, host, "by its id");
    assert_eq!(get(&bob, &anns).await, "", "another user's is not there");
    assert_eq!(seen(&api, &ann).await, ["app:1 own", "app:1 host hidden"]);

    let share = r#"{"users": ["bob"]}"#;
    let shared = api.call(&ann, "POST /images/app:1/share", share).await;
    assert_eq!(shared.json()["shared_with"], json!(["bob"]));
    assert_eq!(get(&bob, "app:1").await, anns);
    assert_eq!(
        seen(&api, &bob).await,
        ["app:1 shared", "app:1 host hidden"]
    );
    let bobs = put(&api, &Owner::User(bob_id), "app:1");
    assert_eq!(get(&bob, "app:1").await, bobs);
    // With one that is not there, nobody loses it.
    let both = r#"{"users": ["bob", "nobody"]}"#;
    let refused = api.call(&ann, "POST /images/app:1/unshare", both).await;
    assert_eq!(refused.status, 404);
    let again = api.call(&ann, "GET /images/app:1", "").await;
    assert_eq!(again.json()["shared_with"], json!(["bob"]));
    let kept = api.call(&ann, "POST /images/app:1/unshare", share).await;
    assert_eq!(kept.json().get("shared_with"), None);
    assert_eq!(seen(&api, &bob).await, ["app:1 own", "app:1 host hidden"]);
}

#[tokio::test]
async fn only_its_owner_deletes_an_image_and_the_administrator_the_hosts() {
    let api = Api::start(Options::default()).await;
    let (ann, ann_id) = user(&api, "ann").await;
    let (bob, _) = user(&api, "bob").await;
    put(&api, &Owner::Host, "base");
    put(&api, &Owner::User(ann_id.clone()), "app");
    let share = r#"{"users": ["bob"]}"#;
    api.call(&ann, "POST /images/app/share", share).await;
    for (who, name) in [(&bob, "app"), (&bob, "base"), (&ann, "base")] {
        let line = format!("DELETE /images/{name}");
        let refused = api.call(who, &line, "").await;
        assert_eq!(refused.status, 409, "{line} {refused:?}");
    }
    let gone = api.call(&bob, "DELETE /images/nosuch", "").await;
    assert_eq!(gone.status, 404);
    // Not while it has images.
    let refused = api.call(&Who::Local, "DELETE /users/ann", "").await;
    assert_eq!(
        (refused.status.as_u16(), refused.error().as_str()),
        (409, "user \"ann\" still has 1 images")
    );
    let deleted = api.call(&ann, "DELETE /images/app", "").await.json();
    assert_eq!(
        deleted,
        json!({"status": "deleted", "name": "app", "templates_deleted": 0, "sandboxes": []})
    );
    assert_eq!(seen(&api, &bob).await, ["base host"]);
    // A later image of the name is nobody else's.
    put(&api, &Owner::User(ann_id), "app");
    assert_eq!(seen(&api, &bob).await, ["base host"]);
    api.call(&ann, "DELETE /images/app", "").await;
    let deleted = api.call(&Who::Local, "DELETE /users/ann", "").await;
    assert_eq!(deleted.status, 200);
    let deleted = api.call(&Who::Local, "DELETE /images/base", "").await;
    assert_eq!(deleted.status, 200);
    assert!(seen(&api, &bob).await.is_empty());
}

#[tokio::test]
async fn sharing_is_for_users_that_are_there_and_ones_own_images() {
    let api = Api::start(Options::default()).await;
    let (ann, ann_id) = user(&api, "ann").await;
    let (bob, _) = user(&api, "bob").await;
    put(&api, &Owner::Host, "base");
    put(&api, &Owner::User(ann_id), "app");
    let share = async |who: &Who, name: &str, body: &str| {
        let line = format!("POST /images/{name}/share");
        api.call(who, &line, body.to_owned()).await.status.as_u16()
    };
    assert_eq!(
        share(&ann, "app", r#"{"users": ["bob", "nobody"]}"#).await,
        404
    );
    assert_eq!(seen(&api, &bob).await, ["base host"], "all or none");
    assert_eq!(share(&ann, "app", r#"{"users": []}"#).await, 400);
    assert_eq!(share(&ann, "base", r#"{"users": ["bob"]}"#).await, 409);
    assert_eq!(share(&bob, "app", r#"{"users": ["bob"]}"#).await, 404);
    // With oneself it changes nothing.
    assert_eq!(share(&ann, "app", r#"{"users": ["ann"]}"#).await, 200);
    assert_eq!(seen(&api, &ann).await, ["app own", "base host"]);
}

#[tokio::test]
async fn a_user_has_so_many_images_and_no_more() {
    let api = Api::start(Options::default()).await;
    let (ann, ann_id) = user(&api, "ann").await;
    let edit = r#"{"max_images": 1}"#;
    let edited = api.call(&Who::Local, "PATCH /users/ann", edit).await;
    assert_eq!(edited.json()["max_images"], 1);
    put(&api, &Owner::User(ann_id), "one");
    let pull = r#"{"ref": "localhost:1/two"}"#;
    let refused = api.call(&ann, "POST /images/pull", pull).await;
    assert_eq!(
        (refused.status.as_u16(), refused.error().as_str()),
        (429, "image limit reached (1)")
    );
    let pull = r#"{"ref": "localhost:1/two", "host": true}"#;
    let refused = api.call(&ann, "POST /images/pull", pull).await;
    assert_eq!(refused.status, 409);
    assert!(refused.error().contains("administrator"));
}

#[tokio::test]
async fn a_task_that_is_not_the_callers_is_not_there() {
    let api = Api::start(Options::default()).await;
    let (ann, _) = user(&api, "ann").await;
    assert_eq!(api.call(&ann, "GET /tasks", "").await.json(), json!([]));
    let unknown = TaskId::random();
    for line in [
        format!("GET /tasks/{unknown}"),
        format!("DELETE /tasks/{unknown}"),
        "GET /tasks/nosuch".to_owned(),
    ] {
        let gone = api.call(&ann, &line, "").await;
        assert_eq!(gone.status, 404, "{line}");
        assert!(gone.error().starts_with("task "), "{gone:?}");
    }
}

#[tokio::test]
async fn images_of_users_that_are_gone_are_garbage() {
    let api = Api::start(Options::default()).await;
    let (ann, ann_id) = user(&api, "ann").await;
    put(&api, &Owner::User(ann_id), "app");
    let gone = UserId::random();
    put(&api, &Owner::User(gone.clone()), "left");
    let refused = api.call(&ann, "POST /gc", "").await;
    assert_eq!(refused.status, 403);
    for (body, dry) in [(r#"{"dry_run": true}"#, true), ("", false)] {
        let found = api.call(&Who::Local, "POST /gc", body).await.json();
        assert_eq!(found["dry_run"], dry);
        assert_eq!(found["items"][0]["name"], format!("{gone}/left"));
        assert_eq!(found["items"].as_array().unwrap().len(), 1);
    }
    let found = api.call(&Who::Local, "POST /gc", "").await.json();
    assert_eq!(found["items"], json!([]));
    assert!(!api.dir().join(format!("images/@{gone}")).exists());
    assert_eq!(seen(&api, &ann).await, ["app own"]);
}
