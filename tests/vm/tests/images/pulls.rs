//! Images of a registry's, and machines made of them.

use bhatti_api::image::{Image, PullImage};
use bhatti_api::sandbox::CreateSandbox;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

use crate::registry::{self, Shelf};

/// Memory of the machines here, in MiB.
const MEMORY: u64 = 256;

/// Pulls through the command line, and gives what it says and the image.
async fn pull(daemon: &Daemon, reference: &str, name: &str) -> (String, Image) {
    let args = ["image", "pull", reference, "--insecure", "--name", name];
    let said = daemon.cli(&args).await.success();
    let image = daemon.client().image_get(name).await;
    (said, image.expect("the image is there"))
}

#[tokio::test]
async fn a_machine_of_a_pulled_image_runs_its_commands_as_the_image_says() {
    let Some(shelf) = Shelf::start().await else {
        return;
    };
    let daemon = Daemon::start().await;
    let reference = shelf.put("app", "one").await;
    let (said, first) = pull(&daemon, &reference, "app").await;
    assert_eq!(said, format!("✓ pulled, converted ({}MB)\n", first.size_mb));
    let new = CreateSandbox {
        name: Some("dev".to_owned()),
        image: Some("app".to_owned()),
        memory_mb: Some(MEMORY),
        ..CreateSandbox::default()
    };
    let client = daemon.client();
    client.sandbox_create(&new).await.expect("it is created");
    let told = daemon.cli(&["exec", "dev", "--", "sh", "-c", registry::TELL]);
    assert_eq!(told.await.success(), "1000 /srv hello one\n");

    // Nothing has changed, and then the tag moves.
    let (said, same) = pull(&daemon, &reference, "app").await;
    assert_eq!(said, format!("✓ up to date ({}MB)\n", first.size_mb));
    assert_eq!(same.id, first.id);
    shelf.put("app", "two").await;
    let (_, moved) = pull(&daemon, &reference, "app").await;
    assert_ne!((&moved.id, &moved.digest), (&first.id, &first.digest));
    // The machine has a disk of its own.
    let told = daemon.cli(&["exec", "dev", "--", "sh", "-c", registry::TELL]);
    assert_eq!(told.await.success(), "1000 /srv hello one\n");
    Guest::new(client, "dev").end().await;
}

#[tokio::test]
async fn what_leaves_comes_back_the_same() {
    let Some(shelf) = Shelf::start().await else {
        return;
    };
    let daemon = Daemon::start().await;
    let reference = shelf.put("app", "one").await;
    pull(&daemon, &reference, "app").await;
    let file = daemon.data_dir().join("app.tar");
    let file = file.to_str().expect("the path is text");
    daemon
        .cli(&["image", "export", "app", "-o", file])
        .await
        .success();
    let back = ["image", "import", "--tar", file, "--name", "back"];
    daemon.cli(&back).await.success();
    let pushed = shelf.reference("pushed");
    let push = ["image", "push", "app", &pushed, "--insecure"];
    daemon.cli(&push).await.success();
    pull(&daemon, &pushed, "again").await;
    let disk = |name: &str| {
        let disk = format!("images/@usr_00000000/{name}/disk.raw");
        bhatti_host::files::sparse_digest(&daemon.data_dir().join(disk)).expect("it is read")
    };
    assert_eq!(disk("app"), disk("back"));
    assert_eq!(disk("app"), disk("again"));
}

#[tokio::test]
async fn a_pull_that_fails_or_is_given_up_leaves_no_image() {
    let Some(shelf) = Shelf::start().await else {
        return;
    };
    let daemon = Daemon::start().await;
    let nosuch = shelf.reference("nosuch");
    let args = ["image", "pull", &nosuch, "--insecure"];
    let gone = daemon.cli(&args).await;
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.errors().contains("there is no image"),
        "{}",
        gone.errors()
    );
    let pull = PullImage {
        reference: shelf.put("app", "one").await,
        insecure: true,
        ..PullImage::default()
    };
    let client = daemon.client();
    let begun = client.image_pull(&pull).await.expect("it begins");
    let id = begun.task_id.expect("it is a task");
    let mut task = client.task_cancel(&id).await.expect("it is cancelled");
    while task.status == "running" {
        tokio::task::yield_now().await;
        task = client.task_get(&id).await.expect("it is known");
    }
    let own = daemon.data_dir().join("images/@usr_00000000");
    let left = fs_err::read_dir(own).map_or(0, Iterator::count);
    // It may have been done before it heard of it.
    assert_eq!(left, usize::from(task.status == "completed"));
}
