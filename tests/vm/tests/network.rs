//! A guest with a network card, in a network namespace of the test's own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use bhatti_guest::exec::{Command, ExecEvent, ExitStatus};
use bhatti_guest::link::{Greeting, Link};
use bhatti_host::{command, files};
use bhatti_image::catalog::Catalog;
use bhatti_image::kit::KitStore;
use bhatti_testing::artifacts;
use bhatti_types::env::Env;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_types::size::{MemoryMb, Vcpus};
use bhatti_vmm::machine::{Accelerator, MachineSpec, Nic, Vmm as _, file};
use bhatti_vmm::qemu::launcher::Qemu;

const BOOT_LIMIT: Duration = Duration::from_mins(3);

async fn ip(words: &str) {
    let run = command::Command::new("ip")
        .args(words.split(' '))
        .run()
        .await;
    run.expect("the namespace's network is set up");
}

/// Runs a shell line and gives what it wrote, with its exit code.
async fn sh(link: &Link, line: &str) -> (String, ExitStatus) {
    let command = Command {
        argv: ["sh", "-c", line].map(str::to_owned).to_vec(),
        env: Env::default(),
        cwd: None,
        user: Some("root".to_owned()),
        timeout: Some(Duration::from_mins(1)),
        stdin: false,
    };
    let mut exec = link.exec(&command).await.expect("the command starts");
    let mut text = String::new();
    loop {
        match exec.output.next().await.expect("the link holds") {
            Some(ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes)) => {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            Some(ExecEvent::Exit(status)) => return (text, status),
            None => return (text, ExitStatus::TimedOut),
        }
    }
}

/// Ends the VMM also when the test fails.
struct Guard(u32);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0 as i32) {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The thread this runs on moves into a namespace of its own, and what it starts with it; the
/// namespace ends with the last of them.
#[tokio::test(flavor = "current_thread")]
async fn a_guest_takes_its_address_route_and_name_servers_from_the_command_line() {
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: needs the right to make a network namespace ({error})");
        return;
    }
    ip("link set lo up").await;
    ip("tuntap add dev tap0 mode tap").await;
    ip("addr add 10.77.0.1/24 dev tap0").await;
    ip("link set tap0 up").await;
    // Made before the guest's machine, in this thread's namespace.
    let listener = TcpListener::bind("10.77.0.1:0").expect("the namespace has that address");
    let port = listener.local_addr().expect("it is bound").port();

    let dir = tempfile::tempdir().expect("a directory can be made");
    artifacts::install(dir.path());
    let kits = KitStore::open(dir.path().join("kits")).expect("the kits open");
    let kit = kits.current().expect("there is a kit");
    let images = Catalog::open(dir.path().join("images")).expect("the images open");
    let base = images
        .get(&"base".parse().expect("a name"))
        .expect("it is read");
    let machine_dir = dir.path().join("machine");
    fs_err::create_dir(&machine_dir).expect("a directory can be made");
    files::clone_file(
        &base.expect("it is there").disk,
        &machine_dir.join(file::DISK),
    )
    .expect("the disk is cloned");
    let memory = MemoryMb::new(256).expect("a size");
    files::create_sparse(&machine_dir.join(file::MEMORY), memory.bytes()).expect("it is made");

    let spec = MachineSpec {
        data_dir: DataDirId::random(),
        sandbox: SandboxId::random(),
        dir: machine_dir,
        cpus: Vcpus::default(),
        memory,
        kernel: kit.kernel(),
        initrd: kit.initrd(),
        command_line: vec![
            "bhatti.hostname=net".to_owned(),
            "ip=10.77.0.2::10.77.0.1:255.255.255.0:net:eth0:off:10.77.0.1:9.9.9.9".to_owned(),
        ],
        disk: true,
        nic: Some(Nic {
            tap: "tap0".to_owned(),
            mac: "02:00:00:00:77:02".to_owned(),
        }),
        accelerator: Accelerator::Tcg,
        state: None,
    };
    let machine = Qemu::new("qemu-system-x86_64".into())
        .launch(&spec)
        .await
        .expect("it starts");
    let _guard = Guard(machine.process().pid);
    machine.resume().await.expect("it runs");
    let stream = machine.agent().await.expect("there is a link");
    let greeting = Greeting {
        resync: false,
        limit: BOOT_LIMIT,
    };
    let link = Link::open(stream, greeting)
        .await
        .expect("the agent answers");

    let (address, _) = sh(
        &link,
        "ip -o -4 addr show eth0; cat /sys/class/net/eth0/address",
    )
    .await;
    assert!(address.contains("10.77.0.2/24"), "{address}");
    assert!(address.contains("02:00:00:00:77:02"), "{address}");
    let (route, _) = sh(&link, "ip route show default").await;
    assert!(route.contains("via 10.77.0.1 dev eth0"), "{route}");
    let (resolvers, _) = sh(&link, "cat /etc/resolv.conf").await;
    assert!(
        resolvers.contains("nameserver 10.77.0.1\nnameserver 9.9.9.9\n"),
        "{resolvers}"
    );
    let (hosts, _) = sh(&link, "hostname; getent hosts net localhost").await;
    assert!(
        hosts.starts_with("net\n") && hosts.contains("127.0.1.1"),
        "{hosts}"
    );

    // Bytes both ways over the card.
    let answer = std::thread::spawn(move || {
        let (mut peer, from) = listener.accept().expect("the guest connects");
        let mut heard = [0; 5];
        peer.read_exact(&mut heard).expect("the guest speaks");
        peer.write_all(b"host\n").expect("the guest listens");
        (heard, from.ip().to_string())
    });
    let line = format!(
        "python3 -c 'import socket; s = socket.create_connection((\"10.77.0.1\", {port}), 20); \
         s.sendall(b\"guest\"); print(s.recv(5))'"
    );
    let (said, status) = sh(&link, &line).await;
    assert_eq!((said.trim(), status), ("b'host\\n'", ExitStatus::Code(0)));
    let (heard, from) = answer.join().expect("the host's end ends well");
    assert_eq!((&heard, from.as_str()), (b"guest", "10.77.0.2"));
    machine.kill().await.expect("it ends");
}
