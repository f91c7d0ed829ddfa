//! Pulls from a real registry, directly and through a man in the middle.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bhatti_image::layer::store::{FetchError, LayerStore};
use bhatti_image::oci::error::RegistryError;
use bhatti_image::oci::http::Transport;
use bhatti_image::oci::manifest::ManifestError;
use bhatti_image::oci::pull::pull;
use bhatti_testing::registry::between::{Between, Fault};
use bhatti_testing::registry::layout::{Compression, ImageMade, write};
use bhatti_testing::registry::server::{Auth, Registry, available};
use bhatti_testing::registry::tokens::{CREDENTIALS, TokenServer};
use bhatti_testing::wait::wait_for;

use crate::support::{amd64, layer, one, pushed, repository, repository_with, store, ten_layers};

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_image_of_ten_layers_is_pulled_whatever_they_are_compressed_with() {
    let Some((dir, made, registry)) = pushed(&[ten_layers("amd64")]).await else {
        return;
    };
    let repository = repository(registry.host(), "app:1");
    let image = repository.resolve(&amd64()).await.unwrap();
    assert_eq!(image.digest.to_string(), made.digest);
    assert_eq!(image.manifest, image.digest);
    assert_eq!(image.config.config.cmd, ["/app"]);
    let store = store(&dir.path().join("layers"));
    let lease = store.lease();
    let layers = pull(&repository, &image, &lease, &()).await.unwrap();
    let digests: Vec<_> = layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    assert_eq!(digests, made.layers[0]);
    for (layer, spec) in layers.iter().zip(&image.layers) {
        assert_eq!(layer.diff_id, spec.diff_id);
        let blob = fs_err::read(&layer.blob).unwrap();
        assert_eq!(blob.len() as u64, spec.size);
    }
    assert_eq!(store.list().unwrap().len(), 10);
    assert!(store.list().unwrap().iter().all(|layer| layer.in_use));

    // What is in use stays, and what is wanted.
    let keep = HashSet::from([layers[3].digest]);
    assert!(store.collect(&keep).unwrap().is_empty());
    drop(lease);
    assert_eq!(store.garbage(&keep).unwrap().len(), 9);
    assert_eq!(store.collect(&keep).unwrap().len(), 9);
    let left = store.list().unwrap();
    assert_eq!((left.len(), left[0].digest), (1, layers[3].digest));
    assert_eq!(fs_err::read_dir(store.dir()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_image_of_the_platform_is_pulled_and_a_moved_tag_is_noticed() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = |arch, content: &[u8]| ImageMade {
        arch,
        config: serde_json::json!({}),
        layers: vec![layer(&[("a", content)], Compression::Gzip)],
    };
    let images = [image("arm64", b"arm"), image("amd64", b"x86")];
    let made = write(&dir.path().join("image"), &images);
    let registry = Registry::start().await;
    registry.push(&made.dir, "app:1").await;
    let repository = repository(registry.host(), "app:1");
    for (platform, layers) in [
        ("linux/arm64", &made.layers[0]),
        ("linux/amd64", &made.layers[1]),
    ] {
        let image = repository
            .resolve(&platform.parse().unwrap())
            .await
            .unwrap();
        assert_eq!(image.digest.to_string(), made.digest);
        assert_ne!(image.manifest, image.digest);
        assert_eq!(image.config.platform.to_string(), platform);
        assert_eq!(image.layers[0].digest.to_string(), layers[0]);
    }
    let error = repository
        .resolve(&"linux/s390x".parse().unwrap())
        .await
        .unwrap_err();
    let RegistryError::Manifest { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(matches!(&*source, ManifestError::NoPlatform { .. }));
    assert_eq!(
        source.to_string(),
        "there is no image for linux/s390x; there is one for linux/arm64, linux/amd64"
    );

    // The same tag, another image; the old one is still there by its digest.
    let moved = write(&dir.path().join("moved"), &[image("amd64", b"new")]);
    registry.push(&moved.dir, "app:1").await;
    let image = repository.resolve(&amd64()).await.unwrap();
    assert_eq!(image.digest.to_string(), moved.digest);
    let old = crate::support::repository(registry.host(), &format!("app@{}", made.digest));
    let old = old.resolve(&amd64()).await.unwrap();
    assert_eq!(old.layers[0].digest.to_string(), made.layers[1][0]);
    // An image of one platform alone is held to it too.
    let error = repository
        .resolve(&"linux/arm64".parse().unwrap())
        .await
        .unwrap_err();
    let RegistryError::Config { source, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        source.to_string(),
        "the image is for linux/amd64, and not for linux/arm64"
    );
}

#[tokio::test]
async fn ten_pulls_of_one_image_fetch_its_layers_once() {
    let Some((dir, made, registry)) = pushed(&[ten_layers("amd64")]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    // All of them are there before the first layer is.
    for digest in &made.layers[0] {
        between.spoil(digest, &[Fault::Hold(600)]);
    }
    let store = store(&dir.path().join("layers"));
    let host = between.host().to_owned();
    let pulls: Vec<_> = (0..10)
        .map(|_| {
            let (store, host) = (store.clone(), host.clone());
            tokio::spawn(async move {
                let repository = repository(&host, "app:1");
                let image = repository.resolve(&amd64()).await.unwrap();
                let lease = store.lease();
                pull(&repository, &image, &lease, &()).await.unwrap().len()
            })
        })
        .collect();
    wait_for("all pulls", LIMIT, async || {
        let seen = between.seen();
        let count = |part: &str| seen.iter().filter(|seen| seen.line.contains(part)).count();
        let (manifests, blobs) = (count("/manifests/"), count("/blobs/"));
        if manifests == 10 && blobs >= 14 {
            Ok(())
        } else {
            Err((manifests, blobs))
        }
    })
    .await;
    between.release();
    for pull in pulls {
        assert_eq!(pull.await.unwrap(), 10);
    }
    for digest in &made.layers[0] {
        assert_eq!(between.blob_requests(digest).len(), 1, "{digest}");
    }
}

#[tokio::test]
async fn a_pull_that_is_given_up_leaves_the_others_their_layer() {
    let Some((dir, made, registry)) = pushed(&[one(400_000)]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    let digest = made.layers[0][0].clone();
    between.spoil(&digest, &[Fault::Hold(100_000)]);
    let store = store(&dir.path().join("layers"));
    let start = || {
        let (store, host) = (store.clone(), between.host().to_owned());
        tokio::spawn(async move { crate::support::pull_all(&host, "app:1", &store).await })
    };
    let first = start();
    wait_for("the first", LIMIT, async || {
        let count = between.blob_requests(&digest).len();
        if count == 1 { Ok(()) } else { Err(count) }
    })
    .await;
    let second = start();
    wait_for("the second", LIMIT, async || {
        let seen = between.seen();
        let count = seen
            .iter()
            .filter(|seen| seen.line.contains("/manifests/"))
            .count();
        if count == 2 { Ok(()) } else { Err(count) }
    })
    .await;
    first.abort();
    between.release();
    assert_eq!(second.await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn a_broken_connection_is_gone_on_with_where_it_broke() {
    let Some((dir, made, registry)) = pushed(&[one(3_000_000)]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    let digest = &made.layers[0][0];
    between.spoil(
        digest,
        &[Fault::Cut(700_000), Fault::Cut(0), Fault::Cut(900_000)],
    );
    let store = store(&dir.path().join("layers"));
    crate::support::pull_all(between.host(), "app:1", &store)
        .await
        .unwrap();
    let requests = between.blob_requests(digest);
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert_eq!(requests[0].range, None);
    let begins: Vec<u64> = requests[1..].iter().map(crate::support::begin).collect();
    assert!(begins[0] > 600_000 && begins[0] < 700_000, "{begins:?}");
    assert_eq!(begins[1], begins[0], "nothing came");
    assert!(begins[2] > begins[1] + 800_000, "{begins:?}");
}

/// Begins a pull and ends its store, as a daemon does that ends, once so many bytes of the layer
/// are on the disk. Gives where they are, and what the pull came to.
async fn cut_off(host: &str, layers: &Path, bytes: u64) -> (PathBuf, Arc<FetchError>) {
    let store = store(layers);
    let pulling = {
        let (store, host) = (store.clone(), host.to_owned());
        tokio::spawn(async move { crate::support::pull_all(&host, "app:1", &store).await })
    };
    let part = wait_for("the bytes", LIMIT, async || {
        crate::support::partial(layers, bytes)
    })
    .await;
    store.close().await;
    (part, pulling.await.unwrap().unwrap_err())
}

#[tokio::test]
async fn what_came_before_a_daemon_ended_is_not_asked_for_again() {
    let Some((dir, made, registry)) = pushed(&[one(4_000_000)]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    let digest = &made.layers[0][0];
    between.spoil(digest, &[Fault::Hold(3_000_000)]);
    let layers = dir.path().join("layers");
    // Two batches are on disk; the third is not full yet.
    let (part, ended) = cut_off(between.host(), &layers, 2 << 20).await;
    assert!(matches!(*ended, FetchError::GivenUp { .. }), "{ended:?}");
    assert!(part.exists());

    // A kill in the middle of a write leaves less than that; here, half of it.
    let kept = 1_500_000;
    let file = fs_err::OpenOptions::new()
        .write(true)
        .open(part.join("blob"))
        .unwrap();
    file.set_len(kept).unwrap();
    let second = store(&layers);
    crate::support::pull_all(between.host(), "app:1", &second)
        .await
        .unwrap();
    let requests = between.blob_requests(digest);
    assert_eq!(crate::support::begin(requests.last().unwrap()), kept);
    assert!(!part.exists());
}

#[tokio::test]
async fn what_a_crash_of_the_host_spoilt_is_fetched_again_from_its_beginning() {
    let Some((dir, made, registry)) = pushed(&[one(2_000_000)]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    let digest = &made.layers[0][0];
    between.spoil(digest, &[Fault::Hold(1_500_000)]);
    let layers = dir.path().join("layers");
    let (part, _ended) = cut_off(between.host(), &layers, 1 << 20).await;
    let len = fs_err::metadata(part.join("blob")).unwrap().len();
    fs_err::write(part.join("blob"), vec![0; len as usize]).unwrap();
    crate::support::pull_all(between.host(), "app:1", &store(&layers))
        .await
        .unwrap();
    let requests = between.blob_requests(digest);
    assert_eq!(crate::support::begin(&requests[1]), len);
    assert_eq!(requests[2].range, None);
}

#[tokio::test]
async fn what_has_another_digest_is_refused_and_deleted() {
    let Some((dir, made, registry)) = pushed(&[one(300_000)]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    between.spoil(&made.layers[0][0], &[Fault::Spoil(200_000)]);
    let store = store(&dir.path().join("layers"));
    let error = crate::support::pull_all(between.host(), "app:1", &store)
        .await
        .unwrap_err();
    assert!(matches!(*error, FetchError::Digest { .. }), "{error:?}");
    assert_eq!(fs_err::read_dir(store.dir()).unwrap().count(), 0);
    // A spoilt manifest is not even looked at.
    between.spoil("/manifests/1", &[Fault::Spoil(700)]);
    let repository = repository(between.host(), "app:1");
    let error = repository.resolve(&amd64()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
    // It was the connection: nothing of it stays.
    crate::support::pull_all(between.host(), "app:1", &store)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_layer_that_the_registry_has_lost_is_named() {
    let Some((dir, made, registry)) = pushed(&[ten_layers("amd64")]).await else {
        return;
    };
    registry.lose(&made.layers[0][6]);
    let store = store(&dir.path().join("layers"));
    let error = crate::support::pull_all(registry.host(), "app:1", &store)
        .await
        .unwrap_err();
    let FetchError::Source { digest, source } = &*error else {
        panic!("{error:?}");
    };
    assert_eq!(digest.to_string(), made.layers[0][6]);
    assert!(source.to_string().contains("lacks sha256:"), "{source}");
}

#[tokio::test]
async fn a_layer_whose_archive_is_not_the_configs_is_refused() {
    let Some((dir, _made, registry)) = pushed(&[ten_layers("amd64")]).await else {
        return;
    };
    let repository = repository(registry.host(), "app:1");
    let mut image = repository.resolve(&amd64()).await.unwrap();
    image.layers[0].diff_id = image.layers[1].diff_id;
    let store = store(&dir.path().join("layers"));
    let lease = store.lease();
    let error = pull(&repository, &image, &lease, &()).await.unwrap_err();
    assert!(matches!(*error, FetchError::DiffId { .. }), "{error:?}");
    // Nor if the layer is there by another's hand.
    crate::support::pull_all(registry.host(), "app:1", &store)
        .await
        .unwrap();
    let error = pull(&repository, &image, &lease, &()).await.unwrap_err();
    assert!(matches!(*error, FetchError::DiffId { .. }), "{error:?}");
}

#[tokio::test]
async fn only_who_knows_the_password_is_let_in() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = write(&dir.path().join("image"), &[ten_layers("amd64")]);
    let auth = Auth::Basic {
        user: "tom",
        password: "sesame",
    };
    check_credentials(&auth, &made.dir, &dir.path().join("layers")).await;
}

#[tokio::test]
async fn only_who_gets_a_token_is_let_in() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = write(&dir.path().join("image"), &[ten_layers("amd64")]);
    let tokens = TokenServer::start().await;
    let auth = tokens.auth();
    check_credentials(&auth, &made.dir, &dir.path().join("layers")).await;
}

async fn check_credentials(auth: &Auth, image: &Path, layers: &Path) {
    let registry = Registry::start_with(auth).await;
    registry.push(image, "team/app:1").await;
    let store = store(layers);
    for (credentials, given) in [(None, false), (Some("tom:wrong"), true)] {
        let repository = repository_with(registry.host(), "team/app:1", credentials);
        let error = repository.resolve(&amd64()).await.unwrap_err();
        assert!(
            matches!(&error, RegistryError::Denied { authenticated, .. } if *authenticated == given),
            "{error:?}"
        );
        assert!(error.hint().is_some());
        assert!(!format!("{error:?}").contains("wrong"));
    }
    let repository = repository_with(registry.host(), "team/app:1", Some(CREDENTIALS));
    let image = repository.resolve(&amd64()).await.unwrap();
    let lease = store.lease();
    let layers = pull(&repository, &image, &lease, &()).await.unwrap();
    assert_eq!(layers.len(), 10);
    // What is there needs nobody's leave, but the image does.
    let other = repository_with(registry.host(), "team/other:1", Some(CREDENTIALS));
    let error = other.resolve(&amd64()).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn plain_http_is_spoken_only_if_it_is_asked_for() {
    if !available() {
        return;
    }
    let registry = Registry::start().await;
    let between = Between::start(registry.host()).await;
    let repository = crate::support::repository_by(between.host(), "app:1", None, Transport::Tls);
    let error = repository.resolve(&amd64()).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("--insecure"), "{error:?}");
    // Nothing was said in clear text.
    assert!(between.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_leaves_nothing() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = crate::support::SmallDisk::mount(&dir.path().join("disk"), 80) else {
        return;
    };
    let made = write(&dir.path().join("image"), &[one(12_000_000)]);
    let registry = Registry::start().await;
    registry.push(&made.dir, "app:1").await;
    let between = Between::start(registry.host()).await;
    between.spoil(&made.layers[0][0], &[Fault::Hold(6_000_000)]);
    let layers = disk.path().join("layers");
    let store = LayerStore::open(&layers, crate::support::options()).unwrap();
    let pulling = {
        let (store, host) = (store.clone(), between.host().to_owned());
        tokio::spawn(async move { crate::support::pull_all(&host, "app:1", &store).await })
    };
    wait_for("half of it", LIMIT, async || {
        crate::support::partial(&layers, 4 << 20)
    })
    .await;
    // Somebody else takes what is left.
    let fill = disk.path().join("fill");
    let full = std::io::copy(
        &mut std::io::repeat(1),
        &mut fs_err::File::create(&fill).unwrap(),
    );
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    between.release();
    let error = pulling.await.unwrap().unwrap_err();
    assert!(matches!(*error, FetchError::NoSpace { .. }), "{error:?}");
    assert_eq!(fs_err::read_dir(&layers).unwrap().count(), 0);
    // Where there is no room to begin with, nothing is asked for.
    let asked = between.blob_requests(&made.layers[0][0]).len();
    let error = crate::support::pull_all(between.host(), "app:1", &store)
        .await
        .unwrap_err();
    assert!(matches!(*error, FetchError::NoSpace { .. }), "{error:?}");
    assert_eq!(between.blob_requests(&made.layers[0][0]).len(), asked);
    assert_eq!(fs_err::read_dir(&layers).unwrap().count(), 0);
    fs_err::remove_file(&fill).unwrap();
    crate::support::pull_all(between.host(), "app:1", &store)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_store_of_another_version_of_the_index_makes_it_anew_without_the_registry() {
    let Some((dir, made, registry)) = pushed(&[one(100_000)]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    let store = store(&dir.path().join("layers"));
    let layers = crate::support::pull_all(between.host(), "app:1", &store)
        .await
        .unwrap();
    let index = fs_err::read(&layers[0].index).unwrap();
    fs_err::remove_file(&layers[0].index).unwrap();
    fs_err::write(&layers[0].index, b"bhlayer\n\0\0\0\0").unwrap();
    assert!(store.get(&layers[0].digest).is_none());
    let again = crate::support::pull_all(between.host(), "app:1", &store)
        .await
        .unwrap();
    assert_eq!(fs_err::read(&again[0].index).unwrap(), index);
    assert_eq!(between.blob_requests(&made.layers[0][0]).len(), 1);
    let repository: Arc<_> = repository(between.host(), "app:1");
    assert_eq!(repository.reference().short_name(), "app");
}

/// Wants a password, and sends who knows it elsewhere.
async fn redirecting(to: String) -> (String, tokio::task::JoinSet<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = vec![0; 16 << 10];
            let count = client.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..count]).to_ascii_lowercase();
            let path = head.split_whitespace().nth(1).unwrap();
            let (status, header) = if head.contains("authorization: basic") {
                (
                    "307 Temporary Redirect",
                    format!("Location: http://{to}{path}"),
                )
            } else {
                (
                    "401 Unauthorized",
                    "WWW-Authenticate: Basic realm=x".to_owned(),
                )
            };
            let reply = format!(
                "HTTP/1.1 {status}\r\n{header}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            client.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (host, task)
}

#[tokio::test]
async fn a_host_that_the_registry_redirects_to_learns_no_secret() {
    let Some((dir, _made, registry)) = pushed(&[one(100_000)]).await else {
        return;
    };
    let between = Between::start(registry.host()).await;
    let (host, _task) = redirecting(between.host().to_owned()).await;
    let repository = repository_with(&host, "app:1", Some(CREDENTIALS));
    let image = repository.resolve(&amd64()).await.unwrap();
    let store = store(&dir.path().join("layers"));
    let lease = store.lease();
    pull(&repository, &image, &lease, &()).await.unwrap();
    let seen = between.seen();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().all(|seen| !seen.authorized), "{seen:?}");
}
