//! Pushes to a real registry and pulls from it again.

use bhatti_image::oci::error::RegistryError;
use bhatti_image::oci::pull::pull;
use bhatti_image::oci::push::push;
use bhatti_testing::registry::between::Between;
use bhatti_testing::registry::layout::write;
use bhatti_testing::registry::server::{Registry, available};
use bhatti_testing::registry::tokens::{CREDENTIALS, TokenServer};

use crate::support::{amd64, repository_with, store, ten_layers};

#[tokio::test]
async fn what_is_pushed_is_pulled_again_and_sent_only_once() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = write(&dir.path().join("image"), &[ten_layers("amd64")]);
    let tokens = TokenServer::start().await;
    let auth = tokens.auth();
    let from = Registry::start().await;
    from.push(&made.dir, "app:1").await;
    let to = Registry::start_with(&auth).await;
    let store = store(&dir.path().join("layers"));
    let source = crate::support::repository(from.host(), "app:1");
    let image = source.resolve(&amd64()).await.unwrap();
    let lease = store.lease();
    let layers = pull(&source, &image, &lease, &()).await.unwrap();

    let between = Between::start(to.host()).await;
    let target = repository_with(between.host(), "team/copy:2", Some(CREDENTIALS));
    let digest = push(&target, &image.raw_config, &layers, &())
        .await
        .unwrap();
    let copy = repository_with(to.host(), "team/copy:2", Some(CREDENTIALS));
    let copied = copy.resolve(&amd64()).await.unwrap();
    assert_eq!(copied.digest, digest);
    assert_eq!(copied.layers, image.layers);
    assert_eq!(copied.config, image.config);
    let puts = || {
        let seen = between.seen();
        seen.iter()
            .filter(|seen| seen.line.starts_with("PUT "))
            .count()
    };
    assert_eq!(puts(), 12);
    let again = push(&target, &image.raw_config, &layers, &())
        .await
        .unwrap();
    assert_eq!((again, puts()), (digest, 13));

    let stranger = repository_with(to.host(), "team/copy:2", None);
    let error = push(&stranger, &image.raw_config, &layers, &())
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");
}
