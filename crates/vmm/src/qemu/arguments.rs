//! The QEMU command line, as a pure function of the machine.

use std::ffi::OsString;

use bhatti_types::id::{DataDirId, SandboxId};

use super::volumes;
use crate::machine::{Accelerator, Devices, MachineSpec, Tap, file};

/// The name of the virtio-serial port that carries the agent link.
pub const AGENT_PORT: &str = "org.bhatti.agent";

/// Size of the console's ring buffer in QEMU's memory, in bytes. A ring and not a file, so that a
/// guest can't fill the host's disk by writing to its console.
const CONSOLE_RING: u32 = 65536;

/// The descriptor of an open tap: standard input, which QEMU has no other use for.
const STDIN: u32 = 0;

/// The address of a card that is plugged into nothing: one of the locally administered ones.
const NO_MAC: &str = "02:00:00:00:00:00";

/// What marks every VMM process of a data directory; the sandbox id follows.
pub fn mark(data_dir: &DataDirId) -> String {
    format!("guest=bhatti:{data_dir}:")
}

/// The sandbox that a process's argument names, if the argument carries the mark.
pub fn marked_sandbox(argument: &str, data_dir: &DataDirId) -> Option<SandboxId> {
    argument.strip_prefix(&mark(data_dir))?.parse().ok()
}

/// Everything behind the program's name. `tsc_khz` is the host's counter rate, for TCG.
///
/// The machine's options, the device set and the reasons for them were worked out by booting
/// Debian's cloud kernel under QEMU 7.2: it has no `VIRTIO_MMIO_CMDLINE_DEVICES`, so devices have
/// to be found through ACPI; a TCG guest hangs at the calibration of its counter unless told the
/// rate; and a state written by `xen-save-devices-state` has no configuration section.
pub fn build(spec: &MachineSpec, tsc_khz: Option<u64>) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.pair("-name", format!("{}{}", mark(&spec.data_dir), spec.sandbox));
    args.flag("-nodefaults")
        .flag("-no-user-config")
        .flag("-no-reboot");
    args.pair("-display", "none");
    args.pair(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    args.flag("-S");
    args.pair(
        "-machine",
        "microvm,acpi=on,pic=on,pit=on,rtc=on,isa-serial=on,suppress-vmdesc=on,memory-backend=ram0",
    );
    match spec.accelerator {
        Accelerator::Kvm => args.pair("-accel", "kvm").pair("-cpu", "host"),
        Accelerator::Tcg => args.pair("-accel", "tcg,thread=multi").pair("-cpu", "max"),
    };
    args.pair("-smp", spec.cpus.to_string());
    args.pair("-m", format!("{}M", spec.memory));
    args.pair(
        "-object",
        format!(
            "memory-backend-file,id=ram0,size={}M,mem-path={},share=off,merge=off,dump=off",
            spec.memory,
            file::MEMORY
        ),
    );
    args.pair("-kernel", &spec.kernel)
        .pair("-initrd", &spec.initrd);
    args.pair("-append", command_line(spec, tsc_khz));
    args.pair(
        "-qmp",
        format!("unix:{},server=on,wait=off", file::CONTROL_SOCKET),
    );
    args.pair(
        "-chardev",
        format!("ringbuf,id=console,size={CONSOLE_RING}"),
    );
    args.pair("-serial", "chardev:console");
    if spec.disk {
        args.pair(
            "-blockdev",
            format!(
                "driver=file,node-name=disk-file,filename={},locking=on,discard=unmap",
                file::DISK
            ),
        );
        args.pair(
            "-blockdev",
            "driver=raw,node-name=disk,file=disk-file,discard=unmap",
        );
        args.pair("-device", "virtio-blk-device,drive=disk");
    }
    match (&spec.nic, spec.devices) {
        (Some(nic), _) => {
            args.pair(
                "-netdev",
                match &nic.tap {
                    Tap::Named(name) => {
                        format!("tap,id=net,ifname={name},script=no,downscript=no")
                    }
                    Tap::Open(_) => format!("tap,id=net,fd={STDIN}"),
                },
            );
            args.pair(
                "-device",
                format!("virtio-net-device,netdev=net,mac={}", nic.mac),
            );
        }
        (None, Devices::V1) => {}
        (None, Devices::V2) => {
            // A hub with nothing else in it.
            args.pair("-netdev", "hubport,id=net,hubid=0");
            args.pair(
                "-device",
                format!("virtio-net-device,netdev=net,mac={NO_MAC}"),
            );
        }
    }
    args.pair("-object", "rng-random,id=entropy,filename=/dev/urandom");
    args.pair("-device", "virtio-rng-device,rng=entropy");
    args.pair("-device", "virtio-serial-device,max_ports=2");
    args.pair(
        "-chardev",
        format!(
            "socket,id=agent,path={},server=on,wait=off",
            file::AGENT_SOCKET
        ),
    );
    args.pair(
        "-device",
        format!("virtserialport,chardev=agent,name={AGENT_PORT}"),
    );
    if spec.devices == Devices::V2 {
        args.pair("-device", "virtio-scsi-device,id=scsi,num_queues=1");
        for volume in &spec.volumes {
            args.pair("-blockdev", volumes::node(volume).to_string());
            args.pair("-device", volumes::device(volume).to_string());
        }
    }
    args.pair("-global", "migration.send-configuration=off");
    if spec.state.is_some() {
        args.pair("-incoming", "defer");
    }
    args.0
}

