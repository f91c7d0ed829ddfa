//! A domain of libvirt's, as a pure function of the machine.
//!
//! Libvirt has no devices of its own for `microvm`, so disk, port and entropy go through
//! `qemu:commandline`, with the arguments that bhatti's own machines have.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use bhatti_vmm::machine::{Accelerator, MachineSpec, file};
use bhatti_vmm::qemu::arguments;

/// Who QEMU runs as: whoever the files are of, as with bhatti's own machines.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// The XML of a domain.
pub(crate) fn describe(
    name: &str,
    spec: &MachineSpec,
    tsc_khz: Option<u64>,
) -> anyhow::Result<String> {
    let owner = Owner {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    Ok(xml(name, spec, &pairs(spec, tsc_khz)?, owner))
}

/// The XML, with the devices and the kernel's command line that are among these arguments.
fn xml(name: &str, spec: &MachineSpec, pairs: &[(String, String)], owner: Owner) -> String {
    let (kind, cpu) = match spec.accelerator {
        Accelerator::Kvm => ("kvm", "host-passthrough"),
        Accelerator::Tcg => ("qemu", "maximum"),
    };
    let append = pairs
        .iter()
        .find_map(|(flag, value)| (flag == "-append").then_some(value.as_str()))
        .unwrap_or_default();
    let devices = pairs.iter().filter(|(flag, value)| is_device(flag, value));
    let words = devices.flat_map(|(flag, value)| [flag.clone(), at_home(value, &spec.dir)]);
    let devices = words.fold(String::new(), |mut text, word| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    <qemu:arg value='{}'/>", escaped(&word));
        text
    });
    let path = |path: &Path| escaped(&path.display().to_string());
    format!(
        "<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{}</name>
  <memory unit='MiB'>{}</memory>
  <vcpu>{}</vcpu>
  <os>
    <type arch='x86_64' machine='microvm'>hvm</type>
    <kernel>{}</kernel>
    <initrd>{}</initrd>
    <cmdline>{}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='{cpu}'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <seclabel type='static' model='dac' relabel='no'><label>+{}:+{}</label></seclabel>
  <qemu:commandline>
{devices}  </qemu:commandline>
</domain>
",
        escaped(name),
        spec.memory,
        spec.cpus,
        path(&spec.kernel),
        path(&spec.initrd),
        escaped(append),
        owner.uid,
        owner.gid,
    )
}

/// The command line of bhatti's own machines as flags with values.
fn pairs(spec: &MachineSpec, tsc_khz: Option<u64>) -> anyhow::Result<Vec<(String, String)>> {
    let words = arguments::build(spec, tsc_khz).into_iter();
    let words: Vec<String> = words
        .map(|word| word.into_string().ok().context("an argument is not text"))
        .collect::<Result<_, _>>()?;
    let pairs = words
        .windows(2)
        .filter(|pair| pair[0].starts_with('-') && !pair[1].starts_with('-'));
    Ok(pairs
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect())
}

/// Whether libvirt is to pass it on. Memory, console and all else are its own.
fn is_device(flag: &str, value: &str) -> bool {
    match flag {
        "-blockdev" | "-device" => true,
        "-chardev" => value.starts_with("socket,id=agent,"),
        "-object" => value.starts_with("rng-random,"),
        _ => false,
    }
}

/// Names of files in the machine's directory with that directory: libvirt starts QEMU elsewhere.
fn at_home(value: &str, dir: &Path) -> String {
    let home = dir.display();
    value
        .replace(
            &format!("filename={}", file::DISK),
            &format!("filename={home}/{}", file::DISK),
        )
        .replace(
            &format!("path={}", file::AGENT_SOCKET),
            &format!("path={home}/{}", file::AGENT_SOCKET),
        )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&apos;")
}

#[cfg(test)]
mod test {
    use bhatti_types::size::{MemoryMb, Vcpus};
    use bhatti_vmm::machine::{Accelerator, Devices, MachineSpec};

    use super::xml;

    #[test]
    fn a_domain_has_the_devices_of_our_machines() {
        let spec = MachineSpec {
            data_dir: "dat_0000000000000001".parse().unwrap(),
            sandbox: "sbx_0000000000000002".parse().unwrap(),
            dir: "/tmp/bench/libvirt/o'neil".into(),
            cpus: Vcpus::new(1).unwrap(),
            memory: MemoryMb::new(512).unwrap(),
            kernel: "/data/kits/k/vmlinux".into(),
            initrd: "/data/kits/k/initrd".into(),
            command_line: vec!["bhatti.hostname=libvirt".to_owned()],
            devices: Devices::V1,
            disk: true,
            volumes: Vec::new(),
            nic: None,
            accelerator: Accelerator::Tcg,
            state: None,
        };
        let owner = super::Owner { uid: 7, gid: 8 };
        let pairs = [
            ("-append", "console=ttyS0 quiet"),
            ("-object", "memory-backend-file,id=ram0"),
            ("-blockdev", "driver=file,filename=disk.raw"),
            ("-chardev", "ringbuf,id=console"),
            ("-chardev", "socket,id=agent,path=agent.sock,server=on"),
            ("-device", "virtserialport,chardev=agent"),
        ];
        let pairs = pairs.map(|(flag, value)| (flag.to_owned(), value.to_owned()));
        insta::assert_snapshot!(xml("bhatti-bench-x", &spec, &pairs, owner));
        let real = super::pairs(&spec, None).unwrap();
        let devices = real.iter().filter(|(flag, _)| flag == "-device");
        assert!(devices.count() >= 3, "{real:?}");
    }
}
