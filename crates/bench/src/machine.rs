//! The machine a run was made on.

use std::path::Path;

use bhatti_host::command::Command;
use serde::{Deserialize, Serialize};

/// The machine a run was made on, as far as it bears on the figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MachineFacts {
    /// Its name.
    pub(crate) host: String,
    /// Model of its processor.
    pub(crate) cpu: String,
    /// Processors this run could use.
    pub(crate) cores: usize,
    /// Memory, in MiB.
    pub(crate) memory_mb: u64,
    /// Kernel release.
    pub(crate) kernel: String,
    /// File system of the data directory, and whether it shares blocks.
    pub(crate) file_system: String,
    /// How the daemon copies machines' files: `reflink`, `pool` or `copy`; older results don't say.
    #[serde(default)]
    pub(crate) storage: String,
    /// `kvm` or `tcg`.
    pub(crate) accelerator: String,
    /// QEMU's words about its version.
    pub(crate) qemu: String,
    /// The guest kit.
    pub(crate) kit: String,
    /// Commit of the sources, with `+` if they were changed since.
    pub(crate) commit: String,
    /// Processes that wanted to run beside us, on average over the minute before.
    pub(crate) load_before: String,
}

impl MachineFacts {
    /// Finds out what can be found out without running anything of bhatti's.
    pub(crate) async fn gather(data_parent: &Path, reflink: bool, sources: &Path) -> Self {
        let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let mounts = read("/proc/self/mountinfo");
        let at = fs_err::canonicalize(data_parent).unwrap_or_else(|_| data_parent.to_owned());
        let kind = file_system(&mounts, &at).unwrap_or_else(|| "unknown".to_owned());
        let shares = if reflink { "reflink" } else { "no reflink" };
        Self {
            host: read("/proc/sys/kernel/hostname").trim().to_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mb: memory_mb(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: format!("{kind}, {shares}"),
            storage: String::new(),
            accelerator: String::new(),
            qemu: first_line("qemu-system-x86_64", &["--version"]).await,
            kit: String::new(),
            commit: commit(sources).await,
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// A machine for tests.
    #[cfg(test)]
    pub(crate) fn made_up() -> Self {
        Self {
            host: "anvil".to_owned(),
            cpu: "Example CPU".to_owned(),
            cores: 2,
            memory_mb: 24_000,
            kernel: "6.1.0".to_owned(),
            file_system: "ext4, no reflink".to_owned(),
            storage: "copy".to_owned(),
            accelerator: "tcg".to_owned(),
            qemu: "QEMU 7.2".to_owned(),
            kit: "0123456789abcdef".to_owned(),
            commit: "abcdef012345".to_owned(),
            load_before: "0.10".to_owned(),
        }
    }

    /// The facts in the order they are told.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("host", self.host.clone()),
            ("processor", format!("{}, {} cores", self.cpu, self.cores)),
            ("memory", format!("{} MB", self.memory_mb)),
            ("kernel", self.kernel.clone()),
            ("data directory on", self.file_system.clone()),
            ("storage", self.storage.clone()),
            ("accelerator", self.accelerator.clone()),
            ("VMM", self.qemu.clone()),
            ("guest kit", self.kit.clone()),
            ("commit", self.commit.clone()),
            ("load before", self.load_before.clone()),
        ]
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

fn memory_mb(meminfo: &str) -> u64 {
    let total = field(meminfo, "MemTotal");
    total
        .strip_suffix("kB")
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

/// The kind of the file system a path lies on, by the longest mount point above it
/// (`proc_pid_mountinfo(5)`: the fifth field is the mount point, the kind follows the `-`).
fn file_system(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (place, source) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?;
        let kind = source.split(' ').next()?;
        path.starts_with(point).then_some((point.len(), kind))
    });
    // The last of those that are mounted over one another is the one that is seen.
    mounts
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind.to_owned())
}

async fn first_line(program: &str, args: &[&str]) -> String {
    match Command::new(program).args(args).run().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

async fn commit(sources: &Path) -> String {
    let git = |args: &[&str]| Command::new("git").arg("-C").arg(sources).args(args).run();
    let Ok(head) = git(&["rev-parse", "--short=12", "HEAD"]).await else {
        return "unknown".to_owned();
    };
    let head = String::from_utf8_lossy(&head.stdout).trim().to_owned();
    let status = git(&["status", "--porcelain", "--untracked-files=no"]).await;
    let clean = status.is_ok_and(|status| status.stdout.is_empty());
    if clean { head } else { format!("{head}+") }
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{field, file_system, memory_mb};

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount_point() {
        let mounts = "\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:25 / /tmp rw - tmpfs tmpfs rw
31 21 7:0 / /tmp/pool rw master:3 - xfs /dev/loop0 rw
";
        let kind = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(kind("/tmp/pool/data").as_deref(), Some("xfs"));
        assert_eq!(kind("/tmp/poolside").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/home").as_deref(), Some("ext4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn the_kernels_tables_are_read() {
        assert_eq!(field("a\t: 1\nmodel name\t: X 1\n", "model name"), "X 1");
        assert_eq!(field("", "model name"), "unknown");
        assert_eq!(memory_mb("MemTotal:       2048 kB\n"), 2);
    }
}
