//! From the bodies of requests to what the engine takes. Whatever is refused is refused here or
//! by the types themselves.

use std::time::Duration;

use bhatti_api::exec::{DEFAULT_TIMEOUT_SEC, ExecRequest, MAX_TIMEOUT_SEC};
use bhatti_api::idle::{EditSandbox, EditUser};
use bhatti_api::sandbox::{CreateSandbox, ForkSandbox};
use bhatti_api::snapshot::{CreateSnapshot, ResumeSnapshot};
use bhatti_api::template::WarmImage;
use bhatti_api::user::CreateUser;
use bhatti_api::volume::PersistentVolume;
use bhatti_engine::request::{
    Copies, EditSandbox as NewSettings, IdleEdit, NewAttachment, NewCopies, NewExec, NewSandbox,
    NewUser, Size, TimeEdit, UserEdit,
};
use bhatti_types::cidr::Cidr;
use bhatti_types::egress::{AllowedRanges, Egress, EgressEdit};
use bhatti_types::env::Env;
use bhatti_types::idle::IdleSettings;
use bhatti_types::invalid::Invalid;
use bhatti_types::labels::Labels;
use bhatti_types::name::{SandboxName, SnapshotName};
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus, VolumeMb};

use crate::run;

/// Longest single argument, in bytes, its end included: Linux's `MAX_ARG_STRLEN`.
const MAX_ARG: usize = 128 * 1024;
/// Longest argument list, in bytes.
const MAX_ARGV: usize = 1024 * 1024;
/// Longest path in a guest, in bytes, its end included: Linux's `PATH_MAX`.
const MAX_PATH: usize = 4096;
/// Longest `user` or `user:group`, in bytes.
const MAX_USER: usize = 128;

/// Longest time that a request waits for something, in seconds.
const MAX_WAIT_SEC: u64 = 3600;
/// How long putting all machines to sleep may take if nothing else is said: two thirds of what
/// systemd gives a service to stop.
const DEFAULT_SLEEP_ALL: Duration = Duration::from_mins(1);

/// How a command's request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// `POST /sandboxes/{id}/exec`.
    Http,
    /// The WebSocket.
    WebSocket,
}

/// A command as asked for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// To be waited for.
    Attached(NewExec),
    /// To be left running.
    Detached {
        exec: NewExec,
        output_file: Option<String>,
    },
}

pub(crate) fn new_sandbox(body: CreateSandbox) -> Result<NewSandbox, Invalid> {
    if let Some(from) = &body.from {
        let rest = CreateSandbox {
            name: None,
            from: None,
            wait_sec: None,
            ..body.clone()
        };
        if rest != CreateSandbox::default() {
            let reason = "a copy has the settings of its source: only `name` may be given besides";
            return Err(Invalid::new("from", from, reason));
        }
        return Ok(NewSandbox {
            name: given_name(body.name)?,
            from: Some(from.clone()),
            wait: wait(body.wait_sec)?,
            ..NewSandbox::default()
        });
    }
    Ok(NewSandbox {
        name: given_name(body.name)?,
        from: None,
        image: body
            .image
            .filter(|name| !name.is_empty())
            .map(|name| name.parse())
            .transpose()?,
        cpus: body.cpus.map_or(Ok(Vcpus::default()), cpus)?,
        memory: memory(body.memory_mb)?,
        disk: disk(body.disk_size_mb)?,
        env: Env::new(body.env)?,
        labels: Labels::new(body.labels)?,
        run_as: body.user.map(user).transpose()?,
        idle: IdleEdit {
            pause_after: idle_time(body.idle_pause.as_deref())?,
            cold_after: idle_time(body.idle_cold.as_deref())?,
            keep_hot: body.keep_hot,
            busy_cpu: body.busy_cpu.map(busy_cpu).transpose()?,
            wake_timers: body.wake_timers,
        }
        .onto(IdleSettings::default()),
        egress: egress(body.egress.as_deref(), body.allow_cidrs)?.onto(Egress::default()),
        init: run::init(body.init.as_deref())?,
        run: body.run.map(run::new).transpose()?,
        wait: wait(body.wait_sec)?,
        volumes: body
            .persistent_volumes
            .into_iter()
            .map(|volume| convert_volume(&volume))
            .collect::<Result<_, _>>()?,
    })
}

