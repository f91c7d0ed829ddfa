//! Making templates, and machines from them.

use bhatti_api::sandbox::CreateSandbox;
use bhatti_api::template::WarmImage;
use bhatti_client::error::Error;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

use crate::{bare, only, templates};

/// A machine with settings of its own.
async fn create(daemon: &Daemon, name: &str, disk_mb: u64) -> Guest {
    let new = CreateSandbox {
        name: Some(name.to_owned()),
        memory_mb: Some(256),
        disk_size_mb: Some(disk_mb),
        env: [("WHO".to_owned(), name.to_owned())].into(),
        user: Some("lohar".to_owned()),
        ..CreateSandbox::default()
    };
    let created = daemon.client().sandbox_create(&new).await;
    created.expect("a sandbox is created");
    Guest::new(daemon.client(), name)
}

/// What should be the same in all machines of one shape, however they were made.
async fn likeness(guest: &Guest) -> String {
    guest
        .sh(
            "uname -r; nproc; grep MemTotal /proc/meminfo; id; umask; ulimit -n; \
             cut -d ' ' -f 2-4 /proc/mounts | sort; ls -a / /run /tmp /var/tmp /etc; \
             cat /etc/passwd /etc/group /etc/fstab; df -k --output=size /; \
             ls /sys/class/block /sys/class/net; \
             ps -eo comm= | grep -vE '^(kworker|ext4lazyinit)' | sort -u",
        )
        .await
}

#[tokio::test]
async fn creates_of_one_shape_boot_once_and_are_machines_of_their_own() {
    let mut daemon = bare(&[]).await;
    let (one, two) = tokio::join!(create(&daemon, "one", 3072), create(&daemon, "two", 3072));
    let template = only(&daemon).await;
    assert_eq!((template.uses, template.disk_size_mb), (2, 3072));
    assert_eq!((template.memory_mb, template.pool), (256, 0));
    assert!(template.last_used_at.is_some());
    let inventory = daemon.inventory().await;
    assert_eq!(
        inventory.machines.len(),
        2,
        "the template's own machine is gone"
    );
    assert_eq!(inventory.templates, [template.id.clone()].into());

    // The same with no template in it.
    daemon.stop().await;
    daemon.serve(&["--max-templates", "0"]).await;
    assert_eq!(templates(&daemon).await, []);
    let booted = create(&daemon, "booted", 3072).await;
    let mut seen = Vec::new();
    for guest in [&one, &two, &booted] {
        let name = guest.name();
        let identity = guest.identity().await;
        assert_eq!(
            (identity.hostname.as_str(), identity.etc_hostname.as_str()),
            (name, name)
        );
        assert!(identity.resolves);
        guest.check_clock().await;
        let ran = daemon
            .cli(&["exec", name, "--", "sh", "-c", "echo $WHO; id -un"])
            .await;
        assert_eq!(ran.success(), format!("{name}\nlohar\n"));
        // A file system takes a few percent for itself.
        let size: u64 = guest
            .sh("df -BM --output=size / | tail -n 1 | tr -dc 0-9")
            .await
            .parse()
            .unwrap();
        assert!((3072 * 15 / 16..=3072).contains(&size), "{size}");
        seen.push(identity);
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert_ne!(seen[a].machine_id, seen[b].machine_id);
        assert_ne!(seen[a].random, seen[b].random);
    }
    // One boot was enough for both; the kernel's id of it is theirs together.
    assert_eq!(seen[0].boot_id, seen[1].boot_id);
    assert_ne!(seen[0].boot_id, seen[2].boot_id);
    let (forked, booted) = (likeness(&one).await, likeness(&booted).await);
    assert_eq!(forked, booted);
}

