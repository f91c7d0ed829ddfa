//! Hands PID 1 over to the image's systemd, with the agent as one of its services.
//!
//! The root is mounted by then, and the kernel's own file systems are, and the network is up. What
//! is added lies in `/run` only, so the image's disk stays as it is: the agent's program, its unit,
//! and masks and additions for units that would fight with bhatti.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use super::{klog, mounts};

/// Where the agent's program lies for its service.
const PROGRAM: &str = "bhatti/lohar";
/// Units that outrank those of the image's packages (`systemd.unit(5)`).
const UNITS: &str = "systemd/system";
/// The inits that are looked for, in this order.
const INITS: [&str; 3] = [
    "/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
];
/// The argument that tells the agent that it is a service.
pub const SERVICE_ARGUMENT: &str = "--service";

/// The agent's service. It starts before anything else, is not stopped at shutdown before systemd
/// kills all that is left, and lets what it has started live when it is started anew. Commands
/// must not share its protection from the kernel's lack of memory; see `exec::child`.
const SERVICE: &str = "\
# Written by bhatti at each boot.
[Unit]
Description=bhatti's agent
DefaultDependencies=no
IgnoreOnIsolate=yes
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/run/bhatti/lohar --service
Restart=always
RestartSec=1
KillMode=process
OOMPolicy=continue
OOMScoreAdjust=-900
Delegate=yes
TasksMax=infinity
LimitNOFILE=16384:524288
StandardInput=null
StandardOutput=kmsg
StandardError=kmsg
";

/// Units that would fight with bhatti, or wait for what is not there: terminals that nobody sits
/// at, checks of a root that is mounted already, waiting for networks that the agent has set up,
/// and another hand at the clock.
const MASKED: [&str; 8] = [
    "NetworkManager-wait-online.service",
    "console-getty.service",
    "getty@tty1.service",
    "serial-getty@hvc0.service",
    "serial-getty@ttyS0.service",
    "systemd-fsck-root.service",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
];

/// Units that switch off or halt. A guest that does either must end its VMM, and for that it has
/// to restart: without a power button that the kernel knows, a power-off is a halt.
const ENDING: [&str; 2] = ["systemd-halt.service", "systemd-poweroff.service"];

/// Becomes the image's init. Comes back only with an error, and then nothing of the image has run.
pub fn exec() -> io::Result<Infallible> {
    let init = find(Path::new("/"))?;
    mounts::run()?;
    let run = Path::new("/run");
    std::fs::create_dir_all(run.join("bhatti"))?;
    let program = run.join(PROGRAM);
    std::fs::copy("/proc/self/exe", &program)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    write_units(&run.join(UNITS))?;
    klog::say(&format!("handing over to {}", init.display()));
    Err(become_init(&init))
}

/// The image's init, which must be a program.
fn find(root: &Path) -> io::Result<PathBuf> {
    let is_program = |path: &Path| {
        std::fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    INITS
        .iter()
        .map(|path| root.join(path.trim_start_matches('/')))
        .find(|path| is_program(path))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the image has no systemd"))
}

/// Writes the agent's unit, and what keeps others from fighting with it.
fn write_units(units: &Path) -> io::Result<()> {
    let wants = units.join("sysinit.target.wants");
    std::fs::create_dir_all(&wants)?;
    std::fs::write(units.join("lohar.service"), SERVICE)?;
    link("../lohar.service", &wants.join("lohar.service"))?;
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    for unit in ENDING {
        let additions = units.join(format!("{unit}.d"));
        std::fs::create_dir_all(&additions)?;
        std::fs::write(
            additions.join("bhatti.conf"),
            "[Unit]\nSuccessAction=reboot-force\n",
        )?;
    }
    Ok(())
}

fn link(target: &str, path: &Path) -> io::Result<()> {
    match symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn become_init(init: &Path) -> io::Error {
    std::process::Command::new(init)
        .env_clear()
        .env("TERM", "linux")
        .current_dir("/")
        .exec()
}

#[cfg(test)]
mod test {
    use super::{ENDING, MASKED, find, write_units};

    #[test]
    fn units_can_be_written_again_and_mask_what_they_should() {
        let dir = tempfile::tempdir().unwrap();
        let units = dir.path().join("system");
        write_units(&units).unwrap();
        write_units(&units).unwrap();
        let linked = |path: &str| fs_err::read_link(units.join(path)).unwrap();
        for unit in MASKED {
            assert_eq!(linked(unit).to_str(), Some("/dev/null"));
        }
        assert_eq!(
            linked("sysinit.target.wants/lohar.service").to_str(),
            Some("../lohar.service")
        );
        for unit in ENDING {
            let text = fs_err::read_to_string(units.join(format!("{unit}.d/bhatti.conf")));
            assert!(text.unwrap().contains("reboot-force"));
        }
    }

    #[test]
    fn an_image_without_an_init_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = find(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "the image has no systemd");
        // Not a program.
        fs_err::create_dir_all(dir.path().join("sbin")).unwrap();
        fs_err::write(dir.path().join("sbin/init"), "").unwrap();
        assert!(find(dir.path()).is_err());
    }
}
