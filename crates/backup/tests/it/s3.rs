//! Backups at an S3-compatible server: `s3s-fs` (crates.io), found on the PATH or named by
//! `BHATTI_S3S_FS`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bhatti_backup::error::BackupError;
use bhatti_backup::format::Place;
use bhatti_backup::s3::{S3, S3Settings};
use bhatti_backup::save::save;
use bhatti_backup::{keep, restore};

use crate::disk::{assert_same, make, write};

const KEY: &str = "AKTEST";
const SECRET: &str = "a secret";
/// Time for the server to listen.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A server, until it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("BHATTI_S3S_FS") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("s3s-fs"))
        .find(|program| program.exists())
}

/// Starts a server over a directory with the bucket `backups`; `None` if there is no such program.
fn serve(root: &Path) -> Option<Server> {
    let Some(program) = program() else {
        #[expect(clippy::print_stderr, reason = "tells why nothing was tested")]
        {
            eprintln!("skipped: s3s-fs is not installed (cargo install s3s-fs --features binary)");
        }
        return None;
    };
    fs_err::create_dir_all(root.join("backups")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    #[expect(
        clippy::disallowed_methods,
        reason = "a server that runs until the test has ended it"
    )]
    let child = Command::new(program)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--access-key", KEY, "--secret-key", SECRET])
        .arg(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, port };
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < START_LIMIT, "the server does not listen");
        std::thread::yield_now();
    }
    Some(server)
}

fn settings(port: u16) -> S3Settings {
    S3Settings {
        endpoint: format!("http://127.0.0.1:{port}"),
        region: "us-east-1".to_owned(),
        bucket: "backups".to_owned(),
        access_key: KEY.to_owned(),
        secret_key: SECRET.to_owned(),
    }
}

fn place() -> Place {
    Place::new("volumes/usr_00000001/data".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_goes_to_the_server_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = serve(&dir.path().join("root")) else {
        return;
    };
    let target = S3::new(&settings(server.port)).unwrap();
    let disk = make(dir.path(), "disk", 0);
    let first = save(&target, &place(), &disk, None).await.unwrap();
    write(&disk, 7, 50);
    let second = save(&target, &place(), &disk, None).await.unwrap();
    assert!(second.summary.sent_bytes < first.summary.sent_bytes);
    assert_eq!(keep::list(&target, &place()).await.unwrap().len(), 2);
    keep::delete(&target, &place(), &first.summary.id)
        .await
        .unwrap();
    let back = dir.path().join("back");
    restore::restore(&target, &place(), &second.summary, &back)
        .await
        .unwrap();
    assert_same(&back, &disk);
    let gone = restore::summary(&target, &place(), &first.summary.id).await;
    assert!(
        matches!(gone, Err(BackupError::NotFound { .. })),
        "{gone:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_a_missing_bucket_are_told_apart_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = serve(&dir.path().join("root")) else {
        return;
    };
    let disk = make(dir.path(), "disk", 0);
    for wrong in [
        S3Settings {
            secret_key: "another".to_owned(),
            ..settings(server.port)
        },
        S3Settings {
            access_key: "AKOTHER".to_owned(),
            ..settings(server.port)
        },
    ] {
        let target = S3::new(&wrong).unwrap();
        let refused = save(&target, &place(), &disk, None).await.unwrap_err();
        assert!(matches!(refused, BackupError::Denied { .. }), "{refused:?}");
        assert!(!format!("{refused:?}").contains("another"));
    }
    let no_bucket = S3Settings {
        bucket: "nosuch".to_owned(),
        ..settings(server.port)
    };
    let target = S3::new(&no_bucket).unwrap();
    let refused = save(&target, &place(), &disk, None).await.unwrap_err();
    assert!(
        matches!(refused, BackupError::Refused { .. }),
        "{refused:?}"
    );
}

/// Carries connections to a server, and cuts those off that have carried so many bytes to it, as
/// long as cuts are left.
fn cutting(to: u16, after: usize, cuts: u64) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicU64::new(cuts));
    let shared = left.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(mut client), Ok(mut server)) = (client, TcpStream::connect(("127.0.0.1", to)))
            else {
                return;
            };
            let (mut answers, mut back) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                // Ends with either of the two.
                let _ = std::io::copy(&mut answers, &mut back);
            });
            let left = shared.clone();
            std::thread::spawn(move || {
                let (mut carried, mut bytes) = (0, [0; 4096]);
                while let Ok(count @ 1..) = client.read(&mut bytes) {
                    carried += count;
                    let cut = carried > after
                        && left
                            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                            .is_ok();
                    if cut || server.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
                let _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (port, left)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again_and_one_that_always_breaks_leaves_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = serve(&dir.path().join("root")) else {
        return;
    };
    let disk = make(dir.path(), "disk", 0);
    // Not to be compressed to nothing.
    let random: Vec<u8> = (0..1u64 << 19)
        .flat_map(|n| {
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(31)
                .to_le_bytes()
        })
        .collect();
    std::os::unix::fs::FileExt::write_all_at(
        fs_err::OpenOptions::new()
            .write(true)
            .open(&disk)
            .unwrap()
            .file(),
        &random,
        0,
    )
    .unwrap();
    let (port, left) = cutting(server.port, 100_000, u64::MAX);
    let target = S3::new(&settings(port)).unwrap();
    let broken = save(&target, &place(), &disk, None).await.unwrap_err();
    assert!(
        matches!(broken, BackupError::Unreachable { .. }),
        "{broken:?}"
    );
    assert!(left.load(Ordering::SeqCst) < u64::MAX);
    let direct = S3::new(&settings(server.port)).unwrap();
    assert!(keep::list(&direct, &place()).await.unwrap().is_empty());

    let (port, left) = cutting(server.port, 100_000, 2);
    let target = S3::new(&settings(port)).unwrap();
    let saved = save(&target, &place(), &disk, None).await.unwrap();
    assert_eq!(left.load(Ordering::SeqCst), 0);
    let back = dir.path().join("back");
    restore::restore(&direct, &place(), &saved.summary, &back)
        .await
        .unwrap();
    assert_same(&back, &disk);
}
