//! The life of the agent: as PID 1, or as a service of the image's systemd.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bhatti_proto::message::{Identity, MountVolume, NextTimerReply, VolumeAt};
use jiff::Timestamp;
use nix::sys::resource::{Resource, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::init::handover::SERVICE_ARGUMENT;
use crate::init::{
    self, clock, cmdline::CommandLine, entropy, freeze, grow, klog, names, network, power,
};
use crate::port::Port;
use crate::reaper::InitReaper;
use crate::session;
use crate::system::{System, SystemError};
use crate::timers::look;
use crate::{sys, systemctl, volumes};

/// Open files that a process may have, and may raise that to. The kernel's own limits (1024 and
/// 4096) are of another age; systemd has the same upper one.
const OPEN_FILES: (u64, u64) = (16 * 1024, 512 * 1024);
/// Stack of the threads that wait for disks, in bytes.
const THREAD_STACK: usize = 256 * 1024;
/// The pause before a port that failed is opened anew.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// What is of this boot only.
const RUN: &str = "/run/bhatti";
/// Holds the number of identities taken since the boot, in [`RUN`].
const GENERATION: &str = "generation";
/// What the program writes that the machine keeps running. On the disk, so that a boot after a
/// crash does not lose the reason.
const LOG: &str = "/var/log/bhatti";
/// Has systemd restart the machine (`systemd(1)`): `SIGRTMIN+5`, as the C library counts. A guest's
/// restart is its VMM's end; see [`power::off`].
const SYSTEMD_RESTART: i32 = 34 + 5;

/// What is process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    /// The agent.
    Agent,
    /// The image's systemd.
    Systemd,
}

/// Runs the agent as the init of a guest, or as a service of it. Anywhere else it says so and does
/// nothing.
pub fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    if argument.is_some_and(|argument| argument == SERVICE_ARGUMENT) && init::is_in_guest() {
        return match run_service() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                klog::say(&format!("the service gives up: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    if !init::is_guest_init() {
        say_where_we_are_not();
        return ExitCode::FAILURE;
    }
    let Err(error) = run();
    klog::say(&format!("giving up: {error}"));
    let Err(error) = power::off();
    klog::say(&format!("failed to switch off: {error}"));
    // The end of PID 1 is a panic of the kernel, which under `panic=-1` is the end of the VMM.
    ExitCode::FAILURE
}

#[expect(clippy::print_stderr, reason = "a person has started it by hand")]
fn say_where_we_are_not() {
    eprintln!(
        "lohar is the init of a bhatti guest, or a service of it. This is neither: nothing done."
    );
}

fn run() -> io::Result<Infallible> {
    let command_line = init::bring_up()?;
    klog::note(
        "raise the limit of open files",
        setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.0, OPEN_FILES.1),
    );
    let runtime = runtime()?;
    runtime.block_on(serve(&command_line, Init::Agent))?;
    // Threads that hang on a disk must not hold the power-off up.
    runtime.shutdown_background();
    power::off()
}

fn run_service() -> io::Result<()> {
    let command_line = CommandLine::read(Path::new("/proc/cmdline"))?;
    let runtime = runtime()?;
    let wanted = runtime.block_on(serve(&command_line, Init::Systemd))?;
    runtime.shutdown_background();
    if wanted == Wanted::PowerOff {
        sys::kill_init(SYSTEMD_RESTART);
    }
    Ok(())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK)
        .build()
}

/// What is wanted of the agent when it serves no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// That it ends.
    End,
    /// That the machine does.
    PowerOff,
}

/// Serves until somebody wants the power off, or, of a service, that it ends.
async fn serve(command_line: &CommandLine, init: Init) -> io::Result<Wanted> {
    let mut terminate = signal(SignalKind::terminate())?;
    // What a power failure is told with; also what some hypervisors' tools send.
    let mut power_fail = signal(SignalKind::from_raw(libc::SIGPWR))?;
    let reaper = Arc::new(InitReaper::default());
    let system = Arc::new(Guest::new(command_line, Arc::clone(&reaper), init));
    let off = Arc::clone(&system.off);
    let agent = Agent::new(Path::new("/etc"), Arc::clone(&reaper) as _, system);
    let wanted = tokio::select! {
        result = reaper.run() => result.map(|()| Wanted::End)?,
        result = answer(&agent) => result.map(|()| Wanted::End)?,
        () = received(&mut terminate) => Wanted::End,
        () = received(&mut power_fail) => Wanted::PowerOff,
        () = off.notified() => Wanted::PowerOff,
    };
    // While its end is waited for, somebody has to reap it.
    tokio::select! {
        result = reaper.run() => result?,
        () = agent.end_service() => {}
    }
    Ok(wanted)
}

/// Answers on the port for ever. A port that is not there at all makes the guest useless; one
/// that fails later is opened anew, for what runs in the guest is worth more than the link.
async fn answer(agent: &Agent) -> io::Result<()> {
    let mut port = Port::open().await?;
    loop {
        if let Err(error) = session::serve(&mut port, agent).await {
            klog::say(&format!("the agent's port failed: {error}"));
            drop(port);
            sleep(REOPEN_PAUSE).await;
            port = Port::open().await?;
        }
    }
}

