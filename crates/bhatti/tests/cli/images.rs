//! What is done with images, and what an archive is taken from.

use std::os::unix::fs::PermissionsExt as _;

use crate::daemon::Daemon;
use crate::fixture::Home;

#[test]
fn images_are_pulled_saved_shown_and_shared() {
    let home = Home::new();
    let _daemon = Daemon::unix(&home.socket());
    let commands: &[&[&str]] = &[
        &["image", "list"],
        &["image", "ls", "-o", "wide"],
        &["image", "inspect", "mine"],
        &["image", "pull", "alpine:3.20"],
        &["image", "pull", "alpine:old"],
        &["image", "pull", "alpine:3.20", "--detach"],
        &["image", "pull", "bad"],
        &["image", "save", "dev", "--name", "stack"],
        &["image", "push", "mine", "ghcr.io/me/app:1"],
        &["image", "share", "mine", "--user", "bob", "--user", "carol"],
        &["image", "unshare", "mine", "--user", "bob"],
        &["image", "delete", "mine", "-y"],
        &["image", "gc", "--dry-run"],
        &["gc"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn what_is_wrong_about_images_is_said_in_one_line() {
    let home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    let commands: &[&[&str]] = &[
        &["image", "pull"],
        &["image", "pull", "alpine", "--auth", "geheim"],
        &["image", "pull", "alpine", "--name", "a/b"],
        &["image", "import"],
        &["image", "import", "app", "--tar", "x.tar"],
        &["image", "import", "--tar", "x.tar"],
        &["image", "import", "--tar", "x.tar", "--name", "x"],
        &["image", "import", "-"],
        &["image", "import", "me/"],
        &["image", "import", "mine"],
        &["image", "import", "new"],
        &["image", "save", "dev"],
        &["image", "save", "dev", "--name", "a:"],
        &["image", "delete", "mine"],
        &["image", "share", "mine"],
        &["image", "export", "mine"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
    let changed = daemon
        .requests()
        .into_iter()
        .filter(|request| !request.line.starts_with("GET "));
    assert_eq!(changed.count(), 0);
}

#[test]
fn an_archive_is_sent_as_it_is_from_a_file_and_from_standard_input() {
    let home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    home.write("app.tar", "what an archive holds");
    let from_file = ["image", "import", "--tar", "app.tar", "--name", "app:1"];
    let from_pipe = ["image", "import", "-", "--name", "app:1"];
    let text = home.transcript(&from_file);
    assert_eq!(
        text,
        "$ bhatti image import --tar app.tar --name app:1\n✓ imported \"app:1\" (2048MB)\n"
    );
    let ran = home.run_with(&from_pipe, b"what an archive holds");
    assert!(ran.status.success());
    let sent = daemon.requests();
    assert_eq!(sent.len(), 2);
    for request in &sent {
        assert_eq!(request.line, "POST /images/import?name=app%3A1");
        assert_eq!(request.header("content-type"), Some("application/x-tar"));
        assert_eq!(request.body, "what an archive holds");
    }
    assert_eq!(sent[0].header("content-length"), Some("21"));
}

/// Puts a program into a directory that is on the path of the runs to come.
fn install(home: &mut Home, name: &str, script: &str) {
    let bin = home.path().join("bin");
    fs_err::create_dir_all(&bin).unwrap();
    let path = bin.join(name);
    fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    home.set("PATH", "[HOME]/bin");
}

#[test]
fn an_image_is_taken_from_the_program_that_has_it() {
    let mut home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    install(&mut home, "docker", "exit 1");
    install(
        &mut home,
        "podman",
        "[ \"$1\" = image ] && exit 0\n[ \"$*\" = 'save -- me/app:1' ] && echo saved",
    );
    assert_eq!(
        home.transcript(&["image", "import", "me/app:1"]),
        "$ bhatti image import me/app:1\n✓ imported \"app:1\" (2048MB)\n"
    );
    let sent = daemon.requests();
    let sent = sent.last().unwrap();
    assert_eq!(
        sent.line,
        "POST /images/import?name=app%3A1&docker=me%2Fapp%3A1"
    );
    assert_eq!(sent.body, "saved\n");
}

#[test]
fn a_program_that_fails_makes_no_image() {
    let mut home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    let script = "[ \"$1\" = image ] && exit 0\necho half\necho 'no space' >&2\nexit 3";
    install(&mut home, "docker", script);
    let ran = home.run(&["image", "import", "new"]);
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        said.contains("`docker save` failed") && said.contains("no space"),
        "{said}"
    );
    // The archive broke off, and so was never a whole request.
    let whole = daemon
        .requests()
        .into_iter()
        .filter(|request| request.line.starts_with("POST "));
    assert_eq!(whole.count(), 0);
}

#[test]
fn a_signal_gives_a_pull_up_and_says_so() {
    let home = Home::new();
    let daemon = Daemon::unix(&home.socket());
    let child = home.spawn(&["image", "pull", "endless"]);
    // It looks at the task before it can be told to stop.
    let mut seen = Vec::new();
    while !seen
        .iter()
        .any(|line: &String| line.starts_with("GET /tasks/"))
    {
        seen.extend(daemon.requests().into_iter().map(|request| request.line));
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: given up; nothing was made\n"
    );
    let cancelled = daemon.requests().into_iter().map(|request| request.line);
    assert!(
        cancelled
            .into_iter()
            .any(|line| line == "DELETE /tasks/tsk_0000000000000003")
    );
}
