//! `docker`: containers inside a machine.

use bhatti_host::command::Command;

use crate::machine::{Machine, request, run};

/// A program that needs nothing else; Debian's package `busybox-static` has it.
const STATIC_PROGRAM: &str = "/bin/busybox";

/// A root file system of one program, as a tar archive.
async fn archive() -> Vec<u8> {
    let work = tempfile::tempdir().expect("a temporary directory can be made");
    let program = work.path().join("busybox");
    fs_err::copy(STATIC_PROGRAM, &program).expect("the program is copied");
    let tar = Command::new("tar").args(["-c", "busybox"]);
    let tar = tar.current_dir(work.path()).run().await;
    tar.expect("an archive is made").stdout
}

#[tokio::test]
async fn containers_run_in_a_machine_and_sleep_with_it() {
    if !std::path::Path::new(STATIC_PROGRAM).exists() {
        println!("skipped: needs the package busybox-static");
        return;
    }
    let machine = Machine::start("docker", 1024).await;
    machine.spawn(Some("root"), &["dockerd"]).await;
    let told = machine
        .wait_for("docker info --format '{{.Driver}} {{.CgroupVersion}}'")
        .await;
    assert_eq!(told, "overlay2 2");

    let import = request(None, &["docker", "import", "-", "box"]);
    let imported = run(&machine.guest, &import, &archive().await).await;
    assert_eq!(imported.exit.code, 0, "{imported:?}");
    let told = machine
        .sh("docker run --rm --hostname inside box /busybox sh -c \
             'echo \"$(/busybox hostname) $(/busybox id -u) $$\"'")
        .await;
    assert_eq!(told, "inside 0 1");

    // One that serves, reached by its published port and, from another container, by its address.
    machine
        .sh("docker run -d --name web -p 127.0.0.1:8080:80 box /busybox httpd -f -p 80 -h /")
        .await;
    let size = machine
        .wait_for("curl -sf http://127.0.0.1:8080/busybox | wc -c | grep -v '^0$'")
        .await;
    let fetch = "docker run --rm box /busybox wget -qO- \
                 http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' web)/busybox | wc -c";
    assert_eq!(machine.sh(fetch).await, size);

    let started = "docker inspect -f '{{.State.StartedAt}} {{.State.Pid}}' web";
    let before = machine.sh(started).await;
    machine.sleep().await;
    assert_eq!(
        machine
            .sh("curl -sf http://127.0.0.1:8080/busybox | wc -c")
            .await,
        size
    );
    assert_eq!(machine.sh(started).await, before);
    let told = machine
        .sh("docker stop -t 0 web >/dev/null; docker rm web")
        .await;
    assert_eq!(told, "web");
}
