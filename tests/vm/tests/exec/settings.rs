//! As whom, where and with what environment commands run.

use std::collections::BTreeMap;

use bhatti_api::exec::ExecRequest;
use bhatti_api::sandbox::CreateSandbox;

use crate::machine::{Machine, NAME, command, line};

/// A user as asked for; the user and group ids, name and home that the command finds.
const USERS: [(Option<&str>, &str); 8] = [
    (None, "1000 1000 lohar lohar /home/lohar /bin/bash"),
    (Some("lohar"), "1000 1000 lohar lohar /home/lohar /bin/bash"),
    (Some("1000"), "1000 1000 lohar lohar /home/lohar /bin/bash"),
    (Some("root"), "0 0 root root /root /bin/bash"),
    (Some("0"), "0 0 root root /root /bin/bash"),
    (
        Some("lohar:root"),
        "1000 0 lohar lohar /home/lohar /bin/bash",
    ),
    (Some("1000:4"), "1000 4 lohar lohar /home/lohar /bin/bash"),
    (
        Some("nobody"),
        "65534 65534 nobody nobody /nonexistent /usr/sbin/nologin",
    ),
];

#[tokio::test]
async fn commands_run_as_the_image_the_sandbox_and_the_request_say() {
    let env = [("FROM_SANDBOX", "yes"), ("LANG", "C"), ("BOTH", "sandbox")];
    let env: BTreeMap<_, _> = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let machine = Machine::start_as(CreateSandbox {
        env,
        ..CreateSandbox::default()
    })
    .await;
    users(&machine).await;
    directories(&machine).await;
    environment(&machine).await;
    machine.check_nothing_is_left().await;
}

async fn users(machine: &Machine) {
    let who = "echo $(id -u) $(id -g) $USER $LOGNAME $HOME $SHELL";
    for (user, expected) in USERS {
        let request = ExecRequest {
            user: user.map(str::to_owned),
            ..line(who)
        };
        let ran = machine.run(&request, b"").await;
        assert_eq!(
            ran.text().trim_end(),
            expected,
            "{user:?}: {}",
            ran.errors()
        );
    }
    let ran = machine
        .daemon
        .cli(&["exec", "--user", "0", NAME, "id", "-u"])
        .await;
    assert_eq!(ran.success(), "0\n");

    // Ids that the image does not know.
    let request = ExecRequest {
        user: Some("4242:4343".to_owned()),
        ..line("id -u; id -g; id -G")
    };
    assert_eq!(
        machine.run(&request, b"").await.text(),
        "4242\n4343\n4343\n"
    );
    let request = ExecRequest {
        user: Some("4242".to_owned()),
        ..line("id -u; test -n \"$HOME\"")
    };
    let ran = machine.run(&request, b"").await;
    assert_eq!((ran.text().as_str(), ran.exit.code), ("4242\n", 0));

    // A user's further groups come with it, and root's do not stay with others.
    machine.guest.sh("usermod -aG audio,video lohar").await;
    let groups = machine.sh("id -Gn").await;
    let mut groups: Vec<_> = groups.split(' ').collect();
    groups.sort_unstable();
    assert_eq!(groups, ["audio", "lohar", "video"]);
    // Nor do root's powers; by `sudo` they can be had.
    assert_eq!(
        machine.sh("grep CapEff /proc/self/status").await,
        "CapEff:\t0000000000000000"
    );
    machine
        .sh("! touch /etc/mine 2> /dev/null && sudo -n touch /etc/mine")
        .await;

    for user in ["no-such-user", "lohar:no-such-group"] {
        let name = user.split(':').next_back().expect("a name");
        let request = ExecRequest {
            user: Some(user.to_owned()),
            ..command(&["id"])
        };
        let refused = machine.try_run(&request, b"").await;
        let refused = refused.expect_err("nobody is called that").to_string();
        assert!(refused.contains(name), "{refused}");
        let refused = machine.client.exec(NAME, &request).await;
        let refused = refused.expect_err("nobody is called that");
        assert!(
            refused.status().is_some_and(|status| status == 400),
            "{refused:?}"
        );
        let ran = machine
            .daemon
            .cli(&["exec", "--user", user, NAME, "id"])
            .await;
        assert_eq!(
            (ran.code, ran.stdout.as_slice()),
            (Some(1), b"".as_slice()),
            "{ran:?}"
        );
        assert!(
            ran.errors().starts_with("error: ") && ran.errors().contains(name),
            "{ran:?}"
        );
    }
}

