//! Layers become disks, by a worker that is this test's program.

use std::path::Path;

use bhatti_host::command::Command;
use bhatti_host::worker::{Master, WorkerProgram};

use crate::convert::convert::{ConvertError, convert};
use crate::convert::inspect::{WorkerError, inspect};
use crate::convert::options::Options;
use crate::convert::worker;
use crate::layer::digest::Sha256Digest;
use crate::layer::files::Layer;
use crate::layer::tar::build::{archive, dir, file, link, symlink};

/// Not a test by itself: what the others start as their worker.
#[test]
fn this_is_the_worker() {
    if let Ok(Some(master)) = Master::of_standard_input() {
        worker::serve(master);
    }
}

pub(super) fn options() -> Options {
    let args = [
        "convert::test::this_is_the_worker",
        "--exact",
        "--nocapture",
    ];
    Options::new(WorkerProgram {
        program: std::env::current_exe().unwrap(),
        args: args.map(Into::into).to_vec(),
    })
}

pub(super) async fn layer(dir: &Path, name: &str, blob: &[u8]) -> Result<Layer, WorkerError> {
    let layer = |diff_id| Layer {
        digest: Sha256Digest::of(blob),
        diff_id,
        blob: dir.join(format!("{name}.blob")),
        index: dir.join(format!("{name}.index")),
    };
    let paths = layer(Sha256Digest::of(b""));
    fs_err::write(&paths.blob, blob).unwrap();
    let index = fs_err::File::create(&paths.index).unwrap();
    let blob = fs_err::File::open(&paths.blob).unwrap();
    let found = inspect(blob.file(), index.file(), &options()).await?;
    Ok(layer(found.diff_id))
}

fn have_mke2fs() -> bool {
    let have = Path::new("/usr/sbin/mke2fs").exists();
    if !have {
        println!("skipped: needs the package `e2fsprogs`");
    }
    have
}

#[tokio::test]
async fn layers_become_a_disk_and_the_same_layers_the_same_disk() {
    if !have_mke2fs() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let text = "some text of a file, and more of it\n".repeat(5000);
    let lower = archive(&[dir("etc"), file("etc/a", "gone"), file("text", &text)]);
    let lower = zstd::encode_all(&lower[..], 3).unwrap();
    let upper = archive(&[
        file("etc/.wh.a", ""),
        file("etc/b", "here"),
        link("also", "text"),
        symlink("l", "/etc/b"),
    ]);
    let layers = [
        layer(home.path(), "lower", &lower).await.unwrap(),
        layer(home.path(), "upper", &upper).await.unwrap(),
    ];
    let out = home.path().join("disk.raw");
    let converted = convert(&layers, &out, &options(), |_| {}).await.unwrap();
    assert_eq!(converted.size, fs_err::metadata(&out).unwrap().len());
    assert!(converted.own_bytes < 4 << 20, "{converted:?}");
    assert_eq!(converted.files, 5);
    let path = out.to_str().unwrap();
    Command::new("e2fsck")
        .args(["-fn", path])
        .run()
        .await
        .unwrap();
    for (question, answer) in [
        ("cat /also", &*text),
        ("cat /etc/b", "here"),
        ("cat /etc/a", ""),
    ] {
        let args = ["-R", question, path];
        let output = Command::new("debugfs").args(args).run().await.unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            answer,
            "{question}"
        );
    }
    let again = home.path().join("again.raw");
    let same = convert(&layers, &again, &options(), |_| {}).await.unwrap();
    assert_eq!(same.digest, converted.digest);
    assert!(fs_err::read(&out).unwrap() == fs_err::read(&again).unwrap());
}

#[tokio::test]
async fn what_cannot_be_converted_leaves_no_file() {
    if !have_mke2fs() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("disk.raw");
    let damaged = layer(home.path(), "damaged", b"this is no archive").await;
    assert!(
        matches!(damaged, Err(WorkerError::Layers { .. })),
        "{damaged:?}"
    );
    let dangling = layer(home.path(), "dangling", &archive(&[link("a", "b")]))
        .await
        .unwrap();
    let good = layer(home.path(), "good", &archive(&[file("a", "b")]))
        .await
        .unwrap();
    let mut other = good.clone();
    other.blob = home.path().join("short");
    fs_err::write(&other.blob, "short").unwrap();
    let small = Options {
        disk_bytes: 1 << 20,
        ..options()
    };
    // A worker that does nothing.
    let idle = Options::new(WorkerProgram {
        program: "/bin/true".into(),
        args: Vec::new(),
    });
    for (layer, options, expected) in [
        (&dangling, &options(), "is no file"),
        (&other, &options(), "failed to read a layer"),
        (&good, &small, "a disk of 256 MiB, 1 MiB are allowed"),
        (&good, &idle, "ended too early"),
    ] {
        let layers = std::slice::from_ref(layer);
        let Err(error) = convert(layers, &out, options, |_| {}).await else {
            panic!("not {expected}");
        };
        let text = match error {
            ConvertError::Worker(error) => error.to_string(),
            error => error.to_string(),
        };
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(!out.exists());
    }
    // What is there already is nobody's to overwrite.
    fs_err::write(&out, "mine").unwrap();
    let error = convert(&[good], &out, &options(), |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, ConvertError::Disk { .. }));
    assert_eq!(fs_err::read(&out).unwrap(), b"mine");
}
