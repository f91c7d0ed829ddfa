//! Attaching, detaching, sharing and growing.

use bhatti_testing::daemon::Daemon;

use crate::host::{attach, check, create, make, read_only, refusal, try_create, wanted};

#[tokio::test]
async fn what_is_written_to_a_volume_outlives_its_sandbox_and_is_read_by_the_next() {
    let daemon = Daemon::start().await;
    let data = make(&daemon, "data", 256).await;
    let dev = create(&daemon, "dev", vec![wanted("data", "/srv/data")]).await;
    let mounted = dev.sh("findmnt -no FSTYPE,OPTIONS /srv/data").await;
    assert!(mounted.starts_with("ext4"), "{mounted}");
    // The guest finds the volume's id on the disk.
    let serials = dev
        .sh("cat /sys/block/sd*/device/vpd_pg80 | tr -d '\\0'")
        .await;
    assert!(serials.contains(&data.id), "{serials}");
    dev.sh("echo one > /srv/data/one && sync /srv/data/one")
        .await;
    let (status, said) = refusal(daemon.client().volume_delete("data").await);
    assert_eq!(status, 409);
    assert!(said.contains("\"dev\""), "{said}");
    dev.end().await;
    let held = daemon
        .client()
        .volume_get("data")
        .await
        .expect("it is there");
    assert_eq!(held.status, "attached");
    daemon
        .client()
        .sandbox_destroy("dev")
        .await
        .expect("it goes");
    let free = daemon
        .client()
        .volume_get("data")
        .await
        .expect("it is there");
    assert_eq!(free.status, "detached");

    let next = create(&daemon, "next", vec![wanted("data", "/data")]).await;
    assert_eq!(next.sh("cat /data/one").await, "one");
    next.sh("echo two > /data/two").await;
    daemon
        .client()
        .volume_detach("data", "next")
        .await
        .expect("it is detached");
    assert_eq!(
        next.sh("ls /data; ls /sys/block | grep -c ^sd || true")
            .await,
        "0"
    );
    check(&daemon, &data).await;

    // At the same machine again, and what is in use is not taken away.
    attach(&next, "data", "/again")
        .await
        .expect("it is attached");
    assert_eq!(next.sh("cat /again/one /again/two").await, "one\ntwo");
    next.sh("cd /again && (sleep 1000 > /dev/null 2>&1 &)")
        .await;
    let (status, said) = refusal(daemon.client().volume_detach("data", "next").await);
    assert_eq!(status, 409, "{said}");
    assert_eq!(next.sh("cat /again/one; pkill sleep").await, "one");
    daemon
        .client()
        .volume_detach("data", "next")
        .await
        .expect("it is detached");
    check(&daemon, &data).await;
    daemon
        .client()
        .volume_delete("data")
        .await
        .expect("it is deleted");
}