fn convert_volume(volume: &PersistentVolume) -> Result<NewAttachment, Invalid> {
    let create = match (volume.auto_create, volume.size_mb) {
        (false, _) => None,
        (true, None | Some(0)) => Some(VolumeMb::default()),
        (true, Some(size)) => Some(VolumeMb::new(size)?),
    };
    Ok(NewAttachment {
        name: volume.name.parse()?,
        mount: volume.mount.parse()?,
        read_only: volume.read_only,
        create,
    })
}

pub(crate) fn warm_size(body: &WarmImage) -> Result<Size, Invalid> {
    Ok(Size {
        cpus: body.cpus.map_or(Ok(Vcpus::default()), cpus)?,
        memory: memory(body.memory_mb)?,
        disk: disk(body.disk_size_mb)?,
    })
}

fn memory(count: Option<u64>) -> Result<MemoryMb, Invalid> {
    match count {
        None | Some(0) => Ok(MemoryMb::default()),
        Some(count) => MemoryMb::new(count),
    }
}

fn disk(count: Option<u64>) -> Result<Option<DiskMb>, Invalid> {
    match count {
        None | Some(0) => Ok(None),
        Some(count) => DiskMb::new(count).map(Some),
    }
}

pub(crate) fn edit_sandbox(body: EditSandbox) -> Result<NewSettings, Invalid> {
    Ok(NewSettings {
        name: given_name(body.name)?,
        labels_add: Labels::new(body.labels_add)?,
        labels_remove: body.labels_remove,
        idle: IdleEdit {
            pause_after: idle_time(body.idle_pause.as_deref())?,
            cold_after: idle_time(body.idle_cold.as_deref())?,
            keep_hot: body.keep_hot,
            busy_cpu: body.busy_cpu.map(busy_cpu).transpose()?,
            wake_timers: body.wake_timers,
        },
        egress: egress(body.egress.as_deref(), body.allow_cidrs)?,
    })
}

fn egress(mode: Option<&str>, ranges: Option<Vec<String>>) -> Result<EgressEdit, Invalid> {
    let parsed = |ranges: Vec<String>| {
        let ranges = ranges.iter().map(|range| range.parse());
        AllowedRanges::new(ranges.collect::<Result<Vec<Cidr>, _>>()?)
    };
    Ok(EgressEdit {
        mode: mode.map(str::parse).transpose()?,
        allow: ranges.map(parsed).transpose()?,
    })
}

pub(crate) fn edit_user(body: &EditUser) -> Result<UserEdit, Invalid> {
    let idle = IdleEdit {
        pause_after: idle_time(body.idle_pause.as_deref())?,
        cold_after: idle_time(body.idle_cold.as_deref())?,
        keep_hot: body.keep_hot,
        busy_cpu: body.busy_cpu.map(busy_cpu).transpose()?,
        wake_timers: body.wake_timers,
    };
    Ok(UserEdit {
        idle,
        max_images: body.max_images,
    })
}

/// An idle time, or `default`.
fn idle_time(text: Option<&str>) -> Result<TimeEdit, Invalid> {
    Ok(match text {
        None => TimeEdit::Leave,
        Some("default") => TimeEdit::Inherit,
        Some(text) => TimeEdit::Set(text.parse()?),
    })
}

fn busy_cpu(share: u8) -> Result<u8, Invalid> {
    if share > 100 {
        let given = share.to_string();
        let reason = "must be from 0 to 100 per cent of a core";
        return Err(Invalid::new("share of a core", &given, reason));
    }
    Ok(share)
}

/// How long to wait for room.
pub(crate) fn wait(seconds: Option<u64>) -> Result<Option<Duration>, Invalid> {
    within("time to wait", seconds, MAX_WAIT_SEC)
}

/// How long putting all machines to sleep may take.
pub(crate) fn sleep_limit(seconds: Option<u64>) -> Result<Duration, Invalid> {
    let limit = within("time limit", seconds, MAX_WAIT_SEC)?;
    Ok(limit.unwrap_or(DEFAULT_SLEEP_ALL))
}

