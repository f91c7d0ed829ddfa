//! Archives that other tools write, and what they read.

use std::io::{Cursor, Read as _};
use std::path::Path;

use bhatti_host::command::Command;
use bhatti_image::layer::store::LayerStore;
use bhatti_image::oci::archive::error::ArchiveError;
use bhatti_image::oci::archive::export::export;
use bhatti_image::oci::archive::import::{ArchiveKind, Imported, Options, import};
use bhatti_testing::registry::layout::{Compression, noise, tar, write};
use bhatti_testing::registry::server::available;
use tokio_util::sync::CancellationToken;

use crate::support::{amd64, store, ten_layers};

fn options() -> Options {
    Options {
        wanted: None,
        platform: amd64(),
        kind: None,
        max_bytes: 1 << 30,
        limits: bhatti_image::layer::limits::Limits::DEFAULT,
    }
}

fn take(store: &LayerStore, bytes: &[u8], options: &Options) -> Result<Imported, ArchiveError> {
    let cancel = CancellationToken::new();
    import(Cursor::new(bytes), &store.lease(), options, &cancel)
}

async fn skopeo(home: &Path, from: &str, to: &str) {
    let copy = Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", from, to]);
    copy.env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .run()
        .await
        .unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    let mut packed = Vec::new();
    unpacked.read_to_end(&mut packed).unwrap();
    packed
}