async fn directories(machine: &Machine) {
    assert_eq!(machine.sh("pwd").await, "/workspace");
    assert_eq!(machine.guest.sh("pwd").await, "/workspace");
    machine.sh("mkdir '/tmp/a b'").await;
    for dir in ["/tmp", "/", "/tmp/a b"] {
        let request = ExecRequest {
            workdir: Some(dir.to_owned()),
            ..line("pwd; echo \"$PWD\"")
        };
        let ran = machine.run(&request, b"").await;
        assert_eq!(ran.text().lines().next(), Some(dir), "{ran:?}");
        let ran = machine
            .daemon
            .cli(&["exec", "--workdir", dir, NAME, "pwd"])
            .await;
        assert_eq!(ran.success(), format!("{dir}\n"));
    }
    // Not there, no directory, not for this user.
    for dir in ["/no/such/place", "/etc/passwd", "/root"] {
        let request = ExecRequest {
            workdir: Some(dir.to_owned()),
            ..command(&["pwd"])
        };
        let refused = machine.try_run(&request, b"").await;
        let refused = refused.expect_err("one can't be there").to_string();
        assert!(refused.contains(dir), "{refused}");
        let ran = machine
            .daemon
            .cli(&["exec", "--workdir", dir, NAME, "pwd"])
            .await;
        assert_eq!(
            (ran.code, ran.stdout.as_slice()),
            (Some(1), b"".as_slice()),
            "{ran:?}"
        );
        assert!(
            ran.errors().starts_with("error: ") && ran.errors().contains(dir),
            "{ran:?}"
        );
    }
}

async fn environment(machine: &Machine) {
    // Word for word, and nothing of the daemon's or the agent's.
    let odd = [
        ("EMPTY", ""),
        ("SPACES", " a  b=c \"d\" $HOME `e` "),
        ("TEXT", "grün 🦀"),
        ("LINES", "one\ntwo\n"),
    ];
    let env = odd.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = ExecRequest {
        env: env.into(),
        ..command(&["env", "-0"])
    };
    let ran = machine.run(&request, b"").await;
    let text = ran.text();
    let found: BTreeMap<_, _> = text
        .split_terminator('\0')
        .filter_map(|one| one.split_once('='))
        .collect();
    let mut expected: BTreeMap<_, _> = odd.into();
    expected.extend([
        ("BOTH", "sandbox"),
        ("FROM_SANDBOX", "yes"),
        ("HOME", "/home/lohar"),
        ("LANG", "C"),
        ("LOGNAME", "lohar"),
        (
            "PATH",
            "/home/lohar/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("SHELL", "/bin/bash"),
        ("USER", "lohar"),
    ]);
    assert_eq!(found, expected);

    // The request's goes over the sandbox's, which goes over the image's.
    let ran = machine
        .daemon
        .cli(&[
            "exec",
            "--env",
            "BOTH=request",
            "--env",
            "NEW=n=1",
            NAME,
            "sh",
            "-c",
            "echo $BOTH $NEW $LANG $FROM_SANDBOX",
        ])
        .await;
    assert_eq!(ran.success(), "request n=1 C yes\n");

    // Programs are looked for on the command's own PATH.
    machine.sh("mkdir -p /tmp/bin && printf '#!/bin/sh\\necho tool \"$0\"\\n' > /tmp/bin/tool && chmod +x /tmp/bin/tool").await;
    let path = [("PATH".to_owned(), "/no/such:/tmp/bin:/usr/bin".to_owned())];
    let request = ExecRequest {
        env: path.into(),
        ..command(&["tool"])
    };
    assert_eq!(
        machine.run(&request, b"").await.text(),
        "tool /tmp/bin/tool\n"
    );
    let request = ExecRequest {
        workdir: Some("/tmp/bin".to_owned()),
        ..command(&["./tool"])
    };
    assert_eq!(machine.run(&request, b"").await.text(), "tool ./tool\n");
    // Arguments are handed over as they are.
    let args = [
        "printf", "<%s>", "", "a b", "$HOME", "*", "-x", "--", "\"", "\n", "grün",
    ];
    let ran = machine.run(&command(&args), b"").await;
    assert_eq!(ran.text(), "<><a b><$HOME><*><-x><--><\"><\n><grün>");
    let args = [&["exec", NAME, "--"], args.as_slice()].concat();
    assert_eq!(
        machine.daemon.cli(&args).await.success(),
        "<><a b><$HOME><*><-x><--><\"><\n><grün>"
    );
}
