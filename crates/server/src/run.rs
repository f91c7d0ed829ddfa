//! The program that a sandbox keeps running: from bodies of requests, and to bodies of answers.

use bhatti_api::run::{CreateRun, Run, RunState};
use bhatti_engine::request::NewRun;
use bhatti_engine::view::{Phase, ServiceStatus};
use bhatti_types::invalid::Invalid;
use bhatti_types::run::{Init, RestartPolicy, RunSpec};
use jiff::Timestamp;

use crate::exec::process::Exit;
use crate::view::time;

/// What process 1 is to be; `None` leaves it to the image.
pub(crate) fn init(word: Option<&str>) -> Result<Option<Init>, Invalid> {
    match word {
        None | Some("" | "auto") => Ok(None),
        Some("lohar") => Ok(Some(Init::Lohar)),
        Some("systemd") => Ok(Some(Init::Systemd)),
        Some(word) => Err(Invalid::new("init", word, "must be auto, lohar or systemd")),
    }
}

pub(crate) fn new(body: CreateRun) -> Result<NewRun, Invalid> {
    Ok(NewRun {
        entrypoint: body.entrypoint,
        cmd: body.cmd,
        restart: body
            .restart
            .map_or_else(|| Ok(RestartPolicy::default()), |word| word.parse())?,
    })
}

pub(crate) fn shown(run: RunSpec) -> Run {
    Run {
        command: run.argv,
        restart: run.restart.as_str().to_owned(),
        stop_signal: run.stop_signal.number(),
        state: None,
    }
}

pub(crate) fn state(status: ServiceStatus) -> RunState {
    let (word, pid) = match status.phase {
        Phase::None => ("starting", None),
        Phase::Running { pid } => ("running", Some(pid)),
        Phase::Waiting => ("waiting", None),
        Phase::Ended => ("ended", None),
    };
    let exit = status.last_exit.map(Exit::from);
    let since = status
        .since_unix_ms
        .and_then(|ms| Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
    RunState {
        status: word.to_owned(),
        pid,
        since: since.map(time),
        restarts: status.restarts,
        exit_code: exit.map(|exit| exit.code),
        signal: exit.and_then(|exit| exit.signal),
        error: status.error,
    }
}

#[cfg(test)]
mod test {
    use bhatti_api::run::CreateRun;
    use bhatti_engine::view::{ExitStatus, Phase, ServiceStatus};
    use bhatti_types::run::{Init, RestartPolicy};

    use super::{init, new, state};

    #[test]
    fn words_are_known_or_refused() {
        assert_eq!(init(None).unwrap(), None);
        assert_eq!(init(Some("auto")).unwrap(), None);
        assert_eq!(init(Some("systemd")).unwrap(), Some(Init::Systemd));
        assert!(init(Some("openrc")).is_err());
        let run = |restart: Option<&str>| {
            new(CreateRun {
                restart: restart.map(str::to_owned),
                ..CreateRun::default()
            })
        };
        assert_eq!(run(None).unwrap().restart, RestartPolicy::OnFailure);
        assert_eq!(run(Some("always")).unwrap().restart, RestartPolicy::Always);
        assert!(run(Some("sometimes")).is_err());
    }

    #[test]
    fn an_end_is_told_with_its_code_and_its_signal() {
        let told = state(ServiceStatus {
            phase: Phase::Waiting,
            since_unix_ms: Some(1_700_000_000_000),
            restarts: 2,
            last_exit: Some(ExitStatus::Signal(9)),
            error: None,
        });
        assert_eq!(
            (told.status.as_str(), told.exit_code, told.signal),
            ("waiting", Some(137), Some(9))
        );
        assert_eq!(told.since.as_deref(), Some("2023-11-14T22:13:20.000Z"));
    }
}