#[tokio::test]
async fn archives_of_other_tools_are_read() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut image = ten_layers("amd64");
    for layer in &mut image.layers {
        // Docker's format has no name for Zstandard.
        layer.compression = Compression::Gzip;
    }
    let made = write(&dir.path().join("image"), &[image]);
    let from = format!("oci:{}", made.dir.display());
    for (kind, name) in [(ArchiveKind::Docker, "docker"), (ArchiveKind::Oci, "oci")] {
        let file = dir.path().join(name);
        let to = format!("{name}-archive:{}:team/app:1", file.display());
        skopeo(dir.path(), &from, &to).await;
        let bytes = fs_err::read(&file).unwrap();
        let store = store(&dir.path().join(format!("{name}-layers")));
        for archive in [
            bytes.clone(),
            gzip(&bytes),
            zstd::encode_all(&*bytes, 1).unwrap(),
        ] {
            let image = take(&store, &archive, &options()).unwrap();
            assert_eq!(image.kind, kind);
            assert_eq!(image.layers.len(), 10);
            assert_eq!(image.config.config.cmd, ["/app"]);
            assert_eq!(image.names.len(), 1);
            assert!(image.names[0].ends_with("team/app:1"), "{:?}", image.names);
            for (layer, diff_id) in image.layers.iter().zip(&image.config.diff_ids) {
                assert_eq!(layer.diff_id, *diff_id);
            }
        }
        // Docker's are unpacked, OCI's are as they were made; nothing else stays.
        assert_eq!(fs_err::read_dir(store.dir()).unwrap().count(), 10);
        if kind == ArchiveKind::Oci {
            let image = take(&store, &bytes, &options()).unwrap();
            let digests: Vec<_> = image
                .layers
                .iter()
                .map(|one| one.digest.to_string())
                .collect();
            assert_eq!(digests, made.layers[0]);
        }
        let wanted = Options {
            wanted: Some("team/other:1".to_owned()),
            ..options()
        };
        let error = take(&store, &bytes, &wanted).unwrap_err();
        assert!(matches!(error, ArchiveError::Name { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_exported_is_read_by_other_tools_and_by_us() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = write(&dir.path().join("image"), &[ten_layers("amd64")]);
    let archive = dir.path().join("archive");
    let from = format!("oci:{}", made.dir.display());
    skopeo(
        dir.path(),
        &from,
        &format!("oci-archive:{}", archive.display()),
    )
    .await;
    let store = store(&dir.path().join("layers"));
    let lease = store.lease();
    let cancel = CancellationToken::new();
    let file = fs_err::File::open(&archive).unwrap();
    let image = import(file, &lease, &options(), &cancel).unwrap();

    let name = "example.org/team/app:2".parse().unwrap();
    let write_it = || {
        let mut bytes = Vec::new();
        let (config, layers) = (&image.raw_config, &image.layers);
        let digest = export(&mut bytes, config, &amd64(), layers, Some(&name)).unwrap();
        (bytes, digest)
    };
    let (bytes, digest) = write_it();
    assert_eq!(write_it().0, bytes);
    let again = take(&store, &bytes, &options()).unwrap();
    assert_eq!(again.digest, digest);
    assert_eq!(again.layers, image.layers);
    assert_eq!(again.names, ["example.org/team/app:2", "2"]);

    let exported = dir.path().join("exported");
    fs_err::write(&exported, &bytes).unwrap();
    for form in ["oci", "docker"] {
        let back = dir.path().join(form);
        let from = format!("{form}-archive:{}", exported.display());
        skopeo(dir.path(), &from, &format!("dir:{}", back.display())).await;
        let manifest = fs_err::read_to_string(back.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 10, "{form}");
        let config = image.config.config.cmd.clone();
        assert_eq!(config, ["/app"]);
    }
}

#[test]
fn a_plain_root_file_system_is_an_image_of_one_layer() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("layers"));
    // A file that has the name of Docker's list does not make it one of Docker's.
    let content = noise(1, 10_000);
    let plain = tar(&[
        ("bin/sh", &content),
        ("manifest.json", b"{\"name\":\"a page\"}"),
    ]);
    let packed = gzip(&plain);
    for archive in [&plain, &packed] {
        let image = take(&store, archive, &options()).unwrap();
        assert_eq!(image.kind, ArchiveKind::RootFs);
        let blob = fs_err::read(&image.layers[0].blob).unwrap();
        assert_eq!(&blob, archive);
        assert_eq!(image.config.diff_ids, [image.layers[0].diff_id]);
    }
    assert_eq!(fs_err::read_dir(store.dir()).unwrap().count(), 2);
}

#[test]
fn archives_that_lie_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("layers"));
    let small = Options {
        max_bytes: 4096,
        ..options()
    };
    let docker = |list: &str, config: &str| {
        let layer = tar(&[("a", b"b")]);
        tar(&[
            ("manifest.json", list.as_bytes()),
            ("c.json", config.as_bytes()),
            ("layer.tar", &layer),
        ])
    };
    let list = r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["layer.tar"]}]"#;
    let wrong_id = format!(
        r#"{{"rootfs":{{"diff_ids":["sha256:{}"]}}}}"#,
        "0".repeat(64)
    );
    let outside = r#"[{"Config":"../../etc/passwd","RepoTags":null,"Layers":["layer.tar"]}]"#;
    let two = format!("[{0},{0}]", &list[1..list.len() - 1]);
    let none = r#"[{"Config":"c.json","RepoTags":null,"Layers":[]}]"#;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"sha256:{0}","size":2}}]}}"#,
        "0".repeat(64)
    );
    let forged = format!("blobs/sha256/{}", "0".repeat(64));
    let mark = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let oci = |blob: &[u8]| {
        tar(&[
            ("oci-layout", mark),
            ("index.json", index.as_bytes()),
            (&forged, blob),
        ])
    };
    let cut = docker(list, &wrong_id);
    for (archive, said) in [
        (
            docker(list, &wrong_id),
            "a layer of the archive cannot be used",
        ),
        (docker(list, "{}"), "cannot be used"),
        (docker(list, "["), "cannot be used"),
        (docker(outside, "{}"), "no usable file \"../../etc/passwd\""),
        (docker(&two, "{}"), "2 images: a:1, a:1"),
        (docker(none, "{}"), "cannot be used"),
        (oci(b"{}"), "another digest than its name"),
        (
            tar(&[("oci-layout", mark), ("index.json", b"{")]),
            "cannot be used",
        ),
        (cut[..700].to_vec(), "cannot be used"),
        (b"BZh91AY&SY".to_vec(), "compressed by bzip2"),
        (b"hello".to_vec(), "cannot be used"),
    ] {
        let error = take(&store, &archive, &options()).unwrap_err();
        assert!(error.to_string().contains(said), "{said}: {error}");
        assert_eq!(fs_err::read_dir(store.dir()).unwrap().count(), 0, "{said}");
    }
    let error = take(&store, &noise(1, 5_000), &small).unwrap_err();
    assert!(
        matches!(error, ArchiveError::TooLarge { limit: 4096 }),
        "{error:?}"
    );
    let bomb = gzip(&vec![0; 80 << 20]);
    let error = take(&store, &bomb, &small).unwrap_err();
    assert!(!matches!(error, ArchiveError::GivenUp), "{error:?}");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = import(Cursor::new(&cut), &store.lease(), &options(), &cancel).unwrap_err();
    assert!(matches!(error, ArchiveError::GivenUp), "{error:?}");
    assert_eq!(fs_err::read_dir(store.dir()).unwrap().count(), 0);
}
