//! How a run can fail, and the exit code of each way. The one place for both.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use http::StatusCode;

use crate::config::error::ConfigError;

/// Exit code of whatever went wrong in bhatti itself.
const FAILED: u8 = 1;
/// Exit code of a command line that is not understood.
const MISUSED: u8 = 2;
/// Exit code of a command whose time was up, as of timeout(1).
const TIMED_OUT: u8 = 124;
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: u8 = 128;

/// A run that failed. `Display` is one line without its source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is not understood.
    #[error("{message}")]
    Usage {
        message: String,
        hint: Option<String>,
    },
    /// The command cannot be done as asked.
    #[error("{message}")]
    Said {
        message: String,
        hint: Option<String>,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A call did not succeed.
    #[error(transparent)]
    Call(#[from] bhatti_client::error::Error),
    /// Standard output does not take the result.
    #[error("failed to write to standard output")]
    Stdout {
        #[source]
        source: io::Error,
    },
    /// Standard error does not take a command's output.
    #[error("failed to write to standard error")]
    Stderr {
        #[source]
        source: io::Error,
    },
    /// Something about this process or its files.
    #[error("failed to {what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// Something about one file.
    #[error("failed to {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The daemon cannot listen where it should.
    #[error("failed to listen on {address}")]
    Listen {
        address: String,
        #[source]
        source: io::Error,
        hint: &'static str,
    },
    /// The daemon did not come up.
    #[error("the daemon did not start")]
    Engine {
        #[source]
        source: bhatti_engine::error::Error,
    },
    /// A recipe is not one.
    #[error(transparent)]
    Recipe {
        source: bhatti_image::recipe::RecipeError,
    },
    /// A directory is not one that can be built.
    #[error(transparent)]
    Context {
        source: crate::build::context::ContextError,
    },
    /// The image of a recipe was not made.
    #[error(transparent)]
    RecipeBuild {
        source: bhatti_image::recipe_install::RecipeInstallError,
    },
    /// The command in the sandbox had its time.
    #[error("the command was ended after {seconds} s, its time limit")]
    TimedOut { seconds: u64 },
    /// The server of the daemon failed.
    #[error("the daemon failed")]
    Serve {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon was told twice to stop.
    #[error("stopped at once; requests in progress were cut off")]
    CutOff { signal: u8 },
    /// The user's own credentials for registries can't be read.
    #[error("failed to find credentials for the registry")]
    Credentials {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user gave up on something, and nothing is left of it.
    #[error("given up; nothing was made")]
    Interrupted { signal: u8 },
    /// The user gave up on a command.
    #[error("given up; the command is being killed")]
    GivenUp { signal: u8 },
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage { .. } | Self::Config(ConfigError::Flag { .. }) => ExitCode::from(MISUSED),
            Self::TimedOut { .. } => ExitCode::from(TIMED_OUT),
            Self::GivenUp { signal } | Self::CutOff { signal } | Self::Interrupted { signal } => {
                ExitCode::from(SIGNALLED.saturating_add(*signal))
            }
            _ if self.is_broken_pipe() => ExitCode::SUCCESS,
            Self::Said { .. }
            | Self::Config(_)
            | Self::Call(_)
            | Self::Stdout { .. }
            | Self::Stderr { .. }
            | Self::Io { .. }
            | Self::File { .. }
            | Self::Listen { .. }
            | Self::Engine { .. }
            | Self::Recipe { .. }
            | Self::Context { .. }
            | Self::RecipeBuild { .. }
            | Self::Credentials { .. }
            | Self::Serve { .. } => ExitCode::from(FAILED),
        }
    }

    /// Whether only a reader went away that had enough, such as `head`.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Stdout { source } | Self::Stderr { source } => {
                source.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }

    /// The whole chain on one line.
    pub(crate) fn message(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let said = error.to_string();
            // Some libraries' errors say what their sources say.
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            source = error.source();
        }
        text.replace('\n', " ")
    }

    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Said { hint, .. } => hint.clone(),
            Self::Config(error) => error.hint(),
            Self::Call(error) => error.hint().or_else(|| call_hint(error)),
            Self::Listen { hint, .. } => Some((*hint).to_owned()),
            Self::Engine { source } => source.hint().map(str::to_owned),
            Self::RecipeBuild { source } => source.hint().map(str::to_owned),
            Self::TimedOut { .. } => {
                Some("give it longer with --timeout, or leave it running with --detach".to_owned())
            }
            Self::Stdout { .. }
            | Self::Stderr { .. }
            | Self::Io { .. }
            | Self::File { .. }
            | Self::Serve { .. }
            | Self::Recipe { .. }
            | Self::Context { .. }
            | Self::CutOff { .. }
            | Self::Interrupted { .. }
            | Self::GivenUp { .. } => None,
            Self::Credentials { .. } => {
                Some("give them with --auth, or put the file right".to_owned())
            }
        }
    }
}

/// The command that shows what there is, when something was not found.
fn call_hint(error: &bhatti_client::error::Error) -> Option<String> {
    if error.status()? != StatusCode::NOT_FOUND {
        return None;
    }
    let command = match error.to_string().split(' ').next()? {
        "sandbox" => "bhatti list",
        "snapshot" => "bhatti snapshot list",
        "image" => "bhatti image list",
        "user" => "bhatti user list",
        _ => return None,
    };
    Some(format!("`{command}` shows what there is"))
}