#[tokio::test]
async fn one_may_write_or_many_may_read_and_a_volume_grows_while_it_is_written_to() {
    let daemon = Daemon::start().await;
    let data = make(&daemon, "data", 64).await;
    let writer = create(&daemon, "writer", vec![wanted("data", "/data")]).await;
    for second in [wanted("data", "/data"), read_only("data", "/data")] {
        let second = try_create(daemon.client(), "second", vec![second]).await;
        let (status, said) = refusal(second.map(drop));
        assert_eq!(status, 409);
        assert!(said.contains("\"writer\""), "{said}");
    }
    // Nothing of a refused create is left.
    assert_eq!(
        daemon
            .client()
            .sandbox_list(&[])
            .await
            .expect("a list")
            .len(),
        1
    );

    let size = "df -m --output=size /data | tail -1 | tr -d ' '";
    let before: u64 = writer.sh(size).await.parse().expect("a number");
    writer
        .sh("dd if=/dev/urandom of=/data/a bs=1M count=40 conv=fsync 2>/dev/null")
        .await;
    let grown = daemon.client().volume_resize("data", 256).await;
    assert_eq!(grown.expect("it grows").size_mb, 256);
    let after: u64 = writer.sh(size).await.parse().expect("a number");
    assert!(before < 64 && after > 200, "{before} {after}");
    writer
        .sh("dd if=/dev/urandom of=/data/b bs=1M count=100 conv=fsync 2>/dev/null")
        .await;
    let (status, _) = refusal(daemon.client().volume_resize("data", 128).await);
    assert_eq!(status, 400);
    let sum = writer.sh("cat /data/a /data/b | sha256sum").await;
    let detached = daemon.client().volume_detach("data", "writer").await;
    detached.expect("it is detached");
    check(&daemon, &data).await;

    // Grown with nobody there, the file system follows when it is next written to.
    let grown = daemon.client().volume_resize("data", 300).await;
    grown.expect("it grows");
    let mut readers = Vec::new();
    for name in ["r1", "r2"] {
        readers.push(create(&daemon, name, vec![read_only("data", "/data")]).await);
    }
    for reader in &readers {
        assert_eq!(reader.sh("cat /data/a /data/b | sha256sum").await, sum);
        let wrote = reader.try_sh("touch /data/x").await.expect("it runs");
        assert_ne!(wrote.exit_code, 0);
    }
    let (status, said) = refusal(attach(&writer, "data", "/data").await);
    assert_eq!(status, 409);
    assert!(said.contains("\"r1\"") && said.contains("\"r2\""), "{said}");
    let (status, _) = refusal(daemon.client().volume_resize("data", 400).await);
    assert_eq!(status, 409);
    for reader in &readers {
        let detached = daemon.client().volume_detach("data", reader.name()).await;
        detached.expect("it is detached");
    }
    attach(&writer, "data", "/data")
        .await
        .expect("it is attached");
    let after: u64 = writer.sh(size).await.parse().expect("a number");
    assert!(after > 240, "{after}");
    let cloned = daemon.client().volume_clone("data", "copy").await;
    let cloned = cloned.expect("it is cloned while it is written to");
    // It was still for the moment of it, so nothing has to be played back.
    check(&daemon, &cloned).await;
    attach(&readers[0], "copy", "/copy")
        .await
        .expect("it is attached");
    assert_eq!(readers[0].sh("cat /copy/a /copy/b | sha256sum").await, sum);
}

#[tokio::test]
async fn a_volume_is_made_with_its_sandbox_or_not_at_all() {
    let daemon = Daemon::start().await;
    let new = |name, mount: &str| bhatti_api::volume::PersistentVolume {
        auto_create: true,
        size_mb: Some(64),
        ..wanted(name, mount)
    };
    let both = vec![new("fresh", "/a"), wanted("missing", "/b")];
    let (status, said) = refusal(try_create(daemon.client(), "dev", both).await.map(drop));
    assert_eq!(status, 404, "{said}");
    let same_place = vec![new("one", "/a"), new("two", "/a")];
    let (status, said) = refusal(
        try_create(daemon.client(), "dev", same_place)
            .await
            .map(drop),
    );
    assert_eq!(status, 409, "{said}");
    assert!(
        daemon
            .client()
            .volume_list()
            .await
            .expect("a list")
            .is_empty()
    );

    let many: Vec<_> = (0..24)
        .map(|number| {
            let mut volume = new("x", &format!("/v/{number}"));
            volume.name = format!("v{number}");
            volume
        })
        .collect();
    let dev = create(&daemon, "dev", many).await;
    assert_eq!(dev.sh("findmnt -rno TARGET | grep -c ^/v/").await, "24");
    dev.sh("for n in $(seq 0 23); do echo $n > /v/$n/number; done; sync")
        .await;
    // Each is at its own place after a boot too.
    dev.end().await;
    let started = daemon
        .client()
        .sandbox_start("dev", &bhatti_api::sandbox::StartSandbox::default())
        .await;
    started.expect("it boots");
    let numbers = "for n in $(seq 0 23); do test $(cat /v/$n/number) = $n || echo $n; done";
    assert_eq!(dev.sh(numbers).await, "");
}