#[tokio::test]
async fn a_template_can_be_made_ahead_and_by_everybody() {
    let daemon = bare(&["--listen", "127.0.0.1:0"]).await;
    let warm = [
        "image",
        "warm",
        "base",
        "--memory",
        "256",
        "--disk-size",
        "2048",
    ];
    let told = daemon.cli(&warm).await.success();
    let template = only(&daemon).await;
    assert_eq!((template.uses, template.last_used_at.as_ref()), (0, None));
    let line = format!(
        "template/{} ready (base, 1 vCPU, 256 MB, 2048 MB disk)\n",
        template.id
    );
    assert_eq!(told, line);
    // It is there: nothing is made, and the image's own size is the same shape.
    assert_eq!(daemon.cli(&warm[..5]).await.success(), line);
    let told = daemon.cli(&["template", "list"]).await.success();
    assert!(
        told.contains(&format!("{}  base   1     256 MB  2048 MB", template.id)),
        "{told}"
    );
    assert!(told.contains("  0     never  "), "{told}");

    let made = daemon
        .cli(&["user", "create", "--name", "alice", "--json"])
        .await
        .success();
    let made: serde_json::Value = serde_json::from_str(&made).expect("it is JSON");
    let token = made["api_key"].as_str().expect("a token");
    let url = daemon.url();
    let alice = ["--url", url.as_str(), "--token", token];
    let listed = daemon
        .cli(&[&alice[..], &["template", "list", "--json"]].concat())
        .await
        .success();
    let listed: Vec<bhatti_api::template::Template> =
        serde_json::from_str(&listed).expect("it is JSON");
    assert_eq!(listed, std::slice::from_ref(&template));
    let delete = ["template", "delete", "--yes", template.id.as_str()];
    let refused = daemon.cli(&[&alice[..], &delete].concat()).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    // Over a limit of hers, and no such image: nothing is made.
    let refused = daemon
        .cli(&[&alice[..], &["image", "warm", "base", "--cpus", "5"]].concat())
        .await;
    assert!(refused.errors().contains("over the limit"), "{refused:?}");
    let refused = daemon.cli(&["image", "warm", "nosuch"]).await;
    assert!(
        refused.errors().contains("image \"nosuch\" not found"),
        "{refused:?}"
    );
    assert_eq!(templates(&daemon).await, std::slice::from_ref(&template));

    assert_eq!(
        daemon.cli(&delete).await.success(),
        format!("template/{} deleted\n", template.id)
    );
    assert_eq!(templates(&daemon).await, []);
    let again = daemon.cli(&delete).await;
    assert!(again.errors().contains("not found"), "{again:?}");
    assert_eq!(daemon.inventory().await.templates.len(), 0);
}

#[tokio::test]
async fn a_template_that_can_not_be_made_stands_in_no_creates_way() {
    let fault = "build-template:save-template:before:fail";
    let daemon = bare(&["--fault", fault]).await;
    let one = create(&daemon, "one", 2048).await;
    // Not tried again by a create so soon, though it would work.
    let two = create(&daemon, "two", 2048).await;
    assert_eq!(templates(&daemon).await, []);
    assert_ne!(one.boot_id().await, two.boot_id().await);
    let left = daemon.inventory().await;
    assert_eq!(
        (
            left.templates.len(),
            left.sandboxes.len(),
            left.machines.len()
        ),
        (0, 2, 2)
    );
    // By hand it is.
    let size = WarmImage {
        memory_mb: Some(256),
        ..WarmImage::default()
    };
    daemon
        .client()
        .image_warm("base", &size)
        .await
        .expect("it is made");
    create(&daemon, "three", 2048).await;
    assert_eq!(only(&daemon).await.uses, 1);
}

#[tokio::test]
async fn a_template_that_fails_by_hand_says_so() {
    let daemon = bare(&["--fault", "build-template:pause:before:fail"]).await;
    let size = WarmImage {
        memory_mb: Some(256),
        ..WarmImage::default()
    };
    let failed = daemon.client().image_warm("base", &size).await;
    let Err(Error::Refused(said)) = failed else {
        panic!("it was made: {failed:?}");
    };
    assert!(
        said.message.contains("the template could not be made"),
        "{said:?}"
    );
    let left = daemon.inventory().await;
    assert_eq!((left.templates.len(), left.machines.len()), (0, 0));
    let none = bare(&["--max-templates", "0"]).await;
    let refused = none.cli(&["image", "warm", "base"]).await;
    assert!(
        refused.errors().contains("keeps no templates"),
        "{refused:?}"
    );
    assert!(refused.errors().contains("max_templates"), "{refused:?}");
}