/// The kernel's command line.
fn command_line(spec: &MachineSpec, tsc_khz: Option<u64>) -> String {
    // reboot=t: a triple fault, which ends QEMU under -no-reboot; panic=-1: at once.
    let mut words = vec![
        "console=ttyS0".to_owned(),
        "reboot=t".to_owned(),
        "panic=-1".to_owned(),
        "quiet".to_owned(),
    ];
    if spec.accelerator == Accelerator::Tcg {
        words.push("no_timer_check".to_owned());
        words.push("tsc=reliable".to_owned());
        words.extend(tsc_khz.map(|khz| format!("tsc_early_khz={khz}")));
    }
    words.push("bhatti.guest=1".to_owned());
    words.extend(spec.command_line.iter().cloned());
    words.join(" ")
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(flag.into());
        self.0.push(value.into());
        self
    }
}

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use bhatti_types::mac::Mac;
    use bhatti_types::size::{MemoryMb, Vcpus};

    use super::{build, mark, marked_sandbox};
    use crate::machine::{Accelerator, Devices, MachineSpec, Nic, Tap, VolumeDisk};

    fn spec() -> MachineSpec {
        MachineSpec {
            data_dir: "dat_0000000000000001".parse().unwrap(),
            sandbox: "sbx_0000000000000002".parse().unwrap(),
            dir: "/data/sandboxes/sbx_0000000000000002".into(),
            cpus: Vcpus::new(2).unwrap(),
            memory: MemoryMb::new(512).unwrap(),
            kernel: "/data/kits/k/vmlinux".into(),
            initrd: "/data/kits/k/initrd".into(),
            command_line: vec!["bhatti.hostname=dev".to_owned()],
            devices: Devices::V2,
            disk: true,
            volumes: Vec::new(),
            nic: None,
            accelerator: Accelerator::Tcg,
            state: None,
        }
    }

    fn text(spec: &MachineSpec) -> String {
        let args = build(spec, Some(2_596_130));
        let words: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        words
            .join("\n")
            .replace("\n-", "\n\n-")
            .replace("\n\n", "\u{1}")
            .replace('\n', " ")
            .replace('\u{1}', "\n")
    }

    #[test]
    fn a_machine_of_the_first_set_of_devices_is_as_it_always_was() {
        let spec = MachineSpec {
            devices: Devices::V1,
            ..spec()
        };
        insta::assert_snapshot!(text(&spec));
    }

    #[test]
    fn a_fresh_tcg_machine() {
        insta::assert_snapshot!(text(&spec()));
    }

    #[test]
    fn a_machine_with_volumes_whatever_their_paths_hold() {
        let volume = |slot, read_only| VolumeDisk {
            slot,
            serial: format!("vol_000000000000000{slot}"),
            path: format!("/a,b=\"c\"/vol_{slot}/disk.raw").into(),
            read_only,
        };
        let spec = MachineSpec {
            volumes: vec![volume(0, false), volume(7, true)],
            ..spec()
        };
        insta::assert_snapshot!(text(&spec));
    }

    #[test]
    fn a_kvm_machine_that_goes_on_from_a_state_with_a_network_card() {
        let spec = MachineSpec {
            accelerator: Accelerator::Kvm,
            state: Some("/data/snapshots/s/state".into()),
            nic: Some(Nic {
                tap: Tap::Open(Arc::new(std::io::pipe().unwrap().0.into())),
                mac: Mac::from_octets([2, 0, 0, 0, 0, 1]),
            }),
            ..spec()
        };
        insta::assert_snapshot!(text(&spec));
    }

    #[test]
    fn the_mark_leads_back_to_the_sandbox_of_the_same_data_directory_only() {
        let spec = spec();
        let argument = format!("{}{}", mark(&spec.data_dir), spec.sandbox);
        assert_eq!(
            marked_sandbox(&argument, &spec.data_dir),
            Some(spec.sandbox)
        );
        assert_eq!(
            marked_sandbox(&argument, &"dat_0000000000000009".parse().unwrap()),
            None
        );
        assert_eq!(
            marked_sandbox("guest=bhatti:dat_0000000000000001:../x", &spec.data_dir),
            None
        );
    }
}