fn within(
    what: &'static str,
    seconds: Option<u64>,
    most: u64,
) -> Result<Option<Duration>, Invalid> {
    match seconds {
        Some(seconds) if seconds > most => {
            let reason = format!("must be at most {most} seconds");
            Err(Invalid::new(what, &seconds.to_string(), reason))
        }
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

/// A whole number of vCPUs; 0 means the default, as in the original.
fn cpus(count: f64) -> Result<Vcpus, Invalid> {
    if count == 0.0 {
        return Ok(Vcpus::default());
    }
    // Past the range as well, for what does not fit a u64 should be shown as it was given.
    if count.fract() != 0.0 || !(1.0..=f64::from(Vcpus::MAX.get())).contains(&count) {
        return Err(Invalid::new(
            "number of vCPUs",
            &count.to_string(),
            format!(
                "must be a whole number from {} to {}",
                Vcpus::MIN,
                Vcpus::MAX
            ),
        ));
    }
    Vcpus::new(count as u64)
}

fn given_name(name: Option<String>) -> Result<Option<SandboxName>, Invalid> {
    name.filter(|name| !name.is_empty())
        .map(|name| name.parse())
        .transpose()
}

pub(crate) fn new_snapshot(body: &CreateSnapshot) -> Result<SnapshotName, Invalid> {
    body.name.parse()
}

pub(crate) fn new_copies(body: ForkSandbox) -> Result<NewCopies, Invalid> {
    Ok(NewCopies {
        name: given_name(body.name)?,
        count: body.count.map_or(Ok(Copies::ONE), Copies::new)?,
        wait: wait(body.wait_sec)?,
    })
}

pub(crate) fn resumed_name(body: ResumeSnapshot) -> Result<Option<SandboxName>, Invalid> {
    given_name(body.name)
}

pub(crate) fn new_user(body: &CreateUser) -> Result<NewUser, Invalid> {
    Ok(NewUser {
        name: body.name.parse()?,
        max_sandboxes: body.max_sandboxes,
        max_cpus_per_sandbox: body.max_cpus_per_sandbox,
        max_memory_mb_per_sandbox: body.max_memory_mb_per_sandbox,
        max_snapshots: body.max_snapshots,
        max_volume_mb: body.max_volume_mb,
        max_images: body.max_images,
    })
}

pub(crate) fn exec(body: ExecRequest, transport: Transport) -> Result<Wanted, Invalid> {
    let refuse = |what, given: &str, reason: &str| Err(Invalid::new(what, given, reason));
    match transport {
        Transport::Http if body.stdin => {
            return refuse("stdin", "true", "standard input needs the WebSocket");
        }
        Transport::WebSocket if body.detach => {
            return refuse(
                "detach",
                "true",
                "a detached command needs no WebSocket: use POST",
            );
        }
        Transport::Http | Transport::WebSocket => {}
    }
    let timeout = match body.timeout_sec {
        None | Some(0) if body.detach => None,
        None | Some(0) => Some(DEFAULT_TIMEOUT_SEC),
        Some(seconds) if seconds <= MAX_TIMEOUT_SEC => Some(seconds),
        Some(seconds) => {
            let reason = format!("must be from 1 to {MAX_TIMEOUT_SEC} seconds");
            return Err(Invalid::new("timeout", &seconds.to_string(), reason));
        }
    };
    let exec = NewExec {
        argv: argv(body.cmd)?,
        env: Env::new(body.env)?,
        workdir: body
            .workdir
            .map(|path| guest_path("working directory", path))
            .transpose()?,
        user: body.user.map(user).transpose()?,
        timeout: timeout.map(Duration::from_secs),
        stdin: body.stdin,
    };
    let output_file = body
        .output_file
        .map(|path| guest_path("output file", path))
        .transpose()?;
    match (body.detach, output_file) {
        (true, output_file) => Ok(Wanted::Detached { exec, output_file }),
        (false, None) => Ok(Wanted::Attached(exec)),
        (false, Some(path)) => refuse("output file", &path, "only a detached command has one"),
    }
}

fn argv(cmd: Vec<String>) -> Result<Vec<String>, Invalid> {
    let refuse = |given: &str, reason: &str| Err(Invalid::new("command", given, reason));
    match cmd.first() {
        None => return refuse("", "must not be empty"),
        Some(program) if program.is_empty() => {
            return refuse("", "the program's name must not be empty");
        }
        Some(_) => {}
    }
    if let Some(argument) = cmd.iter().find(|argument| argument.contains('\0')) {
        return refuse(argument, "an argument may hold no NUL");
    }
    if let Some(argument) = cmd.iter().find(|argument| argument.len() >= MAX_ARG) {
        return refuse(argument, "an argument must be shorter than 128 KiB");
    }
    // Each argument has a NUL at its end, so empty ones count too.
    if cmd.iter().map(|argument| argument.len() + 1).sum::<usize>() > MAX_ARGV {
        return refuse(&cmd[0], "all arguments together must be at most 1 MiB");
    }
    Ok(cmd)
}

fn guest_path(what: &'static str, path: String) -> Result<String, Invalid> {
    if !path.starts_with('/') {
        return Err(Invalid::new(what, &path, "must be an absolute path"));
    }
    if path.contains('\0') || path.len() >= MAX_PATH {
        return Err(Invalid::new(
            what,
            &path,
            "may hold no NUL and at most 4095 bytes",
        ));
    }
    Ok(path)
}

/// A user name, uid, or `user:group`; the guest knows which exist.
fn user(text: String) -> Result<String, Invalid> {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.contains(|c: char| c.is_control() || c.is_whitespace() || c == '/')
    };
    let well_formed = match text.split_once(':') {
        Some((user, group)) => is_part(user) && is_part(group) && !group.contains(':'),
        None => is_part(&text),
    };
    if well_formed && text.len() <= MAX_USER {
        Ok(text)
    } else {
        Err(Invalid::new(
            "user",
            &text,
            "must be a name, a uid or `user:group`",
        ))
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use bhatti_api::exec::ExecRequest;
    use bhatti_api::sandbox::CreateSandbox;

    use super::{Transport, Wanted, exec, new_sandbox, user};

    fn command(cmd: &[&str]) -> ExecRequest {
        ExecRequest {
            cmd: cmd.iter().map(|&argument| argument.to_owned()).collect(),
            ..ExecRequest::default()
        }
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        let new = new_sandbox(CreateSandbox::default()).unwrap();
        assert_eq!(
            (new.cpus.get(), new.memory.get(), new.disk),
            (1, 1024, None)
        );
        let zeros = CreateSandbox {
            name: Some(String::new()),
            image: Some(String::new()),
            cpus: Some(0.0),
            memory_mb: Some(0),
            disk_size_mb: Some(0),
            ..CreateSandbox::default()
        };
        let new = new_sandbox(zeros).unwrap();
        assert_eq!(
            (new.cpus.get(), new.memory.get(), new.disk),
            (1, 1024, None)
        );
        assert!(new.name.is_none() && new.image.is_none());
    }

    #[test]
    fn a_copy_is_given_nothing_but_a_name() {
        let copy = CreateSandbox {
            name: Some("try".to_owned()),
            from: Some("agent".to_owned()),
            ..CreateSandbox::default()
        };
        let new = new_sandbox(copy.clone()).unwrap();
        assert_eq!(new.from.as_deref(), Some("agent"));
        assert_eq!(new.name.unwrap().as_str(), "try");
        let more = CreateSandbox {
            memory_mb: Some(2048),
            ..copy
        };
        assert!(new_sandbox(more).is_err());
    }

    #[test]
    fn only_whole_numbers_of_cpus_are_taken() {
        let with = |cpus| {
            new_sandbox(CreateSandbox {
                cpus: Some(cpus),
                ..CreateSandbox::default()
            })
        };
        assert_eq!(with(2.0).unwrap().cpus.get(), 2);
        for wrong in [0.5, 1.5, -1.0, 33.0, 1e300, f64::NAN, f64::INFINITY] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_has_a_time_limit_unless_it_is_detached() {
        let timeout = |request| match exec(request, Transport::Http).unwrap() {
            Wanted::Attached(exec) | Wanted::Detached { exec, .. } => exec.timeout,
        };
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(timeout(command(&["true"])), seconds(300));
        let detached = || ExecRequest {
            detach: true,
            ..command(&["true"])
        };
        assert_eq!(timeout(detached()), None);
        let limited = ExecRequest {
            timeout_sec: Some(5),
            ..detached()
        };
        assert_eq!(timeout(limited), seconds(5));
    }

    #[test]
    fn arguments_are_bounded_as_linux_bounds_them() {
        let long = "x".repeat(128 * 1024 - 1);
        assert!(exec(command(&["echo", &long]), Transport::Http).is_ok());
        assert!(exec(command(&["echo", &format!("{long}x")]), Transport::Http).is_err());
        assert!(exec(command(&[long.as_str(); 8]), Transport::Http).is_ok());
        assert!(exec(command(&[long.as_str(); 9]), Transport::Http).is_err());
        assert!(exec(command(&vec![""; 2 * 1024 * 1024]), Transport::Http).is_err());
    }

    #[test]
    fn users_are_names_numbers_or_pairs() {
        for right in ["root", "1000", "1000:1000", "www-data:adm", "Jürgen"] {
            assert!(user(right.to_owned()).is_ok(), "{right}");
        }
        for wrong in [
            "",
            ":",
            "a:",
            ":b",
            "a:b:c",
            "a b",
            "a\0",
            "-a",
            "../a",
            &"x".repeat(129),
        ] {
            assert!(user(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}