async fn received(signal: &mut Signal) {
    // `None` would mean that no more can come.
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The real system of a guest.
#[derive(Debug)]
struct Guest {
    command_line: CommandLine,
    reaper: Arc<InitReaper>,
    off: Arc<Notify>,
    init: Init,
}

impl Guest {
    fn new(command_line: &CommandLine, reaper: Arc<InitReaper>, init: Init) -> Self {
        Self {
            command_line: command_line.clone(),
            reaper,
            off: Arc::default(),
            init,
        }
    }

    /// The parts that live on the root disk. An image whose `/etc` is odd or cannot be written
    /// to is no reason to refuse its identity.
    fn write_files(&self, identity: &Identity) {
        let etc = Path::new("/etc");
        if !identity.hostname.is_empty() {
            klog::note(
                "write the host name's files",
                names::write_files(etc, &identity.hostname),
            );
        }
        if let Some(id) = &identity.machine_id
            && (identity.fresh || !etc.join("machine-id").exists())
        {
            klog::note("write the machine id", names::write_machine_id(etc, id));
        }
        if let Some(card) = &identity.card {
            let servers: Vec<_> = card
                .dns
                .iter()
                .map(|dns| Ipv4Addr::from_bits(*dns))
                .collect();
            klog::note(
                "write /etc/resolv.conf",
                names::write_resolvers(etc, &servers),
            );
        }
        if let Some(dir) = &identity.cwd {
            klog::note("make the working directory", make_workdir(dir));
        }
        if identity.grow_root {
            klog::note(
                "grow the root file system",
                grow::root(&self.command_line.root),
            );
        }
    }
}

impl System for Guest {
    fn take_identity(&self, identity: &Identity, generation: u64) -> Result<(), SystemError> {
        // First of all: nothing may be made of the original's random numbers.
        if !identity.entropy.is_empty() {
            entropy::add(&identity.entropy).map_err(failed("take the host's randomness"))?;
        }
        if let Some(nanos) = identity.unix_nanos {
            clock::set(nanos).map_err(failed("set the clock"))?;
        }
        if !identity.hostname.is_empty() {
            names::set_hostname(&identity.hostname).map_err(failed("set the host name"))?;
        }
        if !self.command_line.probe {
            self.write_files(identity);
        }
        // The last: who meets it there meets who it is now.
        if let Some(card) = &identity.card {
            network::set_up(card).map_err(failed("set the network card up"))?;
        }
        klog::note("count the generation", write_generation(generation));
        Ok(())
    }

    fn set_clock(&self, unix_nanos: u64) -> Result<(), SystemError> {
        clock::set(unix_nanos).map_err(|source| SystemError {
            what: "set the clock",
            source,
        })
    }

    fn next_timer(&self) -> NextTimerReply {
        let Ok(now) = Timestamp::try_from(SystemTime::now()) else {
            return NextTimerReply::default();
        };
        let (next, failed) = look::look(Path::new("/"), now, &*self.reaper);
        if let Some(error) = failed {
            klog::say(&format!("failed to ask systemd for its timers: {error}"));
        }
        next
    }

    fn sync(&self) {
        nix::unistd::sync();
    }

    fn mount_volume(&self, volume: &MountVolume) -> Result<(), SystemError> {
        volumes::mount_volume(volume).map_err(failed("mount a volume"))
    }

    fn unmount_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        volumes::unmount_volume(volume).map_err(failed("unmount a volume"))
    }

    fn grow_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        volumes::grow_volume(volume).map_err(failed("grow a volume"))
    }

    fn freeze_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        volumes::freeze_volume(volume).map_err(failed("freeze a volume"))
    }

    fn thaw_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        volumes::thaw_volume(volume).map_err(failed("let a volume go on"))
    }

    fn freeze(&self) -> Result<(), SystemError> {
        freeze::freeze(Path::new("/")).map_err(|source| SystemError {
            what: "freeze the root file system",
            source,
        })
    }

    fn thaw(&self) -> Result<(), SystemError> {
        freeze::thaw(Path::new("/")).map_err(|source| SystemError {
            what: "thaw the root file system",
            source,
        })
    }

    fn power_off(&self) {
        self.off.notify_one();
    }

    fn init(&self) -> &'static str {
        match self.init {
            Init::Agent => "lohar",
            Init::Systemd => "systemd",
        }
    }

    fn settle(&self, limit: Duration) -> String {
        match self.init {
            Init::Agent => String::new(),
            Init::Systemd => systemctl::settle(&*self.reaper, limit),
        }
    }

    fn log_dir(&self) -> Option<PathBuf> {
        Some(PathBuf::from(LOG))
    }

    fn run_dir(&self) -> Option<PathBuf> {
        Some(PathBuf::from(RUN))
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> SystemError {
    move |source| SystemError { what, source }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a counter on a tmpfs: it need not be durable, only whole, which the rename makes it"
)]
fn write_generation(generation: u64) -> io::Result<()> {
    let dir = Path::new(RUN);
    std::fs::create_dir_all(dir)?;
    let path = dir.join(GENERATION);
    let aside = path.with_extension("new");
    std::fs::write(&aside, format!("{generation}\n"))?;
    std::fs::rename(&aside, path)
}

/// Makes the directory that commands start in, which container runtimes do too: an image names it
/// and need not have it. A relative one is left to be found below another.
fn make_workdir(dir: &str) -> io::Result<()> {
    let dir = Path::new(dir);
    if dir.is_absolute() && !dir.exists() {
        std::fs::create_dir_all(dir)?;
    }
    Ok(())
}
