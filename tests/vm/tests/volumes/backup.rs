//! Backups of volumes that guests write to.

use bhatti_testing::daemon::Daemon;

use crate::host::{attach, check, create, make, refusal, wanted};

#[tokio::test]
async fn a_volume_is_backed_up_while_it_is_written_to_and_restored_when_it_is_free() {
    let store = bhatti_testing::artifacts::test_dir();
    let mut daemon = Daemon::prepare();
    bhatti_testing::artifacts::install(&daemon.data_dir());
    let config = daemon.home().join(".bhatti/config.yaml");
    fs_err::create_dir_all(config.parent().expect("it is in a directory")).expect("it is made");
    let text = format!(
        "backup:\n  directory: {}\n  schedule:\n  - volume: kept\n    every: 24h\n    retention: 2\n",
        store.path().display()
    );
    fs_err::write(&config, text).expect("the configuration is written");
    daemon.serve(&[]).await;
    let client = daemon.client();
    let data = make(&daemon, "data", 128).await;
    let dev = create(&daemon, "dev", vec![wanted("data", "/data")]).await;
    dev.sh("echo first > /data/state; dd if=/dev/urandom of=/data/big bs=1M count=20 2>/dev/null")
        .await;
    let sum = dev.sh("sha256sum < /data/big").await;
    // Not synced: the volume stands still for the copy, with all that was written to it.
    let first = client.volume_backup("data", None).await;
    let first = first.expect("it is backed up while it is written to");
    assert!(first.sent_bytes > 20 << 20, "{first:?}");
    dev.sh("echo second > /data/state; sync").await;
    let second = client.volume_backup("data", Some("directory")).await;
    let second = second.expect("it is backed up again");
    assert!(second.sent_bytes < 4 << 20, "{second:?}");
    let (status, _) = refusal(client.volume_backup("data", Some("s3")).await);
    assert_eq!(status, 501);

    let refused = client.volume_restore("data", &first.id, None).await;
    let (status, said) = refusal(refused);
    assert_eq!(status, 409);
    assert!(said.contains("\"dev\""), "{said}");
    let detached = client.volume_detach("data", "dev").await;
    detached.expect("it is detached");
    let restored = client.volume_restore("data", &first.id, None).await;
    restored.expect("it is restored");
    check(&daemon, &data).await;
    attach(&dev, "data", "/data").await.expect("it is attached");
    assert_eq!(dev.sh("cat /data/state").await, "first");
    assert_eq!(dev.sh("sha256sum < /data/big").await, sum);
    dev.sh("echo third > /data/state").await;
    let detached = client.volume_detach("data", "dev").await;
    detached.expect("it is detached");

    // A damaged backup leaves the volume as it is.
    let chunks = store.path().join("volumes/usr_00000000/data/chunks");
    for chunk in fs_err::read_dir(&chunks).expect("there are chunks") {
        let path = chunk.expect("a chunk").path();
        fs_err::write(path, b"not a chunk").expect("it is damaged");
    }
    let (status, said) = refusal(client.volume_restore("data", &second.id, None).await);
    assert_eq!((status, said.contains("damaged")), (502, true), "{said}");
    attach(&dev, "data", "/data").await.expect("it is attached");
    assert_eq!(dev.sh("cat /data/state").await, "third");
    let all = client.volume_backups("data", None).await.expect("a list");
    let ids: Vec<_> = all.iter().map(|backup| &backup.id).collect();
    assert_eq!(ids, [&first.id, &second.id]);
    for id in [&first.id, &second.id] {
        let deleted = client.volume_backup_delete("data", id, None).await;
        deleted.expect("it is deleted");
    }
    let left = fs_err::read_dir(&chunks).expect("a directory").count();
    assert_eq!(left, 0);
}
